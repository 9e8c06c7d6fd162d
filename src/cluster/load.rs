//! What a cluster carries. Pure: no I/O, no clock, no lock.
//!
//! A coordinator's own list is right about queries that Warren did not bring, and late about those
//! that it did: Trino starts a query at the first GET, and a list is as old as its poll. So load is
//! the list, reconciled by id with Warren's own live queries: what was brought since the poll began
//! counts, what was seen to end since then does not, nor what the list should have and has not. A
//! missing list is missing, never zero.
//!
//! A query whose client never asks for a first page cannot be told from one whose client is slow. It
//! counts for a grace, then not, and again if its client comes after all.

mod counted;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::choose::Arrivals;
use super::live::LiveQuery;
use crate::config::LoadWeights;
use crate::history::record::EndCause;
use crate::ids::{CoordinatorId, QueryId};
use crate::time::Instant;
use counted::Counted;
pub use counted::{Signals, Tally};

/// How long an observed end is remembered against polls that began before it.
const ENDED_MEMORY: Duration = Duration::from_secs(60);

/// How many observed ends are remembered at most: 1,000 a second.
const ENDED_MAX: usize = 60_000;

/// What is left, at each list, of the weight of those that were new in earlier ones.
const FADING: f64 = 0.9;

/// A query in the list of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: QueryId,
    /// Where it stands.
    pub stage: Stage,
}

/// What a state of Trino's means for load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits.
    Queued,
    /// It works.
    Running,
    /// It is over.
    Ended,
}

impl Stage {
    /// Reads a state of Trino's; an unknown word counts as work.
    pub fn of(state: &str) -> Self {
        match state {
            "QUEUED" | "WAITING_FOR_RESOURCES" | "DISPATCHING" => Self::Queued,
            "FINISHED" | "FAILED" => Self::Ended,
            _ => Self::Running,
        }
    }
}

/// The figures of a cluster at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Queries that wait there, by its own list; `None`: not known.
    pub queued: Option<u32>,
    /// Queries that work there, by its own list; `None`: not known.
    pub running: Option<u32>,
    /// Live queries that Warren knows to be there.
    pub owned: u32,
    /// What the next choice reckons with.
    pub load: u32,
}

impl Figures {
    /// Whether nothing is known to be there or on its way there.
    pub fn is_idle(&self) -> bool {
        self.owned == 0 && self.load == 0
    }
}

/// The books of one cluster.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Submits that were sent and not answered.
    reserved: u32,
    /// Queries that Warren brought, or pages of which it carried, and that have not ended.
    live: HashMap<QueryId, Live>,
    /// How many of `live` count though the list does not have them.
    unlisted: u32,
    /// What the last list said, without what has ended since.
    listed: Option<HashMap<QueryId, Stage>>,
    /// What was counted last, where no list is asked for.
    counted: Option<Counted>,
    /// What is in use there, by the last count.
    signals: Signals,
    /// When the poll of that list, or that count, began.
    polled: Option<Instant>,
    /// Ends that a poll begun earlier may not know.
    ended: HashMap<QueryId, Instant>,
    /// Queries whose first page nobody has asked for, and until when they count; the first to fade
    /// in front. Some may have begun or ended since.
    waiting: VecDeque<(Instant, QueryId)>,
    /// Who brought what was new in the last lists.
    arrivals: Arrivals,
}

#[derive(Debug)]
struct Live {
    query: Arc<LiveQuery>,
    /// Whether a list had it.
    seen: bool,
    /// Whether it is in the last count.
    covered: bool,
    /// Lists in a row that should have had it and did not.
    missing: u32,
    /// Whether nobody has asked for its first page within its grace.
    faded: bool,
    /// Whether it is one of `unlisted`.
    counted: bool,
}

impl Ledger {
    /// Counts a submit that is about to be sent.
    pub fn reserve(&mut self) {
        self.reserved += 1;
    }

    /// A submit came to nothing.
    pub fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// A submit became a query. It counts for `grace` while its first page is not asked for: Trino
    /// holds nothing but its text until then, and its client may have walked away.
    pub fn confirm(&mut self, query: Arc<LiveQuery>, grace: Duration) {
        self.release();
        let fades = query.posted() + grace;
        // A shorter grace than before does not overtake: what waits behind fades a little later.
        self.waiting.push_back((fades, query.id().clone()));
        self.adopt(query);
    }

