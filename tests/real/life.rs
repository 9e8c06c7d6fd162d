//! The life of coordinators and of Warren itself: one boots under load, one is full, and Warren is
//! killed and forgets everything.

use std::time::Duration;

use futures::future::join_all;

use crate::support::coordinator::{self, USER};
use crate::support::gateway::Gateway;
use crate::support::mariadb::Server;
use crate::support::own::Coordinator;
use crate::support::raw::{SLOW, next, path_of, post, to_its_end};
use crate::support::surroundings::{blue, file, green};
use crate::support::{until, wire};

/// For some seconds after its start a coordinator runs `SELECT 1` and fails this.
const SCAN: &str = "SELECT name FROM tpch.tiny.nation";

#[tokio::test(flavor = "multi_thread")]
async fn a_booting_coordinator_gets_no_query_before_its_probe_ran() {
    let late = Coordinator::start("late", &[]);
    let gateway = Gateway::start_for_booting(&[("blue", &blue()), ("late", late.address())]);
    until("blue is ready", async || gateway.cluster("blue").await["health"] == "ready").await;
    let mut before = 0;
    // Load goes on while it boots, and for a while after it has become ready.
    let mut after = 0;
    while after < 20 {
        let ready = gateway.cluster("late").await["health"] == "ready";
        let pages =
            coordinator::follow(gateway.client(), &[("X-Trino-Source", "booting")], SCAN).await;
        let last = coordinator::json(&pages.last().expect("a page").answer);
        assert!(last["error"].is_null(), "{}", last["error"]);
        (before, after) = if ready { (before, after + 1) } else { (before + 1, after) };
    }
    assert!(before >= 20, "only {before} queries ran while it booted");
    let here = coordinator::queries_of(late.address(), "booting").await;
    assert!(here.iter().all(|(state, _)| state == "FINISHED"), "{here:?}");
    assert!(!here.is_empty(), "none of {after} queries went to it once it was ready");
    assert!(!first_is_before_probe(late.address()).await, "a client's query came before the probe");
    a_frozen_one_keeps_its_query(gateway, &late).await;
}

/// A query that Warren has forgotten, of a coordinator that does not answer, is held; then its
/// client hears 503, never 404; and it goes on when the coordinator does.
async fn a_frozen_one_keeps_its_query(mut gateway: Gateway, late: &Coordinator) {
    coordinator::run(&blue(), SLOW).await;
    coordinator::run(late.address(), SLOW).await;
    let client = gateway.client().to_owned();
    let mark = gateway.cluster("late").await["coordinator_id"].clone();
    let mark = mark.as_str().expect("a ready cluster shows its mark").to_owned();
    let page = loop {
        let posted = post(&client, "frozen", "SELECT * FROM blackhole.default.slow").await;
        let page = next(&client, &posted).await.expect("a page");
        if page["id"].as_str().is_some_and(|id| id.ends_with(&mark)) {
            break page;
        }
    };
    late.signal("STOP");
    gateway.kill_and_start_empty();
    until("blue is ready", async || gateway.cluster("blue").await["health"] == "ready").await;
    let uri = page["nextUri"].as_str().expect("it goes on");
    let path = path_of(uri);
    let began = warren::time::now();
    let answer = wire::ask(&client, "GET", path, &[("X-Trino-User", USER)], "").await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 503, "after {:?}", began.elapsed());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(began.elapsed() >= Duration::from_secs(15), "held for {:?} only", began.elapsed());
    late.signal("CONT");
    let (_, rows) = to_its_end(client, page).await;
    assert_eq!(rows, 200);
}

