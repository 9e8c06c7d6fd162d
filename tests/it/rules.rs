//! Rules over the wire: what they see, and how they change while queries pass.

use std::fs;

use warren::time;
use warren_stub::client::Client;
use warren_stub::{Stub, StubOptions};

use crate::support::clients::{Load, Query};
use crate::support::gateway::{Plan, replace};
use crate::support::{eventually, tell, within};

const SHIPPED: &str = include_str!("../../lua/route.lua");

/// A rule set of one group.
fn all_to(group: &str) -> String {
    format!("function route(request)\n  return \"{group}\"\nend\n")
}

fn two_groups() -> (Stub, Stub) {
    (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()))
}

#[test]
fn the_shipped_rules_route_as_their_users_asked() {
    let (bi, olap) = two_groups();
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]).rules(SHIPPED);
    let gateway = plan.start_ready();
    let tags = "X-Trino-Client-Tags";
    for (source, header, group) in [
        (Some("Apache Superset"), None, "bi"),
        (Some("trino-python-client"), None, "olap"),
        (Some("zeppelin-note-7"), None, "olap"),
        (Some("zeppelin-note-7"), Some((tags, "a")), "olap"),
        (Some("zeppelin-"), None, "bi"),
        (Some("a-zeppelin-note"), None, "bi"),
        (Some("trino-python-client"), Some((tags, "a,b")), "bi"),
        (Some("trino-python-client"), Some((tags, "")), "bi"),
        (Some("trino-python-client"), Some(("x-trino-client-TAGS", "")), "bi"),
        (Some("trino-cli"), None, "bi"),
        (None, None, "bi"),
    ] {
        let mut client = gateway.client();
        if let Some(source) = source {
            client = client.with("X-Trino-Source", source);
        }
        if let Some((name, value)) = header {
            client = client.with(name, value);
        }
        let query = Query::run(&client, "SELECT 2").unwrap();
        let stub = if group == "bi" { &bi } else { &olap };
        assert_eq!(query.mark(), stub.coordinator_id(), "{source:?} {header:?}");
    }
    // Superset with tags falls to the default group, which is its own; so the reason tells.
    let told = |headers: &str| {
        let question =
            format!("{{\"headers\": [[\"X-Trino-Source\", \"Apache Superset\"]{headers}]}}");
        gateway.operator().send("POST", "/api/v1/explain", &question).unwrap().json()
    };
    assert_eq!(told("")["rule"], "superset");
    assert!(told(", [\"X-Trino-Client-Tags\", \"\"]")["rule"].is_null());
}

/// Asks until a query goes to `stub`.
fn until_it_goes_to(client: &Client, stub: &Stub) -> Option<()> {
    let query = Query::run(client, "SELECT 2").unwrap();
    (query.mark() == stub.coordinator_id()).then_some(())
}

#[test]
fn a_saved_file_is_in_force_within_a_second_and_fails_nobody() {
    let (bi, olap) = two_groups();
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]);
    let gateway = plan.rules(&all_to("bi")).start_ready();
    let client = gateway.client();
    let load = Load::start(8, &client, "SELECT 2");
    load.more(50);
    let second = std::time::Duration::from_secs(1);
    for (round, group) in ["olap", "bi", "olap"].into_iter().enumerate() {
        let stub = if group == "bi" { &bi } else { &olap };
        // As an editor saves that writes in place, and as one that moves a new file into place.
        let saved = time::now();
        if round == 0 {
            fs::write(gateway.rules_file(), all_to(group)).unwrap();
        } else {
            replace(&gateway.rules_file(), &all_to(group));
        }
        within(second, "the new rules route", || until_it_goes_to(&client, stub));
        let took = saved.elapsed();
        tell(&format!("the first query by new rules came {took:?} after they were saved"));
        assert!(took < second, "{took:?}");
        load.more(50);
    }
    let queries = load.all_good();
    tell(&format!("{} queries passed three changes of the rules", queries.len()));
    assert!(bi.counters().executed > 0 && olap.counters().executed > 0);
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_says_so() {
    let (bi, olap) = two_groups();
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]);
    let gateway = plan.rules(&all_to("olap")).start_ready();
    let client = gateway.client();
    let load = Load::start(4, &client, "SELECT 2");
    assert_eq!(gateway.figure("rules_rejected"), 0);
    let fine = gateway.run(&["check"]);
    assert_eq!(fine.status.code(), Some(0), "{}", String::from_utf8_lossy(&fine.stdout));
    replace(&gateway.rules_file(), "function route(request)\n  return \"bi\n");
    eventually("the mistake is counted", || (gateway.figure("rules_rejected") == 1).then_some(()));
    let log = gateway.log();
    assert!(log.contains("route.lua") && log.contains("ERROR"), "{log}");
    let check = gateway.run(&["check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned()
        + &String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(3), "{told}");
    assert!(told.contains("route.lua") && told.contains('2'), "{told}");
    load.more(50);
    let queries = load.all_good();
    assert!(queries.iter().all(|query| query.mark() == olap.coordinator_id()));
    assert_eq!(bi.counters().executed, own_queries(&bi), "only probes");
    replace(&gateway.rules_file(), &all_to("bi"));
    eventually("it is mended", || (gateway.figure("rules_rejected") == 0).then_some(()));
    assert_eq!(until_it_goes_to(&client, &bi), Some(()));
}

/// How many queries Warren's probes ran.
fn own_queries(stub: &Stub) -> u64 {
    let own = |query: &warren_stub::QueryRecord| query.source.as_deref() == Some("warren-probe");
    stub.queries().into_iter().filter(|query| query.executed && own(query)).count() as u64
}
