//! A store to test with: a fresh file, or a fresh database on the MariaDB server of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;
use warren::config::StoreUrl;
use warren::config::secret::Secret;
use warren::history::record::{EndCause, Ending, Event, Recorded, Request, Sighting, Submission};
use warren::ids::{ClusterName, CoordinatorId, GroupName, QueryId};
use warren::store::{Intent, IntentChange, Store};

/// A place for one store.
pub(crate) enum Bed {
    Sqlite(TempDir),
    Mariadb { server: Opts, database: String },
}

/// The URL of a user who may create databases.
pub(crate) fn server_url() -> String {
    std::env::var("WARREN_TEST_MARIADB").unwrap_or_else(|_| {
        panic!(
            "these tests need a MariaDB or MySQL server: `make test` starts one, or set \
             WARREN_TEST_MARIADB=mysql://root@127.0.0.1:3306"
        )
    })
}

impl Bed {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn mariadb() -> Self {
        let bed = Self::mariadb_without_database();
        bed.admin(&format!("CREATE DATABASE {}", bed.database())).await;
        bed
    }

    pub(crate) fn mariadb_without_database() -> Self {
        let server = Opts::from_url(&server_url()).expect("WARREN_TEST_MARIADB is a URL");
        let database = format!("warren_test_{:016x}", rand::random::<u64>());
        Self::Mariadb { server, database }
    }

    pub(crate) fn database(&self) -> &str {
        match self {
            Self::Mariadb { database, .. } => database,
            Self::Sqlite(_) => panic!("a file has no database"),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("warren.db"),
            Self::Mariadb { .. } => panic!("a server has no file"),
        }
    }

    pub(crate) fn url(&self) -> StoreUrl {
        match self {
            Self::Sqlite(_) => StoreUrl::Sqlite(self.file()),
            Self::Mariadb { server, database } => {
                let (user, password) = (server.user().unwrap_or(""), server.pass().unwrap_or(""));
                let (host, port) = (server.ip_or_hostname(), server.tcp_port());
                let url = format!("mysql://{user}:{password}@{host}:{port}/{database}");
                StoreUrl::Mysql(Secret::new(url))
            }
        }
    }

    /// Opens the store; of a file only one can be open.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        warren::store::open(&self.url()).unwrap()
    }

    /// Runs a statement as the server's administrator, beside every store.
    pub(crate) async fn admin(&self, statement: &str) {
        let Self::Mariadb { server, .. } = self else { panic!("a file has no administrator") };
        let opts = OptsBuilder::from_opts(server.clone()).prefer_socket(false);
        let mut conn = Conn::new(opts).await.expect("the server of WARREN_TEST_MARIADB answers");
        conn.query_drop(statement).await.unwrap();
        conn.disconnect().await.unwrap();
    }

    /// Takes the database away; of a test that failed it stays.
    pub(crate) async fn remove(self) {
        if let Self::Mariadb { .. } = &self {
            self.admin(&format!("DROP DATABASE IF EXISTS {}", self.database())).await;
        }
    }
}

pub(crate) fn query(number: u64) -> QueryId {
    QueryId::parse(&format!("20200416_160256_{number:05}_6b4yt")).unwrap()
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(crate) fn submission(number: u64, at_ms: u64) -> Submission {
    Submission {
        held_id: None,
        query_id: query(number),
        cluster: cluster("bi-blue"),
        group: GroupName::parse("bi").unwrap(),
        rule: Some("superset".to_owned()),
        user: Some("ada".to_owned()),
        source: Some("Apache Superset".to_owned()),
        tags: Some("a,b".to_owned()),
        request: Some(Box::new(request())),
        statement: "SELECT 1".to_owned(),
        at_ms,
    }
}

pub(crate) fn request() -> Request {
    let source = ("x-trino-source".to_owned(), vec!["Apache Superset".to_owned()]);
    Request {
        headers: BTreeMap::from([source]),
        left_out: BTreeSet::from(["x-trino-client-info".to_owned()]),
        path: "/v1/statement".to_owned(),
        listener: "client".to_owned(),
        remote_addr: "10.0.0.9".parse().unwrap(),
        hour: 9,
        weekday: 1,
        statement_bytes: 8,
    }
}

pub(crate) fn ending(number: u64, at_ms: u64) -> Ending {
    Ending {
        query_id: query(number),
        cluster: cluster("bi-blue"),
        cause: EndCause::LastPage,
        state: Some("FINISHED".to_owned()),
        error: None,
        at_ms,
    }
}

pub(crate) fn sighting(name: &str, coordinator: &str, first: u64, last: u64) -> Sighting {
    Sighting {
        peer: None,
        coordinator: CoordinatorId::parse(coordinator).unwrap(),
        cluster: cluster(name),
        first_seen_ms: first,
        last_seen_ms: last,
    }
}

/// Events with the sequences 1, 2, 3 …
pub(crate) fn recorded(events: impl IntoIterator<Item = Event>) -> Vec<Recorded> {
    (1..).zip(events).map(|(sequence, event)| Recorded { sequence, event }).collect()
}

pub(crate) fn change(name: &str, intent: Intent, at_ms: u64) -> IntentChange {
    IntentChange {
        cluster: cluster(name),
        intent,
        actor: "ada".to_owned(),
        reason: "the daily roll".to_owned(),
        at_ms,
    }
}
