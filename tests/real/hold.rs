//! Both clusters of a group are down: the queries of real clients are held, QUEUED to them, and all
//! end well after one is back.

use std::time::Duration;

use futures::future::join_all;
use warren::time;

use crate::support::clients::{Client, Outcome};
use crate::support::gate::Gate;
use crate::support::gateway::{Extra, Gateway};
use crate::support::surroundings::{blue, green};
use crate::support::until;

/// All clients are one user here.
const HOLD: &str = "[groups.hold]\nper_user = 200\n";
/// All at once are too many for a cluster as small as that of the tests: its workers' queue of requests
/// overflows.
const FEW: &str = "max_running = 20\n";
const REGIONS: &str = "SELECT regionkey, name FROM tpch.tiny.region ORDER BY 1";

/// Clients that run many queries at once, and how many of each.
const MANY: [(Client, u32); 4] =
    [(Client::Jdbc, 49), (Client::Dbapi, 49), (Client::Go, 49), (Client::Js, 49)];
/// Trino's CLI runs one at a time: so many are started.
const CLIS: usize = 4;
const ALL: u32 = 4 * 49 + 4;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "how long it took is part of the report")]
async fn two_hundred_queries_wait_for_both_clusters_and_all_end_well() {
    let gates = [Gate::start(&blue()).await, Gate::start(&green()).await];
    let clusters = [("blue", gates[0].address()), ("green", gates[1].address())];
    let extra = Extra { sections: HOLD.to_owned(), cluster: FEW.to_owned(), ..Extra::default() };
    let gateway = Gateway::start_with_extra(&clusters, &extra).await;
    for (gate, name) in gates.iter().zip(["blue", "green"]) {
        gate.shut().await;
        gateway.until(name, "health", "unhealthy").await;
    }
    let began = time::now();
    let address = gateway.client().to_owned();
    let many = MANY.map(|(client, count)| {
        let address = address.clone();
        tokio::spawn(
            async move { (client, client.many(&address, "real-hold", count, REGIONS).await) },
        )
    });
    let alone = (0..CLIS).map(|_| {
        let address = address.clone();
        tokio::spawn(async move {
            (Client::Cli, vec![Client::Cli.outcome(&address, "real-hold", REGIONS).await])
        })
    });
    let all: Vec<_> = many.into_iter().chain(alone).collect();
    let held = async || gateway.figure(&["warren_held{", "figure=\"queries\""]).await;
    until("all are held", async || held().await >= f64::from(ALL)).await;
    // They see their queries QUEUED for a while.
    let until_all = began.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(held().await, f64::from(ALL), "and wait on");
    gates[1].open().await;
    let back = time::now();
    for told in join_all(all).await {
        let (client, outcomes) = told.expect("it ran");
        let bad: Vec<_> = outcomes.iter().filter(|end| **end != Outcome::Rows(5)).collect();
        assert!(bad.is_empty(), "{client:?}: {} of {}: {bad:?}", bad.len(), outcomes.len());
    }
    println!(
        "{ALL} queries were held after {until_all:.1?} and ended {:.1?} after one cluster was back",
        back.elapsed()
    );
    let handed = gateway.figure(&["warren_held_ends_total", "end=\"handed_over\""]).await;
    assert_eq!((handed, held().await), (f64::from(ALL), 0.0));
}
