//! Clusters that hang, lie, flap or share an address. Of each: what became of new queries (none was
//! sent there) and of the other cluster (nothing: its queries run, and its probes are not delayed).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use warren_stub::client::Client;
use warren_stub::{Fault, FaultRule, RequestKind, Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::crossroads::Crossroads;
use crate::support::gateway::{Gateway, Plan};
use crate::support::{eventually, tell};

/// What a cluster does to whoever asks it.
struct Hostile {
    name: &'static str,
    turn: fn(&Stub),
    /// What its verdict says.
    reason: &'static str,
    /// Whether each look at it takes the whole of `health.timeout`, which is ten times as long as the
    /// time between two looks at the other one.
    slow: bool,
}

const HOSTILE: [Hostile; 8] = [
    Hostile {
        name: "accepts, and never answers",
        turn: |stub| stub.fault(FaultRule::all(Fault::Hang)),
        reason: "no answer",
        slow: true,
    },
    Hostile {
        name: "is stopped, as by SIGSTOP",
        turn: Stub::freeze,
        reason: "no answer",
        slow: true,
    },
    Hostile {
        name: "answers after 30 s",
        turn: |stub| stub.fault(FaultRule::all(Fault::SlowMs(30_000))),
        reason: "no answer",
        slow: true,
    },
    Hostile {
        name: "answers 200 with an HTML page",
        turn: |stub| stub.fault(FaultRule::all(Fault::Html)),
        reason: "no such JSON",
        slow: false,
    },
    Hostile {
        name: "tells of itself, and answers statements with an HTML page",
        turn: |stub| stub.fault(FaultRule::every(RequestKind::Submit, Fault::Html)),
        reason: "no result",
        slow: false,
    },
    Hostile {
        name: "resets each connection",
        turn: |stub| stub.fault(FaultRule::all(Fault::ResetBefore)),
        reason: "exchange with green",
        slow: false,
    },
    Hostile {
        name: "is a worker",
        turn: |stub| stub.change(|behaviour| behaviour.coordinator = false),
        reason: "a worker",
        slow: false,
    },
    Hostile {
        name: "has no worker",
        turn: |stub| stub.change(|behaviour| behaviour.workers = 0),
        reason: "0 active workers, 2 wanted",
        slow: false,
    },
];

fn stub() -> Stub {
    Stub::start(StubOptions::default().with(|behaviour| behaviour.workers = 3))
}

fn plan(blue: &Stub, green: &Stub) -> Plan {
    let plan = Plan::of(&[("blue", "bi", blue), ("green", "bi", green)]);
    plan.setting("clusters", "min_workers = 2").timeout("answer", "1s")
}

/// The submits of clients that came to a stub.
fn from_clients(stub: &Stub) -> usize {
    let submits = stub.requests_of(RequestKind::Submit).into_iter();
    submits.filter(|submit| submit.header("x-trino-source") != Some("warren-probe")).count()
}

fn health_of(gateway: &Gateway, name: &str) -> (String, String) {
    let cluster = gateway.cluster(name).unwrap();
    let text = |key: &str| cluster[key].as_str().unwrap_or_default().to_owned();
    (text("health"), text("health_reason"))
}

/// Runs queries, none of which may fail or come to `shunned`.
fn all_avoid(gateway: &Gateway, shunned: &[&Stub]) {
    let before: usize = shunned.iter().map(|stub| from_clients(stub)).sum();
    for _ in 0..40 {
        Query::run(&gateway.client(), "SELECT 1").unwrap();
    }
    assert_eq!(shunned.iter().map(|stub| from_clients(stub)).sum::<usize>(), before);
}

fn looks(stub: &Stub) -> u64 {
    stub.request_count(RequestKind::Info)
}

/// Checks one that is hostile from the start, or becomes it.
fn check(hostile: &Hostile, from_the_start: bool) {
    let (blue, green) = (stub(), stub());
    if from_the_start {
        (hostile.turn)(&green);
    }
    let plan = plan(&blue, &green);
    let gateway = if from_the_start { plan.start() } else { plan.start_ready() };
    gateway.wait_until("blue", "ready");
    let (own, other) = (looks(&green), looks(&blue));
    if !from_the_start {
        (hostile.turn)(&green);
        // Until that is noticed a query may be sent there, and comes through all the same.
        Query::run(&gateway.client(), "SELECT 1").unwrap();
    }
    gateway.wait_until("green", "unhealthy");
    let (_, reason) = health_of(&gateway, "green");
    assert!(reason.contains(hostile.reason), "{}: {reason}", hostile.name);
    let (own, other) = (looks(&green) - own, looks(&blue) - other);
    if hostile.slow {
        assert!(other >= 3 * own.max(3), "{}: {own} looks at it, {other} at blue", hostile.name);
    }
    all_avoid(&gateway, &[&green]);
    assert_eq!(health_of(&gateway, "blue").0, "ready", "{}", hostile.name);
    tell(&format!("{}: none of 40 queries there; {own} looks, {other} at blue", hostile.name));
}

#[test]
fn one_that_was_always_hostile_gets_no_query() {
    HOSTILE.iter().for_each(|hostile| check(hostile, true));
}

#[test]
fn one_that_turns_hostile_gets_no_query_any_more() {
    HOSTILE.iter().for_each(|hostile| check(hostile, false));
}

#[test]
fn one_that_flaps_each_second_soon_stays_out() {
    let (blue, green) = (stub(), stub());
    let gateway = plan(&blue, &green).start_ready();
    let (stop, flaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let stop_after = |work: &dyn Fn()| {
        work();
        stop.store(true, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                green.refuse();
                green.disconnect();
                std::thread::sleep(Duration::from_secs(1));
                green.accept();
                std::thread::sleep(Duration::from_secs(1));
                flaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        stop_after(&|| {
            while flaps.load(Ordering::Relaxed) < 4 {
                Query::run(&gateway.client(), "SELECT 1").unwrap();
            }
            let before = from_clients(&green);
            let settled = flaps.load(Ordering::Relaxed);
            while flaps.load(Ordering::Relaxed) < settled + 3 {
                Query::run(&gateway.client(), "SELECT 1").unwrap();
            }
            assert_eq!(from_clients(&green), before, "no query while it flaps");
        });
    });
    let log = gateway.log();
    let changed = |line: &&str| line.contains("health changed") && line.contains("cluster=green");
    let changes = log.lines().filter(changed).count();
    tell(&format!(
        "green flapped {} times; its health changed {changes} times",
        flaps.into_inner()
    ));
    assert!((2..=12).contains(&changes), "{changes}");
    gateway.wait_until("green", "ready");
}

#[test]
fn two_coordinators_behind_one_address_get_no_query() {
    let (blue, one, two) = (stub(), stub(), stub());
    let shared = Crossroads::to(&[one.addr(), two.addr()]);
    let green = format!(
        "[[clusters]]\nname = \"green\"\ngroup = \"bi\"\nurl = \"{}\"\nmin_workers = 2\n",
        shared.url()
    );
    let plan = Plan::of(&[("blue", "bi", &blue)]).setting("clusters", "min_workers = 2");
    let gateway = plan.sections(&green).start();
    gateway.wait_until("blue", "ready");
    let reason = eventually("both are seen", || {
        let (health, reason) = health_of(&gateway, "green");
        (health == "unhealthy" && reason.contains("two coordinators")).then_some(reason)
    });
    assert!([&one, &two].iter().all(|stub| reason.contains(&stub.coordinator_id())), "{reason}");
    all_avoid(&gateway, &[&one, &two]);
    // Alone, it would be ready after two looks; one is not believed so soon here.
    shared.lead_to(&[one.addr()]);
    let probes = one.request_count(RequestKind::Submit);
    eventually("one is probed alone", || {
        (one.request_count(RequestKind::Submit) > probes + 10).then_some(())
    });
    assert_eq!(health_of(&gateway, "green").0, "unhealthy");
    all_avoid(&gateway, &[&one, &two]);
}

#[test]
fn an_address_that_cannot_be_read_is_told_and_the_others_run_on() {
    let (blue, green) = (stub(), stub());
    let mut gateway = plan(&blue, &green).start_ready();
    let bad = "[[clusters]]\nname = \"red\"\ngroup = \"bi\"\nurl = \"http//:nowhere\"\n";
    gateway.settle(plan(&blue, &green).sections(bad));
    let checked = gateway.run(&["check"]);
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(!checked.status.success() && told.contains("clusters[2].url"), "{told}");
    eventually("the reload is refused", || (gateway.figure("config_rejected") == 1).then_some(()));
    assert!(gateway.log().contains("clusters[2].url"));
    let seen = [&blue, &green].map(looks);
    all_avoid(&gateway, &[]);
    eventually("both are still probed", || {
        let now = [&blue, &green].map(looks);
        (now[0] > seen[0] && now[1] > seen[1]).then_some(())
    });
}

fn submits_fail(stub: &Stub, user: &str) {
    let failed = Fault::Status { code: 500, retry_after: None };
    stub.fault(FaultRule::every(RequestKind::Submit, failed).of(user));
}

const EJECTED: &str =
    "warren_probes_total{cluster=\"green\",outcome=\"ejected\",probe=\"traffic\"}";

#[test]
fn one_that_fails_clients_alone_is_ejected_by_their_traffic() {
    let (blue, green) = (stub(), stub());
    let gateway = plan(&blue, &green).start_ready();
    submits_fail(&green, "stub");
    let before = from_clients(&green);
    eventually("green is ejected", || {
        Query::run(&gateway.client(), "SELECT 1").unwrap();
        gateway.metric(EJECTED).filter(|count| *count > 0)
    });
    let sent = from_clients(&green) - before;
    tell(&format!("ejected after {sent} submits that failed; all {sent} ran on blue"));
    assert!((20..60).contains(&sent), "{sent}");
    assert!(gateway.log().contains("submits failed"));
    // Its probes pass, so it comes back.
    green.clear_faults();
    gateway.wait_until("green", "ready");
}

#[test]
fn a_user_whose_statements_always_fail_ejects_nobody() {
    let (blue, green) = (stub(), stub());
    let gateway = plan(&blue, &green).start_ready();
    let [good, bad] = ["good", "bad"].map(|user| Client::named(gateway.address(), user));
    [&blue, &green].iter().for_each(|stub| submits_fail(stub, "bad"));
    for _ in 0..60 {
        Query::run(&good, "SELECT 1").unwrap();
        assert_eq!(bad.submit("SELECT 1").unwrap().status, 500);
    }
    assert_eq!(gateway.metric(EJECTED), None);
    assert_eq!(gateway.log().matches("health changed").count(), 4, "{}", gateway.log());
}

#[test]
fn when_all_are_unhealthy_one_that_was_ready_is_tried() {
    let blue = stub();
    let plan = Plan::of(&[("blue", "bi", &blue)]).timeout("submit", "2s").timeout("answer", "1s");
    let plan = plan.timeout("connect", "1s");
    submits_fail(&blue, "warren");
    let gateway = plan.start();
    gateway.wait_until("blue", "unhealthy");
    let answer = gateway.client().submit("SELECT 1").unwrap().json();
    assert!(answer["error"]["message"].as_str().is_some(), "it never ran anything: {answer}");
    blue.clear_faults();
    gateway.wait_until("blue", "ready");
    submits_fail(&blue, "warren");
    gateway.wait_until("blue", "unhealthy");
    for _ in 0..20 {
        Query::run(&gateway.client(), "SELECT 1").unwrap();
    }
    assert_eq!(gateway.metric("warren_unhealthy_tries_total{group=\"bi\"}"), Some(20));
    assert_eq!(health_of(&gateway, "blue").0, "unhealthy");
    blue.stop();
    let answer = gateway.client().submit("SELECT 1").unwrap().json();
    assert!(answer["error"]["message"].as_str().is_some(), "nobody answers there: {answer}");
}
