//! MySQL's statements, each a plain function on a connection or an open transaction.
//!
//! Several gateways write at once. A batch first makes and so locks its rows, in the order of
//! their keys, then reads them, merges, and writes them; two gateways that still lock each other
//! out are told so by the server, and `mysql` tries again.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, IsolationLevel, Params, Row, Transaction, TxOpts, Value};

use crate::history::record::Sighting;
use crate::ids::{BadName, ClusterName, CoordinatorId, QueryId};
use crate::store::columns::{Field, NAMES, fields_of, row_of};
use crate::store::effect::{Effect, QueryRow, Submitted};
use crate::store::lease::{self, Fence, LeaseRow};
use crate::store::mysql::contact::Failure;
use crate::store::{HistoryRow, Intent, IntentChange, IntentRow, Intents, UnknownIntent};

/// How many rows one statement writes. Few sizes, so that the prepared statements are few.
const SIZES: [usize; 4] = [64, 16, 4, 1];
/// The most bytes of statements' texts and requests in one statement, unless one row alone has more: far below
/// the least default of `max_allowed_packet`, 16 MiB.
const PIECE_BYTES: usize = 1 << 20;

/// The server's word for a table that is not there.
const NO_SUCH_TABLE: u16 = 1146;

impl From<&Field> for Value {
    fn from(field: &Field) -> Self {
        match field {
            Field::Null => Self::NULL,
            Field::Text(text) => Self::Bytes(text.clone().into_bytes()),
            Field::Number(number) => Self::UInt(*number),
        }
    }
}

fn field(value: Value) -> Field {
    match value {
        Value::Bytes(bytes) => Field::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Value::UInt(number) => Field::Number(number),
        Value::Int(number) => Field::Number(u64::try_from(number).unwrap_or(0)),
        Value::NULL | Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => {
            Field::Null
        }
    }
}

fn fields(row: Row) -> impl Iterator<Item = Field> {
    row.unwrap().into_iter().map(field)
}

pub(super) async fn apply(conn: &mut Conn, effect: &Effect) -> Result<(), Failure> {
    let mut options = TxOpts::new();
    options.with_isolation_level(IsolationLevel::ReadCommitted);
    let mut tx = conn.start_transaction(options).await?;
    let queries: Vec<(&QueryId, &QueryRow)> = effect.queries.iter().collect();
    let mut rest = &queries[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece_size(rest));
        put_queries(&mut tx, piece).await?;
        rest = after;
    }
    let seen = effect.coordinators.iter().map(|((coordinator, cluster), seen)| {
        let times = (seen.first_ms, seen.last_ms);
        (coordinator.as_str(), cluster.as_str(), times.0, times.1, seen.peer.as_deref())
    });
    tx.exec_batch(
        "INSERT INTO coordinators (coordinator, cluster, first_seen_ms, last_seen_ms, peer)
         VALUES (?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE
           first_seen_ms = LEAST(first_seen_ms, VALUES(first_seen_ms)),
           last_seen_ms = GREATEST(last_seen_ms, VALUES(last_seen_ms)),
           peer = COALESCE(peer, VALUES(peer))",
        seen,
    )
    .await?;
    Ok(tx.commit().await?)
}

/// How many of the rows go into the next statement.
fn piece_size(rows: &[(&QueryId, &QueryRow)]) -> usize {
    let bytes = |rows: &[(&QueryId, &QueryRow)]| -> usize {
        let halves = rows.iter().filter_map(|(_, row)| row.submitted.as_ref());
        let request = |half: &Submitted| half.request.as_ref().map_or(0, String::len);
        halves.map(|half| half.statement.len() + request(half)).sum()
    };
    let fits = |size: &usize| {
        rows.get(..*size).is_some_and(|rows| *size == 1 || bytes(rows) <= PIECE_BYTES)
    };
    SIZES.into_iter().find(fits).unwrap_or(1)
}

