//! The same without sockets and without a clock: the gateway's own books and its own choice over
//! simulated coordinators, in simulated time, so that many seeds give the same choices each time.
//!
//! Here submits overlap, and clients do what the wire can hardly show: some leave in the middle, and
//! their coordinator ends their query when it has heard nothing for a while, which the gateway learns
//! from a list. A query is carried from its choice to its end; that a client has walked away is
//! known here and not to the gateway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use warren::cluster::choose::{self, Candidate};
use warren::cluster::live::LiveQuery;
use warren::cluster::load::{Ledger, Listed, Stage};
use warren::ids::QueryId;
use warren::time::Instant;

use super::bed::{LATE, POLL};
use super::drive::{BURST, duration};
use super::judge::{Choice, Report};

/// The default of `timeouts.first_get`.
const GRACE: Duration = Duration::from_secs(5);

/// How long a coordinator hears nothing of a query before it ends it.
const SILENCE: Duration = Duration::from_secs(20);

/// The questions of a poll, in their order, by what stands for Trino's states here.
const STATES: [State; 3] = [State::Queued, State::Planning, State::Running];

/// What happens in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) weights: [u32; 2],
    pub(crate) first_get: Duration,
    /// Of so many queries in a row, one is never asked for; 0: all are.
    pub(crate) walker_each: usize,
    /// Of so many queries in a row, one is left in the middle; 0: none.
    pub(crate) leaver_each: usize,
    pub(crate) by: By,
}

/// What a choice is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The gateway's books.
    Books,
    /// The last list, without what was sent since.
    ListAlone,
    Chance,
    Turn,
}

impl Plan {
    pub(crate) fn base(seed: u64) -> Self {
        let first_get = Duration::ZERO;
        let weights = [1, 1];
        Self { seed, weights, first_get, walker_each: 0, leaver_each: 0, by: By::Books }
    }
}

/// Where a query stands in its coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Registered,
    Queued,
    Planning,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    /// The coordinator's answer passes the gateway.
    Answer(usize),
    FirstGet(usize),
    Plan(usize),
    Run(usize),
    /// The last page passes the gateway.
    LastPage(usize),
    /// The coordinator gives a query up.
    GivenUp(usize),
    /// A poll asks a cluster the question of that number.
    Ask(usize, usize),
    /// Its answer comes.
    Told(usize, usize),
}

#[derive(Default)]
struct Cluster {
    ledger: Ledger,
    /// Alive in the coordinator.
    queries: BTreeMap<usize, State>,
    began: Option<Instant>,
    list: Vec<Listed>,
    last_list: u32,
    /// Chosen, not ended, and not walked away from.
    carried: usize,
}

struct Query {
    live: Option<Arc<LiveQuery>>,
    cluster: usize,
    run: Duration,
    walks: bool,
    leaves: bool,
}

struct World {
    plan: Plan,
    rng: StdRng,
    start: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    made: u64,
    clusters: [Cluster; 2],
    queries: Vec<Query>,
    report: Report,
}

/// 400 queries in bursts; each choice is judged.
pub(crate) fn run(plan: Plan) -> Report {
    let mut world = World {
        plan,
        rng: StdRng::seed_from_u64(plan.seed),
        start: warren::time::now(),
        now: Duration::ZERO,
        events: BinaryHeap::new(),
        made: 0,
        clusters: Default::default(),
        queries: Vec::new(),
        report: Report::of(plan.weights),
    };
    world.after(Duration::ZERO, Event::Ask(0, 0));
    world.after(Duration::from_millis(700), Event::Ask(1, 0));
    let mut burst = Duration::from_secs(1);
    for index in 0..400 {
        if index % BURST == 0 {
            burst += Duration::from_secs(POLL).mul_f64(world.rng.random_range(0.8..1.2));
        }
        world
            .after(burst + Duration::from_millis(5) * (index % BURST) as u32, Event::Submit(index));
    }
    while world.queries.len() < 400
        && let Some(Reverse((at, _, event))) = world.events.pop()
    {
        world.now = at;
        world.happen(event);
    }
    world.report
}

