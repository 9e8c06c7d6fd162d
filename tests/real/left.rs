//! What is left at a real coordinator that drains: a query of ten minutes, an open transaction, a client
//! that walked away, spooled segments that nobody has fetched, and a query that came past Warren. Drained is
//! said when nothing of it is left, and not before.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::coordinator::{self, USER};
use crate::support::gateway::{self, Extra, Gateway};
use crate::support::own::Coordinator;
use crate::support::storage::Storage;
use crate::support::surroundings::blue;
use crate::support::{until, wire};

const NAME: &str = "left";

/// It takes no CPU.
const TEN_MINUTES: &str = "CREATE TABLE blackhole.default.ten_minutes (x bigint) WITH \
     (split_count = 1, pages_per_split = 600, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";
const LONG: &str = "SELECT * FROM blackhole.default.ten_minutes";

/// Several segments.
const SPOOLED: &str = "SELECT orderkey, partkey, linenumber, returnflag, shipmode, comment \
     FROM tpch.tiny.lineitem";

/// What a test waits for a client that walked away.
const CLIENT_TIMEOUT: &str = "15s";

fn coordinator(storage: &Storage) -> Coordinator {
    let patience = format!("--property=query.client.timeout={CLIENT_TIMEOUT}");
    storage.coordinator(NAME, (7, "coordinator_proxy"), &[&patience])
}

async fn gateway(trino: &Coordinator) -> Gateway {
    let group = format!("\n[[groups]]\nname = \"{NAME}\"\n");
    let extra = Extra {
        rules: Some(format!("return \"{NAME}\"")),
        sections: group + &gateway::cluster(NAME, NAME, trino.address()),
        booting: true,
        ..Extra::default()
    };
    Gateway::start_with_extra(&[("blue", &blue())], &extra).await
}

/// A query that its client keeps asking for.
struct Query {
    address: String,
    next: String,
}

impl Query {
    /// Submits it, and asks until it runs.
    async fn running(address: &str) -> Self {
        let headers = [("X-Trino-User", USER)];
        let posted = wire::ask(address, "POST", "/v1/statement", &headers, LONG).await;
        let mut page = coordinator::json(&posted.expect("an answer"));
        let mut query = Self { address: address.to_owned(), next: path(&page["nextUri"]) };
        while page["stats"]["state"] != "RUNNING" {
            page = query.page().await;
        }
        query
    }

    async fn page(&mut self) -> Value {
        let headers = [("X-Trino-User", USER)];
        let answer = wire::ask(&self.address, "GET", &self.next, &headers, "").await;
        let page = coordinator::json(&answer.expect("an answer"));
        self.next = path(&page["nextUri"]);
        page
    }

    async fn cancel(self) {
        let headers = [("X-Trino-User", USER)];
        let answer = wire::ask(&self.address, "DELETE", &self.next, &headers, "").await;
        assert_eq!(answer.expect("an answer").status(), 204);
    }
}

fn path(uri: &Value) -> String {
    let uri = uri.as_str().expect("an address");
    uri[uri.find("/v1/").expect("a path of Trino's")..].to_owned()
}

/// A header that one of the answers of a statement has.
async fn told(address: &str, transaction: &str, statement: &str, header: &str) -> String {
    let headers = [("X-Trino-Transaction-Id", transaction)];
    let pages = coordinator::follow(address, &headers, statement).await;
    let found = pages.iter().find_map(|page| page.answer.header(header));
    found.unwrap_or_else(|| panic!("`{statement}` tells no {header}")).to_owned()
}

/// Where each segment of a result is acknowledged, and what goes with that.
async fn spool(address: &str) -> Vec<(String, Vec<(String, String)>)> {
    let spooled = [("X-Trino-Query-Data-Encoding", "json")];
    let pages = coordinator::follow(address, &spooled, SPOOLED).await;
    let segments = pages.iter().flat_map(|page| {
        let segments = coordinator::json(&page.answer)["data"]["segments"].clone();
        segments.as_array().cloned().unwrap_or_default()
    });
    let spooled = segments.filter(|segment| segment["type"] == "spooled");
    let listed = spooled.map(|segment| {
        let headers = segment["headers"].as_object().expect("headers").iter();
        let headers = headers
            .map(|(name, values)| (name.clone(), values[0].as_str().expect("a value").to_owned()));
        (path(&segment["ackUri"]), headers.collect())
    });
    listed.collect()
}

async fn left(gateway: &Gateway) -> Value {
    let path = format!("/api/v1/clusters/{NAME}/left");
    let answer = wire::ask(gateway.admin(), "GET", &path, &[], "").await.expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Asks for both queries until this is left; nothing is said to be drained meanwhile.
async fn until_left(gateway: &Gateway, queries: &mut [Query], text: &str) {
    until(text, async || {
        for query in &mut *queries {
            query.page().await;
        }
        let told = left(gateway).await;
        assert_eq!(told["drained"], false, "{told}");
        told["text"] == text
    })
    .await;
}

fn drain(gateway: &Gateway) -> tokio::task::JoinHandle<std::io::Result<Output>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren"));
    command.args(["clusters", "drain", NAME, "--wait", "--timeout", "5m", "--config"]);
    command.arg(gateway.settings());
    tokio::task::spawn_blocking(move || command.output())
}

#[expect(clippy::print_stdout, reason = "what was left belongs to the report")]
#[tokio::test(flavor = "multi_thread")]
async fn drained_is_said_exactly_when_it_may() {
    let storage = Storage::start(&[NAME]).await;
    let trino = coordinator(&storage);
    let gateway = gateway(&trino).await;
    let address = gateway.client();
    coordinator::run(address, TEN_MINUTES).await;
    let transaction =
        told(address, "NONE", "START TRANSACTION", "x-trino-started-transaction-id").await;
    let segments = spool(address).await;
    let count = segments.len();
    assert!(count > 0 && count == storage.objects(NAME).await, "{count} segments");
    let _walked_away = Query::running(address).await;
    let mut queries = vec![Query::running(address).await, Query::running(trino.address()).await];
    let draining = drain(&gateway);
    gateway.until(NAME, "intent", "draining").await;

    let beside = match count {
        1 => "1 open transaction, 1 spooled segment".to_owned(),
        _ => format!("1 open transaction, {count} spooled segments"),
    };
    until_left(&gateway, &mut queries, &format!("3 queries, {beside}")).await;
    until_left(&gateway, &mut queries, &format!("2 queries, {beside}")).await;
    queries.pop().expect("the one that came past Warren").cancel().await;
    until_left(&gateway, &mut queries, &format!("1 query, {beside}")).await;
    queries.pop().expect("the one through Warren").cancel().await;
    until_left(&gateway, &mut queries, &beside).await;

    for (path, headers) in &segments {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = wire::ask(address, "GET", path, &headers, "").await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    }
    until_left(&gateway, &mut queries, "1 open transaction").await;
    told(address, &transaction, "COMMIT", "x-trino-clear-transaction-id").await;
    let output = draining.await.expect("it runs").expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success() && text.contains("is now drained"), "{text}");
    assert_eq!(storage.objects(NAME).await, 0, "segments are left");
    let open = coordinator::rows(
        trino.address(),
        "SELECT count(*) FROM system.runtime.transactions WHERE NOT auto_commit_context",
    )
    .await;
    assert_eq!(open, [serde_json::json!([0])], "a transaction is open");
}
