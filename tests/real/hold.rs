//! Both clusters of a group are down: the queries of real clients are held, QUEUED to them, and all
//! end well after one is back, also where another gateway gets their pages.

use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use warren::time;

use crate::support::clients::{Client, Outcome};
use crate::support::gate::{Gate, Split};
use crate::support::gateway::{Extra, Gateway};
use crate::support::mariadb::Server;
use crate::support::surroundings::{blue, green};
use crate::support::until;

/// All clients are one user here.
const HOLD: &str = "[groups.hold]\nper_user = 200\n";
/// All at once are too many for a cluster as small as that of the tests: its workers' queue of requests
/// overflows.
const FEW: &str = "max_running = 20\n";
const REGIONS: &str = "SELECT regionkey, name FROM tpch.tiny.region ORDER BY 1";

/// Clients that run many queries at once.
const MANY: [Client; 4] = [Client::Jdbc, Client::Dbapi, Client::Go, Client::Js];

/// For how long it is looked whether they wait on.
const QUEUED: Duration = Duration::from_secs(3);

type Told = Vec<JoinHandle<(Client, Vec<Outcome>)>>;

async fn gates() -> [Gate; 2] {
    [Gate::start(&blue()).await, Gate::start(&green()).await]
}

async fn gateway(gates: &[Gate; 2], extra: &Extra) -> Gateway {
    let clusters = [("blue", gates[0].address()), ("green", gates[1].address())];
    Gateway::start_with_extra(&clusters, extra).await
}

/// Shuts both clusters, and waits until the gateways know it.
async fn shut(gates: &[Gate; 2], gateways: &[&Gateway]) {
    for gate in gates {
        gate.shut().await;
    }
    for gateway in gateways {
        for name in ["blue", "green"] {
            gateway.until(name, "health", "unhealthy").await;
        }
    }
}

/// Starts so many queries of each client that runs many, and so many of Trino's CLI, one process each.
fn start(address: &str, (each, clis): (u32, usize)) -> Told {
    let many = MANY.map(|client| {
        let address = address.to_owned();
        tokio::spawn(
            async move { (client, client.many(&address, "real-hold", each, REGIONS).await) },
        )
    });
    let alone = (0..clis).map(|_| {
        let address = address.to_owned();
        tokio::spawn(async move {
            (Client::Cli, vec![Client::Cli.outcome(&address, "real-hold", REGIONS).await])
        })
    });
    many.into_iter().chain(alone).collect()
}

async fn held(gateway: &Gateway) -> f64 {
    gateway.figure(&["warren_held{", "figure=\"queries\""]).await
}

/// Waits until all `count` are held, opens a cluster, and checks that all end well.
#[expect(clippy::print_stdout, reason = "how long it took is part of the report")]
async fn all_end_well(told: Told, count: u32, gateway: &Gateway, gate: &Gate) {
    let began = time::now();
    until("all are held", async || held(gateway).await >= f64::from(count)).await;
    let until_all = began.elapsed();
    // Their clients ask again and again meanwhile.
    tokio::time::sleep(QUEUED).await;
    assert_eq!(held(gateway).await, f64::from(count), "they wait on");
    gate.open().await;
    let back = time::now();
    for told in join_all(told).await {
        let (client, outcomes) = told.expect("it ran");
        let bad: Vec<_> = outcomes.iter().filter(|end| **end != Outcome::Rows(5)).collect();
        assert!(bad.is_empty(), "{client:?}: {} of {}: {bad:?}", bad.len(), outcomes.len());
    }
    println!(
        "{count} queries were held after {until_all:.1?} and had ended {:.1?} after a cluster was back",
        back.elapsed()
    );
    let handed = gateway.figure(&["warren_held_ends_total", "end=\"handed_over\""]).await;
    assert_eq!((handed, held(gateway).await), (f64::from(count), 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_queries_wait_for_both_clusters_and_all_end_well() {
    let gates = gates().await;
    let extra = Extra { sections: HOLD.to_owned(), cluster: FEW.to_owned(), ..Extra::default() };
    let gateway = gateway(&gates, &extra).await;
    shut(&gates, &[&gateway]).await;
    let told = start(gateway.client(), (49, 4));
    all_end_well(told, 200, &gateway, &gates[1]).await;
}

/// Each POST goes to one of two gateways, and all else to the other one.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_holds_ends_well_through_the_other() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("it starts");
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&secret, "a secret of the gateways\n").expect("it can be written");
    let peers = format!("[peers]\nsecret = {{ file = \"{}\" }}\n", secret.path().display());
    let extra = Extra {
        sections: format!("{HOLD}\n{peers}"),
        cluster: FEW.to_owned(),
        store: Some(server.url()),
        ..Extra::default()
    };
    let gates = gates().await;
    let [one, other] = [gateway(&gates, &extra).await, gateway(&gates, &extra).await];
    shut(&gates, &[&one, &other]).await;
    let split = Split::start(one.client(), other.client()).await;
    let told = start(split.address(), (10, 2));
    all_end_well(told, 42, &one, &gates[0]).await;
    assert_eq!(held(&other).await, 0.0);
    assert!(other.figure(&["warren_requests_total", "kind=\"page\""]).await > 42.0);
}
