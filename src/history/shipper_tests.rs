//! Tests of the way from the journal into a store that obeys the test.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;

use super::*;
use crate::history::record::{Event, Sighting};
use crate::history::{self, History};
use crate::ids::{ClusterName, CoordinatorId, GroupName, QueryId};
use crate::store::holdings::{HoldingsRow, HoldingsWord};
use crate::store::lease::Fence;
use crate::store::rollout::{EndedQuery, NewRollout, RolloutRow, Wish};
use crate::store::rules::{Activation, ActiveRules, NewRules, PutRules, RulesRow, RulesTexts};
use crate::store::{HistoryRow, IntentChange, IntentRow, Intents};

/// A store that keeps what it is given, is away when told, and refuses some events for ever.
#[derive(Default)]
struct Obedient {
    away: AtomicBool,
    poison: HashSet<u64>,
    asked: watch::Sender<u64>,
    taken: Mutex<Vec<(String, u64)>>,
}

impl Obedient {
    fn numbers(&self) -> Vec<u64> {
        self.taken.lock().unwrap().iter().map(|(_, number)| *number).collect()
    }
}

fn number(recorded: &Recorded) -> u64 {
    match &recorded.event {
        Event::Coordinator(sighting) => sighting.first_seen_ms,
        other => panic!("not recorded by these tests: {other:?}"),
    }
}

fn away() -> StoreError {
    StoreError::Unavailable { store: "test".to_owned(), source: "told to be away".into() }
}

#[async_trait]
impl Store for Obedient {
    async fn apply(&self, gateway: &str, batch: &[Recorded]) -> Result<(), StoreError> {
        self.asked.send_modify(|asked| *asked += 1);
        if self.away.load(Relaxed) {
            return Err(away());
        }
        assert!(!batch.is_empty() && batch.len() <= BATCH);
        if batch.iter().any(|recorded| self.poison.contains(&number(recorded))) {
            return Err(StoreError::Unusable {
                store: "test".to_owned(),
                what: "poison".to_owned(),
            });
        }
        let mut taken = self.taken.lock().unwrap();
        taken.extend(batch.iter().map(|recorded| (gateway.to_owned(), number(recorded))));
        Ok(())
    }
    async fn route(&self, _: &QueryId) -> Result<Option<ClusterName>, StoreError> {
        Err(away())
    }
    async fn coordinators(&self) -> Result<Vec<Sighting>, StoreError> {
        Err(away())
    }
    async fn intents_version(&self) -> Result<u64, StoreError> {
        Err(away())
    }
    async fn intents(&self) -> Result<Intents, StoreError> {
        Err(away())
    }
    async fn set_intent(&self, _: IntentChange) -> Result<IntentRow, StoreError> {
        Err(away())
    }
    async fn seed_intents(&self, _: Vec<IntentChange>) -> Result<(), StoreError> {
        Err(away())
    }
    async fn history_between(
        &self,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        Err(away())
    }
    async fn lease(&self, _: &str, _: &str, _: Duration) -> Result<Option<Fence>, StoreError> {
        Err(away())
    }
    async fn forget_history(&self, _: &Fence, _: &str, _: u32) -> Result<u64, StoreError> {
        Err(away())
    }
    async fn start_rollout(&self, _: NewRollout) -> Result<Option<u64>, StoreError> {
        Err(away())
    }
    async fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError> {
        Err(away())
    }
    async fn newest_rollouts(&self, _: u32) -> Result<Vec<RolloutRow>, StoreError> {
        Err(away())
    }
    async fn rollout(&self, _: u64) -> Result<Option<RolloutRow>, StoreError> {
        Err(away())
    }
    async fn keep_rollout(&self, _: &Fence, _: RolloutRow) -> Result<bool, StoreError> {
        Err(away())
    }
    async fn abort_rollout(&self, _: u64, _: Wish) -> Result<bool, StoreError> {
        Err(away())
    }
    async fn open_queries(&self, _: &ClusterName, _: &str) -> Result<Vec<QueryId>, StoreError> {
        Err(away())
    }
    async fn ended_queries(&self, _: &GroupName, _: &str) -> Result<Vec<EndedQuery>, StoreError> {
        Err(away())
    }
    async fn tell_holdings(&self, _: HoldingsWord, _: Duration) -> Result<(), StoreError> {
        Err(away())
    }
    async fn holdings(&self) -> Result<Vec<HoldingsRow>, StoreError> {
        Err(away())
    }
    async fn put_rules(&self, _: NewRules) -> Result<PutRules, StoreError> {
        Err(away())
    }
    async fn newest_rules(&self, _: u32) -> Result<Vec<RulesRow>, StoreError> {
        Err(away())
    }
    async fn rules(&self, _: u64) -> Result<Option<RulesTexts>, StoreError> {
        Err(away())
    }
    async fn last_used_rules(&self) -> Result<Option<RulesTexts>, StoreError> {
        Err(away())
    }
    async fn active_rules(&self) -> Result<ActiveRules, StoreError> {
        Err(away())
    }
    async fn activate_rules(&self, _: Activation) -> Result<Option<ActiveRules>, StoreError> {
        Err(away())
    }
    fn place(&self) -> &'static str {
        "test"
    }
}

