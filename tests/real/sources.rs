//! What Trino counts of itself, read from each source: its workers and the queries that run.

use std::time::Duration;

use serde_json::Value;

use crate::support::coordinator::{self, SOON};
use crate::support::gateway::{Extra, Gateway};
use crate::support::surroundings::blue;
use crate::support::wire;

/// A query that runs for a while without work.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.sources (x bigint) WITH (split_count = 1, \
     pages_per_split = 600, rows_per_page = 10, page_processing_delay = '100ms')";

#[tokio::test(flavor = "multi_thread")]
async fn each_source_reads_workers_and_running_queries() {
    let blue = blue();
    coordinator::run(&blue, TABLE).await;
    for source in ["metrics", "ui", "jmx"] {
        let extra =
            Extra { cluster: format!("probe = {{ source = \"{source}\" }}\n"), ..Extra::default() };
        let gateway = Gateway::start_with_extra(&[("blue", &blue)], &extra).await;
        let told = gateway.cluster("blue").await;
        // The only node works too: the web UI counts it among the workers.
        assert_eq!(told["workers"], u64::from(source == "ui"), "{source}: {told}");
        let name = format!("sources-{source}");
        let (address, source_of) = (blue.clone(), name.clone());
        let query = tokio::spawn(async move {
            let headers = [("X-Trino-Source", source_of.as_str())];
            coordinator::follow(&address, &headers, "SELECT * FROM blackhole.default.sources").await
        });
        coordinator::running(std::slice::from_ref(&blue), &name).await;
        let counted = async {
            while running(&gateway).await != listed(&blue).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let seen = tokio::time::timeout(SOON, counted).await;
        assert!(seen.is_ok(), "{source} does not count what Trino lists");
        query.abort();
    }
}

/// How many queries run by the list of Trino itself.
async fn listed(address: &str) -> u64 {
    let headers = [("X-Trino-User", coordinator::USER)];
    let answer = wire::ask(address, "GET", "/v1/query?state=RUNNING", &headers, "").await;
    let list = coordinator::json(&answer.expect("an answer"));
    let count = list.as_array().expect("a list of queries").len() as u64;
    assert!(count > 0, "the query of this test runs");
    count
}

async fn running(gateway: &Gateway) -> u64 {
    let told: Value = gateway.cluster("blue").await;
    told["running"].as_u64().unwrap_or_else(|| panic!("not counted: {told}"))
}
