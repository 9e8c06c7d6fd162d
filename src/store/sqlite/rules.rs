//! SQLite's statements about rule sets.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::rows::{foreign, signed, unsigned, write};
use crate::store::rules::{
    Activation, ActiveRules, KEPT, NewRules, PutRules, RulesRow, RulesTexts,
};

const COLUMNS: &str = "number, hash, author, comment, at_ms, used_ms";

fn row(row: &Row<'_>) -> rusqlite::Result<RulesRow> {
    Ok(RulesRow {
        number: unsigned(row.get(0)?),
        hash: row.get(1)?,
        author: row.get(2)?,
        comment: row.get(3)?,
        at_ms: unsigned(row.get(4)?),
        used_ms: row.get::<_, Option<i64>>(5)?.map(unsigned),
    })
}

fn whole(columns: &Row<'_>) -> rusqlite::Result<RulesTexts> {
    let tests: String = columns.get(7)?;
    let files = serde_json::from_str(&tests).map_err(|error| foreign(7, error))?;
    Ok(RulesTexts { row: row(columns)?, script: columns.get(6)?, files })
}

pub(super) fn put(connection: &mut Connection, new: &NewRules) -> rusqlite::Result<PutRules> {
    let tx = write(connection)?;
    let content = new.content();
    let known: Option<i64> = tx
        .prepare_cached("SELECT number FROM rule_versions WHERE content = ?1")?
        .query_row([&content], |row| row.get(0))
        .optional()?;
    let number = match known {
        Some(number) => number,
        None => insert(&tx, new, &content)?,
    };
    if new.in_force {
        used(&tx, number, new.at_ms)?;
    }
    if known.is_none() {
        forget(&tx)?;
    }
    let select = format!("SELECT {COLUMNS} FROM rule_versions WHERE number = ?1");
    let found = tx.prepare_cached(&select)?.query_row([number], row)?;
    tx.commit()?;
    Ok(PutRules { row: found, is_new: known.is_none() })
}

fn insert(tx: &Transaction<'_>, new: &NewRules, content: &str) -> rusqlite::Result<i64> {
    let unfit = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let files = serde_json::to_string(&new.files).map_err(unfit)?;
    tx.prepare_cached(
        "INSERT INTO rule_versions (content, hash, author, comment, at_ms, script, tests)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        content,
        new.hash,
        new.author,
        new.comment,
        signed(new.at_ms),
        new.script,
        files
    ])?;
    Ok(tx.last_insert_rowid())
}

fn used(tx: &Transaction<'_>, number: i64, at_ms: u64) -> rusqlite::Result<()> {
    let update = "UPDATE rule_versions SET used_ms = max(coalesce(used_ms, 0), ?1)
                  WHERE number = ?2";
    tx.prepare_cached(update)?.execute(params![signed(at_ms), number]).map(|_rows| ())
}

fn forget(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM rule_versions
         WHERE number <= (SELECT max(number) FROM rule_versions) - ?1
         AND (used_ms IS NULL OR used_ms < (SELECT max(used_ms) FROM rule_versions))
         AND number NOT IN
           (SELECT value FROM versions WHERE name IN ('rules_active', 'rules_before'))",
    )?
    .execute([signed(KEPT)])
    .map(|_rows| ())
}

pub(super) fn newest(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<RulesRow>> {
    let select = format!("SELECT {COLUMNS} FROM rule_versions ORDER BY number DESC LIMIT ?1");
    connection.prepare_cached(&select)?.query_map([limit], row)?.collect()
}

pub(super) fn one(connection: &Connection, number: u64) -> rusqlite::Result<Option<RulesTexts>> {
    let select = format!("SELECT {COLUMNS}, script, tests FROM rule_versions WHERE number = ?1");
    connection.prepare_cached(&select)?.query_row([signed(number)], whole).optional()
}

pub(super) fn last_used(connection: &Connection) -> rusqlite::Result<Option<RulesTexts>> {
    let select = format!(
        "SELECT {COLUMNS}, script, tests FROM rule_versions WHERE used_ms IS NOT NULL
         ORDER BY used_ms DESC, number DESC LIMIT 1"
    );
    connection.prepare_cached(&select)?.query_row([], whole).optional()
}

pub(super) fn active(connection: &Connection) -> rusqlite::Result<ActiveRules> {
    let select = "SELECT name, value FROM versions WHERE name LIKE 'rules%'";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    let rows = rows.collect::<rusqlite::Result<Vec<(String, u64)>>>()?;
    ActiveRules::of(&rows).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

pub(super) fn activate(
    connection: &mut Connection,
    asked: &Activation,
) -> rusqlite::Result<Option<ActiveRules>> {
    let tx = write(connection)?;
    let known = active(&tx)?;
    let number = signed(asked.number);
    let found =
        tx.prepare_cached("SELECT 1 FROM rule_versions WHERE number = ?1")?.exists([number])?;
    if known.number != asked.instead_of || (asked.number > 0 && !found) {
        return Ok(None);
    }
    let now = known.then(asked.number);
    for (name, value) in now.rows() {
        tx.prepare_cached("UPDATE versions SET value = ?1 WHERE name = ?2")?
            .execute(params![signed(value), name])?;
    }
    used(&tx, number, asked.at_ms)?;
    let [subject, detail] = asked.note();
    tx.prepare_cached(
        "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
         VALUES (?1, ?2, 'activate_rules', ?3, ?4, ?5)",
    )?
    .execute(params![signed(asked.at_ms), asked.actor, subject, detail, asked.comment])?;
    tx.commit()?;
    Ok(Some(now))
}
