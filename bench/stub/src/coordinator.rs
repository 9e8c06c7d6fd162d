//! The coordinator: queries, their lives and pages. No socket, no clock, no task.
//!
//! Promises what `PROTOCOL.md` says of Trino 476: a posted statement runs at the first GET; the
//! last token is idempotent, an older one gone, another slug unknown; a query nobody asks for is
//! abandoned. A query ends when its last page is made (or it fails, or is cancelled), so it
//! counts as running while its client has not fetched its end.
//!
//! Time is simulated and given by the caller; what happens by itself (failures, abandonment,
//! admission) happens in `advance`, in the order of its time.

pub(crate) mod handshake;
mod life;
mod pages;
mod query;
mod results;
mod spool;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

pub(crate) use query::{Life, Page, Posted, Query};

use crate::clock;
use crate::names::{self, Stage};
use crate::options::Behaviour;
use crate::record::{Counters, Counts, CountsAt};
use handshake::Handshakes;
use pages::uri;
use results::Sheet;
use spool::Spool;

/// The most queries kept, ended ones too; then a submit is answered 503.
const QUERIES_MAX: usize = 200_000;
/// Ended queries that stay to be asked about, whatever their age.
const ENDED_KEPT: usize = 100;
/// The age up to which more of them stay.
const ENDED_AGE: Duration = Duration::from_secs(15 * 60);
/// How long a page waits for something to tell.
pub(crate) const LONG_POLL: Duration = Duration::from_secs(1);
/// The most entries of the history of counts.
const HISTORY_MAX: usize = 200_000;

/// The moment of an act and the behaviour in force.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// Simulated time.
    pub now: Duration,
    /// The behaviour in force.
    pub behaviour: &'a Behaviour,
    /// What URIs in the answer start with.
    pub base: &'a str,
}

/// A page that is asked for.
pub(crate) struct PageAsk<'a> {
    /// The query.
    pub id: &'a str,
    /// Which set of pages.
    pub stage: Stage,
    /// The slug.
    pub slug: &'a str,
    /// The token.
    pub token: u64,
    /// Until when it may wait.
    pub deadline: Duration,
}

/// What comes of asking for a page.
pub(crate) enum PageOutcome {
    /// Here it is.
    Ready(Arc<Page>),
    /// Nothing to tell before that time, or a ring of the bell.
    Wait(Duration, Arc<Notify>),
    /// 410.
    Gone,
    /// 404.
    Unknown,
}

/// One coordinator process.
#[derive(Debug)]
pub(crate) struct Coordinator {
    mark: String,
    secret: u64,
    started_unix: u64,
    made: u64,
    queries: HashMap<String, Query>,
    waiting: VecDeque<String>,
    ended: VecDeque<(Duration, String)>,
    wakeups: BTreeSet<(Duration, String)>,
    transactions: HashSet<String>,
    /// How many transactions began.
    begun: u64,
    spool: Spool,
    /// Logins that began here.
    pub handshakes: Handshakes,
    counts: Counts,
    history: VecDeque<CountsAt>,
    /// What happened so far.
    pub counters: Counters,
}

