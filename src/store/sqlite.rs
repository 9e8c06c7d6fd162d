//! The store in one SQLite file, for one gateway.
//!
//! Promises: one connection writes, another reads beside it (WAL), each on its own thread; a
//! second gateway, a network file system and a damaged file are refused with words when the store
//! is opened. Deliberately does not serve several gateways: that is `mysql`.

mod holdings;
mod open;
mod rollouts;
mod rows;
mod rules;
mod worker;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode};

use crate::history::record::{Recorded, Sighting};
use crate::ids::{ClusterName, GroupName, QueryId};
use crate::store::effect::Effect;
use crate::store::holdings::{HoldingsRow, HoldingsWord};
use crate::store::lease::Fence;
use crate::store::rollout::{EndedQuery, NewRollout, RolloutRow, Wish};
use crate::store::rules::{Activation, ActiveRules, NewRules, PutRules, RulesRow, RulesTexts};
use crate::store::{
    HISTORY_MAX, HistoryRow, IntentChange, IntentRow, Intents, Store, StoreError, cluster_of,
};
use crate::time;
use open::{OpenError, Opened};
use worker::{Failure, Worker};

/// The longest a read may take.
const READ: Duration = Duration::from_secs(3);
/// The longest a write may take: longer than the file may be busy with another program.
const WRITE: Duration = Duration::from_secs(15);

/// Who keeps other gateways from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Whoever opens it.
    Own,
    /// The supervisor of whoever opens it.
    Supervisor,
}

/// Keeps other gateways from a file as long as what it gives lives.
pub(super) fn hold(file: &Path) -> Result<std::fs::File, StoreError> {
    open::hold(file).map_err(|error| StoreError::Unusable {
        store: format!("sqlite:{}", file.display()),
        what: error.to_string(),
    })
}

/// An open file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    place: String,
    writer: Worker,
    reader: Worker,
}

impl SqliteStore {
    /// Opens the file, or makes it. Waits for the disk.
    pub(super) fn open(file: &Path, guard: Guard) -> Result<Self, StoreError> {
        Self::started(file, || open::open(file, guard))
    }

    /// Opens a file that another process may write. Whoever writes through this hears that it cannot.
    pub(super) fn open_to_read(file: &Path) -> Result<Self, StoreError> {
        Self::started(file, || {
            let [writer, reader] = [open::open_to_read(file)?, open::open_to_read(file)?];
            Ok(Opened { writer, reader, lock: None })
        })
    }

    fn started(
        file: &Path,
        open: impl FnOnce() -> Result<Opened, OpenError>,
    ) -> Result<Self, StoreError> {
        let place = format!("sqlite:{}", file.display());
        let opened = open().and_then(|Opened { writer, reader, lock }| {
            let writer = Worker::start("warren-store-w", writer, lock);
            let reader = Worker::start("warren-store-r", reader, ());
            Ok((writer.map_err(OpenError::Thread)?, reader.map_err(OpenError::Thread)?))
        });
        match opened {
            Ok((writer, reader)) => Ok(Self { place, writer, reader }),
            Err(error) => Err(StoreError::Unusable { store: place, what: error.to_string() }),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.run(READ, work).await.map_err(|failure| self.error(failure))
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(WRITE, work).await.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> StoreError {
        let store = self.place.clone();
        match failure {
            Failure::Sql(error) if never_passes(&error) => {
                StoreError::Unusable { store, what: error.to_string() }
            }
            other => StoreError::Unavailable { store, source: Box::new(other) },
        }
    }
}

/// Tells whether an error lies in the data, so that the same call will never work.
fn never_passes(error: &rusqlite::Error) -> bool {
    use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ConstraintViolation | TooBig | TypeMismatch),
        None => matches!(error, rusqlite::Error::FromSqlConversionFailure(..)),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn apply(&self, gateway: &str, batch: &[Recorded]) -> Result<(), StoreError> {
        let effect = Effect::of(gateway, batch);
        self.write(|connection| rows::apply(connection, effect)).await
    }

    async fn route(&self, id: &QueryId) -> Result<Option<ClusterName>, StoreError> {
        let key = id.clone();
        let cluster = self.read(move |connection| rows::route(connection, key.as_str())).await?;
        cluster_of(&self.place, id, cluster)
    }

    async fn coordinators(&self) -> Result<Vec<Sighting>, StoreError> {
        self.read(|connection| rows::coordinators(connection)).await
    }

    async fn intents_version(&self) -> Result<u64, StoreError> {
        self.read(|connection| rows::intents_version(connection)).await
    }

    async fn intents(&self) -> Result<Intents, StoreError> {
        self.read(rows::intents).await
    }

    async fn set_intent(&self, change: IntentChange) -> Result<IntentRow, StoreError> {
        self.write(|connection| rows::set_intent(connection, change)).await
    }

    async fn seed_intents(&self, seeds: Vec<IntentChange>) -> Result<(), StoreError> {
        self.write(|connection| rows::seed_intents(connection, seeds)).await
    }

    async fn history_between(
        &self,
        since: &str,
        before: &str,
        limit: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let (since, before, limit) = (since.to_owned(), before.to_owned(), limit.min(HISTORY_MAX));
        self.read(move |connection| rows::history_between(connection, &since, &before, limit)).await
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        term: Duration,
    ) -> Result<Option<Fence>, StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let now_ms = time::unix_ms();
        self.write(move |connection| rows::lease(connection, (&name, &holder), (now_ms, term)))
            .await
    }

