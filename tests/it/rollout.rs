//! One cluster takes over from another while queries run: no query is lost, whoever dies meanwhile,
//! and what is said to be drained is drained.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use warren::time;
use warren_stub::{QueryRecord, RequestKind, Stub, StubOptions};

use crate::support::clients::{Load, Query};
use crate::support::gateway::{Gateway, Plan};
use crate::support::mariadb::Server;
use crate::support::{PATIENCE, eventually, tell};

fn two() -> [Stub; 2] {
    [(); 2].map(|()| Stub::start(StubOptions::default()))
}

fn plan([blue, green]: &[Stub; 2]) -> Plan {
    Plan::of(&[("blue", "bi", blue), ("green", "bi", green)])
}

/// Blue is active, green stands by.
fn start(plan: Plan) -> Gateway {
    let gateway = plan.start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    gateway
}

const START: [&str; 5] = ["rollout", "start", "bi", "--to", "green"];

fn said(done: &Output) -> String {
    let [out, err] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

fn newest(gateway: &Gateway) -> Value {
    let list = gateway.operator().get("/api/v1/rollouts?limit=1").ok();
    list.and_then(|answer| answer.json().get(0).cloned()).unwrap_or(Value::Null)
}

fn wait_for(gateway: &Gateway, phase: &str) -> Value {
    let end = time::now() + PATIENCE;
    loop {
        let rollout = newest(gateway);
        if rollout["phase"] == phase {
            return rollout;
        }
        assert!(time::now() < end, "not {phase}: {rollout}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn intents(gateway: &Gateway) -> [String; 2] {
    ["blue", "green"].map(|name| gateway.cluster(name).unwrap()["intent"].as_str().unwrap().into())
}

/// A query on `stub` that runs until it is cancelled; those that fall elsewhere are cancelled.
fn endless_on(gateway: &Gateway, stub: &Stub) -> Query {
    let client = gateway.client();
    eventually("one is there", || {
        let mut query = Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap();
        query.pages(&client, 2).unwrap();
        if query.mark() == stub.coordinator_id() {
            return Some(query);
        }
        cancel(gateway, &query);
        None
    })
}

fn cancel(gateway: &Gateway, query: &Query) {
    let path = format!("/v1/query/{}", query.id);
    assert_eq!(gateway.client().send("DELETE", &path, "").unwrap().status, 204);
}

fn lives(query: &QueryRecord) -> bool {
    let probe = query.source.as_deref() == Some("warren-probe");
    !probe && query.executed && matches!(query.state, "QUEUED" | "RUNNING")
}

#[test]
fn one_takes_over_and_the_other_finishes_its_queries() {
    let stubs = two();
    let gateway = start(plan(&stubs));
    let load = Load::start(6, &gateway.client(), "SELECT n /* stub: run=50ms rows=4 pages=2 */");
    load.more(50);
    let long = endless_on(&gateway, &stubs[0]);
    let begun = gateway.run(&START);
    assert!(begun.status.success(), "{}", said(&begun));
    let again = gateway.run(&START);
    assert_eq!(again.status.code(), Some(4), "one at a time: {}", said(&again));
    let draining = wait_for(&gateway, "draining");
    assert_eq!(draining["from"], serde_json::json!(["blue"]));
    load.more(50);
    let status = said(&gateway.run(&["rollout", "status"]));
    assert!(status.contains("left     blue: 1 queries"), "{status}");
    let posts = stubs[0].request_count(RequestKind::Submit);
    load.more(50);
    // Probes submit too; clients do not.
    let probes =
        stubs[0].requests_of(RequestKind::Submit).into_iter().skip(posts.try_into().unwrap());
    assert!(probes.into_iter().all(|post| post.header("x-trino-source") == Some("warren-probe")));
    assert_eq!(newest(&gateway)["phase"], "draining");

    cancel(&gateway, &long);
    let done = wait_for(&gateway, "done");
    assert_eq!(intents(&gateway), ["drained", "active"]);
    assert!(!stubs[0].queries().iter().any(lives));
    let phases: Vec<_> =
        done["steps"].as_array().unwrap().iter().map(|s| s["phase"].clone()).collect();
    assert_eq!(phases, ["waiting", "shifting", "draining", "deactivating", "done"]);
    stubs[0].stop();
    load.more(50);
    load.all_good();
    let back =
        gateway.run(&["rollout", "start", "bi", "--to", "blue", "--wait", "--drain-timeout", "x"]);
    assert_eq!(back.status.code(), Some(4), "{}", said(&back));
    assert!(said(&back).contains("`x` is no time"), "{}", said(&back));
}

#[test]
fn a_target_that_was_just_stopped_is_not_taken_for_ready() {
    let stubs = two();
    // It is held for ready as long as that.
    let gateway = start(plan(&stubs).setting("health", "fall = 100"));
    stubs[1].refuse();
    stubs[1].disconnect();
    assert!(gateway.run(&START).status.success());
    eventually("the rollout waits for an answer", || {
        let told = newest(&gateway)["text"].as_str().unwrap_or_default().to_owned();
        told.ends_with("is ready: it has not answered since the rollout began").then_some(())
    });
    assert!(gateway.is_ready("green"));
    assert_eq!(newest(&gateway)["phase"], "waiting");
    stubs[1].accept();
    wait_for(&gateway, "done");
    assert_eq!(intents(&gateway), ["drained", "active"]);
}

#[test]
fn a_rollout_goes_on_when_its_gateway_is_killed_in_any_phase() {
    let stubs = two();
    let gateway = start(plan(&stubs).supervised());
    let kill = || {
        let workers = gateway.workers();
        for worker in workers {
            // It may have ended since.
            let _ended = Command::new("kill").args(["-KILL", &worker.to_string()]).status();
        }
    };
    let client = gateway.client();
    // Not while a worker is killed: an answer that is cut off then fails its client.
    let runs =
        || drop(Query::run(&client, "SELECT n /* stub: run=50ms rows=4 pages=2 */").unwrap());
    runs();
    let long = endless_on(&gateway, &stubs[0]);
    // The target is away at first, so that each phase lasts.
    stubs[1].refuse();
    stubs[1].disconnect();
    gateway.wait_until("green", "unhealthy");
    assert!(gateway.run(&START).status.success());
    for phase in ["waiting", "draining"] {
        if phase == "draining" {
            stubs[1].accept();
        }
        wait_for(&gateway, phase);
        kill();
        wait_for(&gateway, phase);
        runs();
    }
    let long_id = long.id.clone();
    cancel(&gateway, &long);
    kill();
    wait_for(&gateway, "done");
    let ended = stubs[0].query(&long_id).unwrap();
    assert!(!lives(&ended), "it was said to be drained while {ended:?}");
    runs();
}

#[test]
fn a_canary_gets_its_share_and_one_that_fails_gets_none() {
    let stubs = two();
    let gateway = start(plan(&stubs));
    let client = gateway.client();
    let begun = gateway.run(&[&START[..], &["--canary", "30%:1h"]].concat());
    assert!(begun.status.success(), "{}", said(&begun));
    wait_for(&gateway, "canary");
    eventually("it gets a query", || {
        let query = Query::run(&client, "SELECT 1").unwrap();
        (query.mark() == stubs[1].coordinator_id()).then_some(())
    });
    let marks: Vec<_> = (0..200).map(|_| Query::run(&client, "SELECT 1").unwrap()).collect();
    let own = marks.iter().filter(|query| query.mark() == stubs[1].coordinator_id()).count();
    tell(&format!("{own} of 200 queries went to a canary of 30 %"));
    assert!((30..=90).contains(&own), "{own}");
    assert_eq!(newest(&gateway)["phase"], "canary");

    let failing = "SELECT n /* stub: fail=DIVISION_BY_ZERO */";
    let aborted = eventually("it does worse", || {
        let answer = client.submit(failing).unwrap();
        let mut next = answer.next();
        let own =
            answer.json()["id"].as_str().unwrap_or_default().ends_with(&stubs[1].coordinator_id());
        // Only those at the canary are followed to their failure.
        while let (true, Some(uri)) = (own, next) {
            next = client.get(&uri).unwrap().next();
        }
        let rollout = newest(&gateway);
        (rollout["phase"] == "aborted").then_some(rollout)
    });
    assert!(aborted["text"].as_str().unwrap().contains("does worse"), "{aborted}");
    assert_eq!(intents(&gateway), ["active", "standby"]);
    for _ in 0..50 {
        let query = Query::run(&client, "SELECT 1").unwrap();
        assert_eq!(query.mark(), stubs[0].coordinator_id());
    }
    assert_eq!(gateway.run(&["rollout", "status"]).status.code(), Some(4));
}

#[test]
fn an_abort_gives_the_traffic_back_and_hooks_hear_of_each_phase() {
    let stubs = two();
    let hook =
        "[rollouts]\ncommand = [\"sh\", \"-c\", \"cat >> told; echo >> told; test ! -e stop\"]\n";
    let gateway = start(plan(&stubs).sections(hook));
    let folder = gateway.settings_file().parent().unwrap().to_owned();
    let long = endless_on(&gateway, &stubs[0]);
    std::fs::write(folder.join("stop"), "").unwrap();
    assert!(gateway.run(&START).status.success());
    eventually("the hook's failure is told", || {
        newest(&gateway)["text"].as_str()?.contains("rollouts.command").then_some(())
    });
    assert_eq!(newest(&gateway)["phase"], "waiting");
    std::fs::remove_file(folder.join("stop")).unwrap();
    wait_for(&gateway, "draining");
    assert_eq!(intents(&gateway), ["draining", "active"]);
    let done = gateway.run(&["rollout", "abort", "--reason", "it is noon"]);
    assert!(done.status.success(), "{}", said(&done));
    let aborted = wait_for(&gateway, "aborted");
    assert!(aborted["text"].as_str().unwrap().contains("it is noon"), "{aborted}");
    assert_eq!(intents(&gateway), ["active", "standby"]);
    assert_eq!(gateway.run(&["rollout", "abort"]).status.code(), Some(2), "none is under way");
    cancel(&gateway, &long);
    let told = std::fs::read_to_string(folder.join("told")).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut heard: Vec<_> =
        told.iter().map(|event| format!("{} {}", event["when"], event["phase"])).collect();
    heard.dedup();
    let expected =
        ["before waiting", "after waiting", "before shifting", "after shifting", "before draining"];
    let heard: Vec<_> = heard.iter().map(|text| text.replace('"', "")).collect();
    assert_eq!(heard[..expected.len()], expected, "{heard:?}");
}

#[test]
fn what_takes_too_long_is_killed_if_that_is_wanted() {
    let stubs = two();
    let gateway = start(plan(&stubs));
    let long = endless_on(&gateway, &stubs[0]);
    let flags = ["--drain-timeout", "1s", "--on-timeout", "kill", "--wait"];
    let done = gateway.run(&[&START[..], &flags].concat());
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("its queries are killed"), "{}", said(&done));
    let ended = stubs[0].query(&long.id).unwrap();
    assert!(!lives(&ended), "{ended:?}");
    let history = said(&gateway.run(&["rollout", "history"]));
    assert!(history.contains("green has taken over; blue may be stopped"), "{history}");
}

/// With two gateways on one store: queries of the other one, those that have not begun, and one that
/// came past both.
#[test]
fn drained_is_said_when_nobody_has_anything_there() {
    let stubs = two();
    let server = Server::start();
    let plan = plan(&stubs).store(&server.url()).timeout("answer", "1s");
    let one = plan.clone().start_ready();
    let other = plan.start_ready();
    assert_eq!(one.set_intent("green", "standby"), 200);
    eventually("the other one follows", || {
        (other.cluster("green")?["intent"] == "standby").then_some(())
    });
    let unbegun = Query::submit(&other.client(), "SELECT n /* stub: run=10ms */").unwrap();
    let past = warren_stub::client::Client::new(stubs[0].addr());
    let mut past_query = Query::submit(&past, "SELECT n /* stub: run=1h */").unwrap();
    past_query.pages(&past, 2).unwrap();
    assert_eq!(one.set_intent("blue", "draining"), 200);
    let left = || one.operator().get("/api/v1/clusters/blue/left").unwrap().json();
    let settled = eventually("its own list counts", || {
        let told = left();
        (told["text"] == "1 query").then_some(told)
    });
    assert_eq!(settled["drained"], false);
    // The one that came past both ends; the other one has not begun.
    let path = format!("/v1/query/{}", past_query.id);
    assert_eq!(past.send("DELETE", &path, "").unwrap().status, 204);
    eventually("it is gone from the list", || {
        (!stubs[0].queries().iter().any(lives)).then_some(())
    });
    let end = time::now() + Duration::from_secs(3);
    while time::now() < end {
        let told = left();
        assert_eq!(told["drained"], false, "{told}");
    }
    let mut unbegun = unbegun;
    unbegun.finish(&other.client()).unwrap();
    eventually("nothing is left", || (left()["drained"] == true).then_some(()));
    let done = one.run(&["clusters", "drain", "blue", "--wait"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("blue is now drained"), "{}", said(&done));
}
