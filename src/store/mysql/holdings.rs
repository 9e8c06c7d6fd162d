//! MySQL's statements about what gateways hold open.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::contact::Failure;
use crate::store::holdings::{HoldingsRow, HoldingsWord};

/// The server's clock, in milliseconds since 1970.
const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)";

pub(super) async fn tell(
    conn: &mut Conn,
    word: &HoldingsWord,
    forget: Duration,
) -> Result<(), Failure> {
    let replace = format!(
        "REPLACE INTO holdings (gateway, process, told_ms, document) VALUES (?, ?, {NOW}, ?)"
    );
    conn.exec_drop(replace, (&word.gateway, word.process, &word.document)).await?;
    let forget_ms = u64::try_from(forget.as_millis()).unwrap_or(u64::MAX);
    let delete = format!("DELETE FROM holdings WHERE told_ms + ? < {NOW}");
    Ok(conn.exec_drop(delete, (forget_ms,)).await?)
}

pub(super) async fn all(conn: &mut Conn) -> Result<Vec<HoldingsRow>, Failure> {
    let select = format!(
        "SELECT gateway, process, IF(told_ms < {NOW}, {NOW} - told_ms, 0), document FROM holdings"
    );
    let rows: Vec<(String, u64, u64, String)> = conn.exec(select, ()).await?;
    let row = |(gateway, process, age_ms, document)| HoldingsRow {
        word: HoldingsWord { gateway, process, document },
        age: Duration::from_millis(age_ms),
    };
    Ok(rows.into_iter().map(row).collect())
}