fn event(number: u64) -> Event {
    Event::Coordinator(Sighting {
        peer: None,
        coordinator: CoordinatorId::parse("abcde").unwrap(),
        cluster: ClusterName::parse("bi-blue").unwrap(),
        first_seen_ms: number,
        last_seen_ms: number,
    })
}

fn start(folder: &tempfile::TempDir, store: &Arc<Obedient>) -> History {
    let store: Arc<dyn Store> = Arc::<Obedient>::clone(store);
    history::start(folder.path(), 64 << 20, store).unwrap()
}

fn record(history: &History, numbers: std::ops::RangeInclusive<u64>) {
    numbers.for_each(|number| history.recorder().record(event(number)));
}

#[tokio::test]
async fn everything_arrives_once_and_in_order_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Obedient::default());
    for life in 0..3 {
        let history = start(&folder, &store);
        record(&history, life * 700 + 1..=life * 700 + 700);
        history.shipped().await.unwrap();
        let stats = Arc::clone(history.stats());
        assert_eq!((stats.pending(), stats.shipped(), stats.dropped()), (0, 700, 0));
        assert!(stats.store_up() && stats.last_ship_ms() > 0);
        history.stop(Duration::from_secs(10)).await;
    }
    assert_eq!(store.numbers(), (1..=2100).collect::<Vec<_>>());
    let gateways: HashSet<_> =
        store.taken.lock().unwrap().iter().map(|(gateway, _)| gateway.clone()).collect();
    assert_eq!(gateways.len(), 1, "the id of a gateway stays");
}

#[tokio::test]
async fn a_store_that_is_away_gets_everything_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Obedient::default());
    store.away.store(true, Relaxed);
    let history = start(&folder, &store);
    record(&history, 1..=10);
    store.asked.subscribe().wait_for(|asked| *asked >= 2).await.unwrap();
    assert!(!history.stats().store_up());
    history.recorder().flush().await.unwrap();
    assert_eq!(history.stats().pending(), 10);
    store.away.store(false, Relaxed);
    history.shipped().await.unwrap();
    assert_eq!(store.numbers(), (1..=10).collect::<Vec<_>>());
    assert!(history.stats().store_up());
    history.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn what_the_store_did_not_take_waits_for_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Obedient::default());
    store.away.store(true, Relaxed);
    let history = start(&folder, &store);
    record(&history, 1..=10);
    history.stop(Duration::from_millis(1)).await;
    store.away.store(false, Relaxed);
    let history = start(&folder, &store);
    assert_eq!(history.stats().pending(), 10);
    history.shipped().await.unwrap();
    assert_eq!(store.numbers(), (1..=10).collect::<Vec<_>>());
    history.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn events_that_the_store_can_never_take_do_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Obedient { poison: HashSet::from([1, 7, 8, 300]), ..Obedient::default() });
    let history = start(&folder, &store);
    record(&history, 1..=300);
    history.shipped().await.unwrap();
    let expected: Vec<u64> = (1..=300).filter(|number| !store.poison.contains(number)).collect();
    assert_eq!(store.numbers(), expected);
    assert_eq!((history.stats().rejected(), history.stats().pending()), (4, 0));
    history.stop(Duration::ZERO).await;
}

#[test]
fn the_wait_grows_to_five_seconds_and_differs() {
    let waits = |random: f64| {
        let mut backoff = Backoff::default();
        (0..100).map(|_| backoff.next(random).as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(waits(1.0)[..8], [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(waits(0.0)[..8], [50, 100, 200, 400, 800, 1600, 2500, 2500]);
    assert_eq!(waits(f64::INFINITY)[99], 5000);
}
