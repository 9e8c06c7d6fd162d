//! Every page reaches the coordinator that has its query: after a SIGKILL, without the store, and
//! whatever ids clients make up.

use std::time::Duration;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{QueryRecord, Stub, StubOptions};

use crate::support::clients::{Load, Query, in_parallel};
use crate::support::gateway::{Gateway, Plan};
use crate::support::mariadb::Server;
use crate::support::{PATIENCE, eventually, tell, within};

/// How many queries live through a restart.
const LIVE: usize = 1000;
/// Pages that each must be asked after it.
const PAGES_AFTER: u64 = 3;

fn three() -> [Stub; 3] {
    [(); 3].map(|()| Stub::start(StubOptions::default()))
}

fn plan(stubs: &[Stub; 3]) -> Plan {
    let [blue, green, red] = stubs;
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green), ("red", "bi", red)])
}

/// How many queries of clients have begun on a stub and not ended.
fn live(stub: &Stub) -> usize {
    let lives = |query: &QueryRecord| {
        let probe = query.source.as_deref() == Some("warren-probe");
        !probe && query.executed && matches!(query.state, "QUEUED" | "RUNNING")
    };
    stub.queries().iter().filter(|query| lives(query)).count()
}

/// Begins many queries, lets `fall` end and start the gateway, and reads them to their ends.
fn queries_live_through(stubs: &[Stub; 3], mut gateway: Gateway, fall: impl FnOnce(&mut Gateway)) {
    let client = gateway.client();
    let begin = |_| {
        let mut query = Query::submit(&client, "SELECT n /* stub: run=1s rows=5 pages=5 */")?;
        query.page(&client).map(|()| query)
    };
    let begun: Result<Vec<Query>, String> =
        in_parallel((0..LIVE).collect(), begin).into_iter().collect();
    let begun = begun.unwrap();
    let each = stubs.each_ref().map(live);
    assert_eq!(each.iter().sum::<usize>(), LIVE, "{each:?}");
    assert!(each.iter().all(|live| *live > LIVE / 5), "{each:?}");

    fall(&mut gateway);
    gateway.wait_until_ready();
    let client = gateway.client();
    let ends = in_parallel(begun, |mut query| {
        let before = query.pages;
        query.finish(&client).map(|()| query.pages - before)
    });
    let failed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {LIVE} failed: {:?}", failed.len(), failed[0]);
    let pages: Vec<u64> = ends.into_iter().flatten().collect();
    let fewest = pages.iter().min().copied().unwrap_or_default();
    tell(&format!(
        "{} pages of {LIVE} queries were asked after the restart, at least {fewest} of each",
        pages.iter().sum::<u64>()
    ));
    assert!(fewest >= PAGES_AFTER, "{fewest}");
    for stub in stubs {
        assert_eq!(stub.foreign_ids(), (0, Vec::new()), "asked for a query of another");
        assert_eq!(live(stub), 0);
    }
}

#[test]
fn queries_live_through_a_sigkill_and_an_empty_database() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    queries_live_through(&stubs, gateway, |gateway| {
        gateway.kill();
        gateway.forget();
        gateway.start();
    });
}

#[test]
fn queries_live_through_a_sigkill_without_the_store() {
    let stubs = three();
    let mut server = Server::start();
    let gateway = plan(&stubs).store(&server.url()).start_ready();
    queries_live_through(&stubs, gateway, |gateway| {
        server.kill();
        gateway.kill();
        gateway.forget();
        gateway.start();
    });
}

#[test]
fn an_outage_of_the_store_fails_nobody_and_loses_no_history() {
    let stubs = three();
    let mut server = Server::start();
    let gateway = plan(&stubs).store(&server.url()).start_ready();
    let outage = Duration::from_secs(60);
    let client = gateway.client();
    let load = Load::start(6, &client, "SELECT n /* stub: run=100ms rows=4 pages=2 */");
    load.more(50);
    server.kill();
    let before = load.done();
    let end = time::now() + outage;
    within(outage + PATIENCE, "the outage ends", || (time::now() >= end).then_some(()));
    assert_eq!(gateway.figure("store_up"), 0);
    let during = load.done() - before;
    assert!(during > 20, "{during} queries ended during the outage");
    server.start_again();
    load.more(50);
    let queries = load.all_good();
    let pages: u64 = queries.iter().map(|query| query.pages).sum();
    tell(&format!(
        "{} queries and {pages} pages, {during} of the queries within the outage of {outage:?}: \
         none failed",
        queries.len()
    ));
    let count = |condition: &str| {
        server.ask("warren", &format!("SELECT count(*) FROM query_routes WHERE {condition}"))
    };
    let expected = queries.len() as u64;
    let mut rows = (0, 0);
    within(PATIENCE, "the history is complete", || {
        // The whole ones first: rows still come between the two answers.
        let whole = count("submitted_ms IS NOT NULL AND ended_ms IS NOT NULL");
        rows = (count("TRUE"), whole);
        // Of the last ones the end may be noted a moment after their clients saw it.
        (gateway.figure("journal_pending") == 0 && rows.1 >= expected).then_some(())
    });
    assert_eq!(rows, (expected, expected));
    let lost = ["journal_dropped", "journal_corrupt", "store_rejected"];
    assert_eq!(lost.map(|figure| gateway.figure(figure)), [0; 3]);
}