async fn put_queries(
    tx: &mut Transaction<'_>,
    piece: &[(&QueryId, &QueryRow)],
) -> Result<(), Failure> {
    let ids: Vec<Value> = piece.iter().map(|(id, _)| Value::from(id.as_str())).collect();
    let rows = vec!["(?, '', '', '')"; piece.len()].join(", ");
    let make = format!(
        "INSERT INTO query_routes (query_id, cluster, route_group, statement) VALUES {rows}
         ON DUPLICATE KEY UPDATE query_id = VALUES(query_id)"
    );
    tx.exec_drop(make, Params::Positional(ids.clone())).await?;

    let (names, marks) = (NAMES.join(", "), vec!["?"; piece.len()].join(", "));
    let select = format!("SELECT {names} FROM query_routes WHERE query_id IN ({marks})");
    let stored: Vec<Row> = tx.exec(select, Params::Positional(ids)).await?;
    let mut stored: std::collections::HashMap<String, QueryRow> =
        stored.into_iter().map(|row| row_of(fields(row))).collect();

    let mut values = Vec::with_capacity(piece.len() * NAMES.len());
    for (id, row) in piece {
        let known = stored.remove(id.as_str()).unwrap_or_default();
        let merged = known.merge((*row).clone());
        values.extend(fields_of(id.as_str(), &merged).iter().map(Value::from));
    }
    let row = format!("({})", vec!["?"; NAMES.len()].join(", "));
    let rows = vec![row; piece.len()].join(", ");
    let updates: Vec<String> =
        NAMES[1..].iter().map(|name| format!("{name} = VALUES({name})")).collect();
    let put = format!(
        "INSERT INTO query_routes ({names}) VALUES {rows} ON DUPLICATE KEY UPDATE {}",
        updates.join(", ")
    );
    Ok(tx.exec_drop(put, Params::Positional(values)).await?)
}

