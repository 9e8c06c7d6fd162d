//! What is left at a draining cluster beside the queries that Warren carries: transactions, unread
//! segments, clients that walked away, queries that came past it. With two gateways on one store, each of
//! which sees a part.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{Stub, StubOptions};

use crate::pinned::{path, run, told};
use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};
use crate::support::mariadb::Server;

/// A query that nobody asked for that long is over.
const WALKED_AWAY: u64 = 4;

fn two() -> [Stub; 2] {
    let options = || StubOptions::default().with(|told| told.client_timeout_seconds = WALKED_AWAY);
    [(); 2].map(|()| Stub::start(options()))
}

fn plan([blue, green]: &[Stub; 2], server: &Server) -> Plan {
    let plan = Plan::of(&[("blue", "bi", blue), ("green", "bi", green)]);
    plan.store(&server.url()).timeout("answer", "1s")
}

/// Begins a transaction; its id.
fn begin(client: &Client) -> String {
    let begun = run(&client.clone().with("X-Trino-Transaction-Id", "NONE"), "START TRANSACTION");
    told(&begun.unwrap(), "x-trino-started-transaction-id").unwrap()
}

/// Runs a query with spooled results to its end; where its segments are acknowledged.
fn spool(client: &Client) -> Vec<String> {
    let client = client.clone().with("X-Trino-Query-Data-Encoding", "json");
    let pages = run(&client, "SELECT n /* stub: rows=40 pages=2 spooled=3 */").unwrap();
    let segments = pages.iter().flat_map(|page| {
        let page = page.json();
        page["data"]["segments"].as_array().cloned().unwrap_or_default()
    });
    segments.map(|segment| path(segment["ackUri"].as_str().unwrap()).to_owned()).collect()
}

/// Asks for pages of a query that takes ten minutes, until it is told to stop; then cancels it.
fn long_query(client: &Client, stop: &AtomicBool) {
    let mut query = Query::submit(client, "SELECT n /* stub: run=10m */").unwrap();
    while !stop.load(Ordering::Relaxed) {
        query.page(client).unwrap();
    }
    let path = format!("/v1/query/{}", query.id);
    assert_eq!(client.send("DELETE", &path, "").unwrap().status, 204);
}

/// Lets long queries end, also when the test fails.
struct Stops([AtomicBool; 2]);

struct StopsAll<'a>(&'a Stops);

impl Drop for StopsAll<'_> {
    fn drop(&mut self) {
        self.0.0.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

/// What a gateway says is left at blue, and whether it may be stopped.
fn left(gateway: &Gateway) -> (String, bool) {
    let answer = gateway.operator().get("/api/v1/clusters/blue/left").unwrap().json();
    (answer["text"].as_str().unwrap_or_default().to_owned(), answer["drained"] == true)
}

/// Waits until both say this is left, and that it may not be stopped for it.
fn wait_for(gateways: &[Gateway; 2], text: &str) {
    for gateway in gateways {
        eventually(&format!("left is {text}"), || {
            let (told, drained) = left(gateway);
            assert!(!drained, "drained was said while there was {text}");
            (told == text).then_some(())
        });
    }
}

fn drain(gateway: &Gateway) -> Child {
    let settings = gateway.settings_file();
    Command::new(env!("CARGO_BIN_EXE_warren"))
        .args(["clusters", "drain", "blue", "--wait", "--timeout", "2m", "--config"])
        .arg(&settings)
        .current_dir(settings.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it printed, once it has ended well.
fn output(child: Child) -> String {
    let done = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}: {text}", done.status);
    text
}

#[test]
fn drained_is_said_exactly_when_it_may() {
    let (stubs, server) = (two(), Server::start());
    let gateways = [(); 2].map(|()| plan(&stubs, &server).start_ready());
    let [one, other] = &gateways;
    assert_eq!(one.set_intent("green", "standby"), 200);
    eventually("the other one follows", || {
        (other.cluster("green")?["intent"] == "standby").then_some(())
    });
    let (one, other, past) = (one.client(), other.client(), Client::new(stubs[0].addr()));
    let stops = Stops([(); 2].map(|()| AtomicBool::new(false)));
    std::thread::scope(|scope| {
        let _at_last = StopsAll(&stops);
        scope.spawn(|| long_query(&one, &stops.0[0]));
        scope.spawn(|| long_query(&past, &stops.0[1]));
        let transaction = begin(&other);
        let inside = |client: &Client| client.clone().with("X-Trino-Transaction-Id", &transaction);
        let mut segments = spool(&one);
        assert_eq!(segments.len(), 6);
        let mut left_alone = Query::submit(&other, "SELECT n /* stub: run=10m */").unwrap();
        left_alone.page(&other).unwrap();
        let walked_away = time::now();

        let drain = drain(&gateways[0]);
        wait_for(&gateways, "3 queries, 1 open transaction, 6 spooled segments");
        wait_for(&gateways, "2 queries, 1 open transaction, 6 spooled segments");
        assert!(walked_away.elapsed() >= Duration::from_secs(WALKED_AWAY - 1));
        stops.0[1].store(true, Ordering::Relaxed);
        wait_for(&gateways, "1 query, 1 open transaction, 6 spooled segments");
        stops.0[0].store(true, Ordering::Relaxed);
        wait_for(&gateways, "1 open transaction, 6 spooled segments");

        // Each gateway ends what the other one saw begin.
        let last = segments.pop().unwrap();
        for (place, ack) in segments.iter().enumerate() {
            let client = if place % 2 == 0 { &one } else { &other };
            assert_eq!(client.get(ack).unwrap().status, 200, "{ack}");
        }
        wait_for(&gateways, "1 open transaction, 1 spooled segment");
        run(&inside(&one), "SELECT 1").unwrap();
        run(&inside(&one), "COMMIT").unwrap();
        wait_for(&gateways, "1 spooled segment");
        assert_eq!(stubs[0].segments(), 1);
        assert_eq!(other.get(&last).unwrap().status, 200);

        let told = output(drain);
        assert!(told.contains("1 open transaction, 6 spooled segments"), "{told}");
        assert!(told.ends_with(" of the intents)\n") && told.contains("is now drained"), "{told}");
    });
    assert_eq!(left(&gateways[1]), ("nothing".to_owned(), true));
}

/// The transaction outlives the gateway that saw it begin, and so does the command that waits for it.
#[test]
fn what_is_open_is_known_after_a_restart() {
    let (stubs, server) = (two(), Server::start());
    let mut gateway = plan(&stubs, &server).start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    let transaction = begin(&gateway.client());
    let segments = spool(&gateway.client());
    let drain = drain(&gateway);
    eventually("it is draining", || {
        (gateway.cluster("blue")?["intent"] == "draining").then_some(())
    });
    let said = "SELECT COUNT(*) FROM holdings WHERE document LIKE '%\"transactions\":[{%'";
    eventually("the store knows it", || (server.ask("warren", said) == 1).then_some(()));
    gateway.kill();
    gateway.start();
    gateway.wait_until_ready();
    let text = "1 open transaction, 6 spooled segments";
    eventually("it is still known", || (left(&gateway) == (text.to_owned(), false)).then_some(()));
    let inside = gateway.client().with("X-Trino-Transaction-Id", &transaction);
    run(&inside, "COMMIT").unwrap();
    for ack in &segments {
        assert_eq!(gateway.client().get(ack).unwrap().status, 200);
    }
    let told = output(drain);
    assert!(told.contains("is now drained"), "{told}");
}
