//! SQLite's statements about what gateways hold open.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::rows::{signed, unsigned, write};
use crate::store::holdings::{HoldingsRow, HoldingsWord};

pub(super) fn tell(
    connection: &mut Connection,
    word: &HoldingsWord,
    (now_ms, forget): (u64, Duration),
) -> rusqlite::Result<()> {
    let tx = write(connection)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO holdings (gateway, process, told_ms, document)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![word.gateway, signed(word.process), signed(now_ms), word.document])?;
    let forget_ms = u64::try_from(forget.as_millis()).unwrap_or(u64::MAX);
    tx.prepare_cached("DELETE FROM holdings WHERE told_ms < ?1")?
        .execute([signed(now_ms.saturating_sub(forget_ms))])?;
    tx.commit()
}

pub(super) fn all(connection: &Connection, now_ms: u64) -> rusqlite::Result<Vec<HoldingsRow>> {
    let select = "SELECT gateway, process, told_ms, document FROM holdings";
    let mut select = connection.prepare_cached(select)?;
    let rows = select.query_map([], |row| {
        let (process, told_ms) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
        let word = HoldingsWord { gateway: row.get(0)?, process, document: row.get(3)? };
        Ok(HoldingsRow { word, age: Duration::from_millis(now_ms.saturating_sub(told_ms)) })
    })?;
    rows.collect()
}
