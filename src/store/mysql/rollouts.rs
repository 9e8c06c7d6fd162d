//! MySQL's statements about rollouts, each a plain function on a connection.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};

use super::contact::Failure;
use crate::ids::QueryId;
use crate::store::lease::Fence;
use crate::store::rollout::{ENDED_MAX, EndedQuery, NewRollout, RolloutRow, Wish};

const COLUMNS: &str = "id, busy IS NOT NULL, revision, document, abort_by, abort_reason";

pub(super) async fn start(conn: &mut Conn, new: &NewRollout) -> Result<Option<u64>, Failure> {
    let mut tx = conn.start_transaction(TxOpts::new()).await?;
    let group = new.group.as_str();
    // A group that is busy makes no row, and no number.
    tx.exec_drop(
        "INSERT IGNORE INTO rollouts (route_group, busy, revision, document) VALUES (?, ?, 1, ?)",
        (group, group, &new.document),
    )
    .await?;
    let made = (tx.affected_rows() > 0).then(|| tx.last_insert_id()).flatten();
    if made.is_some() {
        note(&mut tx, &new.by, "start_rollout", group).await?;
    }
    tx.commit().await?;
    Ok(made)
}

pub(super) async fn under_way(conn: &mut Conn) -> Result<Vec<RolloutRow>, Failure> {
    let select = format!("SELECT {COLUMNS} FROM rollouts WHERE busy IS NOT NULL ORDER BY id");
    Ok(conn.exec(select, ()).await?.into_iter().map(row).collect())
}

pub(super) async fn newest(conn: &mut Conn, limit: u32) -> Result<Vec<RolloutRow>, Failure> {
    let select = format!("SELECT {COLUMNS} FROM rollouts ORDER BY id DESC LIMIT ?");
    Ok(conn.exec(select, (limit,)).await?.into_iter().map(row).collect())
}

pub(super) async fn one(conn: &mut Conn, id: u64) -> Result<Option<RolloutRow>, Failure> {
    let select = format!("SELECT {COLUMNS} FROM rollouts WHERE id = ?");
    Ok(conn.exec_first(select, (id,)).await?.map(row))
}

type Columns = (u64, bool, u64, String, Option<String>, Option<String>);

fn row((id, under_way, revision, document, by, reason): Columns) -> RolloutRow {
    let abort = by.map(|actor| Wish { actor, reason: reason.unwrap_or_default(), at_ms: 0 });
    RolloutRow { id, under_way, revision, document, abort }
}

pub(super) async fn keep(
    conn: &mut Conn,
    fence: &Fence,
    row: &RolloutRow,
) -> Result<bool, Failure> {
    conn.exec_drop(
        "UPDATE rollouts SET document = ?, revision = revision + 1, busy = IF(?, route_group, NULL)
         WHERE id = ? AND revision = ? AND busy IS NOT NULL
         AND EXISTS (SELECT 1 FROM leases WHERE name = ? AND number = ?)",
        (&row.document, row.under_way, row.id, row.revision, &fence.name, fence.number),
    )
    .await?;
    Ok(conn.affected_rows() > 0)
}

pub(super) async fn abort(conn: &mut Conn, id: u64, by: &Wish) -> Result<bool, Failure> {
    let mut tx = conn.start_transaction(TxOpts::new()).await?;
    // The same wish again changes no row, so that this cannot tell whether there is one.
    let select = "SELECT 1 FROM rollouts WHERE id = ? AND busy IS NOT NULL FOR UPDATE";
    let known: Option<u8> = tx.exec_first(select, (id,)).await?;
    if known.is_some() {
        let update = "UPDATE rollouts SET abort_by = ?, abort_reason = ? WHERE id = ?";
        tx.exec_drop(update, (&by.actor, &by.reason, id)).await?;
        note(&mut tx, by, "abort_rollout", &id.to_string()).await?;
    }
    tx.commit().await?;
    Ok(known.is_some())
}

async fn note(
    tx: &mut impl Queryable,
    by: &Wish,
    action: &str,
    subject: &str,
) -> Result<(), Failure> {
    let insert = "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
                  VALUES (?, ?, ?, ?, '', ?)";
    Ok(tx.exec_drop(insert, (by.at_ms, &by.actor, action, subject, &by.reason)).await?)
}

pub(super) async fn open_queries(
    conn: &mut Conn,
    cluster: &str,
    since: &str,
) -> Result<Vec<QueryId>, Failure> {
    let ids: Vec<String> = conn
        .exec(
            "SELECT query_id FROM query_routes WHERE query_id >= ? AND cluster = ?
             AND submitted_ms IS NOT NULL AND ended_ms IS NULL LIMIT ?",
            (since, cluster, ENDED_MAX),
        )
        .await?;
    let parsed = ids.iter().map(|id| QueryId::parse(id));
    let parsed: Result<_, _> = parsed.collect();
    parsed.map_err(|error| Failure::Damaged(format!("a query id: {error}")))
}

pub(super) async fn ended_queries(
    conn: &mut Conn,
    group: &str,
    since: &str,
) -> Result<Vec<EndedQuery>, Failure> {
    let rows: Vec<(String, u64, Option<String>)> = conn
        .exec(
            "SELECT cluster, IF(ended_ms > submitted_ms, ended_ms - submitted_ms, 0), error
             FROM query_routes WHERE query_id >= ? AND route_group = ?
             AND submitted_ms IS NOT NULL AND ended_ms IS NOT NULL
             ORDER BY query_id DESC LIMIT ?",
            (since, group, ENDED_MAX),
        )
        .await?;
    let ended = |(cluster, took_ms, error)| EndedQuery { cluster, took_ms, error };
    Ok(rows.into_iter().map(ended).collect())
}