    /// The first page of a query is asked for: if it has faded, it counts again.
    pub fn begin(&mut self, id: &QueryId) {
        let listed = self.is_listed(id);
        let Some(live) = self.live.get_mut(id) else { return };
        live.faded = false;
        live.count(listed, &mut self.unlisted);
    }

    /// A query turned out to live here. Gives its life as these books have it, which is `query`
    /// unless they had it already.
    ///
    /// A page that goes on is proof of life: an end that was taken too early is taken back.
    pub fn adopt(&mut self, query: Arc<LiveQuery>) -> Arc<LiveQuery> {
        if let Some(live) = self.live.get(query.id()) {
            return live.query.clone();
        }
        let id = query.id().clone();
        self.ended.remove(&id);
        query.set_over(false);
        let listed = self.is_listed(&id);
        let own = query.clone();
        let mut live = Live { seen: listed, ..Live::of(own) };
        live.count(listed, &mut self.unlisted);
        self.live.insert(id, live);
        query
    }

    /// A query was seen to end at `now`. Tells whether it was held for live.
    pub fn end(&mut self, id: &QueryId, now: Instant) -> bool {
        if self.ended.len() >= ENDED_MAX {
            self.ended.retain(|_, at| *at + ENDED_MEMORY > now);
        }
        if self.ended.len() < ENDED_MAX {
            self.ended.insert(id.clone(), now);
        }
        if let Some(listed) = &mut self.listed {
            listed.remove(id);
        }
        let Some(live) = self.live.remove(id) else { return false };
        self.unlisted -= u32::from(live.counted);
        if let Some(counted) = self.counted.as_mut().filter(|_| live.covered) {
            counted.end_one();
        }
        live.query.set_over(true);
        true
    }

    /// Takes in the list of a poll that began at `began`; tells what it ends.
    pub fn poll(&mut self, began: Instant, list: Vec<Listed>) -> Vec<(QueryId, EndCause)> {
        self.ended.retain(|_, at| *at + ENDED_MEMORY > began);
        let mut stages: HashMap<QueryId, Stage> = list
            .into_iter()
            .filter(|query| self.ended.get(&query.id).is_none_or(|at| *at < began))
            .map(|query| (query.id, query.stage))
            .collect();
        let mut ends = Vec::new();
        for (id, live) in &mut self.live {
            match stages.get(id) {
                Some(Stage::Ended) => ends.push((id.clone(), EndCause::Listed)),
                Some(Stage::Queued | Stage::Running) => (live.seen, live.missing) = (true, 0),
                None if live.should_be_listed(began) => live.missing += 1,
                None => {}
            }
            if live.missing >= 2 {
                ends.push((id.clone(), EndCause::Missing));
            }
            live.count(stages.contains_key(id), &mut self.unlisted);
        }
        stages.retain(|_, stage| *stage != Stage::Ended);
        self.note_arrivals(&stages);
        (self.counted, self.signals) = (None, Signals::default());
        self.listed = Some(stages);
        self.polled = Some(began);
        ends
    }

    /// Counts who brought what the last list did not have.
    fn note_arrivals(&mut self, stages: &HashMap<QueryId, Stage>) {
        // All of a first list would look new.
        let Some(before) = &self.listed else { return };
        let new = stages.keys().filter(|id| !before.contains_key(*id));
        let is_own = |id: &&QueryId| self.live.get(*id).is_some_and(|live| live.query.is_own());
        let (own, others): (Vec<_>, Vec<_>) = new.partition(is_own);
        self.arrivals = Arrivals {
            fresh: 0,
            own: self.arrivals.own * FADING + f64::from(narrow(own.len())),
            others: self.arrivals.others * FADING + f64::from(narrow(others.len())),
        };
    }

