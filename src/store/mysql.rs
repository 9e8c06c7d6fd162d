//! The store in MySQL or MariaDB, for any number of gateways.
//!
//! Promises: a server that is away never stops a gateway from starting, and every call has an
//! answer by its deadline. What may pass (no server, no right, no room, a table that is missing)
//! is "unavailable", so that nothing is thrown away because of it; only an error that lies in the
//! data itself is "unusable".

mod contact;
mod holdings;
pub(super) mod java;
mod rollouts;
mod rows;
mod rules;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::{Conn, DriverError, Error, Pool};
use rand::Rng;

use crate::history::record::{Recorded, Sighting};
use crate::ids::{ClusterName, GroupName, QueryId};
use crate::store::effect::Effect;
use crate::store::holdings::{HoldingsRow, HoldingsWord};
use crate::store::lease::Fence;
use crate::store::rollout::{EndedQuery, NewRollout, RolloutRow, Wish};
use crate::store::rules::{Activation, ActiveRules, NewRules, PutRules, RulesRow, RulesTexts};
use crate::store::schema;
use crate::store::{
    HISTORY_MAX, HistoryRow, IntentChange, IntentRow, Intents, Store, StoreError, cluster_of,
};
use contact::{Contact, Failure};

/// The longest a read may take, with connecting.
const READ: Duration = Duration::from_secs(3);
/// The longest a change by an operator may take.
const CHANGE: Duration = Duration::from_secs(10);
/// The longest a batch may take.
const APPLY: Duration = Duration::from_secs(30);
/// How often a transaction is tried that the server gave up for another one's sake.
const TRIES: u32 = 8;
/// The server's words for that: changed since read, lock wait timeout, deadlock.
const GAVE_WAY: [u16; 3] = [1020, 1205, 1213];

/// A server that may be away.
pub(super) struct MysqlStore {
    place: String,
    contact: Contact,
}

impl MysqlStore {
    /// Reads the URL; does not connect.
    pub(super) fn open(url: &str) -> Result<Self, StoreError> {
        match Contact::new(url) {
            Ok((contact, place)) => Ok(Self { place, contact }),
            Err(error) => {
                Err(StoreError::Unusable { store: "mysql".to_owned(), what: error.to_string() })
            }
        }
    }

    /// Connects, and takes the tables as they are if they are of this version.
    pub(super) async fn open_to_read(url: &str) -> Result<Self, StoreError> {
        let mut store = Self::open(url)?;
        store.contact.leave_tables();
        let work = async |pool: Pool| rows::version(&mut connect(&pool).await?).await;
        let found = store.run(READ, work).await?;
        match schema::complaint(found, contact::newest_version()) {
            None => Ok(store),
            Some(what) => Err(StoreError::Unusable { store: store.place.clone(), what }),
        }
    }

