//! All SQL. A store keeps what must outlive a gateway or be shared by several: routes and history
//! of queries, coordinators, the operators' intent.
//!
//! No submit and no page waits for it; see `sticky` and `history`. Every call has a deadline and
//! none blocks a thread of the caller's runtime.

mod columns;
mod effect;
pub mod holdings;
pub mod last_known;
pub mod lease;
mod mysql;
mod place;
pub mod rollout;
pub mod rules;
mod schema;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

pub use self::mysql::java::{JavaBackend, java_backends};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::StoreUrl;
use crate::history::fit::{LABEL_BYTES, LINE_BYTES, cut};
use crate::history::record::{Recorded, Request, Sighting};
use crate::ids::{ClusterName, GroupName, QueryId};
use holdings::{HoldingsRow, HoldingsWord};
use lease::Fence;
use rollout::{EndedQuery, NewRollout, RolloutRow, Wish};
use rules::{Activation, ActiveRules, NewRules, PutRules, RulesRow, RulesTexts};

/// Why a store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached, or gave up in the middle; the same call may work later.
    #[error("reach the store at {store}")]
    Unavailable {
        /// Where it is, without credentials.
        store: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered, and what it answered cannot be used.
    #[error("use the store at {store}: {what}")]
    Unusable {
        /// Where it is, without credentials.
        store: String,
        /// What is wrong and what would be right.
        what: String,
    },
}

/// The most rows of one answer of the history.
const HISTORY_MAX: u32 = 10_000;

/// Comes after every query id: these begin with a digit.
pub const AFTER_ALL_IDS: &str = "a";

/// A word in the column of an intent that is none, written by somebody else or a later version.
#[derive(Debug, Error)]
#[error("`{0}` is no intent, expected `active`, `standby`, `draining` or `drained`")]
struct UnknownIntent(String);

/// Opens the store that the settings name.
///
/// An SQLite file is opened, checked and migrated here, which waits for the disk. A MySQL server is
/// not contacted before the first call: one that is away does not stop a gateway from starting.
pub fn open(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, sqlite::Guard::Own)
}

/// The same for a process whose supervisor holds the file ([`hold`]): two of them may use it at once.
pub fn open_held(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, sqlite::Guard::Supervisor)
}

/// Opens the store to read beside the gateways that write. Changes nothing: tables of another version
/// are refused, not migrated. For calls that read: SQLite refuses one that writes, a MySQL server does
/// it. Of a MySQL server the answer is waited for.
pub async fn open_to_read(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        StoreUrl::Sqlite(file) => Ok(Arc::new(sqlite::SqliteStore::open_to_read(file)?)),
        StoreUrl::Mysql(url) => Ok(Arc::new(mysql::MysqlStore::open_to_read(url.reveal()).await?)),
    }
}

/// Keeps other gateways from an SQLite file as long as what it gives lives.
pub fn hold(url: &StoreUrl) -> Result<Option<std::fs::File>, StoreError> {
    match url {
        StoreUrl::Sqlite(file) => sqlite::hold(file).map(Some),
        StoreUrl::Mysql(_) => Ok(None),
    }
}

fn open_with(url: &StoreUrl, guard: sqlite::Guard) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        StoreUrl::Sqlite(file) => Ok(Arc::new(sqlite::SqliteStore::open(file, guard)?)),
        StoreUrl::Mysql(url) => Ok(Arc::new(mysql::MysqlStore::open(url.reveal())?)),
    }
}

/// What operators want of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Takes new queries.
    Active,
    /// Ready to take over, takes none.
    Standby,
    /// Takes none and finishes its own.
    Draining,
    /// Has finished its own and may be stopped.
    Drained,
}

impl Intent {
    /// All intents, in the order of the docs.
    pub const ALL: [Self; 4] = [Self::Active, Self::Standby, Self::Draining, Self::Drained];

    /// The word in config, API, metrics and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.as_str() == text)
    }
}