    /// Who brought queries lately.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals { fresh: self.unlisted.saturating_add(self.reserved), ..self.arrivals }
    }

    /// The list could not be read: what it would have said is not known.
    pub fn poll_failed(&mut self) {
        (self.listed, self.counted, self.polled) = (None, None, None);
        self.signals = Signals::default();
        for live in self.live.values_mut() {
            live.count(false, &mut self.unlisted);
        }
    }

    /// Queries that no client asked for since `before`.
    pub fn abandoned(&self, before: Instant) -> Vec<QueryId> {
        let unseen = self.live.values().filter(|live| live.query.last_seen() < before);
        unseen.map(|live| live.query.id().clone()).collect()
    }

    /// Live queries of another coordinator process than `alive`.
    pub fn of_others_than(&self, alive: CoordinatorId) -> Vec<QueryId> {
        self.live.keys().filter(|id| id.coordinator() != alive).cloned().collect()
    }

    /// When the poll of the list began by which it is known what others brought; `None`: it is not.
    pub fn polled(&self) -> Option<Instant> {
        self.polled
    }

    /// When the oldest of the live queries was submitted, or met.
    pub fn oldest(&self) -> Option<Instant> {
        self.live.values().map(|live| live.query.posted()).min()
    }

    /// All queries that are known to be there, whoever brought them.
    pub fn all(&self) -> Vec<QueryId> {
        let listed = self.listed.iter().flat_map(HashMap::keys);
        let has = |id: &QueryId| self.listed.as_ref().is_some_and(|it| it.contains_key(id));
        let unlisted = self.live.keys().filter(|id| !has(id));
        listed.chain(unlisted).cloned().collect()
    }

    /// All live queries.
    pub fn live(&self) -> Vec<QueryId> {
        self.live.keys().cloned().collect()
    }

    /// The figures at `now`.
    pub fn figures(&mut self, now: Instant) -> Figures {
        let load = self.load(now);
        let tally = self.counted.as_ref().map(|counted| counted.tally);
        let count = |stage: Stage| {
            let listed = self.listed.as_ref()?;
            Some(narrow(listed.values().filter(|listed| **listed == stage).count()))
        };
        Figures {
            queued: tally.map(|tally| tally.queued).or_else(|| count(Stage::Queued)),
            running: tally.map(|tally| tally.running).or_else(|| count(Stage::Running)),
            owned: narrow(self.live.len()),
            load,
        }
    }

    /// What a choice at `now` reckons with.
    pub fn load(&mut self, now: Instant) -> u32 {
        self.fade(now);
        let listed = self.listed.as_ref().map_or(0, |listed| narrow(listed.len()));
        let listed = self.counted.as_ref().map_or(listed, Counted::load);
        listed.saturating_add(self.unlisted).saturating_add(self.reserved)
    }

    /// The same where queries that wait and those that work do not count alike.
    pub fn weighed(&mut self, now: Instant, weights: LoadWeights) -> u32 {
        let load = self.load(now);
        if (weights.queued, weights.running) == (1, 1) {
            return load;
        }
        let stages = self.listed.iter().flat_map(HashMap::values);
        let queued = narrow(stages.filter(|stage| **stage == Stage::Queued).count());
        let queued = self.counted.as_ref().map_or(queued, |it| it.tally.queued.min(load));
        let running = load.saturating_sub(queued).saturating_mul(weights.running);
        queued.saturating_mul(weights.queued).saturating_add(running)
    }

    /// What this gateway has there: submits on their way, and live queries that it carries and that have
    /// not faded.
    pub fn brought(&self) -> u32 {
        let live = self.live.values().filter(|live| !live.faded).count();
        narrow(live).saturating_add(self.reserved)
    }

    /// Leaves out the queries whose clients have not come within their grace.
    fn fade(&mut self, now: Instant) {
        while let Some((_, id)) = self.waiting.pop_front_if(|(fades, _)| *fades <= now) {
            let listed = self.is_listed(&id);
            if let Some(live) = self.live.get_mut(&id)
                && !live.has_begun()
            {
                live.faded = true;
                live.count(listed, &mut self.unlisted);
            }
        }
    }

    fn is_listed(&self, id: &QueryId) -> bool {
        match &self.counted {
            Some(_) => self.live.get(id).is_some_and(|live| live.covered),
            None => self.listed.as_ref().is_some_and(|listed| listed.contains_key(id)),
        }
    }
}