/// A page of a query that nobody has.
fn page_of(id: &str) -> String {
    format!("/v1/statement/executing/{id}/y0123456789abcdef0123456789abcdef01234567/0")
}

#[test]
fn what_all_clusters_disown_is_unknown() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    let began = time::now();
    let answer = gateway.client().get(&page_of("20260101_000000_00000_qqqqq")).unwrap();
    assert_eq!(answer.status, 404, "{}", String::from_utf8_lossy(&answer.body));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let asked = stubs.iter().map(|stub| stub.foreign_ids().0).collect::<Vec<_>>();
    assert_eq!(asked, [1, 1, 1], "each was asked once");
    // It is remembered for a moment that nobody has it.
    assert_eq!(gateway.client().get(&page_of("20260101_000000_00000_qqqqq")).unwrap().status, 404);
    assert_eq!(stubs.map(|stub| stub.foreign_ids().0), [1, 1, 1]);
}

#[test]
fn a_query_of_a_frozen_cluster_is_held_and_goes_on() {
    let stubs = three();
    let plan = plan(&stubs).timeout("page_hold", "2s").timeout("ask", "500ms");
    let mut gateway = plan.start_ready();
    let client = gateway.client();
    let blue = &stubs[0];
    let mut query = eventually("a query is on blue", || {
        let query =
            Query::submit(&client, "SELECT n /* stub: run=100ms rows=5 pages=5 */").unwrap();
        (query.mark() == blue.coordinator_id()).then_some(query)
    });
    query.page(&client).unwrap();
    blue.freeze();
    gateway.kill();
    gateway.forget();
    gateway.start();
    gateway.wait_until("green", "ready");
    gateway.wait_until("red", "ready");

    let next = query.next.clone().unwrap();
    let began = time::now();
    let answer = gateway.client().get(&next).unwrap();
    let took = began.elapsed();
    assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(6), "{took:?}");

    let client = gateway.client();
    let waiting = std::thread::spawn(move || query.finish(&client).map(|()| query));
    let held = "warren_held_requests{kind=\"page\"}";
    eventually("the next one is held", || (gateway.metric(held) == Some(1)).then_some(()));
    blue.thaw();
    let query = waiting.join().unwrap().unwrap();
    assert_eq!((query.next, query.pages >= 5), (None, true));
    assert_eq!(blue.foreign_ids().0, 0);
}

#[test]
fn what_clients_make_up_teaches_nothing() {
    let stubs = three();
    let gateway = plan(&stubs).start_ready();
    let client = gateway.client();
    let mut real = Query::submit(&client, "SELECT n /* stub: run=100ms rows=5 pages=5 */").unwrap();
    real.page(&client).unwrap();
    let known = |gateway: &Gateway| {
        let owned = ["blue", "green", "red"].map(|name| gateway.owned(name));
        (owned, gateway.figure("hot_routes"), gateway.figure("coordinators"))
    };
    let before = known(&gateway);
    let mark = stubs[0].coordinator_id();
    let ask = |number: usize| {
        let id = format!("20260101_000000_{number:05}_{mark}");
        if number.is_multiple_of(10) { cancel(&client, &id) } else { page(&client, &id) }
    };
    let answers = in_parallel((0..10_000).collect(), ask);
    let odd: Vec<_> = answers.iter().filter(|status| !matches!(status, 204 | 404)).collect();
    assert!(odd.is_empty(), "{} odd answers: {:?}", odd.len(), odd[0]);
    assert_eq!(known(&gateway), before);
    assert_eq!(stubs[1].foreign_ids().0 + stubs[2].foreign_ids().0, 0, "nobody else was asked");
    real.finish(&client).unwrap();
}

fn page(client: &Client, id: &str) -> u16 {
    client.get(&page_of(id)).unwrap().status
}

fn cancel(client: &Client, id: &str) -> u16 {
    client.send("DELETE", &format!("/v1/query/{id}"), "").unwrap().status
}