impl Coordinator {
    /// A process with this mark and nothing in it.
    pub(crate) fn new(mark: String, secret: u64, started_unix: u64) -> Self {
        Self {
            mark,
            secret,
            started_unix,
            made: 0,
            queries: HashMap::new(),
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            wakeups: BTreeSet::new(),
            transactions: HashSet::new(),
            begun: 0,
            spool: Spool::default(),
            handshakes: Handshakes::new(secret),
            counts: Counts::default(),
            history: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The mark in all its query ids.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// How many queries stand where.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// How the counts went, oldest first.
    pub(crate) fn history(&self) -> Vec<CountsAt> {
        self.history.iter().copied().collect()
    }

    /// A query, if it is kept.
    pub(crate) fn query(&self, id: &str) -> Option<&Query> {
        self.queries.get(id)
    }

    /// All kept queries, in no order.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &Query> {
        self.queries.values()
    }

    /// Segments nobody acknowledged.
    pub(crate) fn segments(&self) -> usize {
        self.spool.len()
    }

    /// Registers a statement; the body of the answer. `None`: no room.
    pub(crate) fn submit(&mut self, posted: Posted, moment: Moment<'_>) -> Option<Vec<u8>> {
        self.advance(moment);
        if self.queries.len() >= QUERIES_MAX {
            return None;
        }
        let unix = self.started_unix + moment.now.as_secs();
        let stamp = clock::stamp(unix.saturating_add_signed(moment.behaviour.clock_ahead_seconds));
        let id = format!("{stamp}_{:05}_{}", self.made, self.mark);
        self.made += 1;
        let key = names::mix(self.secret ^ self.made);
        let query = Query::new(id.clone(), key, posted, moment.now);
        let next_uri = Some(uri(moment.base, &query, Stage::Queued, 1));
        let body =
            results::page(&query, moment.base, moment.now, Sheet { next_uri, ..Sheet::default() });
        self.queries.insert(id.clone(), query);
        self.counters.submitted += 1;
        self.counts.registered += 1;
        self.note(moment.now);
        self.wake(&id, moment);
        Some(body)
    }

    /// Tells whether the slug of a page is right.
    pub(crate) fn knows(&self, id: &str, stage: Stage, slug: &str, token: u64) -> bool {
        self.queries.get(id).is_some_and(|query| slug == names::slug(query.key, stage, token))
    }

    /// A heartbeat: the client is alive.
    pub(crate) fn touch(&mut self, id: &str, now: Duration) {
        if let Some(query) = self.queries.get_mut(id) {
            query.touched = now;
        }
    }

    /// `GET /v1/query`: the queries that run or ran and that `user` may see, in the order of their
    /// ids.
    pub(crate) fn list(
        &mut self,
        state: Option<&str>,
        user: Option<&str>,
        moment: Moment<'_>,
    ) -> Vec<u8> {
        self.advance(moment);
        let all = moment.behaviour.shows_queries_of_others;
        let mut told: Vec<&Query> = self
            .queries
            .values()
            .filter(|query| query.life != Life::Registered)
            .filter(|query| state.is_none_or(|state| state == query.life.state()))
            .filter(|query| all || user == Some(&query.posted.user))
            .collect();
        told.sort_by(|left, right| left.id.cmp(&right.id));
        let told: Vec<Value> = told
            .iter()
            .map(|query| results::info(query, moment.base, moment.now, self.started_unix))
            .collect();
        serde_json::to_vec(&told).expect("plain values")
    }

    /// How many queries stand where by now.
    pub(crate) fn counts_now(&mut self, moment: Moment<'_>) -> Counts {
        self.advance(moment);
        self.counts
    }

    /// `GET /v1/query/{id}`; `None`: 410.
    pub(crate) fn info(&mut self, id: &str, moment: Moment<'_>) -> Option<Vec<u8>> {
        self.advance(moment);
        let query = self.queries.get(id).filter(|query| query.life != Life::Registered)?;
        let told = results::info(query, moment.base, moment.now, self.started_unix);
        Some(serde_json::to_vec(&told).expect("plain values"))
    }

    /// The bytes of a spooled segment.
    pub(crate) fn segment(&self, name: &str) -> Option<&[u8]> {
        self.spool.fetch(name)
    }

    /// Forgets a spooled segment; tells whether it was there.
    pub(crate) fn acknowledge(&mut self, name: &str) -> bool {
        self.spool.acknowledge(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://c";

    /// A coordinator whose time the test tells.
    struct Bench {
        coordinator: Coordinator,
        behaviour: Behaviour,
    }

    impl Bench {
        fn new(max_running: usize) -> Self {
            let behaviour = Behaviour { max_running, ..Behaviour::default() };
            Self { coordinator: Coordinator::new("abcde".to_owned(), 1, 0), behaviour }
        }

        fn moment(&self, ms: u64) -> (Behaviour, Duration) {
            (self.behaviour.clone(), Duration::from_millis(ms))
        }

        /// Posts a statement; the path of its first page.
        fn submit(&mut self, ms: u64, sql: &str) -> String {
            let (behaviour, now) = self.moment(ms);
            let moment = Moment { now, behaviour: &behaviour, base: BASE };
            let posted = Posted { sql: sql.to_owned(), ..Posted::default() };
            next(&self.coordinator.submit(posted, moment).expect("there is room")).expect("a page")
        }

        /// Asks for a page at a time and answers in a word: its next URI, `end`, an error's name,
        /// `wait 250ms`, `gone` or `unknown`.
        fn ask(&mut self, ms: u64, path: &str) -> String {
            let (behaviour, now) = self.moment(ms);
            let moment = Moment { now, behaviour: &behaviour, base: BASE };
            let parts: Vec<&str> = path.split('/').collect();
            let ask = PageAsk {
                id: parts[6],
                stage: if parts[5] == "queued" { Stage::Queued } else { Stage::Executing },
                slug: parts[7],
                token: parts[8].parse().expect("a token"),
                deadline: now + LONG_POLL,
            };
            self.coordinator.arrive(&ask, moment);
            match self.coordinator.page(&ask, moment) {
                PageOutcome::Ready(page) => next(&page.body).unwrap_or_else(|| error(&page.body)),
                PageOutcome::Wait(until, _) => format!("wait {:?}", until - now),
                PageOutcome::Gone => "gone".to_owned(),
                PageOutcome::Unknown => "unknown".to_owned(),
            }
        }

        fn settle(&mut self, ms: u64) -> Counts {
            let (behaviour, now) = self.moment(ms);
            self.coordinator.advance(Moment { now, behaviour: &behaviour, base: BASE });
            self.coordinator.counts()
        }
    }

    fn next(body: &[u8]) -> Option<String> {
        let page: Value = serde_json::from_slice(body).expect("JSON");
        page["nextUri"].as_str().map(str::to_owned)
    }

    fn error(body: &[u8]) -> String {
        let page: Value = serde_json::from_slice(body).expect("JSON");
        page["error"]["errorName"].as_str().unwrap_or("end").to_owned()
    }

    fn counts(registered: usize, queued: usize, running: usize) -> Counts {
        Counts { registered, queued, running }
    }

    #[test]
    fn pages_come_when_their_time_has_come() {
        let mut bench = Bench::new(9);
        let first = bench.submit(0, "SELECT n /* stub: run=1600ms pages=2 rows=2 */");
        let zero = bench.ask(100, &first);
        assert_eq!(bench.ask(100, &zero), "wait 800ms", "half of it has data after 800 ms");
        assert_eq!(bench.ask(899, &zero), "wait 1ms");
        let one = bench.ask(900, &zero);
        assert_eq!(bench.ask(901, &zero), one, "the same token, the same page");
        assert_eq!(bench.ask(1000, &one), "wait 700ms");
        let two = bench.ask(1700, &one);
        assert_eq!(bench.settle(9000), counts(0, 0, 1), "it runs until its end is fetched");
        assert_eq!(bench.ask(9000, &two), "end");
        assert_eq!((bench.ask(9001, &two), bench.ask(9001, &one)), ("end".into(), "gone".into()));
        assert_eq!(bench.settle(9001), counts(0, 0, 0));
    }

    #[test]
    fn what_nobody_asks_for_ends_in_time_and_makes_room() {
        let mut bench = Bench::new(1);
        let first = bench.submit(0, "SELECT 1 /* stub: run=1h */");
        let second = bench.submit(0, "SELECT 1 /* stub: run=5s fail=DIVISION_BY_ZERO */");
        let third = bench.submit(0, "SELECT 1");
        bench.ask(1000, &first);
        assert_eq!(bench.ask(250_000, &second), "wait 1s");
        assert_eq!(bench.settle(299_999), counts(1, 1, 1));
        assert_eq!(bench.settle(300_000), counts(0, 1, 1), "the third was never asked for");
        assert_eq!(bench.settle(301_000), counts(0, 0, 1), "the first is abandoned");
        assert_eq!(bench.settle(306_000), counts(0, 0, 0), "the second fails after 5 s");
        assert_eq!(bench.ask(306_000, &third), "unknown");
        let times: Vec<u64> =
            bench.coordinator.history().iter().map(|entry| entry.at.as_secs()).collect();
        assert_eq!(times[times.len() - 4..], [300, 301, 301, 306], "each at its own time");
        let told = bench.coordinator.counters;
        assert_eq!((told.abandoned, told.failed, told.dropped), (1, 1, 1));
    }
}
