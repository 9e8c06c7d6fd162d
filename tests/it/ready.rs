//! A cluster gets its first query when it has shown that it can run one, and not before.

use std::time::Duration;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{
    Fault, FaultRule, ProcessForwarded, RequestKind, RequestRecord, Stub, StubOptions,
};

use crate::support::clients::{Load, Query};
use crate::support::gateway::Plan;
use crate::support::{eventually, tell};

fn is_probe(request: &RequestRecord) -> bool {
    request.header("x-trino-source") == Some("warren-probe")
}

/// Statements that came to a stub, in their order.
fn statements(stub: &Stub) -> Vec<RequestRecord> {
    stub.requests_of(RequestKind::Submit)
}

fn from_clients(stub: &Stub) -> usize {
    statements(stub).iter().filter(|request| !is_probe(request)).count()
}

#[test]
fn a_cluster_that_says_it_starts_gets_nothing_before_its_probe() {
    let blue = Stub::start(StubOptions::default());
    let green = Stub::start(StubOptions::default().with(|behaviour| behaviour.starting = true));
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start();
    gateway.wait_until("blue", "ready");
    gateway.wait_until("green", "starting");
    let load = Load::start(8, &gateway.client(), "SELECT 2 /* stub: run=20ms */");
    load.more(200);
    assert_eq!(statements(&green).len(), 0, "not even a probe, while it says that it starts");
    green.change(|behaviour| behaviour.starting = false);
    eventually("green gets queries", || (from_clients(&green) > 20).then_some(()));
    let queries = load.all_good();
    let statements = statements(&green);
    let first = statements.iter().position(|request| !is_probe(request)).unwrap();
    let probes = green.requests_of(RequestKind::Page).into_iter();
    let ran = probes.filter(|page| is_probe(page) && page.at < statements[first].at).count();
    assert!(first >= 1 && ran >= 1, "{first} probes were posted and {ran} of their pages read");
    tell(&format!("{} queries while a cluster booted, none failed", queries.len()));
}

#[test]
fn a_cluster_that_fails_statements_gets_none_whatever_it_says() {
    let blue = Stub::start(StubOptions::default());
    let failing = StubOptions::default()
        .with(|behaviour| behaviour.statements_fail = Some("NO_NODES_AVAILABLE".to_owned()));
    let green = Stub::start(failing);
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start();
    gateway.wait_until("blue", "ready");
    let load = Load::start(8, &gateway.client(), "SELECT 2 /* stub: run=20ms */");
    eventually("green was probed often", || (statements(&green).len() >= 5).then_some(()));
    load.more(100);
    assert_eq!(from_clients(&green), 0);
    assert_ne!(gateway.cluster("green").unwrap()["health"], "ready");
    green.change(|behaviour| behaviour.statements_fail = None);
    eventually("green gets queries", || (from_clients(&green) > 0).then_some(()));
    load.all_good();
}

#[test]
fn a_cluster_that_begins_to_fail_statements_is_taken_out() {
    let blue = Stub::start(StubOptions::default());
    let green = Stub::start(StubOptions::default());
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start_ready();
    green.change(|behaviour| behaviour.starting = true);
    gateway.wait_until("green", "starting");
    let before = from_clients(&green);
    for _ in 0..50 {
        Query::run(&gateway.client(), "SELECT 2").unwrap();
    }
    assert_eq!(from_clients(&green), before);
}

#[test]
fn a_submit_waits_for_a_cluster() {
    let blue = Stub::start(StubOptions::default().with(|behaviour| behaviour.starting = true));
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start();
    gateway.wait_until("blue", "starting");
    let client = gateway.client();
    let waiting = std::thread::spawn(move || Query::run(&client, "SELECT 2"));
    let held = "warren_held_requests{kind=\"submit\"}";
    eventually("it is held", || (gateway.metric(held) == Some(1)).then_some(()));
    assert!(!waiting.is_finished());
    blue.change(|behaviour| behaviour.starting = false);
    let query = waiting.join().unwrap().unwrap();
    assert_eq!(query.mark(), blue.coordinator_id());
    assert_eq!(gateway.metric(held), Some(0));
}

