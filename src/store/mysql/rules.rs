//! MySQL's statements about rule sets.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, IsolationLevel, Transaction, TxOpts};

use super::contact::Failure;
use crate::store::rules::{
    Activation, ActiveRules, KEPT, NewRules, PutRules, RulesRow, RulesTexts,
};

const COLUMNS: &str = "number, hash, author, comment, at_ms, used_ms";

type Columns = (u64, String, String, String, u64, Option<u64>);

fn row((number, hash, author, comment, at_ms, used_ms): Columns) -> RulesRow {
    RulesRow { number, hash, author, comment, at_ms, used_ms }
}

type Whole = (u64, String, String, String, u64, Option<u64>, String, String);

fn whole(columns: Whole) -> Result<RulesTexts, Failure> {
    let (number, hash, author, comment, at_ms, used_ms, script, tests) = columns;
    let files = serde_json::from_str(&tests)
        .map_err(|error| Failure::Damaged(format!("the files of rules {number}: {error}")))?;
    let row = RulesRow { number, hash, author, comment, at_ms, used_ms };
    Ok(RulesTexts { row, script, files })
}

pub(super) async fn put(conn: &mut Conn, new: &NewRules) -> Result<PutRules, Failure> {
    let mut tx = begin(conn).await?;
    let content = new.content();
    let select = "SELECT number FROM rule_versions WHERE content = ?";
    let known: Option<u64> = tx.exec_first(select, (&content,)).await?;
    let number = match known {
        Some(number) => number,
        None => insert(&mut tx, new, &content).await?,
    };
    if new.in_force {
        used(&mut tx, number, new.at_ms).await?;
    }
    if known.is_none() {
        forget(&mut tx).await?;
    }
    let select = format!("SELECT {COLUMNS} FROM rule_versions WHERE number = ?");
    let found: Option<Columns> = tx.exec_first(select, (number,)).await?;
    tx.commit().await?;
    let lost = || Failure::Damaged(format!("the rules {number} are gone at once"));
    Ok(PutRules { row: row(found.ok_or_else(lost)?), is_new: known.is_none() })
}

/// Begins a change. Everyone who changes rules holds one row, so what is read below stays true.
async fn begin(conn: &mut Conn) -> Result<Transaction<'_>, Failure> {
    let mut options = TxOpts::new();
    options.with_isolation_level(IsolationLevel::ReadCommitted);
    let mut tx = conn.start_transaction(options).await?;
    tx.exec_drop("SELECT value FROM versions WHERE name = 'rules' FOR UPDATE", ()).await?;
    Ok(tx)
}

async fn insert(tx: &mut Transaction<'_>, new: &NewRules, content: &str) -> Result<u64, Failure> {
    let damaged = |error: serde_json::Error| Failure::Damaged(error.to_string());
    let files = serde_json::to_string(&new.files).map_err(damaged)?;
    tx.exec_drop(
        "INSERT INTO rule_versions (content, hash, author, comment, at_ms, script, tests)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        (content, &new.hash, &new.author, &new.comment, new.at_ms, &new.script, files),
    )
    .await?;
    tx.last_insert_id().ok_or_else(|| Failure::Damaged("the new rules got no number".to_owned()))
}

async fn used(tx: &mut Transaction<'_>, number: u64, at_ms: u64) -> Result<(), Failure> {
    let update = "UPDATE rule_versions SET used_ms = GREATEST(COALESCE(used_ms, 0), ?)
                  WHERE number = ?";
    Ok(tx.exec_drop(update, (at_ms, number)).await?)
}

async fn forget(tx: &mut Transaction<'_>) -> Result<(), Failure> {
    let newest: Option<(u64, u64)> = tx
        .query_first(
            "SELECT COALESCE(MAX(number), 0), COALESCE(MAX(used_ms), 0) FROM rule_versions",
        )
        .await?;
    let (newest, last_used) = newest.unwrap_or_default();
    let Some(oldest) = newest.checked_sub(KEPT) else { return Ok(()) };
    tx.exec_drop(
        "DELETE FROM rule_versions WHERE number <= ? AND (used_ms IS NULL OR used_ms < ?)
         AND number NOT IN
           (SELECT value FROM versions WHERE name IN ('rules_active', 'rules_before'))",
        (oldest, last_used),
    )
    .await?;
    Ok(())
}

pub(super) async fn newest(conn: &mut Conn, limit: u32) -> Result<Vec<RulesRow>, Failure> {
    let select = format!("SELECT {COLUMNS} FROM rule_versions ORDER BY number DESC LIMIT ?");
    let rows: Vec<Columns> = conn.exec(select, (limit,)).await?;
    Ok(rows.into_iter().map(row).collect())
}

pub(super) async fn one(conn: &mut Conn, number: u64) -> Result<Option<RulesTexts>, Failure> {
    let select = format!("SELECT {COLUMNS}, script, tests FROM rule_versions WHERE number = ?");
    let found: Option<Whole> = conn.exec_first(select, (number,)).await?;
    found.map(whole).transpose()
}

pub(super) async fn last_used(conn: &mut Conn) -> Result<Option<RulesTexts>, Failure> {
    let select = format!(
        "SELECT {COLUMNS}, script, tests FROM rule_versions WHERE used_ms IS NOT NULL
         ORDER BY used_ms DESC, number DESC LIMIT 1"
    );
    let found: Option<Whole> = conn.exec_first(select, ()).await?;
    found.map(whole).transpose()
}

pub(super) async fn active(conn: &mut impl Queryable) -> Result<ActiveRules, Failure> {
    let select = "SELECT name, value FROM versions WHERE name LIKE 'rules%'";
    let rows: Vec<(String, u64)> = conn.exec(select, ()).await?;
    let lacks = || Failure::Damaged("table `versions` lacks a row of `rules`".to_owned());
    ActiveRules::of(&rows).ok_or_else(lacks)
}

pub(super) async fn activate(
    conn: &mut Conn,
    asked: &Activation,
) -> Result<Option<ActiveRules>, Failure> {
    let mut tx = begin(conn).await?;
    let known = active(&mut tx).await?;
    let select = "SELECT number FROM rule_versions WHERE number = ?";
    let found: Option<u64> = tx.exec_first(select, (asked.number,)).await?;
    if known.number != asked.instead_of || (asked.number > 0 && found.is_none()) {
        return Ok(tx.rollback().await.map(|()| None)?);
    }
    let now = known.then(asked.number);
    let update = "UPDATE versions SET value = ? WHERE name = ?";
    tx.exec_batch(update, now.rows().map(|(name, value)| (value, name))).await?;
    used(&mut tx, asked.number, asked.at_ms).await?;
    let [subject, detail] = asked.note();
    tx.exec_drop(
        "INSERT INTO admin_events (at_ms, actor, action, subject, detail, reason)
         VALUES (?, ?, 'activate_rules', ?, ?, ?)",
        (asked.at_ms, &asked.actor, subject, detail, &asked.comment),
    )
    .await?;
    tx.commit().await?;
    Ok(Some(now))
}
