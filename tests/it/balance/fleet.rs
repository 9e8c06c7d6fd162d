//! Several gateways in front of the same clusters, in simulated time: each has books of its own, learns at
//! once of its own queries and with the next list of those of the others, and chooses as Warren does.
//!
//! Bursts fall on all gateways at once. If each sent its part where the last list showed least, all
//! would go to one cluster; a chooser that does so is simulated too and breaks the bound.

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
use super::drive::duration;
use crate::support::tell;

/// The default of `timeouts.first_get`.
const GRACE: Duration = Duration::from_secs(5);

/// How long a burst lasts.
const BURST_LASTS: Duration = Duration::from_millis(100);

const BURSTS: usize = 45;

/// Until then the clusters fill up.
const WARM: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(250);

/// The least that must live at a look for it to count.
const ALIVE: usize = 100;

const SEEDS: u64 = 10;

#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    gateways: usize,
    clusters: usize,
    /// Queries of one burst, of all gateways.
    burst: usize,
    /// Whether a gateway reckons with the others.
    considerate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(usize),
    /// A query's last page passes its gateway.
    End(usize),
    /// A gateway asks a cluster for its list.
    Ask(usize, usize),
    /// The answer comes.
    Told(usize, usize),
    Look,
}

/// What one gateway knows of one cluster.
#[derive(Default)]
struct Books {
    ledger: Ledger,
    list: Vec<Listed>,
    began: Option<Instant>,
}

struct World {
    plan: Plan,
    rng: StdRng,
    start: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    made: u64,
    books: Vec<Vec<Books>>,
    /// Gateway and cluster of each living query.
    living: BTreeMap<usize, (usize, usize)>,
    /// Largest load by mean load, at each look.
    spreads: Vec<f64>,
}

/// What all looks of a run amount to.
#[derive(Debug, Clone, Copy)]
struct Spread {
    mean: f64,
    /// Of a hundred looks, one was worse.
    rare: f64,
}

fn run(plan: Plan) -> Spread {
    let books = || (0..plan.clusters).map(|_| Books::default()).collect();
    let mut world = World {
        plan,
        rng: StdRng::seed_from_u64(plan.seed),
        start: warren::time::now(),
        now: Duration::ZERO,
        events: BinaryHeap::new(),
        made: 0,
        books: (0..plan.gateways).map(|_| books()).collect(),
        living: BTreeMap::new(),
        spreads: Vec::new(),
    };
    world.begin();
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        world.happen(event);
    }
    let mut spreads = world.spreads;
    assert!(spreads.len() >= 100, "only {} looks had enough to balance", spreads.len());
    spreads.sort_by(f64::total_cmp);
    Spread {
        mean: spreads.iter().sum::<f64>() / spreads.len() as f64,
        rare: spreads[spreads.len() * 99 / 100],
    }
}

impl World {
    fn begin(&mut self) {
        for gateway in 0..self.plan.gateways {
            for cluster in 0..self.plan.clusters {
                let wait = self.random(Duration::from_secs(POLL));
                self.after(wait, Event::Ask(gateway, cluster));
            }
        }
        let mut burst = Duration::from_secs(1);
        for number in 0..BURSTS {
            for query in 0..self.plan.burst {
                let wait = burst + self.random(BURST_LASTS);
                self.after(wait, Event::Submit(number * self.plan.burst + query));
            }
            burst += Duration::from_secs(POLL).mul_f64(self.rng.random_range(0.8..1.2));
        }
        let mut look = WARM;
        while look < burst {
            self.after(look, Event::Look);
            look += LOOK;
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.made += 1;
        self.events.push(Reverse((self.now + wait, self.made, event)));
    }

    fn random(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit(index) => self.submit(index),
            Event::End(index) => {
                let (gateway, cluster) = self.living.remove(&index).expect("it lives");
                let at = self.start + self.now;
                self.books[gateway][cluster].ledger.end(&id(index), at);
            }
            Event::Ask(gateway, cluster) => self.ask(gateway, cluster),
            Event::Told(gateway, cluster) => self.told(gateway, cluster),
            Event::Look => self.look(),
        }
    }