#[test]
fn a_submit_for_which_there_is_no_cluster_ends_in_words() {
    let blue = Stub::start(StubOptions::default());
    let plan = Plan::of(&[("blue", "bi", &blue)]);
    let plan = plan.timeout("submit", "1s").timeout("connect", "500ms").timeout("answer", "1s");
    let gateway = plan.start_ready();
    blue.stop();
    gateway.wait_until("blue", "unhealthy");
    let began = time::now();
    let answer = gateway.client().submit("SELECT 2").unwrap();
    let took = began.elapsed();
    let error = answer.json()["error"].clone();
    assert_eq!(answer.status, 200);
    assert_eq!(error["errorType"], "INSUFFICIENT_RESOURCES", "{error}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("'bi'"), "{message}");
    assert_eq!(answer.next(), None);
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_cluster_that_does_not_show_its_list_is_asked_by_a_statement() {
    let blue = Stub::start(StubOptions::default());
    let refused = Fault::Status { code: 403, retry_after: None };
    blue.fault(FaultRule::every(RequestKind::QueryList, refused));
    let mut query =
        Query::submit(&Client::new(blue.addr()), "SELECT n /* stub: run=1h */").unwrap();
    query.page(&Client::new(blue.addr())).unwrap();
    let gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let running = || gateway.cluster("blue").unwrap()["running"].as_u64();
    assert_eq!(eventually("its load is known", running), 1);
    let log = gateway.log();
    assert!(log.contains("does not show its list of queries"), "{log}");
}

#[test]
fn a_probe_with_a_password_says_that_it_came_by_tls() {
    let proxied = [true, false].map(|honours| {
        let blue = Stub::start(StubOptions::default().with(|behaviour| {
            if !honours {
                behaviour.process_forwarded = ProcessForwarded::Reject;
            }
        }));
        // Any text will do as a password.
        let password = "probe = { password = { env = \"CARGO_PKG_NAME\" } }";
        let plan = Plan::of(&[("blue", "bi", &blue)]).setting("clusters", password);
        let gateway = plan.start_ready();
        eventually("its list was asked for", || {
            gateway.cluster("blue").unwrap()["running"].as_u64()
        });
        let mut requests = statements(&blue);
        requests.extend(blue.requests_of(RequestKind::QueryList));
        assert!(requests.iter().all(|request| request.header("authorization").is_some()));
        // The first of those that are refused asks whether they are.
        let refused = usize::from(!honours);
        let told = requests.iter().skip(refused).map(|request| request.header("x-forwarded-proto"));
        let expected = honours.then_some("https");
        assert!(told.into_iter().all(|scheme| scheme == expected), "{requests:?}");
        requests.len()
    });
    assert!(proxied.into_iter().all(|count| count >= 2), "{proxied:?}");
}

#[test]
fn a_probe_with_a_token_sends_it_in_the_place_of_a_password() {
    let blue = Stub::start(StubOptions::default());
    // Any text will do as a token.
    let source = "{ env = \"CARGO_PKG_NAME\" }";
    let probe = format!("probe = {{ token = {source}, password = {source} }}");
    let _gateway = Plan::of(&[("blue", "bi", &blue)]).setting("clusters", &probe).start_ready();
    let seen = blue.requests();
    let expected = format!("Bearer {}", env!("CARGO_PKG_NAME"));
    let told = |request: &RequestRecord| request.header("authorization") == Some(&*expected);
    assert!(seen.iter().filter(|request| is_probe(request)).all(told), "{seen:?}");
}

#[test]
fn a_cluster_on_which_no_statement_may_run_is_ready_by_what_it_says() {
    let blue = Stub::start(StubOptions::default().with(|behaviour| behaviour.starting = true));
    let refused = Fault::Status { code: 401, retry_after: None };
    for kind in [RequestKind::Submit, RequestKind::QueryList] {
        blue.fault(FaultRule::every(kind, refused.clone()).of("warren"));
    }
    let source = "probe = { source = \"info\" }";
    let gateway = Plan::of(&[("blue", "bi", &blue)]).setting("clusters", source).start();
    gateway.wait_until("blue", "starting");
    blue.change(|behaviour| behaviour.starting = false);
    gateway.wait_until("blue", "ready");
    let query = Query::run(&gateway.client(), "SELECT 2").unwrap();
    assert_eq!(query.mark(), blue.coordinator_id());
    blue.stop();
    gateway.wait_until("blue", "unhealthy");
    blue.restart();
    gateway.wait_until("blue", "ready");
    Query::run(&gateway.client(), "SELECT 2").unwrap();
    assert_eq!(statements(&blue).iter().filter(|request| is_probe(request)).count(), 0);
}

#[test]
fn a_share_of_the_expected_workers_is_needed() {
    let blue = Stub::start(StubOptions::default().with(|behaviour| behaviour.workers = 2));
    let share = "expected_workers = 5\nworkers_percent = 50";
    let gateway = Plan::of(&[("blue", "bi", &blue)]).setting("clusters", share).start();
    gateway.wait_until("blue", "unhealthy");
    let told = gateway.cluster("blue").unwrap()["health_reason"].clone();
    assert_eq!(told, "2 active workers, 3 wanted");
    blue.change(|behaviour| behaviour.workers = 3);
    gateway.wait_until("blue", "ready");
}

#[test]
fn a_probe_without_a_password_says_nothing_about_tls() {
    let blue = Stub::start(StubOptions::default());
    let _gateway = Plan::of(&[("blue", "bi", &blue)]).start_ready();
    let seen = blue.requests();
    assert!(seen.iter().all(|request| request.header("x-forwarded-proto").is_none()));
}
