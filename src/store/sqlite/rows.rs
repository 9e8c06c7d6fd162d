//! SQLite's statements, each a plain function on a connection.

use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{
    Connection, OptionalExtension, Row, ToSql, Transaction, TransactionBehavior, params,
    params_from_iter,
};

use crate::history::record::Sighting;
use crate::ids::{ClusterName, CoordinatorId};
use crate::store::columns::{Field, NAMES, fields_of, row_of};
use crate::store::effect::{Effect, QueryRow};
use crate::store::lease::{self, Fence, LeaseRow};
use crate::store::{HistoryRow, Intent, IntentChange, IntentRow, Intents};

static SELECT_QUERY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM query_routes WHERE query_id = ?1", NAMES.join(", ")));
static SELECT_NEWEST: LazyLock<String> = LazyLock::new(|| {
    let names = NAMES.join(", ");
    format!(
        "SELECT {names} FROM query_routes WHERE query_id >= ?1 AND query_id < ?2
         ORDER BY query_id DESC LIMIT ?3"
    )
});
static PUT_QUERY: LazyLock<String> = LazyLock::new(|| {
    let marks = vec!["?"; NAMES.len()].join(", ");
    format!("INSERT OR REPLACE INTO query_routes ({}) VALUES ({marks})", NAMES.join(", "))
});

impl ToSql for Field {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Number(number) => ToSqlOutput::Owned(Value::Integer(signed(*number))),
        })
    }
}

/// SQLite's numbers are signed; what is larger never comes here (`effect`), and would be cut.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn fields(row: &Row<'_>) -> rusqlite::Result<Vec<Field>> {
    let field = |at| {
        Ok(match row.get_ref(at)? {
            ValueRef::Integer(number) => Field::Number(unsigned(number)),
            ValueRef::Text(text) => Field::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Field::Null,
        })
    };
    (0..NAMES.len()).map(field).collect()
}