impl Live {
    /// One of which nothing else is known.
    fn of(query: Arc<LiveQuery>) -> Self {
        Self { query, seen: false, covered: false, missing: 0, faded: false, counted: false }
    }

    /// Whether Trino has started it: its first page went this way, or by another gateway.
    fn has_begun(&self) -> bool {
        self.seen || self.query.first_get().is_some()
    }

    /// Whether a list begun at `began` must have it, unless it has ended.
    ///
    /// Not while its client asks: its pages know better, and a list may show only a part to the
    /// probe user.
    fn should_be_listed(&self, began: Instant) -> bool {
        let started = self.seen || self.query.first_get().is_some_and(|first| first < began);
        started && self.query.last_seen() < began
    }

    /// Decides anew whether it is one of `unlisted`.
    fn count(&mut self, listed: bool, unlisted: &mut u32) {
        let before = self.counted;
        self.counted = !listed && !self.faded && self.missing == 0;
        *unlisted = *unlisted + u32::from(self.counted) - u32::from(before);
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn id(index: u32) -> QueryId {
        QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
    }

    fn listed(index: u32, stage: Stage) -> Listed {
        Listed { id: id(index), stage }
    }

    fn bring(ledger: &mut Ledger, index: u32, now: Instant) -> Arc<LiveQuery> {
        ledger.reserve();
        let query = Arc::new(LiveQuery::posted_at(id(index), now));
        ledger.confirm(query.clone(), GRACE);
        query
    }

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_query_counts_once_wherever_it_stands() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        ledger.reserve();
        assert_eq!(ledger.load(start), 1, "sent and unanswered");
        let query = Arc::new(LiveQuery::posted_at(id(1), start));
        ledger.confirm(query.clone(), GRACE);
        assert_eq!(ledger.load(start), 1, "answered");
        query.asked(start + second(1));
        ledger.poll(start + second(2), vec![listed(1, Stage::Running)]);
        assert_eq!(ledger.load(start), 1, "listed");
        ledger.poll(start + second(4), vec![listed(1, Stage::Queued), listed(2, Stage::Running)]);
        assert_eq!(
            ledger.figures(start),
            Figures { queued: Some(1), running: Some(1), owned: 1, load: 2 },
            "with one that somebody else brought"
        );
        assert!(ledger.end(&id(1), start + second(5)));
        assert!(!ledger.end(&id(1), start + second(5)), "it ends once");
        assert_eq!(ledger.load(start), 1);
    }