/// The intent of one cluster, with who set it, when and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    /// The cluster.
    pub cluster: ClusterName,
    /// What is wanted of it.
    pub intent: Intent,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The version that this change made.
    pub version: u64,
}

/// All intents, as of one version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intents {
    /// Rises by one with each change of any intent; 0 when there was none.
    pub version: u64,
    /// One row for each cluster whose intent the store knows.
    pub rows: Vec<IntentRow>,
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct IntentChange {
    /// The cluster.
    pub cluster: ClusterName,
    /// What is wanted of it.
    pub intent: Intent,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl IntentChange {
    /// The row that this change makes, its texts cut to the size of their columns.
    fn into_row(mut self, version: u64) -> IntentRow {
        cut(&mut self.actor, LABEL_BYTES);
        cut(&mut self.reason, LINE_BYTES);
        let at_ms = self.at_ms.min(effect::TIME_MAX);
        let Self { cluster, intent, actor, reason, .. } = self;
        IntentRow { cluster, intent, actor, reason, at_ms, version }
    }
}

/// One row of the query history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryRow {
    /// The query.
    pub query_id: String,
    /// The id that it had while it was held, if it was.
    pub held_id: Option<String>,
    /// The cluster that owns it.
    pub cluster: String,
    /// The group that the rules named; empty when only the end was seen.
    pub group: String,
    /// The rule that named it.
    pub rule: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// `X-Trino-Source`.
    pub source: Option<String>,
    /// `X-Trino-Client-Tags`.
    pub tags: Option<String>,
    /// The request as the rules saw it; older gateways kept none.
    pub request: Option<Request>,
    /// The statement.
    pub statement: String,
    /// When its submit was answered; `None` when only the end was seen.
    pub submitted_ms: Option<u64>,
    /// When it ended; `None` while it lives.
    pub ended_ms: Option<u64>,
    /// What Warren took for the end.
    pub end_cause: Option<String>,
    /// The state that the coordinator told.
    pub state: Option<String>,
    /// Trino's error.
    pub error: Option<String>,
}