/// The version of the tables, if there are any.
pub(super) async fn version(conn: &mut Conn) -> Result<Option<i64>, Failure> {
    let select = "SELECT MAX(version) FROM refinery_schema_history";
    let told: Result<Option<Option<i64>>, _> = conn.query_first(select).await;
    match told {
        Ok(version) => Ok(version.flatten()),
        Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn route(conn: &mut Conn, id: &str) -> Result<Option<String>, Failure> {
    let select = "SELECT cluster FROM query_routes WHERE query_id = ?";
    Ok(conn.exec_first(select, (id,)).await?)
}

pub(super) async fn history_between(
    conn: &mut Conn,
    since: &str,
    before: &str,
    limit: u32,
) -> Result<Vec<HistoryRow>, Failure> {
    let names = NAMES.join(", ");
    let select = format!(
        "SELECT {names} FROM query_routes WHERE query_id >= ? AND query_id < ?
         ORDER BY query_id DESC LIMIT ?"
    );
    let rows: Vec<Row> = conn.exec(select, (since, before, limit)).await?;
    let history = rows.into_iter().map(|row| {
        let (id, row) = row_of(fields(row));
        row.into_history(id)
    });
    Ok(history.collect())
}

type SightingRow = (String, String, u64, u64, Option<String>);

pub(super) async fn coordinators(conn: &mut Conn) -> Result<Vec<Sighting>, Failure> {
    let rows: Vec<SightingRow> = conn
        .exec(
            "SELECT coordinator, cluster, first_seen_ms, last_seen_ms, peer FROM coordinators
             ORDER BY coordinator, cluster",
            (),
        )
        .await?;
    let sighting = |(coordinator, cluster, first_seen_ms, last_seen_ms, peer): SightingRow| {
        Ok(Sighting {
            coordinator: CoordinatorId::parse(&coordinator)?,
            cluster: ClusterName::parse(&cluster)?,
            first_seen_ms,
            last_seen_ms,
            peer,
        })
    };
    let sightings: Result<_, BadName> = rows.into_iter().map(sighting).collect();
    sightings.map_err(|error| Failure::Damaged(error.to_string()))
}

pub(super) async fn intents_version(conn: &mut impl Queryable) -> Result<u64, Failure> {
    let value: Option<u64> =
        conn.exec_first("SELECT value FROM versions WHERE name = 'intents'", ()).await?;
    value.ok_or_else(|| Failure::Damaged("table `versions` has no row `intents`".to_owned()))
}

pub(super) async fn intents(conn: &mut Conn) -> Result<Intents, Failure> {
    let mut options = TxOpts::new();
    options.with_isolation_level(IsolationLevel::RepeatableRead).with_consistent_snapshot(true);
    let mut tx = conn.start_transaction(options).await?;
    let version = intents_version(&mut tx).await?;
    let rows: Vec<Row> = tx
        .exec(
            "SELECT cluster, intent, actor, reason, at_ms, version FROM intents ORDER BY cluster",
            (),
        )
        .await?;
    tx.commit().await?;
    let rows = rows.into_iter().map(intent_row).collect::<Result<_, Failure>>()?;
    Ok(Intents { version, rows })
}

fn intent_row(row: Row) -> Result<IntentRow, Failure> {
    let (cluster, intent, actor, reason, at_ms, version): (String, String, _, _, _, _) =
        mysql_async::from_row_opt(row).map_err(|error| Failure::Damaged(error.to_string()))?;
    let damaged = |error: &dyn std::error::Error| Failure::Damaged(error.to_string());
    Ok(IntentRow {
        cluster: ClusterName::parse(&cluster).map_err(|error| damaged(&error))?,
        intent: Intent::parse(&intent).ok_or_else(|| damaged(&UnknownIntent(intent)))?,
        actor,
        reason,
        at_ms,
        version,
    })
}

pub(super) async fn set_intent(
    conn: &mut Conn,
    change: &IntentChange,
) -> Result<IntentRow, Failure> {
    let mut tx = conn.start_transaction(TxOpts::new()).await?;
    let row = put_intent(&mut tx, change, "set_intent").await?;
    tx.commit().await?;
    Ok(row)
}

pub(super) async fn seed_intents(conn: &mut Conn, seeds: &[IntentChange]) -> Result<(), Failure> {
    let mut options = TxOpts::new();
    options.with_isolation_level(IsolationLevel::ReadCommitted);
    let mut tx = conn.start_transaction(options).await?;
    // Everyone who changes an intent holds this row, so what is read below stays true.
    tx.exec_drop("SELECT value FROM versions WHERE name = 'intents' FOR UPDATE", ()).await?;
    let known: Vec<String> = tx.exec("SELECT cluster FROM intents", ()).await?;
    let mut known: std::collections::HashSet<String> = known.into_iter().collect();
    for seed in seeds {
        if known.insert(seed.cluster.as_str().to_owned()) {
            put_intent(&mut tx, seed, "seed_intent").await?;
        }
    }
    Ok(tx.commit().await?)
}

pub(super) async fn lease(
    conn: &mut Conn,
    name: &str,
    holder: &str,
    term: Duration,
) -> Result<Option<Fence>, Failure> {
    let mut options = TxOpts::new();
    options.with_isolation_level(IsolationLevel::ReadCommitted);
    let mut tx = conn.start_transaction(options).await?;
    let now: Option<u64> =
        tx.query_first("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)").await?;
    let now = now.ok_or_else(|| Failure::Damaged("the server tells no time".to_owned()))?;
    // Whoever made the row first holds it until its transaction ends; the others wait here.
    let made = "INSERT IGNORE INTO leases (name, holder, number, until_ms) VALUES (?, ?, 0, 0)";
    tx.exec_drop(made, (name, "")).await?;
    let select = "SELECT holder, number, until_ms FROM leases WHERE name = ? FOR UPDATE";
    let known: Option<(String, u64, u64)> = tx.exec_first(select, (name,)).await?;
    let known = known.map(|(holder, number, until_ms)| LeaseRow { holder, number, until_ms });
    let Some(row) = lease::taken(known, holder, now, term) else {
        return Ok(tx.rollback().await.map(|()| None)?);
    };
    tx.exec_drop(
        "UPDATE leases SET holder = ?, number = ?, until_ms = ? WHERE name = ?",
        (&row.holder, row.number, row.until_ms, name),
    )
    .await?;
    tx.commit().await?;
    Ok(Some(Fence { name: name.to_owned(), number: row.number }))
}

pub(super) async fn forget_history(
    conn: &mut Conn,
    fence: &Fence,
    oldest: &str,
    limit: u32,
) -> Result<u64, Failure> {
    conn.exec_drop(
        "DELETE FROM query_routes WHERE query_id < ?
         AND EXISTS (SELECT 1 FROM leases WHERE name = ? AND number = ?)
         ORDER BY query_id LIMIT ?",
        (oldest, &fence.name, fence.number, limit),
    )
    .await?;
    Ok(conn.affected_rows())
}

async fn put_intent(
    tx: &mut Transaction<'_>,
    change: &IntentChange,
    action: &str,
) -> Result<IntentRow, Failure> {
    tx.exec_drop("UPDATE versions SET value = value + 1 WHERE name = 'intents'", ()).await?;
    let row = change.clone().into_row(intents_version(tx).await?);
    tx.exec_drop(
        "INSERT INTO intents (cluster, intent, actor, reason, at_ms, version)
         VALUES (?, ?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE intent = VALUES(intent), actor = VALUES(actor),
           reason = VALUES(reason), at_ms = VALUES(at_ms), version = VALUES(version)",
        (
            row.cluster.as_str(),
            row.intent.as_str(),
            &row.actor,
            &row.reason,
            row.at_ms,
            row.version,
        ),
    )
    .await?;
    tx.exec_drop(
        "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
         VALUES (?, ?, ?, ?, ?, ?)",
        (row.at_ms, &row.actor, action, row.cluster.as_str(), row.intent.as_str(), &row.reason),
    )
    .await?;
    Ok(row)
}
