//! Rules are exchanged each half second, every other time for bad ones, while real clients run queries
//! on real Trino: no query fails, and each is routed by one whole version.
//!
//! A version sends all queries to one group and tells itself and the group in the source that Trino
//! sees, so a query that was routed by parts of two would lie on a cluster that its source does not name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use warren::time;

use crate::support::clients::{Client, Outcome};
use crate::support::coordinator;
use crate::support::gateway::{self, Extra, Gateway};
use crate::support::surroundings::{blue, green};
use crate::support::wire;

const NATIONS: &str = "SELECT name FROM tpch.tiny.nation";

/// What each query must come to.
const WHOLE: Outcome = Outcome::Rows(25);

/// How many activations, and how long they may take together.
const ACTIVATIONS: u32 = 100;
const WITHIN: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(590);

/// Queries of the Python client in a second, and for how many seconds: longer than the activations.
const PACE: (u32, u32) = (4, 65);

/// Loops of the CLI; each of its queries is a process of its own.
const CLIS: usize = 2;

fn group_of(version: u32) -> &'static str {
    if version.is_multiple_of(2) { "bi" } else { "olap" }
}

/// A version: what it answers comes from three places of its file.
fn script(mark: &str, version: u32) -> String {
    format!(
        "local VERSION = {version}\n\
         local GROUPS = {{ [0] = \"bi\", [1] = \"olap\" }}\n\
         local function named(group)\n  return \"{mark}-v\" .. VERSION .. \"-\" .. group\nend\n\
         function route(request)\n  local group = GROUPS[VERSION % 2]\n\
         \x20 return {{ group = group, rule = \"v\" .. VERSION, set_source = named(group) }}\nend\n"
    )
}

fn test_of(version: u32) -> Value {
    let expect = format!("{{ group = \"{}\", rule = \"v{version}\" }}", group_of(version));
    json!({ "name": "tests/a.lua", "text": format!("case \"all\" {{ expect = {expect} }}\n") })
}

/// What must never be in force, each kind in its turn.
fn bad(mark: &str, turn: u32) -> (String, Value) {
    let script = match turn % 5 {
        0 => "function route(request".to_owned(),
        1 => "function route(request) while true do end end".to_owned(),
        2 => "function route(request) return { group = \"nobody\" } end".to_owned(),
        3 => "function route(request) return reqest.source end".to_owned(),
        // It works, and its test wants another one.
        _ => script(mark, turn),
    };
    (script, test_of(turn + 1))
}

/// Puts and activates rules; the status of the answer.
async fn activate(gateway: &Gateway, script: &str, test: &Value) -> u16 {
    let body = json!({ "script": script, "files": [test], "activate": true }).to_string();
    let json = [("Content-Type", "application/json")];
    let answer = wire::ask(gateway.admin(), "POST", "/api/v1/rules", &json, &body).await;
    answer.expect("an answer").status()
}

/// Clients that run queries meanwhile.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Outcome>>>,
}

impl Load {
    fn start(address: &str, source: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for _ in 0..CLIS {
            let (stop, address, source) = (stop.clone(), address.to_owned(), source.to_owned());
            clients.push(tokio::spawn(async move {
                let mut outcomes = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    outcomes.push(Client::Cli.outcome(&address, &source, NATIONS).await);
                }
                outcomes
            }));
        }
        let (address, source) = (address.to_owned(), source.to_owned());
        clients.push(tokio::spawn(async move {
            Client::Dbapi.pace(&address, &source, PACE, NATIONS).await
        }));
        Self { stop, clients }
    }

    /// How all its queries ended.
    async fn end(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        for client in self.clients {
            outcomes.extend(client.await.expect("it ran"));
        }
        outcomes
    }
}

/// The versions that routed the queries on a coordinator. Each must be one of `group`.
async fn versions(address: &str, mark: &str, group: &str) -> Vec<u32> {
    let select = format!("SELECT source FROM system.runtime.queries WHERE source LIKE '{mark}-v%'");
    let rows = coordinator::rows(address, &select).await;
    let version = |row: &Value| {
        let source = row[0].as_str().expect("a source");
        let told = source.strip_prefix(&format!("{mark}-v")).and_then(|rest| rest.split_once('-'));
        let (version, told) = told.unwrap_or_else(|| panic!("`{source}` names no version"));
        let version = version.parse().expect("a number");
        assert_eq!((told, group_of(version)), (group, group), "`{source}` ran on {group}");
        version
    };
    rows.iter().map(version).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_activations_in_a_minute_fail_no_query_and_mix_no_versions() {
    let (blue, green) = (blue(), green());
    let mark = format!("activation-{}", std::process::id());
    let first =
        format!("return {{ group = \"bi\", rule = \"v0\", set_source = \"{mark}-v0-bi\" }}");
    let olap = "[[groups]]\nname = \"olap\"\n".to_owned();
    let sections = olap + &gateway::cluster("green", "olap", &green);
    let extra = Extra { rules: Some(first), sections, ..Extra::default() };
    let gateway = Gateway::start_with_extra(&[("blue", &blue)], &extra).await;
    let own_source = format!("own-{mark}");
    let load = Load::start(gateway.client(), &own_source);

    let began = time::now();
    let mut ticks = tokio::time::interval(PERIOD);
    let mut slowest = Duration::ZERO;
    for turn in 0..ACTIVATIONS {
        ticks.tick().await;
        let asked = time::now();
        // Of the good ones, every other goes to the other group.
        let version = turn / 2 + 1;
        let (script, test, status) = if turn.is_multiple_of(2) {
            (script(&mark, version), test_of(version), 201)
        } else {
            let (script, test) = bad(&mark, version);
            (script, test, 422)
        };
        assert_eq!(activate(&gateway, &script, &test).await, status, "{script}");
        slowest = slowest.max(asked.elapsed());
    }
    let took = began.elapsed();
    let outcomes = load.end().await;

    let failed: Vec<_> = outcomes.iter().filter(|outcome| **outcome != WHOLE).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), outcomes.len());
    let on_blue = versions(&blue, &mark, "bi").await;
    let on_green = versions(&green, &mark, "olap").await;
    let all = on_blue.len() + on_green.len();
    assert!(all >= outcomes.len(), "{all} of {} queries told their version", outcomes.len());
    for address in [&blue, &green] {
        let unruled = coordinator::queries_of(address, &own_source).await;
        assert!(unruled.is_empty(), "{} queries saw no rules", unruled.len());
    }
    let seen: BTreeSet<u32> = on_blue.iter().chain(&on_green).copied().collect();
    println!(
        "{ACTIVATIONS} activations in {took:.1?}, half of them refused, the slowest answer after {slowest:.1?}; \
         {} queries, 0 failed, by {} versions: {} on blue, {} on green",
        outcomes.len(),
        seen.len(),
        on_blue.len(),
        on_green.len()
    );
    assert!(took <= WITHIN, "{took:?}");
    let good = usize::try_from(ACTIVATIONS / 2).expect("a small number");
    assert!(seen.len() > good / 2, "queries met {} of {good} versions only", seen.len());
}
