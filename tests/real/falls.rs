//! A coordinator falls: it freezes and wakes, it is killed while submits wait at it and while clients
//! read from it, another process takes its address, and all of a group go at once.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;
use warren::time;

use crate::support::clients::Client;
use crate::support::coordinator::{self, SOON};
use crate::support::gate::Gate;
use crate::support::gateway::Gateway;
use crate::support::own::Coordinator;
use crate::support::raw::{post, to_its_end};
use crate::support::surroundings::{blue, green};
use crate::support::until;

/// A query of forty seconds that takes no CPU: exactly 400 rows.
const FORTY: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.forty (x bigint) WITH \
     (split_count = 1, pages_per_split = 40, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";
/// Ten minutes.
const LONG: &str = "CREATE TABLE IF NOT EXISTS blackhole.default.ten_minutes (x bigint) WITH \
     (split_count = 1, pages_per_split = 600, rows_per_page = 10, field_length = 8, \
     page_processing_delay = '1s')";
const READ_FORTY: &str = "SELECT x, 'of-forty' FROM blackhole.default.forty";
const READ_LONG: &str = "SELECT x, 'of-ten-minutes' FROM blackhole.default.ten_minutes";
const READ_MOVING: &str = "SELECT x, 'of-moving' FROM blackhole.default.ten_minutes";
const REGIONS: &str = "SELECT regionkey, name FROM tpch.tiny.region ORDER BY 1";

/// How long a coordinator is frozen.
const FROZEN: Duration = Duration::from_secs(20);
/// `health.lost_after` where it is set.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// For the clients of a lost query to be told, on a busy machine too.
const TOLD_WITHIN: Duration = Duration::from_secs(25);
/// How many submits wait.
const SUBMITS: usize = 40;

type Told = Vec<(Client, JoinHandle<(String, time::Instant)>)>;

/// Starts `statement` with every client; each tells what it saw, and when.
fn start(gateway: &Gateway, statement: &'static str) -> Told {
    let one = |client: Client| {
        let address = gateway.client().to_owned();
        let told = async move { (client.rows(&address, statement).await, time::now()) };
        (client, tokio::spawn(told))
    };
    Client::PATIENT.into_iter().map(one).collect()
}

/// The same, and waits until all of them run on the coordinator at `owner`.
async fn start_on(gateway: &Gateway, owner: &str, statement: &'static str) -> Told {
    let running = async || {
        let states = coordinator::states_of_marked(owner, statement).await;
        states.iter().filter(|state| *state == "RUNNING").count()
    };
    let before = running().await;
    let told = start(gateway, statement);
    until("each client's query runs", async || running().await >= before + told.len()).await;
    told
}

/// Checks what each client saw, and prints what the last of them saw with each time since `began`.
#[expect(clippy::print_stdout, reason = "what drivers show is part of the report")]
async fn all_told(told: Told, began: time::Instant, right: impl Fn(&str) -> bool) -> Duration {
    let mut last = Duration::ZERO;
    for (client, told) in told {
        let (text, at) = told.await.expect("it ran");
        let took = at.saturating_duration_since(began);
        let shown = text.lines().next().unwrap_or_default();
        println!("{} after {took:.1?}, {} lines: {shown}", client.name(), text.lines().count());
        assert!(right(&text), "{client:?}: {text}");
        last = last.max(took);
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_freezes_and_later_falls() {
    let falling = Coordinator::start("falling", &[]);
    let clusters = [("blue", blue()), ("falling", falling.address().to_owned())];
    let clusters = clusters.each_ref().map(|(name, address)| (*name, address.as_str()));
    let gateway = Gateway::start(&clusters).await;
    for (_, address) in clusters {
        coordinator::run(address, FORTY).await;
        coordinator::run(address, LONG).await;
    }
    nobody_notices_that_it_is_frozen(&gateway, &falling).await;
    drop(gateway);
    let lost = format!("[health]\nlost_after = \"{}s\"\n", LOST_AFTER.as_secs());
    let gateway = Gateway::start_with(&lost, &clusters).await;
    it_is_killed_while_submits_wait(&gateway, falling).await;
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
async fn nobody_notices_that_it_is_frozen(gateway: &Gateway, falling: &Coordinator) {
    let client = gateway.client();
    gateway.set_intent("blue", "standby").await;
    let running = start_on(gateway, falling.address(), READ_FORTY).await;
    // The first pages of these are asked for while it is frozen.
    let posted = join_all((0..8).map(|_| post(client, "not-begun", REGIONS))).await;
    gateway.set_intent("blue", "active").await;

    falling.signal("STOP");
    let began = time::now();
    let fresh = start(gateway, REGIONS);
    let begun = posted.into_iter().map(|page| tokio::spawn(to_its_end(client.to_owned(), page)));
    let begun: Vec<_> = begun.collect();
    let submits = join_all((0..4).map(async |_| {
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while began.elapsed() < FROZEN {
            let one = time::now();
            coordinator::follow(client, &[("X-Trino-Source", "while-frozen")], "SELECT 1").await;
            (count, slowest) = (count + 1, slowest.max(one.elapsed()));
        }
        (count, slowest)
    }));
    let submits = tokio::join!(submits, async {
        tokio::time::sleep_until(began + FROZEN).await;
        falling.signal("CONT");
        println!("frozen for {:.1?}", began.elapsed());
    });
    let count: u32 = submits.0.iter().map(|(count, _)| count).sum();
    let slowest = submits.0.iter().map(|(_, slowest)| *slowest).max();
    println!("while it was frozen {count} new queries ran, the slowest in {slowest:.1?}");
    for begun in begun {
        assert_eq!(begun.await.expect("it goes on").1, 5);
    }
    let regions = "0\tAFRICA\n1\tAMERICA\n2\tASIA\n3\tEUROPE\n4\tMIDDLE EAST";
    all_told(fresh, began, |text| text == regions).await;
    all_told(running, began, |text| text.lines().count() == 400).await;
    until("it is ready", async || gateway.cluster("falling").await["health"] == "ready").await;
}

/// Submits hang at a frozen coordinator, and then it is killed: each is answered by another one, and
/// runs there once. Where it hung it cannot have begun: that takes a GET, and nobody has its id.
#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
async fn it_is_killed_while_submits_wait(gateway: &Gateway, falling: Coordinator) {
    let client = gateway.client();
    let table = format!("memory.default.counted_{}", std::process::id());
    let source = format!("counted-{}", std::process::id());
    for address in [&*blue(), falling.address()] {
        coordinator::run(address, &format!("CREATE TABLE {table} (n bigint)")).await;
    }
    gateway.set_intent("blue", "standby").await;
    let running = start_on(gateway, falling.address(), READ_LONG).await;
    gateway.set_intent("blue", "active").await;

    falling.signal("STOP");
    let load = async || gateway.cluster("falling").await["load"].as_u64().unwrap_or_default();
    let before = load().await;
    let submits: Vec<_> = (0..SUBMITS)
        .map(|n| {
            let insert = format!("INSERT INTO {table} VALUES {n}");
            let text = if n % 2 == 0 { insert } else { format!("SELECT {n}") };
            let (client, source) = (client.to_owned(), source.clone());
            tokio::spawn(async move { post(&client, &source, &text).await })
        })
        .collect();
    until("ten of them wait there", async || load().await >= before + 10).await;
    let waiting = submits.iter().filter(|submit| !submit.is_finished()).count();
    let mark = gateway.cluster("falling").await["coordinator_id"].clone();
    falling.signal("KILL");
    let killed = time::now();
    let mut pages = Vec::new();
    for submit in submits {
        pages.push(submit.await.expect("it is answered"));
    }
    println!(
        "{waiting} of {SUBMITS} waited there; all were answered {:.1?} later",
        killed.elapsed()
    );
    assert!(waiting >= 10, "only {waiting} waited");
    assert!(pages.iter().all(|page| !ends_with(&page["id"], &mark)), "one has an id of the dead");
    for page in pages {
        to_its_end(client.to_owned(), page).await;
    }
    each_ran_once(&table, &source).await;
    let told = all_told(running, killed, |text| {
        text.contains("the coordinator of cluster 'falling', which ran query")
            && text.contains("cannot be reached any more; the query is lost, submit it again")
    });
    let last = told.await;
    assert!(last < LOST_AFTER + TOLD_WITHIN, "the last was told after {last:?}");
}

fn ends_with(id: &Value, mark: &Value) -> bool {
    let (Some(id), Some(mark)) = (id.as_str(), mark.as_str()) else { panic!("{id} {mark}") };
    id.ends_with(mark)
}

/// Each INSERT and each SELECT of `source` ran once, on the coordinator that is left.
async fn each_ran_once(table: &str, source: &str) {
    let rows = coordinator::rows(&blue(), &format!("SELECT n FROM {table} ORDER BY n")).await;
    let rows: Vec<u64> = rows.iter().filter_map(|row| row[0].as_u64()).collect();
    let even: Vec<u64> = (0..SUBMITS as u64).step_by(2).collect();
    assert_eq!(rows, even, "the numbers in the table");
    let texts = format!("SELECT query FROM system.runtime.queries WHERE source = '{source}'");
    let texts = coordinator::rows(&blue(), &texts).await;
    let mut texts: Vec<&str> = texts.iter().filter_map(|row| row[0].as_str()).collect();
    assert_eq!(texts.len(), SUBMITS, "{texts:?}");
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), SUBMITS, "{texts:?}");
    coordinator::run(&blue(), &format!("DROP TABLE {table}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_takes_the_address() {
    for address in [blue(), green()] {
        coordinator::run(&address, LONG).await;
    }
    let gate = Gate::start(&green()).await;
    let gateway = Gateway::start(&[("moving", gate.address())]).await;
    let running = start_on(&gateway, &green(), READ_MOVING).await;
    gate.lead_to(&blue()).await;
    let moved = time::now();
    let last = all_told(running, moved, |text| {
        text.contains("the coordinator of cluster 'moving', which ran query")
            && text.contains("was restarted; the query is lost, submit it again")
    });
    let last = last.await;
    assert!(last < TOLD_WITHIN, "the last was told after {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_away_for_ten_seconds_and_then_for_good() {
    let gates = [Gate::start(&blue()).await, Gate::start(&green()).await];
    let clusters = [("blue", gates[0].address()), ("green", gates[1].address())];
    // Ready again soon after they are back: `timeouts.submit` is short for a busy machine.
    let looks = "[health]\ninfo_period = \"500ms\"\n";
    let mut gateway = Gateway::start_with(looks, &clusters).await;
    let source = format!("away-{}", std::process::id());
    shut(&gates).await;
    let began = time::now();
    let clients = start(&gateway, REGIONS);
    let submits = (0..SUBMITS).map(|n| {
        let (client, source) = (gateway.client().to_owned(), source.clone());
        tokio::spawn(async move {
            let page = post(&client, &source, &format!("SELECT {n}")).await;
            to_its_end(client, page).await
        })
    });
    let submits: Vec<_> = submits.collect();
    let held = async || gateway.figure(&["warren_held_requests", r#"kind="submit""#]).await;
    until("all wait", async || held().await >= SUBMITS as f64).await;
    tokio::time::sleep_until(began + Duration::from_secs(10)).await;
    for gate in &gates {
        gate.open().await;
    }
    for submit in submits {
        assert_eq!(submit.await.expect("it is served").1, 1);
    }
    all_told(clients, began, |text| text.lines().count() == 5 && text.contains("4\tMIDDLE EAST"))
        .await;
    let mut ran = 0;
    for address in [blue(), green()] {
        ran += coordinator::queries_of(&address, &source).await.len();
    }
    assert_eq!(ran, SUBMITS);

    gateway.wait_until_ready().await;
    shut(&gates).await;
    let began = time::now();
    let clients = start(&gateway, REGIONS);
    let last = all_told(clients, began, |text| {
        text.contains("no cluster of the routing group 'bi' can take a query now")
    });
    let last = last.await;
    assert!(last < SOON, "the last was told after {last:?}");
}

async fn shut(gates: &[Gate]) {
    for gate in gates {
        gate.shut().await;
    }
}
