//! Spooled results of real coordinators, one for each way in which a client gets its segments: rows
//! are those of an unspooled result, and each segment is acknowledged where it lies.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::support::clients::{Client, Way};
use crate::support::coordinator::{self, SOON};
use crate::support::gateway::{self, Extra, Gateway};
use crate::support::own::Coordinator;
use crate::support::storage::Storage;
use crate::support::surroundings::blue;
use crate::support::wire;

/// A coordinator, its group and its bucket have the same name, which stands in a query's source.
const MODES: [(&str, &str); 3] = [
    ("proxy", "coordinator_proxy"),
    ("direct", "storage"),
    ("redirect", "coordinator_storage_redirect"),
];
const ENCODINGS: [&str; 3] = ["json", "json+zstd", "json+lz4"];
const CLIENTS: [Client; 2] = [Client::Jdbc, Client::Dbapi];

/// Several segments.
const STATEMENT: &str = "SELECT orderkey, partkey, linenumber, returnflag, shipmode, comment \
     FROM tpch.tiny.lineitem";

/// By its source a query goes to one of the coordinators that spool.
const RULES: &str = "local mode = string.match(request.source or \"\", \"^spool%-(%a+)$\")\n  \
     return mode or \"bi\"";

fn coordinator(number: u8, storage: &Storage) -> Coordinator {
    let (name, mode) = MODES[usize::from(number)];
    storage.coordinator(name, (number, mode), &[])
}

async fn gateway(trinos: &[Coordinator; 3]) -> Gateway {
    let sections = MODES.iter().zip(trinos).map(|((name, _), trino)| {
        format!("\n[[groups]]\nname = \"{name}\"\n")
            + &gateway::cluster(name, name, trino.address())
    });
    let extra = Extra {
        rules: Some(RULES.to_owned()),
        sections: sections.collect(),
        booting: true,
        ..Extra::default()
    };
    Gateway::start_with_extra(&[("blue", &blue())], &extra).await
}

/// Waits until nothing is left in a bucket.
async fn emptied(storage: &Storage, bucket: &str) {
    let waiting = async {
        while storage.objects(bucket).await > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let told = tokio::time::timeout(SOON, waiting).await;
    let left = storage.objects(bucket).await;
    assert!(told.is_ok(), "{left} segments of {bucket} were not acknowledged");
}

/// Fetches the result with each client in each encoding from one of the coordinators.
async fn fetch_all(gateway: &Gateway, storage: &Storage, mode: &str, expected: (u64, u64)) {
    let source = format!("spool-{mode}");
    for encoding in ENCODINGS {
        for client in CLIENTS {
            let before = storage.written(mode);
            let way =
                Way { encoding: Some(encoding), source: Some(&source), ..gateway.client().into() };
            let told = client.checksum(way, STATEMENT).await;
            assert_eq!(told, expected, "{client:?} {mode} {encoding}");
            let segments = storage.written(mode) - before;
            assert!(segments >= 2, "{client:?} {mode} {encoding}: {segments} segments");
            emptied(storage, mode).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn spooled_results_come_from_their_own_cluster() {
    let storage = Storage::start(&MODES.map(|(name, _)| name)).await;
    let trinos = [0, 1, 2].map(|number| coordinator(number, &storage));
    let gateway = gateway(&trinos).await;
    let expected = Client::Jdbc.checksum(&blue(), STATEMENT).await;
    assert_eq!(expected.0, 60_175);
    let all = MODES.map(|(mode, _)| fetch_all(&gateway, &storage, mode, expected));
    join_all(all).await;
    for (name, _) in MODES {
        println!("{name}: {} segments, all acknowledged", storage.written(name));
    }
    assert_others_cannot_serve(&gateway, &trinos, &storage).await;
}

/// A segment means nothing to another coordinator; Warren finds its own also without having seen
/// the page that listed it.
async fn assert_others_cannot_serve(
    gateway: &Gateway,
    trinos: &[Coordinator; 3],
    storage: &Storage,
) {
    let [proxy, direct, redirect] = trinos;
    let spooled = [("X-Trino-Query-Data-Encoding", "json")];
    let pages = coordinator::follow(proxy.address(), &spooled, STATEMENT).await;
    let listed = pages.iter().flat_map(|page| {
        let segments = coordinator::json(&page.answer)["data"]["segments"].clone();
        segments.as_array().cloned().unwrap_or_default()
    });
    let listed: Vec<Value> = listed.filter(|segment| segment["type"] == "spooled").collect();
    assert_eq!(listed.len(), storage.objects("proxy").await, "{listed:?}");
    assert!(!listed.is_empty());
    for segment in &listed {
        let uri = segment["ackUri"].as_str().expect("an address");
        let path = &uri[uri.find("/v1/").expect("a path of Trino's")..];
        // Trino wants them back as it gave them.
        let headers = segment["headers"].as_object().expect("headers").iter();
        let headers: Vec<(&str, &str)> = headers
            .map(|(name, values)| (name.as_str(), values[0].as_str().expect("a value")))
            .collect();
        for other in [direct, redirect] {
            let answer = wire::ask(other.address(), "GET", path, &headers, "").await;
            assert!(answer.expect("an answer").status() >= 400, "another one took {path}");
        }
        let answer = wire::ask(gateway.client(), "GET", path, &headers, "").await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }
    emptied(storage, "proxy").await;
}