/// Whether the first query that the coordinator lists is not Warren's probe.
async fn first_is_before_probe(address: &str) -> bool {
    let headers = [("X-Trino-User", USER)];
    let answer = wire::ask(address, "GET", "/v1/query", &headers, "").await.expect("an answer");
    let list = coordinator::json(&answer);
    let mut queries = list.as_array().expect("a list").clone();
    queries.sort_by_key(|query| query["queryId"].as_str().unwrap_or_default().to_owned());
    queries[0]["session"]["source"] != "warren-probe"
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_go_on_after_a_kill_that_forgets_everything() {
    let gateway = Gateway::start(&[("blue", &blue()), ("green", &green())]).await;
    live_queries_go_on(gateway, || ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_go_on_after_a_kill_with_the_database_stopped() {
    let started = tokio::task::spawn_blocking(Server::start).await;
    let mut database = started.expect("a MariaDB of this test's own");
    let clusters = [("blue", blue()), ("green", green())];
    let clusters = clusters.each_ref().map(|(name, address)| (*name, address.as_str()));
    let mut gateway = Gateway::start_with_store(&database.url(), &clusters);
    gateway.wait_until_ready().await;
    live_queries_go_on(gateway, || database.kill()).await;
}

/// A hundred queries begin, `fall` happens and Warren is killed and started without what it knew.
#[expect(clippy::print_stdout, reason = "the figure is part of the report")]
async fn live_queries_go_on(mut gateway: Gateway, fall: impl FnOnce()) {
    for address in [blue(), green()] {
        coordinator::run(&address, SLOW).await;
    }
    let client = gateway.client().to_owned();
    let mut live = Vec::new();
    for _ in 0..100 {
        let posted = post(&client, "survivor", "SELECT * FROM blackhole.default.slow").await;
        live.push(next(&client, &posted).await.expect("a page"));
    }
    fall();
    gateway.kill_and_start_empty();
    gateway.wait_until_ready().await;

    let started = warren::time::now();
    let ends = live.into_iter().map(|page| tokio::spawn(to_its_end(client.clone(), page)));
    let (mut pages, mut fewest) = (0, u32::MAX);
    for end in ends.collect::<Vec<_>>() {
        let (asked, rows) = end.await.expect("its pages go on");
        assert_eq!(rows, 200);
        pages += asked;
        fewest = fewest.min(asked);
    }
    println!(
        "100 queries went on: {pages} pages after the restart, at least {fewest} a query, in {:?}",
        started.elapsed()
    );
    assert!(fewest >= 3, "a query asked for {fewest} pages only");
    until("no query is owned", async || {
        let owned = async |name| gateway.cluster(name).await["owned"].as_u64();
        owned("blue").await == Some(0) && owned("green").await == Some(0)
    })
    .await;
}

/// One query runs, fifty wait, and no other starts.
const ONE_AT_A_TIME: &str = r#"{
    "rootGroups": [{
        "name": "all", "softMemoryLimit": "100%", "hardConcurrencyLimit": 1, "maxQueued": 1000
    }],
    "selectors": [{ "group": "all" }]
}"#;

/// How long the full coordinator is watched.
const WATCH: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_coordinator_stays_ready_and_is_not_flooded_with_probes() {
    let groups = file("WARREN_TEST_FOLDER").join("one-at-a-time.json");
    std::fs::write(&groups, ONE_AT_A_TIME).expect("a writable folder");
    // As Trino is without settings for a proxy: it refuses forwarded headers.
    let groups = groups.display().to_string();
    let arguments = ["--no-process-forwarded", "--resource-groups", &groups];
    let full = Coordinator::start("full", &arguments);
    let clusters = [("full", full.address())];
    let mut gateways: Vec<Gateway> = Vec::new();
    for _ in 0..5 {
        gateways.push(Gateway::start_at_once(&clusters));
    }
    for gateway in &mut gateways {
        gateway.wait_until_ready().await;
    }
    // `follow` asserts that each page leads back to Warren.
    coordinator::follow(gateways[0].client(), &[], "SELECT 1").await;
    assert_eq!(gateways[0].cluster("full").await["addresses"], "host_only");
    let long =
        SLOW.replace("slow", "long").replace("pages_per_split = 20", "pages_per_split = 1000");
    coordinator::run(full.address(), &long).await;
    let mut waiting = Vec::new();
    for _ in 0..51 {
        let posted = post(full.address(), "filler", "SELECT * FROM blackhole.default.long").await;
        waiting.push(next(full.address(), &posted).await.expect("a page"));
    }
    let (began, mut probes) = (warren::time::now(), 0.0);
    for gateway in &gateways {
        probes -= gateway.figure(&["warren_probes_total", r#"probe="statement""#]).await;
    }
    while began.elapsed() < WATCH {
        for gateway in &gateways {
            let cluster = gateway.cluster("full").await;
            assert_eq!(cluster["health"], "ready", "{cluster}");
        }
        // Their clients live, so Trino keeps them; each waits for about a second.
        let asked = waiting.iter().map(|page| next(full.address(), page));
        waiting = join_all(asked).await.into_iter().map(|page| page.expect("it waits")).collect();
    }
    for gateway in &gateways {
        probes += gateway.figure(&["warren_probes_total", r#"probe="statement""#]).await;
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    assert!(probes >= 1.0, "no probe ran, so nothing was shown");
    assert!(probes / minutes <= 15.0, "{probes} probe statements in {minutes:.1} minutes");
}