impl World {
    fn after(&mut self, wait: Duration, event: Event) {
        self.made += 1;
        self.events.push(Reverse((self.now + wait, self.made, event)));
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn random(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random())
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Submit(index) => self.submit(index),
            Event::Answer(index) => self.answered(index),
            Event::FirstGet(index) => {
                let query = &self.queries[index];
                let cluster = &mut self.clusters[query.cluster];
                let live = query.live.as_ref().expect("answered");
                assert!(live.asked(now), "the first time");
                cluster.ledger.begin(live.id());
                cluster.queries.insert(index, State::Queued);
                self.after(Duration::from_millis(100), Event::Plan(index));
            }
            Event::Plan(index) => {
                self.stand(index, State::Planning);
                self.after(Duration::from_millis(50), Event::Run(index));
            }
            Event::Run(index) => {
                self.stand(index, State::Running);
                let (leaves, run) = (self.queries[index].leaves, self.queries[index].run);
                let (wait, end) = if leaves {
                    (SILENCE, Event::GivenUp(index))
                } else {
                    (run, Event::LastPage(index))
                };
                self.after(wait, end);
            }
            Event::LastPage(index) => {
                self.end(index);
                let query = &self.queries[index];
                let ledger = &mut self.clusters[query.cluster].ledger;
                assert!(ledger.end(&id(index), now), "it was held for live");
            }
            Event::GivenUp(index) => self.end(index),
            Event::Ask(side, question) => self.ask(side, question),
            Event::Told(side, question) => self.told(side, question),
        }
    }

    fn submit(&mut self, index: usize) {
        let now = self.instant();
        let Plan { walker_each, leaver_each, by, weights, .. } = self.plan;
        let candidates = [0, 1].map(|side| {
            let cluster: &mut Cluster = &mut self.clusters[side];
            let load = match by {
                By::Books => cluster.ledger.load(now),
                By::ListAlone => cluster.last_list,
                By::Chance => 0,
                By::Turn => u32::from(index % 2 == side),
            };
            Candidate { load, weight: weights[side] }
        });
        let chosen = choose::order(&candidates, 0.0, &mut self.rng)[0];
        let loads = [0, 1].map(|side: usize| self.clusters[side].carried);
        self.report.add(Choice { index, loads, chosen });
        let nth = |each: usize, place: usize| each > 0 && index % each == place % each;
        let walks = nth(walker_each, walker_each / 2);
        let leaves = !walks && nth(leaver_each, leaver_each / 3);
        let run = duration(&mut self.rng);
        self.queries.push(Query { live: None, cluster: chosen, run, walks, leaves });
        self.clusters[chosen].ledger.reserve();
        self.clusters[chosen].carried += usize::from(!walks);
        let answer = self.random(Duration::from_millis(50));
        self.after(answer, Event::Answer(index));
    }

    fn answered(&mut self, index: usize) {
        let now = self.instant();
        let query = &mut self.queries[index];
        let live = Arc::new(LiveQuery::posted_at(id(index), now));
        query.live = Some(live.clone());
        let cluster = &mut self.clusters[query.cluster];
        cluster.ledger.confirm(live, GRACE);
        cluster.queries.insert(index, State::Registered);
        if !query.walks {
            self.after(self.plan.first_get, Event::FirstGet(index));
        }
    }

    fn stand(&mut self, index: usize, state: State) {
        let side = self.queries[index].cluster;
        self.clusters[side].queries.insert(index, state);
    }

    fn end(&mut self, index: usize) {
        let side = self.queries[index].cluster;
        self.clusters[side].queries.remove(&index);
        self.clusters[side].carried -= 1;
    }

    /// The coordinator makes its answer now; it comes later.
    fn ask(&mut self, side: usize, question: usize) {
        let now = self.instant();
        let cluster = &mut self.clusters[side];
        if question == 0 {
            cluster.began = Some(now);
        }
        let asked = cluster.queries.iter().filter(|(_, state)| **state == STATES[question]);
        let stage = if question == 0 { Stage::Queued } else { Stage::Running };
        cluster.list.extend(asked.map(|(index, _)| Listed { id: id(*index), stage }));
        let late = self.random(LATE / STATES.len() as u32);
        self.after(late, Event::Told(side, question));
    }

    fn told(&mut self, side: usize, question: usize) {
        if question + 1 < STATES.len() {
            return self.after(Duration::ZERO, Event::Ask(side, question + 1));
        }
        let now = self.instant();
        let cluster = &mut self.clusters[side];
        let list = std::mem::take(&mut cluster.list);
        cluster.last_list = list.len() as u32;
        let began = cluster.began.expect("it began");
        for (id, _) in cluster.ledger.poll(began, list) {
            assert!(cluster.ledger.end(&id, now));
        }
        let period = Duration::from_secs(POLL).mul_f64(self.rng.random_range(0.9..1.1));
        self.after(period, Event::Ask(side, 0));
    }
}

fn id(index: usize) -> QueryId {
    QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
}

/// Seeds of each kind of run.
const SEEDS: u64 = 100;

fn assert_none_violates(slack: usize, plan: impl Fn(u64) -> Plan) {
    for seed in 0..SEEDS {
        let report = run(plan(seed));
        assert!(report.most_alive() >= 40, "seed {seed}: there was too little to balance");
        let bad = report.violations(slack);
        assert!(bad.is_empty(), "seed {seed}: {} bad choices: {bad:?}", bad.len());
    }
}

#[test]
fn in_simulated_time_each_query_goes_where_the_least_is_carried() {
    assert_none_violates(1, Plan::base);
    assert_none_violates(1, |seed| Plan { weights: [1, 3], ..Plan::base(seed) });
    assert_none_violates(1, |seed| Plan { first_get: Duration::from_secs(3), ..Plan::base(seed) });
}

#[test]
fn in_simulated_time_clients_that_walk_away_mislead_by_little() {
    for first_get in [Duration::ZERO, Duration::from_secs(3)] {
        let walked = |seed| Plan { first_get, walker_each: 30, ..Plan::base(seed) };
        assert_none_violates(3, walked);
        let left = |seed| Plan { first_get, leaver_each: 30, ..Plan::base(seed) };
        assert_none_violates(3, left);
    }
}

#[test]
fn in_simulated_time_other_choices_break_the_bound() {
    for by in [By::ListAlone, By::Chance, By::Turn] {
        for seed in 0..SEEDS {
            let report = run(Plan { by, ..Plan::base(seed) });
            assert!(!report.violations(3).is_empty(), "{by:?} with seed {seed} is too good");
        }
    }
}
