//! What operators want: no new query where they want none, through restarts and without the store;
//! settings that change under load; an end that fails nobody.

use std::time::Duration;

use warren::time;
use warren_stub::{RequestKind, Stub, StubOptions};

use crate::support::clients::{Load, Query, in_parallel};
use crate::support::gateway::{Gateway, Plan, replace};
use crate::support::mariadb::Server;
use crate::support::{eventually, tell};

const LIVE: &str = "SELECT n /* stub: run=1s rows=60 pages=20 */";

fn two() -> (Stub, Stub) {
    (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()))
}

/// Submits until `count` live queries are on `stub`; those on others are not read further.
fn live_on(gateway: &Gateway, stub: &Stub, count: usize) -> Vec<Query> {
    let client = gateway.client();
    let mut found = Vec::new();
    eventually("queries are on the cluster", || {
        let mut query = Query::submit(&client, LIVE).unwrap();
        if query.mark() == stub.coordinator_id() {
            query.pages(&client, 2).unwrap();
            found.push(query);
        }
        (found.len() == count).then_some(())
    });
    found
}

fn assert_none_goes_to(gateway: &Gateway, stub: &Stub) {
    for _ in 0..50 {
        let query = Query::run(&gateway.client(), "SELECT 2").unwrap();
        assert_ne!(query.mark(), stub.coordinator_id());
    }
}

fn finish(gateway: &Gateway, queries: Vec<Query>) {
    let client = gateway.client();
    let ends = in_parallel(queries, |mut query| query.finish(&client));
    let failed: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}

#[test]
fn a_draining_cluster_stays_draining_when_the_store_is_away() {
    let (blue, green) = two();
    let mut server = Server::start();
    let plan = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).store(&server.url());
    let mut gateway = plan.start_ready();
    let queries = live_on(&gateway, &blue, 10);
    assert_eq!(gateway.set_intent("blue", "draining"), 200);
    assert_none_goes_to(&gateway, &blue);
    finish(&gateway, queries);

    gateway.kill();
    server.kill();
    gateway.start();
    gateway.wait_until_ready();
    assert_eq!(gateway.cluster("blue").unwrap()["intent"], "draining");
    assert_none_goes_to(&gateway, &blue);
    assert_eq!(gateway.set_intent("blue", "active"), 503, "the store is away");
    assert_none_goes_to(&gateway, &blue);

    server.start_again();
    eventually("an intent can be set", || {
        (gateway.set_intent("blue", "active") == 200).then_some(())
    });
    live_on(&gateway, &blue, 1);
}

#[test]
fn a_cluster_that_leaves_the_file_ends_its_queries_first() {
    let (blue, green) = two();
    let clusters = [("blue", "bi", &blue), ("green", "bi", &green)];
    let plan = Plan::of(&clusters);
    let mut gateway = plan.clone().start_ready();
    let queries = live_on(&gateway, &blue, 20);
    let load = Load::start(4, &gateway.client(), "SELECT 2");
    gateway.settle(plan.without("blue"));
    eventually("blue is retired", || (gateway.cluster("blue")?["retired"] == true).then_some(()));
    assert_none_goes_to(&gateway, &blue);
    assert!(gateway.owned("blue") >= 20);
    load.more(50);
    finish(&gateway, queries);
    load.all_good();
    // Those that `live_on` did not want are on green; nobody else is on blue.
    eventually("blue is gone", || gateway.cluster("blue").is_none().then_some(()));
}

#[test]
fn bad_settings_leave_the_old_ones_in_force() {
    let (blue, green) = two();
    let clusters = [("blue", "bi", &blue), ("green", "bi", &green)];
    let gateway = Plan::of(&clusters).start_ready();
    let good = std::fs::read_to_string(gateway.settings_file()).unwrap();
    let load = Load::start(4, &gateway.client(), "SELECT 2");
    let bad = good.replace("[[clusters]]\nname = \"blue\"", "[[clusters]]\nnmae = \"blue\"");
    assert_ne!(bad, good);
    replace(&gateway.settings_file(), &bad);
    gateway.signal("HUP");
    eventually("the error is counted", || (gateway.figure("config_rejected") == 1).then_some(()));
    let log = gateway.log();
    assert!(log.contains("nmae") && log.contains("old ones stay in force"), "{log}");
    assert_eq!(gateway.clusters().len(), 2);
    load.more(50);
    replace(&gateway.settings_file(), &good);
    gateway.signal("HUP");
    eventually("they are good again", || (gateway.figure("config_rejected") == 0).then_some(()));
    load.more(50);
    load.all_good();
}

#[test]
fn an_end_waits_for_who_is_being_answered() {
    let blue = Stub::start(StubOptions::default());
    let mut gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let client = gateway.client();
    let mut query = Query::submit(&client, "SELECT n /* stub: run=1h pages=2 rows=2 */").unwrap();
    query.page(&client).unwrap();
    blue.clear_records();
    let polls = std::thread::spawn(move || query.page(&client).map(|()| query.next.is_some()));
    eventually("the long poll has arrived", || {
        (!blue.requests_of(RequestKind::Page).is_empty()).then_some(())
    });
    let began = time::now();
    gateway.signal("TERM");
    assert_eq!(polls.join().unwrap(), Ok(true));
    let status = gateway.ended();
    let took = began.elapsed();
    tell(&format!("warren ended {took:?} after SIGTERM"));
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_script_waits_until_a_cluster_is_ready_and_until_it_is_idle() {
    let (blue, green) = two();
    green.change(|behaviour| behaviour.starting = true);
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start();
    gateway.wait_until("blue", "ready");
    let wait = |name: &str, state: &str, timeout: &str| {
        gateway.run(&["clusters", "wait", name, state, "--timeout", timeout])
    };
    let late = wait("green", "ready", "1s");
    let told = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late.status.code(), Some(1), "{told}");
    assert!(told.contains("wait longer than 1s: green is starting"), "{told}");
    assert_eq!(wait("mauve", "ready", "1s").status.code(), Some(2));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| wait("green", "ready", "60s"));
        green.change(|behaviour| behaviour.starting = false);
        assert_eq!(waits.join().unwrap().status.code(), Some(0));
    });
    assert_eq!(gateway.cluster("green").unwrap()["health"], "ready");

    let queries = live_on(&gateway, &blue, 3);
    assert_eq!(gateway.set_intent("blue", "draining"), 200);
    let late = wait("blue", "idle", "1s");
    let told = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late.status.code(), Some(1), "{told}");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| wait("blue", "idle", "120s"));
        finish(&gateway, queries);
        let ended = time::now();
        assert_eq!(waits.join().unwrap().status.code(), Some(0));
        assert!(ended.elapsed() > Duration::from_secs(5), "it waits until it is surely so");
    });
    // A probe may run there at this moment; what clients sent would run on.
    eventually("nothing runs there", || (blue.counts().running == 0).then_some(()));
}