    fn submit(&mut self, index: usize) {
        let now = self.start + self.now;
        let gateway = self.rng.random_range(0..self.plan.gateways);
        let mut arrivals = Vec::new();
        let candidates: Vec<Candidate> = self.books[gateway]
            .iter_mut()
            .map(|books| {
                arrivals.push(books.ledger.arrivals());
                Candidate { load: books.ledger.load(now), weight: 1 }
            })
            .collect();
        let unseen = choose::unseen(arrivals.into_iter());
        let unseen = if self.plan.considerate { unseen } else { 0.0 };
        let cluster = choose::order(&candidates, unseen, &mut self.rng)[0];
        let query = Arc::new(LiveQuery::posted_at(id(index), now));
        let ledger = &mut self.books[gateway][cluster].ledger;
        ledger.reserve();
        ledger.confirm(query.clone(), GRACE);
        query.asked(now);
        ledger.begin(query.id());
        self.living.insert(index, (gateway, cluster));
        let run = duration(&mut self.rng);
        self.after(run, Event::End(index));
    }

    /// The cluster makes its answer now; it comes later.
    fn ask(&mut self, gateway: usize, cluster: usize) {
        let there = self.living.iter().filter(|(_, (_, at))| *at == cluster);
        let list = there.map(|(index, _)| Listed { id: id(*index), stage: Stage::Running });
        let list = list.collect();
        let began = Some(self.start + self.now);
        let books = &mut self.books[gateway][cluster];
        (books.list, books.began) = (list, began);
        let late = self.random(LATE);
        self.after(late, Event::Told(gateway, cluster));
    }

    fn told(&mut self, gateway: usize, cluster: usize) {
        let now = self.start + self.now;
        let books = &mut self.books[gateway][cluster];
        let (list, began) = (std::mem::take(&mut books.list), books.began.expect("it began"));
        for (id, _) in books.ledger.poll(began, list) {
            books.ledger.end(&id, now);
        }
        if self.spreads.len() < BURSTS * 8 && self.events.iter().any(|next| is_burst(&next.0.2)) {
            let period = Duration::from_secs(POLL).mul_f64(self.rng.random_range(0.9..1.1));
            self.after(period, Event::Ask(gateway, cluster));
        }
    }

    fn look(&mut self) {
        if self.living.len() < ALIVE {
            return;
        }
        let mut loads = vec![0usize; self.plan.clusters];
        for (_, cluster) in self.living.values() {
            loads[*cluster] += 1;
        }
        let most = loads.into_iter().max().unwrap_or_default();
        let mean = self.living.len() as f64 / self.plan.clusters as f64;
        self.spreads.push(most as f64 / mean);
    }
}

/// Whether there is something to balance yet.
fn is_burst(event: &Event) -> bool {
    matches!(event, Event::Submit(_))
}

fn id(index: usize) -> QueryId {
    QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
}

/// The worst of several runs.
fn worst(plan: Plan) -> Spread {
    let runs = (0..SEEDS).map(|seed| run(Plan { seed, ..plan }));
    let worse = |left: Spread, right: Spread| Spread {
        mean: left.mean.max(right.mean),
        rare: left.rare.max(right.rare),
    };
    runs.reduce(worse).expect("there are seeds")
}

#[test]
fn in_simulated_time_gateways_do_not_stampede() {
    for (clusters, burst) in [(2, 40), (4, 40), (8, 80)] {
        for gateways in [1, 3, 10] {
            let plan = Plan { seed: 0, gateways, clusters, burst, considerate: true };
            let Spread { mean, rare } = worst(plan);
            tell(&format!(
                "{gateways} gateways, {clusters} clusters: largest by mean load {mean:.3}, one in \
                 100 looks {rare:.3}"
            ));
            assert!(mean <= 1.15, "{plan:?}: {mean}");
            assert!(rare <= 1.4, "{plan:?}: {rare}");
        }
    }
}

#[test]
fn in_simulated_time_gateways_that_look_at_themselves_alone_stampede() {
    let plan = Plan { seed: 0, gateways: 10, clusters: 8, burst: 80, considerate: false };
    let Spread { mean, rare } = worst(plan);
    tell(&format!("ten gateways that ignore each other: {mean:.3}, one in 100 looks {rare:.3}"));
    assert!(mean > 1.15 && rare > 1.4, "{mean}, {rare}");
}