    async fn forget_history(
        &self,
        fence: &Fence,
        oldest: &str,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let (fence, oldest) = (fence.clone(), oldest.to_owned());
        self.write(move |connection| rows::forget_history(connection, &fence, &oldest, limit)).await
    }

    async fn start_rollout(&self, new: NewRollout) -> Result<Option<u64>, StoreError> {
        let new = NewRollout { by: new.by.fit(), ..new };
        self.write(move |connection| rollouts::start(connection, &new)).await
    }

    async fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(|connection| rollouts::under_way(connection)).await
    }

    async fn newest_rollouts(&self, limit: u32) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(move |connection| rollouts::newest(connection, limit.min(HISTORY_MAX))).await
    }

    async fn rollout(&self, id: u64) -> Result<Option<RolloutRow>, StoreError> {
        self.read(move |connection| rollouts::one(connection, id)).await
    }

    async fn keep_rollout(&self, fence: &Fence, row: RolloutRow) -> Result<bool, StoreError> {
        let fence = fence.clone();
        self.write(move |connection| rollouts::keep(connection, &fence, &row)).await
    }

    async fn abort_rollout(&self, id: u64, by: Wish) -> Result<bool, StoreError> {
        let by = by.fit();
        self.write(move |connection| rollouts::abort(connection, id, &by)).await
    }

    async fn open_queries(
        &self,
        cluster: &ClusterName,
        since: &str,
    ) -> Result<Vec<QueryId>, StoreError> {
        let (cluster, since) = (cluster.to_string(), since.to_owned());
        self.read(move |connection| rollouts::open_queries(connection, &cluster, &since)).await
    }

    async fn ended_queries(
        &self,
        group: &GroupName,
        since: &str,
    ) -> Result<Vec<EndedQuery>, StoreError> {
        let (group, since) = (group.to_string(), since.to_owned());
        self.read(move |connection| rollouts::ended_queries(connection, &group, &since)).await
    }

    async fn tell_holdings(&self, word: HoldingsWord, forget: Duration) -> Result<(), StoreError> {
        let now_ms = time::unix_ms();
        self.write(move |connection| holdings::tell(connection, &word, (now_ms, forget))).await
    }

    async fn holdings(&self) -> Result<Vec<HoldingsRow>, StoreError> {
        self.read(|connection| holdings::all(connection, time::unix_ms())).await
    }

    async fn put_rules(&self, new: NewRules) -> Result<PutRules, StoreError> {
        let new = new.fit();
        self.write(move |connection| rules::put(connection, &new)).await
    }

    async fn newest_rules(&self, limit: u32) -> Result<Vec<RulesRow>, StoreError> {
        self.read(move |connection| rules::newest(connection, limit.min(HISTORY_MAX))).await
    }

    async fn rules(&self, number: u64) -> Result<Option<RulesTexts>, StoreError> {
        self.read(move |connection| rules::one(connection, number)).await
    }

    async fn last_used_rules(&self) -> Result<Option<RulesTexts>, StoreError> {
        self.read(|connection| rules::last_used(connection)).await
    }

    async fn active_rules(&self) -> Result<ActiveRules, StoreError> {
        self.read(|connection| rules::active(connection)).await
    }

    async fn activate_rules(&self, asked: Activation) -> Result<Option<ActiveRules>, StoreError> {
        let asked = asked.fit();
        self.write(move |connection| rules::activate(connection, &asked)).await
    }

    fn place(&self) -> &str {
        &self.place
    }
}