pub(super) fn write(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn apply(connection: &mut Connection, effect: Effect) -> rusqlite::Result<()> {
    let tx = write(connection)?;
    for (id, row) in effect.queries {
        let id = id.as_str();
        let known = stored(&tx, id)?;
        let merged = known.clone().unwrap_or_default().merge(row);
        if known.as_ref() != Some(&merged) {
            let fields = fields_of(id, &merged);
            tx.prepare_cached(&PUT_QUERY)?.execute(params_from_iter(&fields))?;
        }
    }
    for ((coordinator, cluster), seen) in effect.coordinators {
        tx.prepare_cached(
            "INSERT INTO coordinators (coordinator, cluster, first_seen_ms, last_seen_ms, peer)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (coordinator, cluster) DO UPDATE SET
               first_seen_ms = min(first_seen_ms, excluded.first_seen_ms),
               last_seen_ms = max(last_seen_ms, excluded.last_seen_ms),
               peer = coalesce(peer, excluded.peer)",
        )?
        .execute(params![
            coordinator.as_str(),
            cluster.as_str(),
            signed(seen.first_ms),
            signed(seen.last_ms),
            seen.peer
        ])?;
    }
    tx.commit()
}

fn stored(connection: &Connection, id: &str) -> rusqlite::Result<Option<QueryRow>> {
    let mut select = connection.prepare_cached(&SELECT_QUERY)?;
    let fields = select.query_row([id], fields).optional()?;
    Ok(fields.map(|fields| row_of(fields).1))
}

pub(super) fn route(connection: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT cluster FROM query_routes WHERE query_id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}

pub(super) fn history_between(
    connection: &Connection,
    since: &str,
    before: &str,
    limit: u32,
) -> rusqlite::Result<Vec<HistoryRow>> {
    let mut select = connection.prepare_cached(&SELECT_NEWEST)?;
    let rows = select.query_map(params![since, before, limit], fields)?;
    rows.map(|fields| {
        let (id, row) = row_of(fields?);
        Ok(row.into_history(id))
    })
    .collect()
}

pub(super) fn coordinators(connection: &Connection) -> rusqlite::Result<Vec<Sighting>> {
    let mut select = connection.prepare_cached(
        "SELECT coordinator, cluster, first_seen_ms, last_seen_ms, peer FROM coordinators
         ORDER BY coordinator, cluster",
    )?;
    let rows = select.query_map([], |row| {
        let (coordinator, cluster): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(Sighting {
            coordinator: CoordinatorId::parse(&coordinator).map_err(|error| foreign(0, error))?,
            cluster: ClusterName::parse(&cluster).map_err(|error| foreign(1, error))?,
            first_seen_ms: unsigned(row.get(2)?),
            last_seen_ms: unsigned(row.get(3)?),
            peer: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// The error of a column that holds what Warren did not write.
pub(super) fn foreign(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn intents_version(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT value FROM versions WHERE name = 'intents'")?
        .query_row([], |row| row.get(0).map(unsigned))
}

pub(super) fn intents(connection: &mut Connection) -> rusqlite::Result<Intents> {
    let tx = connection.transaction()?;
    let version = intents_version(&tx)?;
    let mut select = tx.prepare_cached(
        "SELECT cluster, intent, actor, reason, at_ms, version FROM intents ORDER BY cluster",
    )?;
    let rows = select.query_map([], intent_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(Intents { version, rows })
}

fn intent_row(row: &Row<'_>) -> rusqlite::Result<IntentRow> {
    let (cluster, intent): (String, String) = (row.get(0)?, row.get(1)?);
    let unknown = || foreign(1, crate::store::UnknownIntent(intent.clone()));
    Ok(IntentRow {
        cluster: ClusterName::parse(&cluster).map_err(|error| foreign(0, error))?,
        intent: Intent::parse(&intent).ok_or_else(unknown)?,
        actor: row.get(2)?,
        reason: row.get(3)?,
        at_ms: unsigned(row.get(4)?),
        version: unsigned(row.get(5)?),
    })
}

pub(super) fn set_intent(
    connection: &mut Connection,
    change: IntentChange,
) -> rusqlite::Result<IntentRow> {
    let tx = write(connection)?;
    let row = put_intent(&tx, change, "set_intent")?;
    tx.commit()?;
    Ok(row)
}

pub(super) fn seed_intents(
    connection: &mut Connection,
    seeds: Vec<IntentChange>,
) -> rusqlite::Result<()> {
    let tx = write(connection)?;
    for seed in seeds {
        let known = tx
            .prepare_cached("SELECT 1 FROM intents WHERE cluster = ?1")?
            .exists([seed.cluster.as_str()])?;
        if !known {
            put_intent(&tx, seed, "seed_intent")?;
        }
    }
    tx.commit()
}

pub(super) fn lease(
    connection: &mut Connection,
    (name, holder): (&str, &str),
    (now_ms, term): (u64, Duration),
) -> rusqlite::Result<Option<Fence>> {
    let tx = write(connection)?;
    let known = tx
        .prepare_cached("SELECT holder, number, until_ms FROM leases WHERE name = ?1")?
        .query_row([name], |row| {
            let (number, until_ms) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
            Ok(LeaseRow { holder: row.get(0)?, number, until_ms })
        })
        .optional()?;
    let Some(row) = lease::taken(known, holder, now_ms, term) else { return Ok(None) };
    tx.prepare_cached(
        "INSERT OR REPLACE INTO leases (name, holder, number, until_ms) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![name, row.holder, signed(row.number), signed(row.until_ms)])?;
    tx.commit()?;
    Ok(Some(Fence { name: name.to_owned(), number: row.number }))
}

pub(super) fn forget_history(
    connection: &Connection,
    fence: &Fence,
    oldest: &str,
    limit: u32,
) -> rusqlite::Result<u64> {
    let gone = connection
        .prepare_cached(
            "DELETE FROM query_routes WHERE query_id IN
               (SELECT query_id FROM query_routes WHERE query_id < ?1 ORDER BY query_id LIMIT ?2)
             AND EXISTS (SELECT 1 FROM leases WHERE name = ?3 AND number = ?4)",
        )?
        .execute(params![oldest, limit, fence.name, signed(fence.number)])?;
    Ok(u64::try_from(gone).unwrap_or(0))
}

fn put_intent(
    tx: &Transaction<'_>,
    change: IntentChange,
    action: &str,
) -> rusqlite::Result<IntentRow> {
    let version = tx
        .prepare_cached(
            "UPDATE versions SET value = value + 1 WHERE name = 'intents' RETURNING value",
        )?
        .query_row([], |row| row.get(0).map(unsigned))?;
    let row = change.into_row(version);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO intents (cluster, intent, actor, reason, at_ms, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        row.cluster.as_str(),
        row.intent.as_str(),
        row.actor,
        row.reason,
        signed(row.at_ms),
        signed(version)
    ])?;
    tx.prepare_cached(
        "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        signed(row.at_ms),
        row.actor,
        action,
        row.cluster.as_str(),
        row.intent.as_str(),
        row.reason
    ])?;
    Ok(row)
}
