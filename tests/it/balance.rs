//! New queries go where the least is carried, query for query, and not on the average: every single
//! choice of the gateway is judged by what the clusters carried when it was made.
//!
//! Two clusters, 400 queries of 50 ms to 60 s in bursts of 20 between two polls, lists that are 2 s
//! old and each late by up to 1 s. Time is scaled. A query is carried from the answer to its submit
//! to its end; the stubs count it. A chooser by chance and one in turn, which this test drives by
//! itself, break the bound in every run: it is one that can be broken.

mod bed;
mod drive;
mod fleet;
mod judge;
mod ledger;
mod simulation;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bed::{LATE, POLL, Pair, Scale, Warren};
use drive::{Chooser, Plan};
use judge::Report;
use tokio::task::JoinSet;

use crate::support::mariadb::Server;
use crate::support::tell;

/// A simulated second lasts 100 ms.
const SCALE: Scale = Scale(0.1);

/// 200 ms where a number of queries has to be alive, however busy the machine is.
const SLOW: Scale = Scale(0.2);

/// 500 ms for a machine that was too busy for the others.
const SLOWEST: Scale = Scale(0.5);

/// 25 ms straight to the stubs.
const QUICK: Scale = Scale(0.025);

/// Runs that go on side by side.
const LANES: usize = 4;

