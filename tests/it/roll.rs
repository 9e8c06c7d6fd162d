//! The daily roll as the shipped CronJobs of Kubernetes do it: their containers, one after another.

use std::path::Path;

use regex::Regex;
use warren_stub::{Stub, StubOptions};

use crate::support::clients::{Load, Query};
use crate::support::gateway::{Gateway, Plan};

/// The steps of a CronJob of the shipped file: the name of each container, and the arguments of
/// Warren where it is one of Warren's.
fn steps(job: &str) -> Vec<(String, Option<Vec<String>>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/roll-cronjob.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let header = format!("name: {job}\n");
    let document = text.split("\n---\n").find(|document| document.contains(&header));
    let document = document.unwrap_or_else(|| panic!("no CronJob {job}"));
    let container =
        Regex::new(r"(?s)- name: ([a-z-]+)\n\s+image: ([^\n]+)\n\s+(?:args|command): \[([^\n]+)\]");
    let words =
        |list: &str| list.split(", ").map(|word| word.trim_matches('"').to_owned()).collect();
    let steps = container.unwrap();
    let steps = steps.captures_iter(document).map(|found| {
        let own = found[2].starts_with("warren:");
        (found[1].to_owned(), own.then(|| words(&found[3])))
    });
    steps.collect()
}

/// Runs the steps of Warren's image, at this gateway instead of the one in the file.
fn run(gateway: &Gateway, job: &str) {
    for (name, arguments) in steps(job) {
        let Some(arguments) = arguments else { continue };
        let (head, address) = arguments.split_at(arguments.len() - 2);
        assert_eq!(address, ["--admin", "http://warren:8081"], "{name}");
        let words: Vec<&str> = head.iter().map(String::as_str).collect();
        let output = gateway.run(&words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {told}");
    }
}

#[test]
fn the_cron_jobs_of_kubernetes_roll_there_and_back_and_fail_no_query() {
    let order = [
        "boot-new",
        "wait-until-ready",
        "shift-to-new",
        "shift-from-old",
        "wait-until-old-is-idle",
        "deactivate-old",
        "stop-old",
    ];
    for job in ["warren-roll-to-green", "warren-roll-to-blue"] {
        let names: Vec<String> = steps(job).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, order, "{job}");
    }
    let (blue, green) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let gateway = Plan::of(&[("blue", "bi", &blue), ("green", "bi", &green)]).start_ready();
    assert_eq!(gateway.set_intent("green", "standby"), 200);
    let client = gateway.client();
    let mut long = Query::submit(&client, "SELECT n /* stub: run=3s rows=60 pages=20 */").unwrap();
    assert_eq!(long.mark(), blue.coordinator_id());
    let load = Load::start(2, &client, "SELECT 2");
    std::thread::scope(|scope| {
        let client = gateway.client();
        let long = scope.spawn(move || long.finish(&client));
        run(&gateway, "warren-roll-to-green");
        assert!(long.is_finished(), "blue was given up while a query ran there");
        assert_eq!(long.join().unwrap(), Ok(()));
    });
    let intent = |name: &str| gateway.cluster(name).unwrap()["intent"].clone();
    assert_eq!([intent("blue"), intent("green")], ["drained", "active"]);
    load.more(20);
    run(&gateway, "warren-roll-to-blue");
    assert_eq!([intent("blue"), intent("green")], ["active", "drained"]);
    load.more(20);
    let queries = load.all_good();
    for stub in [&blue, &green] {
        let there = queries.iter().filter(|query| query.mark() == stub.coordinator_id()).count();
        assert!(there > 0, "none of {} queries was on {stub:?}", queries.len());
    }
}
