//! One run: bursts of queries, each choice judged by what the stubs carry at that moment.
//!
//! Submits go one after the other, and no last page is on its way while one does: what the stubs
//! count just before a submit is then what its choice was made upon, to the query. Everything else
//! goes on meanwhile: first pages, polls, and the lists that come late. Between two submits any
//! number of queries ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::bed::{POLL, Pair, Scale};
use super::judge::{Choice, Report};
use super::wire::{Line, Manner};

/// Queries that are sent between two polls, if a plan says nothing else.
pub(crate) const BURST: usize = 20;

/// Who chooses the cluster of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// The gateway at this address.
    Warren(SocketAddr),
    /// So many of the gateways at these addresses, each query by one of them.
    Fleet([SocketAddr; 3], usize),
    /// The driver, by chance.
    Random,
    /// The driver, in turn.
    RoundRobin,
}

/// What happens in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) queries: usize,
    /// Queries that are sent between two polls.
    pub(crate) burst: usize,
    pub(crate) chooser: Chooser,
    /// From the answer to a submit to its first page, in simulated time.
    pub(crate) first_get: Duration,
    /// Of so many queries in a row, one is never asked for; 0: all are.
    pub(crate) walker_each: usize,
    /// Whether the clients stay until their queries end; else they cancel after the last choice.
    pub(crate) to_the_end: bool,
}

impl Plan {
    /// 400 queries through the gateway, whose clients ask at once.
    pub(crate) fn base(seed: u64, chooser: Chooser) -> Self {
        let first_get = Duration::ZERO;
        let (queries, burst) = (400, BURST);
        Self { seed, queries, burst, chooser, first_get, walker_each: 0, to_the_end: false }
    }
}

/// 50 ms to 60 s, as many short ones as long ones: each decade has the same share.
pub(crate) fn duration(rng: &mut StdRng) -> Duration {
    let (shortest, longest) = (0.05f64, 60.0f64);
    Duration::from_secs_f64(shortest * (longest / shortest).powf(rng.random::<f64>()))
}

/// Carries a plan out against a pair.
pub(crate) async fn run(pair: &Pair, scale: Scale, plan: Plan) -> Report {
    let (stop, stopped) = watch::channel(false);
    let stage = Stage { scale, source: pair.group.clone(), ends: Arc::default(), stopped };
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut report = Report::of(pair.weights);
    // Never asked for; their connections stay open, so that nothing tells a gateway about them.
    let mut walkers: [Vec<Client>; 2] = Default::default();
    let mut clients = JoinSet::new();
    let mut next_burst = warren::time::now();
    for index in 0..plan.queries {
        if index % plan.burst == 0 {
            sleep_until(next_burst).await;
            // Not bound to the polls: a burst lies somewhere between two of them.
            next_burst += scale.real(Duration::from_secs(POLL).mul_f64(rng.random_range(0.8..1.2)));
        }
        let run = duration(&mut rng);
        let target = match plan.chooser {
            Chooser::Warren(address) => address,
            Chooser::Fleet(addresses, count) => addresses[rng.random_range(0..count)],
            Chooser::Random => pair.stubs[rng.random_range(0..2)].addr(),
            Chooser::RoundRobin => pair.stubs[index % 2].addr(),
        };
        let quiet = stage.ends.write().await;
        let loads = [0, 1].map(|side| {
            let counts = pair.stubs[side].counts();
            counts.registered + counts.live() - walkers[side].len()
        });
        let client = Client::submit(target, &stage, (index, run)).await;
        drop(quiet);
        let chosen = pair.side_of(&client.id);
        report.add(Choice { index, loads, chosen });
        if plan.walker_each > 0 && index % plan.walker_each == plan.walker_each / 2 {
            walkers[chosen].push(client);
        } else {
            clients.spawn(client.live(stage.clone(), scale.real(plan.first_get)));
        }
    }
    if !plan.to_the_end {
        stop.send_replace(true);
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client fails");
    }
    for client in walkers.into_iter().flatten() {
        client.cancel(&stage).await;
    }
    report
}

/// What all clients of a run share.
#[derive(Clone)]
struct Stage {
    scale: Scale,
    source: String,
    /// Held by clients that fetch what may be a last page; a submit waits for them.
    ends: Arc<RwLock<()>>,
    stopped: watch::Receiver<bool>,
}

/// A client with a query under way.
struct Client {
    line: Line,
    accepts: &'static str,
    id: String,
    next: String,
    run: Duration,
}

impl Client {
    async fn submit(target: SocketAddr, stage: &Stage, query: (usize, Duration)) -> Self {
        let (index, run) = query;
        let accepts = ["", "gzip", "zstd"][index % 3];
        let sql = format!("SELECT n FROM t /* stub: run={}ms */", run.as_millis());
        let mut line = Line::open(target).await.expect("the port is open");
        let manner = Manner { source: &stage.source, accepts };
        let answer = line.ask("POST", "/v1/statement", manner, &sql).await.expect("an answer");
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let next = answer.next().expect("a first page");
        Self { line, accepts, id, next, run }
    }

    /// Asks for the first page after a while, leaves the query alone while it runs, and fetches the
    /// rest: a run of the plan's length with few requests.
    async fn live(mut self, stage: Stage, first_get: Duration) {
        if self.stopped_within(first_get, &stage).await {
            return self.cancel(&stage).await;
        }
        self.next = self.page(&stage.source).await.expect("a query outlives its first page");
        if self.stopped_within(stage.scale.real(self.run), &stage).await {
            return self.cancel(&stage).await;
        }
        loop {
            let _ends = stage.ends.read().await;
            let Some(next) = self.page(&stage.source).await else { return };
            self.next = next;
        }
    }

    /// Waits that long; tells whether the run was stopped meanwhile.
    async fn stopped_within(&self, wait: Duration, stage: &Stage) -> bool {
        let mut stopped = stage.stopped.clone();
        let told = tokio::time::timeout(wait, stopped.wait_for(|stop| *stop)).await;
        // An error says that the run is over without a stop: then nobody is left to wait for.
        matches!(told, Ok(Ok(_)))
    }

    async fn page(&mut self, source: &str) -> Option<String> {
        let manner = Manner { source, accepts: self.accepts };
        let answer = self.line.ask("GET", &self.next, manner, "").await.expect("an answer");
        answer.next()
    }

    async fn cancel(mut self, stage: &Stage) {
        let manner = Manner { source: &stage.source, accepts: self.accepts };
        let answer = self.line.ask("DELETE", &self.next, manner, "").await.expect("an answer");
        assert_eq!(answer.status, 204, "a cancel");
    }
}