/// Runs a plan for each seed, some at a time; each lane has a pair of its own.
async fn run_all(
    (pairs, scale): (&Arc<Vec<Pair>>, Scale),
    seeds: u64,
    plan: impl Fn(u64) -> Plan + Clone + Send + 'static,
) -> Vec<(u64, Report)> {
    let mut lanes = JoinSet::new();
    for lane in 0..pairs.len() {
        let (pairs, plan) = (pairs.clone(), plan.clone());
        lanes.spawn(async move {
            let mut reports = Vec::new();
            for seed in (0..seeds).skip(lane).step_by(pairs.len()) {
                reports.push((seed, drive::run(&pairs[lane], scale, plan(seed)).await));
            }
            reports
        });
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

fn pairs(weights: [u32; 2], scale: Scale) -> Arc<Vec<Pair>> {
    Arc::new((0..LANES).map(|lane| Pair::start(lane, weights, scale)).collect())
}

fn assert_none_violates(reports: &[(u64, Report)], slack: usize) {
    for (seed, report) in reports {
        assert!(report.most_alive() >= 20, "seed {seed}: there was too little to balance");
        let bad = report.violations(slack);
        assert!(bad.is_empty(), "seed {seed}: {} bad choices: {bad:?}", bad.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_goes_where_the_least_is_carried() {
    let pairs = pairs([1, 1], SCALE);
    let warren = Warren::start(&pairs, SCALE).await;
    let chooser = Chooser::Warren(warren.client);
    let reports = run_all((&pairs, SCALE), 20, move |seed| Plan::base(seed, chooser)).await;
    assert_none_violates(&reports, 1);
}

/// Of 30 clients one posts and never comes back; the others ask for their first page after 3 s. What
/// tells them apart is a grace of 5 s. Within it stand at most three that have walked away, and even
/// if all of them stood on one side, a choice would be wrong by three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_and_those_that_walk_away_mislead_by_little() {
    let pairs = pairs([1, 1], SCALE);
    let warren = Warren::start(&pairs, SCALE).await;
    let chooser = Chooser::Warren(warren.client);
    let first_get = Duration::from_secs(3);
    let plan = move |seed| Plan { first_get, walker_each: 30, ..Plan::base(seed, chooser) };
    let reports = run_all((&pairs, SCALE), 20, plan).await;
    assert_none_violates(&reports, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_the_load() {
    let pairs = pairs([1, 3], SLOW);
    let warren = Warren::start(&pairs, SLOW).await;
    let chooser = Chooser::Warren(warren.client);
    let reports =
        run_all((&pairs, SLOW), LANES as u64, move |seed| Plan::base(seed, chooser)).await;
    assert_none_violates(&reports, 1);
    for (seed, report) in reports {
        let mut judged = 0;
        for choice in report.after_bursts(drive::BURST) {
            let [light, heavy] = choice.loads;
            let all = light + heavy;
            if all >= 40 {
                judged += 1;
                let right = (70 * all..=80 * all).contains(&(100 * heavy));
                assert!(right, "seed {seed}: the larger carries {heavy} of {all} at {choice:?}");
            }
        }
        assert!(judged >= 5, "seed {seed}: only {judged} bursts had something to share");
    }
}

/// Plain, gzip and zstd clients in turn: each last page tells the gateway that its query is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_owned_once_the_last_query_has_ended() {
    let pairs = pairs([1, 1], SCALE);
    let warren = Warren::start(&pairs, SCALE).await;
    let chooser = Chooser::Warren(warren.client);
    let queries = 120;
    let plan = move |seed| Plan { queries, to_the_end: true, ..Plan::base(seed, chooser) };
    run_all((&pairs, SCALE), LANES as u64, plan).await;
    let last_end = warren::time::now();

    let one_poll = SCALE.real(Duration::from_secs(POLL) + LATE);
    while let Some(owning) = warren.owning().await {
        assert!(last_end.elapsed() < one_poll, "a poll later there is still {owning}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ended = queries * LANES;
    let by_last_page = format!("warren_query_ends_total{{cause=\"last_page\"}} {ended}");
    let metrics = warren.metrics().await;
    assert!(metrics.contains(&by_last_page), "no `{by_last_page}` in\n{metrics}");
}

/// Bursts of 40 on several gateways that share a store and nothing else: what each knows of the others'
/// queries is up to 3 s old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_gateways_share_the_load() {
    let server = tokio::task::block_in_place(Server::start);
    for count in [2, 3] {
        let mut reports = Vec::new();
        // A machine that is too busy for the time of a run lets queries end before the next ones begin.
        for scale in [SCALE, SLOW, SLOWEST] {
            reports = spreads_of(&server, count, scale).await;
            if reports.iter().all(|(_, _, choices)| *choices >= 100) {
                break;
            }
        }
        for (seed, spread, choices) in reports {
            tell(&format!("{count} gateways, seed {seed}: largest by mean load {spread:.3}"));
            assert!(choices >= 100, "seed {seed}: only {choices} choices had enough to balance");
            assert!(spread <= 1.15, "{count} gateways, seed {seed}: {spread}");
        }
    }
}

/// For each seed the largest by the mean load while 100 queries were alive, and at how many choices.
async fn spreads_of(server: &Server, count: usize, scale: Scale) -> Vec<(u64, f64, usize)> {
    let pairs = pairs([1, 1], scale);
    let mut gateways = Vec::new();
    for _ in 0..count {
        gateways.push(Warren::start_on(&server.url(), &pairs, scale).await);
    }
    let addresses = [0, 1, 2].map(|nth| gateways[nth % count].client);
    let chooser = Chooser::Fleet(addresses, count);
    let plan = move |seed| Plan { queries: 800, burst: 40, ..Plan::base(seed, chooser) };
    let reports = run_all((&pairs, scale), LANES as u64, plan).await;
    let spread = |(seed, report): (u64, Report)| {
        let (spread, choices) = report.spread(100);
        (seed, spread, choices)
    };
    reports.into_iter().map(spread).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_chance_and_in_turn_break_the_bound() {
    let pairs = pairs([1, 1], QUICK);
    for chooser in [Chooser::Random, Chooser::RoundRobin] {
        let reports =
            run_all((&pairs, QUICK), 2 * LANES as u64, move |seed| Plan::base(seed, chooser)).await;
        for (seed, report) in reports {
            assert!(!report.violations(3).is_empty(), "{chooser:?} with seed {seed} is too good");
        }
    }
}
