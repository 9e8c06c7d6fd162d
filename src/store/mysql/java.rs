//! The backends in the database of a Java Trino Gateway, for `warren migrate`. Reads one table of
//! another program's, and nothing else is done there.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::time::timeout;

use super::contact::Failure;
use crate::store::StoreError;

/// The longest that it may take, with connecting.
const READ: Duration = Duration::from_secs(15);

/// A row of `gateway_backend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JavaBackend {
    /// `name`
    pub name: String,
    /// `routing_group`
    pub routing_group: Option<String>,
    /// `backend_url`
    pub backend_url: String,
    /// `external_url`
    pub external_url: Option<String>,
    /// `active`
    pub active: bool,
}

type Row = (String, Option<String>, String, Option<String>, i64);

/// Reads the table, by name.
pub async fn java_backends(url: &str) -> Result<Vec<JavaBackend>, StoreError> {
    let bad = |what: String| StoreError::Unusable { store: "mysql".to_owned(), what };
    let right = "expected `mysql://user:password@host:3306/database`";
    let opts = Opts::from_url(url)
        .map_err(|error| bad(format!("the URL cannot be read ({error}); {right}")))?;
    let Some(database) = opts.db_name().filter(|name| !name.is_empty()) else {
        return Err(bad(format!("the URL names no database; {right}")));
    };
    let store = format!("mysql://{}:{}/{database}", opts.ip_or_hostname(), opts.tcp_port());
    let unavailable =
        |failure: Failure| StoreError::Unavailable { store, source: Box::new(failure) };
    let rows = match timeout(READ, read(opts)).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => return Err(unavailable(error.into())),
        Err(_) => return Err(unavailable(Failure::Late(READ))),
    };
    let backends = rows.into_iter().map(|row| {
        let (name, routing_group, backend_url, external_url, active) = row;
        JavaBackend { name, routing_group, backend_url, external_url, active: active != 0 }
    });
    Ok(backends.collect())
}

async fn read(opts: Opts) -> Result<Vec<Row>, mysql_async::Error> {
    let opts = OptsBuilder::from_opts(opts).prefer_socket(false);
    let mut conn = Conn::new(opts).await?;
    let rows = conn
        .query(
            // All but the name may be NULL. Without an address it is refused by what reads it.
            "SELECT name, routing_group, COALESCE(backend_url, ''), external_url, \
             CAST(COALESCE(active, 0) AS SIGNED) FROM gateway_backend ORDER BY name",
        )
        .await?;
    conn.disconnect().await?;
    Ok(rows)
}