    async fn run<T, F>(
        &self,
        deadline: Duration,
        work: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        self.contact.run(deadline, work).await.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> StoreError {
        let store = self.place.clone();
        if never_passes(&failure) {
            StoreError::Unusable { store, what: failure.to_string() }
        } else {
            StoreError::Unavailable { store, source: Box::new(failure) }
        }
    }
}

/// Tells whether an error lies in the data, so that the same call will never work.
fn never_passes(failure: &Failure) -> bool {
    match failure {
        // Classes of the standard: 22 a value that does not fit, 23 a broken constraint.
        Failure::Sql(Error::Server(error)) => {
            error.state.starts_with("22") || error.state.starts_with("23")
        }
        Failure::Sql(Error::Driver(error)) => {
            matches!(error, DriverError::PacketTooLarge | DriverError::FromRow { .. })
        }
        Failure::Damaged(_) => true,
        Failure::Sql(_) | Failure::Late(_) | Failure::Ended | Failure::Migrate(_) => false,
    }
}

/// Runs a transaction again while the server gives it up for another one's sake.
async fn retrying<T, F>(once: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut tries = 1;
    loop {
        match once().await {
            Err(Failure::Sql(Error::Server(error)))
                if GAVE_WAY.contains(&error.code) && tries < TRIES =>
            {
                let wait = rand::rng().random_range(5..=40) * u64::from(tries);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                tries += 1;
            }
            other => return other,
        }
    }
}

async fn connect(pool: &Pool) -> Result<Conn, Failure> {
    Ok(pool.get_conn().await?)
}

#[async_trait]
impl Store for MysqlStore {
    async fn apply(&self, gateway: &str, batch: &[Recorded]) -> Result<(), StoreError> {
        let effect = Arc::new(Effect::of(gateway, batch));
        let once = async |pool: Pool, effect: Arc<Effect>| {
            rows::apply(&mut connect(&pool).await?, &effect).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&effect)));
        self.run(APPLY, work).await
    }

    async fn route(&self, id: &QueryId) -> Result<Option<ClusterName>, StoreError> {
        let key = id.clone();
        let work =
            async move |pool: Pool| rows::route(&mut connect(&pool).await?, key.as_str()).await;
        let cluster = self.run(READ, work).await?;
        cluster_of(&self.place, id, cluster)
    }

    async fn coordinators(&self) -> Result<Vec<Sighting>, StoreError> {
        self.run(READ, async |pool: Pool| rows::coordinators(&mut connect(&pool).await?).await)
            .await
    }

    async fn intents_version(&self) -> Result<u64, StoreError> {
        let work = async |pool: Pool| rows::intents_version(&mut connect(&pool).await?).await;
        self.run(READ, work).await
    }

    async fn intents(&self) -> Result<Intents, StoreError> {
        self.run(READ, async |pool: Pool| rows::intents(&mut connect(&pool).await?).await).await
    }

    async fn set_intent(&self, change: IntentChange) -> Result<IntentRow, StoreError> {
        let change = Arc::new(change);
        let once = async |pool: Pool, change: Arc<IntentChange>| {
            rows::set_intent(&mut connect(&pool).await?, &change).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&change)));
        self.run(CHANGE, work).await
    }

    async fn seed_intents(&self, seeds: Vec<IntentChange>) -> Result<(), StoreError> {
        let seeds: Arc<[IntentChange]> = seeds.into();
        let once = async |pool: Pool, seeds: Arc<[IntentChange]>| {
            rows::seed_intents(&mut connect(&pool).await?, &seeds).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&seeds)));
        self.run(CHANGE, work).await
    }

    async fn history_between(
        &self,
        since: &str,
        before: &str,
        limit: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        let (since, before, limit) = (since.to_owned(), before.to_owned(), limit.min(HISTORY_MAX));
        let work = async move |pool: Pool| {
            rows::history_between(&mut connect(&pool).await?, &since, &before, limit).await
        };
        self.run(READ, work).await
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        term: Duration,
    ) -> Result<Option<Fence>, StoreError> {
        let asked = Arc::new((name.to_owned(), holder.to_owned(), term));
        let once = async |pool: Pool, asked: Arc<(String, String, Duration)>| {
            rows::lease(&mut connect(&pool).await?, &asked.0, &asked.1, asked.2).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&asked)));
        self.run(CHANGE, work).await
    }

    async fn forget_history(
        &self,
        fence: &Fence,
        oldest: &str,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let told = Arc::new((fence.clone(), oldest.to_owned(), limit));
        let once = async |pool: Pool, told: Arc<(Fence, String, u32)>| {
            rows::forget_history(&mut connect(&pool).await?, &told.0, &told.1, told.2).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&told)));
        self.run(APPLY, work).await
    }

    async fn start_rollout(&self, new: NewRollout) -> Result<Option<u64>, StoreError> {
        let new = Arc::new(NewRollout { by: new.by.fit(), ..new });
        let once = async |pool: Pool, new: Arc<NewRollout>| {
            rollouts::start(&mut connect(&pool).await?, &new).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&new)));
        self.run(CHANGE, work).await
    }

    async fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError> {
        let work = async |pool: Pool| rollouts::under_way(&mut connect(&pool).await?).await;
        self.run(READ, work).await
    }

    async fn newest_rollouts(&self, limit: u32) -> Result<Vec<RolloutRow>, StoreError> {
        let limit = limit.min(HISTORY_MAX);
        let work =
            async move |pool: Pool| rollouts::newest(&mut connect(&pool).await?, limit).await;
        self.run(READ, work).await
    }

    async fn rollout(&self, id: u64) -> Result<Option<RolloutRow>, StoreError> {
        let work = async move |pool: Pool| rollouts::one(&mut connect(&pool).await?, id).await;
        self.run(READ, work).await
    }

    async fn keep_rollout(&self, fence: &Fence, row: RolloutRow) -> Result<bool, StoreError> {
        let fence = fence.clone();
        let work =
            async move |pool: Pool| rollouts::keep(&mut connect(&pool).await?, &fence, &row).await;
        self.run(CHANGE, work).await
    }

    async fn abort_rollout(&self, id: u64, by: Wish) -> Result<bool, StoreError> {
        let by = by.fit();
        let work =
            async move |pool: Pool| rollouts::abort(&mut connect(&pool).await?, id, &by).await;
        self.run(CHANGE, work).await
    }

    async fn open_queries(
        &self,
        cluster: &ClusterName,
        since: &str,
    ) -> Result<Vec<QueryId>, StoreError> {
        let (cluster, since) = (cluster.to_string(), since.to_owned());
        let work = async move |pool: Pool| {
            rollouts::open_queries(&mut connect(&pool).await?, &cluster, &since).await
        };
        self.run(READ, work).await
    }

    async fn ended_queries(
        &self,
        group: &GroupName,
        since: &str,
    ) -> Result<Vec<EndedQuery>, StoreError> {
        let (group, since) = (group.to_string(), since.to_owned());
        let work = async move |pool: Pool| {
            rollouts::ended_queries(&mut connect(&pool).await?, &group, &since).await
        };
        self.run(READ, work).await
    }

    async fn tell_holdings(&self, word: HoldingsWord, forget: Duration) -> Result<(), StoreError> {
        let told = Arc::new((word, forget));
        let once = async |pool: Pool, told: Arc<(HoldingsWord, Duration)>| {
            holdings::tell(&mut connect(&pool).await?, &told.0, told.1).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&told)));
        self.run(READ, work).await
    }

    async fn holdings(&self) -> Result<Vec<HoldingsRow>, StoreError> {
        self.run(READ, async |pool: Pool| holdings::all(&mut connect(&pool).await?).await).await
    }

    async fn put_rules(&self, new: NewRules) -> Result<PutRules, StoreError> {
        let new = Arc::new(new.fit());
        let once = async |pool: Pool, new: Arc<NewRules>| {
            rules::put(&mut connect(&pool).await?, &new).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&new)));
        self.run(CHANGE, work).await
    }

    async fn newest_rules(&self, limit: u32) -> Result<Vec<RulesRow>, StoreError> {
        let limit = limit.min(HISTORY_MAX);
        let work = async move |pool: Pool| rules::newest(&mut connect(&pool).await?, limit).await;
        self.run(READ, work).await
    }

    async fn rules(&self, number: u64) -> Result<Option<RulesTexts>, StoreError> {
        let work = async move |pool: Pool| rules::one(&mut connect(&pool).await?, number).await;
        self.run(READ, work).await
    }

    async fn last_used_rules(&self) -> Result<Option<RulesTexts>, StoreError> {
        let work = async |pool: Pool| rules::last_used(&mut connect(&pool).await?).await;
        self.run(READ, work).await
    }

    async fn active_rules(&self) -> Result<ActiveRules, StoreError> {
        let work = async |pool: Pool| rules::active(&mut connect(&pool).await?).await;
        self.run(READ, work).await
    }

    async fn activate_rules(&self, asked: Activation) -> Result<Option<ActiveRules>, StoreError> {
        let asked = Arc::new(asked.fit());
        let once = async |pool: Pool, asked: Arc<Activation>| {
            rules::activate(&mut connect(&pool).await?, &asked).await
        };
        let work = move |pool: Pool| retrying(move || once(pool.clone(), Arc::clone(&asked)));
        self.run(CHANGE, work).await
    }

    fn place(&self) -> &str {
        &self.place
    }
}