/// One kind of store. Two implementations, one contract (`tests/it/store.rs`).
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes a batch of one gateway's events. Any order and any repetition gives the same rows.
    ///
    /// Nothing of a batch is written when this fails. [`StoreError::Unusable`] means that the batch
    /// holds an event that the store can never take; whatever may pass is
    /// [`StoreError::Unavailable`].
    async fn apply(&self, gateway: &str, batch: &[Recorded]) -> Result<(), StoreError>;
    /// The cluster that owns a query, if the store knows.
    async fn route(&self, id: &QueryId) -> Result<Option<ClusterName>, StoreError>;
    /// Every coordinator that any gateway saw, with the widest times.
    async fn coordinators(&self) -> Result<Vec<Sighting>, StoreError>;
    /// The version of the intents; cheap, polled each second.
    async fn intents_version(&self) -> Result<u64, StoreError>;
    /// All intents.
    async fn intents(&self) -> Result<Intents, StoreError>;
    /// Sets an intent and notes who did it, in one transaction. After
    /// [`StoreError::Unavailable`] it may have happened or not.
    async fn set_intent(&self, change: IntentChange) -> Result<IntentRow, StoreError>;
    /// Sets the intent of clusters that the store has never seen, and leaves the others.
    async fn seed_intents(&self, seeds: Vec<IntentChange>) -> Result<(), StoreError>;
    /// The newest rows of the query history, by the time in their ids; at most 10,000.
    async fn history(&self, limit: u32) -> Result<Vec<HistoryRow>, StoreError> {
        self.history_between("", AFTER_ALL_IDS, limit).await
    }
    /// The newest of the rows whose ids, compared as texts, are not before `since` and come before
    /// `before`, the newest first; at most 10,000.
    async fn history_between(
        &self,
        since: &str,
        before: &str,
        limit: u32,
    ) -> Result<Vec<HistoryRow>, StoreError>;
    /// Takes the lease `name` for `holder`, or holds it on, for `term`; `None`: another one holds it.
    /// The time is that of the store, so gateways whose clocks differ agree.
    async fn lease(
        &self,
        name: &str,
        holder: &str,
        term: Duration,
    ) -> Result<Option<Fence>, StoreError>;
    /// Deletes at most `limit` rows of the history whose ids come before `oldest`, as long as `fence`
    /// holds; tells how many.
    async fn forget_history(
        &self,
        fence: &Fence,
        oldest: &str,
        limit: u32,
    ) -> Result<u64, StoreError>;
    /// Begins a rollout and gives its number; `None`: its group has one under way.
    async fn start_rollout(&self, new: NewRollout) -> Result<Option<u64>, StoreError>;
    /// The rollouts that are under way, the oldest first.
    async fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError>;
    /// The newest rollouts, the newest first.
    async fn newest_rollouts(&self, limit: u32) -> Result<Vec<RolloutRow>, StoreError>;
    /// One rollout.
    async fn rollout(&self, id: u64) -> Result<Option<RolloutRow>, StoreError>;
    /// Keeps how far a rollout has come, as long as `fence` holds and nobody else changed it since
    /// `row.revision`; tells whether it did.
    async fn keep_rollout(&self, fence: &Fence, row: RolloutRow) -> Result<bool, StoreError>;
    /// Notes that a rollout is to be aborted; tells whether it is under way.
    async fn abort_rollout(&self, id: u64, by: Wish) -> Result<bool, StoreError>;
    /// The queries of a cluster that were submitted, by the time in their ids not before `since`,
    /// and of which no end is known.
    async fn open_queries(
        &self,
        cluster: &ClusterName,
        since: &str,
    ) -> Result<Vec<QueryId>, StoreError>;
    /// The newest queries of a group that have ended, by the time in their ids not before `since`.
    async fn ended_queries(
        &self,
        group: &GroupName,
        since: &str,
    ) -> Result<Vec<EndedQuery>, StoreError>;
    /// Keeps what a process holds open in the place of what it said before, and forgets what was said
    /// longer ago than `forget`.
    async fn tell_holdings(&self, word: HoldingsWord, forget: Duration) -> Result<(), StoreError>;
    /// What each process said last.
    async fn holdings(&self) -> Result<Vec<HoldingsRow>, StoreError>;
    /// Keeps a version of the rules, or finds the one that has the same texts.
    async fn put_rules(&self, new: NewRules) -> Result<PutRules, StoreError>;
    /// The newest versions of the rules, the newest first.
    async fn newest_rules(&self, limit: u32) -> Result<Vec<RulesRow>, StoreError>;
    /// One version of the rules.
    async fn rules(&self, number: u64) -> Result<Option<RulesTexts>, StoreError>;
    /// The version that came into force last, on any gateway, from its file or by an activation.
    async fn last_used_rules(&self) -> Result<Option<RulesTexts>, StoreError>;
    /// Which version is active; cheap, polled each second.
    async fn active_rules(&self) -> Result<ActiveRules, StoreError>;
    /// Makes a version the active one and notes who did it, in one transaction; `None`: another one
    /// was active than the caller knew, or there is no such version.
    async fn activate_rules(&self, asked: Activation) -> Result<Option<ActiveRules>, StoreError>;
    /// Where the store is, without credentials, for logs.
    fn place(&self) -> &str;
}

/// The owner that a row names.
fn cluster_of(
    store: &str,
    id: &QueryId,
    cluster: Option<String>,
) -> Result<Option<ClusterName>, StoreError> {
    cluster.map(|name| ClusterName::parse(&name)).transpose().map_err(|error| {
        StoreError::Unusable {
            store: store.to_owned(),
            what: format!("the owner of {id}: {error}"),
        }
    })
}

/// An error with all its causes, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
