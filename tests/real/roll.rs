//! The daily roll as Airflow does it: real Airflow, the shipped DAG, real Trino, and clients that go
//! on with their queries meanwhile.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::coordinator;
use crate::support::gateway::Gateway;
use crate::support::own::Coordinator;
use crate::support::surroundings::{file, green};

/// A query of half a minute that takes no CPU: exactly 300 rows.
const LONG: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.half_a_minute (x bigint) WITH \
     (split_count = 1, pages_per_split = 30, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";

/// Boots nothing, and waits until the long query runs on the old cluster.
const BOOT: &str = "echo $CLUSTER > $ROLL/booted; until [ -e $ROLL/running ]; do sleep 0.1; done";

const DAG: &str = "warren_daily_roll";

/// Between two queries of a client: the roll is to be seen by many, and the machine is needed by Airflow too.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs queries one after another until it is told to stop; gives the marks of their coordinators.
async fn load(client: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut marks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        marks.push(mark_and_rows(&client, "roll", "SELECT name FROM tpch.tiny.nation", 25).await);
        tokio::time::sleep(PAUSE).await;
    }
    marks
}

/// Runs a query that must give so many rows; gives the mark of its coordinator.
async fn mark_and_rows(client: &str, source: &str, statement: &str, rows: usize) -> String {
    let pages = coordinator::follow(client, &[("X-Trino-Source", source)], statement).await;
    let mut seen = 0;
    let mut id = String::new();
    for page in &pages {
        let told = coordinator::json(&page.answer);
        assert!(told["error"].is_null(), "{}", told["error"]);
        seen += told["data"].as_array().map_or(0, Vec::len);
        told["id"].as_str().expect("an id").clone_into(&mut id);
    }
    assert_eq!(seen, rows, "{id}");
    id.rsplit('_').next().expect("a mark").to_owned()
}

/// Airflow with the shipped DAG, in a folder of its own.
struct Airflow {
    home: tempfile::TempDir,
    admin: String,
}

impl Airflow {
    fn run(&self, arguments: &[&str]) -> Output {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/airflow");
        let home = self.home.path();
        Command::new(file("WARREN_TEST_AIRFLOW").join("airflow"))
            .args(arguments)
            .current_dir(home)
            .env("AIRFLOW_HOME", home)
            .env("AIRFLOW__CORE__DAGS_FOLDER", shipped.join("dags"))
            .env("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
            .env("AIRFLOW_CONN_WARREN_DEFAULT", format!("http://{}", self.admin))
            .env("AIRFLOW_VAR_WARREN_BOOT", BOOT)
            .env("AIRFLOW_VAR_WARREN_STOP", "echo $CLUSTER > $ROLL/stopped")
            .env("ROLL", home)
            .env("PYTHONPATH", &shipped)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .output()
            .expect("Airflow starts")
    }

    fn told(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_default().trim().to_owned()
    }
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn airflow_rolls_a_group_and_fails_no_query() {
    let old = Coordinator::start("old", &[]);
    let mut gateway = Gateway::start_for_booting(&[("old", old.address()), ("new", &green())]);
    gateway.wait_until_ready().await;
    gateway.set_intent("new", "standby").await;
    coordinator::run(old.address(), LONG).await;
    let marks = [gateway.cluster("old").await, gateway.cluster("new").await]
        .map(|cluster| cluster["coordinator_id"].as_str().expect("a mark").to_owned());

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..3).map(|_| tokio::spawn(load(gateway.client().to_owned(), stop.clone()))).collect();
    let home = tempfile::tempdir().expect("a temporary folder");
    let airflow = Arc::new(Airflow { home, admin: gateway.admin().to_owned() });
    let began = warren::time::now();
    let runs = {
        let airflow = airflow.clone();
        tokio::task::spawn_blocking(move || {
            let migrated = airflow.run(&["db", "migrate"]);
            assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
            let migrated = began.elapsed();
            (migrated, airflow.run(&["dags", "test", DAG]))
        })
    };
    while airflow.told("booted").is_empty() && !runs.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let client = gateway.client().to_owned();
    let statement = "SELECT * FROM blackhole.default.half_a_minute";
    let long = tokio::spawn(async move { mark_and_rows(&client, "long", statement, 300).await });
    coordinator::running(&[old.address().to_owned()], "long").await;
    std::fs::write(airflow.home.path().join("running"), "").expect("a writable folder");

    let (migrated, output) = runs.await.expect("Airflow ran");
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("state=success"), "{text}");
    assert!(long.is_finished(), "the old cluster was given up while a query ran there");
    assert_eq!(long.await.expect("it gave all its rows"), marks[0]);
    let waits = text.matches("Pausing task as DEFERRED").count();
    assert_eq!(waits, 2, "both waits leave their worker:\n{text}");
    assert_eq!((&*airflow.told("booted"), &*airflow.told("stopped")), ("new", "old"));
    assert_eq!(gateway.cluster("old").await["intent"], "drained");
    assert_eq!(gateway.cluster("new").await["intent"], "active");

    let last = mark_and_rows(gateway.client(), "after", "SELECT 1", 1).await;
    assert_eq!(last, marks[1]);
    stop.store(true, Ordering::Relaxed);
    let mut ran = Vec::new();
    for client in clients {
        ran.extend(client.await.expect("no query of it failed"));
    }
    let on = marks.map(|mark| ran.iter().filter(|other| **other == mark).count());
    assert!(on[0] > 0 && on[1] > 0 && on[0] + on[1] == ran.len(), "{on:?} of {}", ran.len());
    println!(
        "roll by Airflow: {took:.1?}, of which its database {migrated:.1?}; {} queries, {} before and {} after, 0 failed",
        ran.len(),
        on[0],
        on[1]
    );
    let refused = {
        let airflow = airflow.clone();
        let wrong = ["dags", "test", DAG, "--conf", r#"{"group": "nobody"}"#];
        tokio::task::spawn_blocking(move || airflow.run(&wrong)).await.expect("Airflow ran")
    };
    let text = String::from_utf8_lossy(&refused.stdout) + String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("a roll needs one active cluster"), "{text}");
    assert!(!refused.status.success(), "a roll that cannot be done fails:\n{text}");
}
