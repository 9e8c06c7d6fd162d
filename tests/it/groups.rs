//! What a group does when its own clusters cannot take a query: a standby stands in, another group
//! takes it, or clients are told at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use warren::time::{self, Instant};
use warren_stub::client::Client;
use warren_stub::{Stub, StubOptions};

use crate::support::clients::{Load, Query};
use crate::support::gateway::{Gateway, Plan};
use crate::support::{eventually, tell};

fn two() -> [Stub; 2] {
    [(); 2].map(|()| Stub::start(StubOptions::default()))
}

fn plan([blue, green]: &[Stub; 2]) -> Plan {
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green)])
}

fn gone(stub: &Stub) {
    stub.refuse();
    stub.disconnect();
}

fn intents(gateway: &Gateway) -> [Value; 2] {
    ["blue", "green"].map(|name| gateway.cluster(name).unwrap()["intent"].clone())
}

/// What a query of a client ends with that nobody can take.
fn refusal(gateway: &Gateway) -> String {
    let answer = gateway.client().submit("SELECT 1").unwrap();
    assert_eq!(answer.status, 200);
    answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_standby_stands_in_at_once_and_is_made_the_active_one() {
    let stubs = two();
    let plan = plan(&stubs).setting("groups.bi", "mode = \"active-standby\"");
    let gateway = plan.setting("groups.bi", "auto_failover = true").start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    let load = Load::start(4, &gateway.client(), "SELECT n /* stub: run=20ms rows=4 pages=2 */");
    load.more(50);
    let on_green = |stub: &Stub| stub.queries().iter().filter(|q| q.source.is_none()).count();
    assert_eq!(on_green(&stubs[1]), 0, "the active one takes all");

    // Its queries are done: what is tested is where new ones go.
    load.all_good();
    gone(&stubs[0]);
    let began = time::now();
    let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
    tell(&format!("a query ended on the standby {:?} after the fall", began.elapsed()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(query.mark(), stubs[1].coordinator_id());
    let load = Load::start(4, &gateway.client(), "SELECT n /* stub: run=20ms rows=4 pages=2 */");
    eventually("it is made the active one", || {
        (intents(&gateway) == ["standby", "active"]).then_some(())
    });
    load.more(50);
    load.all_good();
    let told = gateway.log();
    assert!(told.contains("a standby is made the active cluster"), "{told}");

    stubs[0].accept();
    gateway.wait_until("blue", "ready");
    let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
    assert_eq!(query.mark(), stubs[1].coordinator_id(), "who came back stands by");
    assert_eq!(intents(&gateway), ["standby", "active"]);
}

#[test]
fn without_failover_nobody_stands_in() {
    let stubs = two();
    let plan =
        plan(&stubs).timeout("submit", "1s").timeout("answer", "1s").timeout("connect", "1s");
    let gateway = plan.start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    gone(&stubs[0]);
    let told = eventually("the client is told", || {
        let told = refusal(&gateway);
        (!told.is_empty()).then_some(told)
    });
    assert!(told.contains("no cluster of the routing group 'bi' can take a query now"), "{told}");
    assert_eq!(intents(&gateway), ["active", "standby"]);
}

#[test]
fn in_active_standby_the_first_of_several_active_ones_takes_all() {
    let stubs = two();
    let gateway = plan(&stubs).setting("groups.bi", "mode = \"active-standby\"").start_ready();
    for _ in 0..20 {
        let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
        assert_eq!(query.mark(), stubs[0].coordinator_id());
    }
    gone(&stubs[0]);
    let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
    assert_eq!(query.mark(), stubs[1].coordinator_id(), "the next one is active too");
}

#[test]
fn another_group_takes_over_and_says_so() {
    let stubs = two();
    let [blue, green] = &stubs;
    let gateway = Plan::of(&[("blue", "bi", blue), ("green", "olap", green)])
        .setting("groups.bi", "fallback = [\"olap\"]")
        .setting("groups.bi", "reject = \"bi is closed, ask in #data\"")
        .start_ready();
    let explain = || {
        let answer = gateway.operator().send("POST", "/api/v1/explain", "{}").unwrap().json();
        [answer["group"].clone(), answer["instead_of"].clone(), answer["cluster"].clone()]
    };
    assert_eq!(explain(), [Value::from("bi"), Value::Null, Value::from("blue")]);
    gone(blue);
    let query = Query::run(&gateway.client(), "SELECT 1").unwrap();
    assert_eq!(query.mark(), green.coordinator_id());
    assert_eq!(explain(), ["olap", "bi", "green"].map(Value::from));
    assert!(gateway.metric("warren_fallbacks_total{group=\"bi\",to=\"olap\"}") >= Some(1));

    gone(green);
    let began = time::now();
    let told = eventually("both are away", || {
        let told = refusal(&gateway);
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told, "bi is closed, ask in #data");
    tell(&format!("the refusal came {:?} after the second fall", began.elapsed()));
    blue.accept();
    eventually("it is open again", || Query::run(&gateway.client(), "SELECT 1").ok());
}

/// Clients that query without a pause while clusters fall.
const CLIENTS: usize = 8;

/// A query of a client in a run in which clusters fall.
struct Ran {
    /// When its submit was answered, if it was.
    answered: Option<Instant>,
    mark: String,
    end: Result<(), String>,
}

fn run_one(client: &Client) -> Ran {
    match Query::submit(client, "SELECT n /* stub: run=50ms rows=4 pages=2 */") {
        Err(error) => Ran { answered: None, mark: String::new(), end: Err(error) },
        Ok(mut query) => {
            let answered = Some(time::now());
            Ran { answered, mark: query.mark().to_owned(), end: query.finish(client) }
        }
    }
}

/// All clusters of one zone vanish at once under load. Queries that had begun there are lost; those that
/// are submitted from then on all end well.
#[test]
fn the_loss_of_a_zone_fails_no_new_query() {
    let stubs = [(); 4].map(|()| Stub::start(StubOptions::default()));
    let names = ["a1", "a2", "b1", "b2"];
    let mut plan = Plan::of(&[0, 1, 2, 3].map(|nth| (names[nth], "bi", &stubs[nth])));
    for (name, zone) in names.iter().zip(["a", "a", "b", "b"]) {
        plan = plan.setting(&format!("clusters.{name}"), &format!("zone = \"{zone}\""));
    }
    let gateway = plan.timeout("ask", "1s").timeout("page_hold", "1s").start_ready();
    let lost = [0, 1].map(|nth: usize| stubs[nth].coordinator_id());
    let in_a = |ran: &Ran| lost.contains(&ran.mark);
    let (client, stop) = (gateway.client(), AtomicBool::new(false));
    let (lost_at, runs) = std::thread::scope(|scope| {
        let work = || {
            let mut runs = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                runs.push(run_one(&client));
            }
            runs
        };
        let clients = [(); CLIENTS].map(|()| scope.spawn(work));
        let carried = |zone: &str| {
            gateway.metric(&format!("warren_zone{{figure=\"load\",group=\"bi\",zone=\"{zone}\"}}"))
        };
        eventually("both zones carry something", || {
            (carried("a")? > 0 && carried("b")? > 0).then_some(())
        });
        gone(&stubs[0]);
        gone(&stubs[1]);
        let lost_at = time::now();
        eventually("they are taken out", || {
            names[..2].iter().all(|name| !gateway.is_ready(name)).then_some(())
        });
        let before = stubs[2].queries().len() + stubs[3].queries().len();
        // Some of these were moved here, so they are more than those that clients end.
        eventually("the others work on", || {
            (stubs[2].queries().len() + stubs[3].queries().len() > before + 150).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let runs = clients.into_iter().flat_map(|client| client.join().unwrap());
        (lost_at, runs.collect::<Vec<_>>())
    });
    let (old, new): (Vec<_>, Vec<_>) =
        runs.into_iter().partition(|ran| ran.answered.is_some_and(|at| at < lost_at));
    let failed: Vec<_> = new.iter().filter_map(|ran| ran.end.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} new ones failed: {failed:?}", failed.len(), new.len());
    // An answer of zone a may have been on its way to each client; that query was moved before it began.
    let moved = new.iter().filter(|ran| in_a(ran)).count();
    assert!(new.len() >= 100 && moved <= CLIENTS, "{} new ones, {moved} in zone a", new.len());
    assert!(old.iter().any(in_a), "zone a had some");
    let elsewhere = old.iter().find(|ran| ran.end.is_err() && !in_a(ran));
    assert!(elsewhere.is_none(), "one failed that ran in zone b");
    let list = gateway.run(&["clusters", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("zones of bi: a carries "), "{list}");
    assert!(list.contains("0 of 2 take queries; b carries "), "{list}");
    assert!(list.contains("2 of 2 take queries\n"), "{list}");
}

/// Blue has one query that works and two that wait, green has 60 that work: a gap that is larger than what
/// others may have sent meanwhile.
#[test]
fn queries_that_wait_may_count_for_more() {
    let stubs = two();
    let even = plan(&stubs).start_ready();
    let weighed = plan(&stubs).setting("groups.bi", "queued_weight = 100").start_ready();
    stubs[0].change(|behaviour| behaviour.max_running = 1);
    for (stub, count) in stubs.iter().zip([3, 60]) {
        let past = Client::new(stub.addr());
        for _ in 0..count {
            let mut query = Query::submit(&past, "SELECT n /* stub: run=1h */").unwrap();
            query.page(&past).unwrap();
        }
    }
    for (gateway, place) in [(&even, 0), (&weighed, 1)] {
        eventually("the lists are known", || {
            let [blue, green] = ["blue", "green"].map(|name| gateway.cluster(name).unwrap());
            (blue["queued"] == 2 && green["running"] == 60).then_some(())
        });
        let told = gateway.operator().send("POST", "/api/v1/explain", "{}").unwrap().json();
        assert_eq!(told["cluster"], ["blue", "green"][place], "{told}");
        let query = Query::submit(&gateway.client(), "SELECT 1").unwrap();
        assert_eq!(query.mark(), stubs[place].coordinator_id());
    }
}
