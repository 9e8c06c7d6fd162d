//! What a coordinator counts of itself as proof and as load: the same of each source.

use warren_stub::client::Client;
use warren_stub::{Fault, FaultRule, RequestKind, Stub, StubOptions, UiLogin};

use crate::support::clients::Query;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

const SOURCES: [&str; 3] = ["metrics", "ui", "jmx"];

fn plan(source: &str, stub: &Stub) -> Plan {
    let line = format!("probe = {{ source = \"{source}\" }}");
    Plan::of(&[("blue", "bi", stub)]).setting("clusters", &line)
}

fn reason(gateway: &Gateway) -> String {
    gateway.cluster("blue").unwrap()["health_reason"].as_str().unwrap().to_owned()
}

fn until_reason(gateway: &Gateway, part: &str) {
    eventually(part, || reason(gateway).contains(part).then_some(()));
}

/// A query that goes past Warren and runs on.
fn run_one(stub: &Stub) {
    let client = Client::new(stub.addr());
    Query::submit(&client, "SELECT n /* stub: run=1h */").unwrap().page(&client).unwrap();
}

#[test]
fn each_source_tells_workers_and_queries() {
    for source in SOURCES {
        for later in [false, true] {
            let stub = Stub::start(StubOptions::default().with(|behaviour| {
                behaviour.workers = 3;
                behaviour.counts_as_477 = later;
                behaviour.ui_login = if later { UiLogin::Json } else { UiLogin::Form };
            }));
            run_one(&stub);
            run_one(&stub);
            let gateway = plan(source, &stub).setting("clusters", "min_workers = 4").start();
            until_reason(&gateway, "3 active workers, 4 wanted");
            let told = gateway.cluster("blue").unwrap();
            assert_ne!(told["health"], "ready", "{source}");
            stub.change(|behaviour| behaviour.workers = 4);
            gateway.wait_until("blue", "ready");
            let told = gateway.cluster("blue").unwrap();
            let figures = ["workers", "queued", "running", "load"].map(|name| told[name].as_u64());
            assert_eq!(figures, [4, 0, 2, 2].map(Some), "{source} {later}: {told}");
            assert_eq!(stub.request_count(RequestKind::Submit), 2, "{source}: no statement");
            assert_eq!(stub.request_count(RequestKind::QueryList), 0, "{source}: no list");
            let query = Query::run(&gateway.client(), "SELECT 2").unwrap();
            assert_eq!(query.mark(), stub.coordinator_id());
            stub.change(|behaviour| behaviour.workers = 2);
            gateway.wait_until("blue", "unhealthy");
        }
    }
}

#[test]
fn a_cookie_that_ran_out_is_renewed_and_a_ui_that_asks_nobody_needs_none() {
    let stub = Stub::start(StubOptions::default());
    let gateway = plan("ui", &stub).start_ready();
    let logins = || {
        let seen = stub.requests_of(RequestKind::Ui).into_iter();
        seen.filter(|request| request.method == "POST").count()
    };
    assert_eq!(logins(), 1);
    stub.change(|behaviour| behaviour.ui_cookie += 1);
    eventually("it logs in again", || (logins() == 2).then_some(()));
    stub.change(|behaviour| behaviour.workers = 7);
    eventually("it counts", || (gateway.cluster("blue").unwrap()["workers"] == 7).then_some(()));
    assert!(gateway.is_ready("blue") && logins() == 2);
    let open = Stub::start(StubOptions::default().with(|it| it.ui_login = UiLogin::Open));
    let _gateway = plan("ui", &open).start_ready();
    let seen = open.requests_of(RequestKind::Ui);
    assert!(seen.iter().all(|request| request.method == "GET"));
}

#[test]
fn nonsense_takes_a_cluster_out_and_nothing_else() {
    let status = |code| Fault::Status { code, retry_after: None };
    let faults = [
        (Fault::Html, "web page"),
        (status(500), "answered 500"),
        (status(403), "may not read it"),
        (status(404), "choose another `probe.source`"),
        (Fault::Hang, "no answer"),
    ];
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    let bodies = ["", "{", "{}", "[1]", "{\"activeWorkers\":-1,\"attributes\":[]}", &huge];
    for source in SOURCES {
        let stub = Stub::start(StubOptions::default().with(|it| it.ui_login = UiLogin::Open));
        let kind = if source == "ui" { RequestKind::Ui } else { RequestKind::Counts };
        let gateway = plan(source, &stub).start_ready();
        for (fault, words) in &faults {
            stub.clear_faults();
            stub.fault(FaultRule::every(kind, fault.clone()));
            until_reason(&gateway, words);
        }
        for body in &bodies {
            stub.clear_faults();
            stub.fault(FaultRule::every(kind, status(418)));
            until_reason(&gateway, "answered 418");
            stub.change(|behaviour| behaviour.counts_say = Some((*body).to_owned()));
            stub.clear_faults();
            let told = eventually("it is read", || {
                Some(reason(&gateway)).filter(|reason| !reason.contains("418"))
            });
            assert!(told.starts_with('/') && told.len() < 400, "{source}: {told}");
            assert_eq!(gateway.cluster("blue").unwrap()["health"], "unhealthy", "{told}");
        }
        stub.change(|behaviour| behaviour.counts_say = None);
        gateway.wait_until("blue", "ready");
        Query::run(&gateway.client(), "SELECT 2").unwrap();
    }
}

#[test]
fn each_source_shows_the_credentials_of_the_probe() {
    for source in SOURCES {
        let stub = Stub::start(StubOptions::default().with(|behaviour| {
            behaviour.ui_login = UiLogin::Open;
            behaviour.counts_for = Some("Bearer warren".to_owned());
        }));
        let gateway = plan(source, &stub).start();
        until_reason(&gateway, if source == "ui" { "let `warren` log in" } else { "401" });
        // Any text will do as a token.
        let line =
            format!("probe = {{ source = \"{source}\", token = {{ env = \"CARGO_PKG_NAME\" }} }}");
        let _gateway = Plan::of(&[("blue", "bi", &stub)]).setting("clusters", &line).start_ready();
    }
}

#[test]
fn memory_in_use_counts_in_a_choice_where_it_is_asked_for() {
    let full = Stub::start(StubOptions::default().with(|it| it.memory_percent = 100));
    let free = Stub::start(StubOptions::default());
    for source in ["metrics", "jmx"] {
        let line = format!("probe = {{ source = \"{source}\" }}");
        let plan = Plan::of(&[("full", "bi", &full), ("free", "bi", &free)]);
        let plan = plan.setting("clusters", &line).setting("groups.bi", "memory_weight = 100");
        let gateway = plan.start_ready();
        assert_eq!(gateway.cluster("full").unwrap()["memory_percent"], 100.0);
        for _ in 0..10 {
            let query = Query::run(&gateway.client(), "SELECT 2").unwrap();
            assert_eq!(query.mark(), free.coordinator_id());
        }
    }
}
