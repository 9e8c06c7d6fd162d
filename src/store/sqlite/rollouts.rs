//! SQLite's statements about rollouts, each a plain function on a connection.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{foreign, signed, unsigned, write};
use crate::ids::QueryId;
use crate::store::lease::Fence;
use crate::store::rollout::{ENDED_MAX, EndedQuery, NewRollout, RolloutRow, Wish};

const COLUMNS: &str = "id, busy, revision, document, abort_by, abort_reason";

pub(super) fn start(
    connection: &mut Connection,
    new: &NewRollout,
) -> rusqlite::Result<Option<u64>> {
    let tx = write(connection)?;
    let group = new.group.as_str();
    let made = tx
        .prepare_cached(
            "INSERT INTO rollouts (route_group, busy, revision, document)
             VALUES (?1, ?1, 1, ?2) ON CONFLICT (busy) DO NOTHING RETURNING id",
        )?
        .query_row(params![group, new.document], |row| row.get(0).map(unsigned))
        .optional()?;
    if made.is_some() {
        note(&tx, &new.by, "start_rollout", group)?;
    }
    tx.commit()?;
    Ok(made)
}

pub(super) fn under_way(connection: &Connection) -> rusqlite::Result<Vec<RolloutRow>> {
    let select = format!("SELECT {COLUMNS} FROM rollouts WHERE busy IS NOT NULL ORDER BY id");
    connection.prepare_cached(&select)?.query_map([], row)?.collect()
}

pub(super) fn newest(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<RolloutRow>> {
    let select = format!("SELECT {COLUMNS} FROM rollouts ORDER BY id DESC LIMIT ?1");
    connection.prepare_cached(&select)?.query_map([limit], row)?.collect()
}

pub(super) fn one(connection: &Connection, id: u64) -> rusqlite::Result<Option<RolloutRow>> {
    let select = format!("SELECT {COLUMNS} FROM rollouts WHERE id = ?1");
    connection.prepare_cached(&select)?.query_row([signed(id)], row).optional()
}

fn row(row: &Row<'_>) -> rusqlite::Result<RolloutRow> {
    let (by, reason): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    Ok(RolloutRow {
        id: unsigned(row.get(0)?),
        under_way: row.get::<_, Option<String>>(1)?.is_some(),
        revision: unsigned(row.get(2)?),
        document: row.get(3)?,
        abort: by.map(|actor| Wish { actor, reason: reason.unwrap_or_default(), at_ms: 0 }),
    })
}

pub(super) fn keep(
    connection: &Connection,
    fence: &Fence,
    row: &RolloutRow,
) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE rollouts SET document = ?1, revision = revision + 1,
               busy = CASE WHEN ?2 THEN route_group END
             WHERE id = ?3 AND revision = ?4 AND busy IS NOT NULL
             AND EXISTS (SELECT 1 FROM leases WHERE name = ?5 AND number = ?6)",
        )?
        .execute(params![
            row.document,
            row.under_way,
            signed(row.id),
            signed(row.revision),
            fence.name,
            signed(fence.number)
        ])?;
    Ok(changed > 0)
}

pub(super) fn abort(connection: &mut Connection, id: u64, by: &Wish) -> rusqlite::Result<bool> {
    let tx = write(connection)?;
    let changed = tx
        .prepare_cached(
            "UPDATE rollouts SET abort_by = ?1, abort_reason = ?2
             WHERE id = ?3 AND busy IS NOT NULL",
        )?
        .execute(params![by.actor, by.reason, signed(id)])?;
    if changed > 0 {
        note(&tx, by, "abort_rollout", &id.to_string())?;
    }
    tx.commit()?;
    Ok(changed > 0)
}

fn note(connection: &Connection, by: &Wish, action: &str, subject: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
             VALUES (?1, ?2, ?3, ?4, '', ?5)",
        )?
        .execute(params![signed(by.at_ms), by.actor, action, subject, by.reason])?;
    Ok(())
}

pub(super) fn open_queries(
    connection: &Connection,
    cluster: &str,
    since: &str,
) -> rusqlite::Result<Vec<QueryId>> {
    let mut select = connection.prepare_cached(
        "SELECT query_id FROM query_routes WHERE query_id >= ?1 AND cluster = ?2
         AND submitted_ms IS NOT NULL AND ended_ms IS NULL LIMIT ?3",
    )?;
    let rows = select.query_map(params![since, cluster, ENDED_MAX], |row| {
        let id: String = row.get(0)?;
        QueryId::parse(&id).map_err(|error| foreign(0, error))
    })?;
    rows.collect()
}

pub(super) fn ended_queries(
    connection: &Connection,
    group: &str,
    since: &str,
) -> rusqlite::Result<Vec<EndedQuery>> {
    let mut select = connection.prepare_cached(
        "SELECT cluster, max(0, ended_ms - submitted_ms), error FROM query_routes
         WHERE query_id >= ?1 AND route_group = ?2
         AND submitted_ms IS NOT NULL AND ended_ms IS NOT NULL ORDER BY query_id DESC LIMIT ?3",
    )?;
    let rows = select.query_map(params![since, group, ENDED_MAX], |row| {
        let (cluster, took_ms, error) = (row.get(0)?, unsigned(row.get(1)?), row.get(2)?);
        Ok(EndedQuery { cluster, took_ms, error })
    })?;
    rows.collect()
}