    #[test]
    fn queries_that_wait_may_count_for_more() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        ledger.reserve();
        let list = [(1, Stage::Queued), (2, Stage::Queued), (3, Stage::Running)];
        ledger.poll(start, list.map(|(index, stage)| listed(index, stage)).to_vec());
        let mut weighed = |queued, running| {
            ledger.weighed(start, LoadWeights { queued, running, ..LoadWeights::EVEN })
        };
        assert_eq!([weighed(1, 1), weighed(3, 1), weighed(0, 2)], [4, 8, 4]);
        assert_eq!(weighed(u32::MAX, u32::MAX), u32::MAX);
    }

    #[test]
    fn a_late_list_brings_no_ended_query_back() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        bring(&mut ledger, 1, start).asked(start);
        let began = start + second(2);
        ledger.end(&id(1), start + second(3));
        ledger.poll(began, vec![listed(1, Stage::Running)]);
        assert_eq!(ledger.load(began), 0);
    }

    #[test]
    fn a_query_missing_from_two_lists_has_ended() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        bring(&mut ledger, 1, start).asked(start + second(1));
        let at = |seconds| start + second(seconds);
        assert!(ledger.poll(at(1), vec![]).is_empty(), "its list may be older than it");
        assert_eq!(ledger.load(at(1)), 1);
        assert!(ledger.poll(at(3), vec![]).is_empty());
        assert_eq!(ledger.load(at(3)), 0, "it does not count, though it is not held for ended yet");
        assert_eq!(ledger.poll(at(5), vec![]), vec![(id(1), EndCause::Missing)]);
    }

    #[test]
    fn a_query_that_nobody_asked_for_yet_is_not_missing_and_fades() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        bring(&mut ledger, 1, start);
        for seconds in [2, 4] {
            let at = start + second(seconds);
            assert!(ledger.poll(at, vec![]).is_empty());
            assert_eq!(ledger.load(at), 1);
        }
        let at = start + GRACE;
        assert_eq!(ledger.load(at), 0, "its client has most likely walked away");
        assert!(ledger.poll(at, vec![]).is_empty());
        ledger.poll_failed();
        assert_eq!(ledger.load(at), 0);
        assert_eq!(ledger.figures(at).owned, 1, "but it may still come");
        assert_eq!(ledger.abandoned(start + second(1)), vec![id(1)]);
    }

    #[test]
    fn a_query_whose_client_comes_late_counts_again() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        let query = bring(&mut ledger, 1, start);
        let at = start + second(7);
        assert_eq!(ledger.load(at), 0);
        assert!(query.asked(at), "the first page");
        ledger.begin(&id(1));
        assert_eq!(ledger.load(at), 1);
        ledger.poll(at + second(1), vec![listed(1, Stage::Running)]);
        ledger.begin(&id(1));
        assert_eq!(ledger.load(at + second(1)), 1, "once, whoever tells of it");
    }

    #[test]
    fn a_query_that_another_gateway_carries_on_is_followed_by_its_list() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        bring(&mut ledger, 1, start);
        let at = |seconds| start + second(seconds);
        ledger.poll(at(2), vec![listed(1, Stage::Running)]);
        assert_eq!(ledger.load(at(9)), 1, "it runs, though nobody asked here");
        ledger.poll_failed();
        assert_eq!(ledger.load(at(9)), 1);
        assert!(ledger.poll(at(10), vec![]).is_empty());
        assert_eq!(ledger.load(at(10)), 0, "the list does not have it any more");
        assert_eq!(ledger.poll(at(12), vec![]), vec![(id(1), EndCause::Missing)]);
    }

    #[test]
    fn it_is_known_who_brings_queries() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        let lists = |numbers: &[u32]| -> Vec<Listed> {
            numbers.iter().map(|index| listed(*index, Stage::Running)).collect()
        };
        ledger.poll(start, lists(&[1, 2]));
        assert_eq!(ledger.arrivals(), Arrivals::default(), "all of a first list looks new");
        bring(&mut ledger, 3, start).asked(start);
        ledger.reserve();
        // Another gateway brought it, and a page of it came this way.
        ledger.adopt(Arc::new(LiveQuery::met_at(id(4), start)));
        assert_eq!(ledger.arrivals().fresh, 3);
        ledger.poll(start + second(2), lists(&[2, 3, 4, 5]));
        assert_eq!(ledger.arrivals(), Arrivals { fresh: 1, own: 1.0, others: 2.0 });
        ledger.poll(start + second(4), lists(&[3, 6]));
        assert_eq!(ledger.arrivals().others, 2.0 * FADING + 1.0);
    }

    #[test]
    fn a_failed_poll_is_missing_and_not_zero() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        ledger.poll(start, vec![listed(7, Stage::Running)]);
        ledger.poll_failed();
        bring(&mut ledger, 1, start);
        let figures = ledger.figures(start);
        assert_eq!(figures, Figures { queued: None, running: None, owned: 1, load: 1 });
    }

    proptest::proptest! {
        /// Whatever happens in whatever order, the count of unlisted queries agrees with the books.
        #[test]
        fn the_running_count_agrees_with_the_books(
            steps in proptest::collection::vec((0u8..5, 0u32..6), 0..60)
        ) {
            let start = crate::time::now();
            let mut ledger = Ledger::default();
            for (tick, (step, index)) in (0u64..).zip(steps) {
                let now = start + second(tick);
                match step {
                    0 => { bring(&mut ledger, index, now); }
                    1 => { ledger.end(&id(index), now); }
                    2 => { ledger.poll(now, vec![listed(index, Stage::Running)]); }
                    3 => { ledger.poll(now, vec![listed(index, Stage::Ended)]); }
                    _ => ledger.poll_failed(),
                }
                let counted = ledger.live.values().filter(|live| live.counted).count();
                assert_eq!(narrow(counted), ledger.unlisted);
            }
        }
    }
}
