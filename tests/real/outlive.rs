//! Many running queries of real clients on real Trino outlive Warren's own falls: a worker that is
//! killed and away, upgrades in a row under load, one of two gateways that dies.
//!
//! What a connection's end cut off within a body is counted apart, by the harness's own byte log; a
//! client cannot know what was missing.

use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use warren_stub::free_address;

use crate::support::clients::{Client, Outcome, Way};
use crate::support::coordinator;
use crate::support::front::Front;
use crate::support::gateway::{Gateway, signal};
use crate::support::mariadb::Server;
use crate::support::size::{is_whole, size};
use crate::support::surroundings::{blue, file, green};
use crate::support::wire;

/// For how many seconds a query gives ten rows each. Starting them takes a part of that: on two
/// processors 200 clients need about a minute.
fn seconds() -> u64 {
    size(180, 60)
}

fn table() -> String {
    format!("blackhole.default.rows_for_{}_seconds", seconds())
}

/// Programs that run many queries at once, and their shares of a hundred.
const MANY: [(Client, u32); 3] = [(Client::Jdbc, 35), (Client::Dbapi, 30), (Client::Go, 30)];

/// The CLI runs one query in a process.
const CLI_SHARE: u32 = 5;

/// The way of clients whose query takes the table's whole time.
fn lasting(address: &str) -> Way<'_> {
    Way { lasts: Duration::from_secs(seconds()), ..address.into() }
}

async fn make_table() {
    let make = format!(
        "CREATE TABLE IF NOT EXISTS {} (x bigint) WITH (split_count = 1, pages_per_split = {}, \
         rows_per_page = 10, field_length = 8, page_processing_delay = '1s')",
        table(),
        seconds()
    );
    for address in [blue(), green()] {
        coordinator::run(&address, &make).await;
    }
}

/// Queries of all clients that run.
struct Running {
    source: String,
    queries: Vec<(Client, JoinHandle<Vec<Outcome>>)>,
}

impl Running {
    /// Starts `count` queries of the clients that send again, and one in twenty more of JavaScript's,
    /// and waits until Trino runs them all.
    async fn start(address: &str, count: u32) -> Self {
        let source = format!("outlive-{}-{address}", std::process::id());
        let statement = format!("SELECT * FROM {}", table());
        let mut queries = Vec::new();
        let mut all = 0;
        let shares = MANY.iter().map(|(client, share)| (*client, count * share / 100));
        for (client, own) in shares.chain([(Client::Js, count.div_ceil(20))]) {
            all += own;
            let (address, source, statement) =
                (address.to_owned(), source.clone(), statement.clone());
            let run = async move { client.many(lasting(&address), &source, own, &statement).await };
            queries.push((client, tokio::spawn(run)));
        }
        for _ in 0..(count * CLI_SHARE / 100).max(1) {
            all += 1;
            let (address, source, statement) =
                (address.to_owned(), source.clone(), statement.clone());
            let run = async move {
                vec![Client::Cli.outcome(lasting(&address), &source, &statement).await]
            };
            queries.push((Client::Cli, tokio::spawn(run)));
        }
        let running = Self { source, queries };
        running.until(all).await;
        running
    }

    async fn until(&self, count: u32) {
        let waiting = async {
            while self.alive().await < count as usize {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let limit = Duration::from_secs(seconds() * 3 / 4);
        let told = tokio::time::timeout(limit, waiting).await;
        assert!(told.is_ok(), "{} of {count} queries ran within {limit:?}", self.alive().await);
    }

    /// How many of them Trino runs.
    async fn alive(&self) -> usize {
        let mut alive = 0;
        for address in [blue(), green()] {
            let queries = coordinator::queries_of(&address, &self.source).await;
            alive += queries.iter().filter(|(state, _)| state == "RUNNING").count();
        }
        alive
    }

    /// Waits for their ends. None failed but those that were cut off; JavaScript's are told apart.
    async fn end(self, what: &str, front: &Front) {
        let expected = Outcome::Rows(seconds() * 10);
        let (mut told, mut failed) = (Vec::new(), Vec::new());
        for (client, outcomes) in self.queries {
            let outcomes = outcomes.await.expect("it ran");
            let bad: Vec<_> = outcomes.iter().filter(|outcome| **outcome != expected).collect();
            told.push(format!(
                "{} {}/{}",
                client.name(),
                outcomes.len() - bad.len(),
                outcomes.len()
            ));
            if client != Client::Js {
                failed.extend(bad.into_iter().map(|bad| format!("{client:?}: {bad:?}")));
            }
        }
        let (cut, refused) = (front.cut(), front.refused());
        tell(&format!("{what}: {}; {cut} cut, {refused} refused", told.join(", ")));
        assert_eq!(refused, 0, "refused connections");
        let allowed = usize::try_from(cut).expect("a small number");
        assert!(failed.len() <= allowed, "{} failed, {cut} were cut: {failed:?}", failed.len());
    }
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
fn tell(text: &str) {
    println!("{text}");
}

/// How long the worker is away, one time after the other.
fn gaps() -> Vec<Duration> {
    size(vec![0.3, 2.0, 8.0], vec![2.0]).into_iter().map(Duration::from_secs_f64).collect()
}

fn both(addresses: &[String; 2]) -> [(&'static str, &str); 2] {
    [("blue", &addresses[0]), ("green", &addresses[1])]
}

async fn lose_the_worker(gateway: &Gateway, running: &Running, what: &str) {
    for gap in gaps() {
        let alive = running.alive().await;
        gateway.lose_worker(gap).await;
        tell(&format!("{what}: {alive} queries ran while the worker was away for {gap:?}"));
        // Its clients are served again before it falls once more.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_outlive_a_worker_that_forgets_everything() {
    make_table().await;
    let addresses = [blue(), green()];
    let gateway = Gateway::start_supervised(&both(&addresses)).await;
    let front = Front::start(gateway.client().to_owned()).await;
    let running = Running::start(front.address(), size(200, 40)).await;
    lose_the_worker(&gateway, &running, "empty SQLite").await;
    running.end("empty SQLite", &front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_outlive_a_worker_without_the_database() {
    make_table().await;
    let mut database = tokio::task::spawn_blocking(Server::start).await.expect("a MariaDB");
    let addresses = [blue(), green()];
    let gateway = Gateway::start_supervised_with(&database.url(), &both(&addresses)).await;
    let front = Front::start(gateway.client().to_owned()).await;
    let running = Running::start(front.address(), size(200, 20)).await;
    database.kill();
    lose_the_worker(&gateway, &running, "MariaDB stopped").await;
    running.end("MariaDB stopped", &front).await;
}

/// An answer to a POST that a kill cuts off fails some clients, so all queries run before the first one.
#[tokio::test(flavor = "multi_thread")]
async fn queries_outlive_kills_and_upgrades_in_turn() {
    make_table().await;
    let addresses = [blue(), green()];
    let gateway = Gateway::start_supervised(&both(&addresses)).await;
    let front = Front::start(gateway.client().to_owned()).await;
    let running = Running::start(front.address(), 20).await;
    for fall in 0..10 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if fall % 2 == 0 {
            signal("KILL", gateway.worker());
        } else {
            tokio::task::block_in_place(|| gateway.upgrade());
        }
    }
    running.end("five kills and five upgrades in turn", &front).await;
}

/// A statement without rows that costs a coordinator 17 ms of CPU; `SELECT 1` costs it 59 ms, and 50 of
/// these a second are more than two processors can do.
const CHEAP: &str = "RESET SESSION query_max_run_time";

/// JavaScript's client sends nothing again, so upgrades must break no connection within an answer.
#[tokio::test(flavor = "multi_thread")]
async fn upgrades_in_a_row_fail_nobody() {
    let (rate, upgrades) = size((50, 20), (8, 3));
    let every = Duration::from_secs(10);
    let addresses = [blue(), green()];
    let gateway = Gateway::start_supervised(&both(&addresses)).await;
    let front = Front::start(gateway.client().to_owned()).await;
    let seconds = upgrades * 10 + 5;
    let clients = [Client::Jdbc, Client::Dbapi, Client::Go, Client::Js];
    let load = clients.into_iter().zip([0, 1, 2, 3]).map(|(client, place)| {
        let address = front.address().to_owned();
        let own = rate / 4 + u32::from(place < rate % 4);
        let pace = (own, seconds);
        tokio::spawn(async move { client.pace(&address, "upgrades", pace, CHEAP).await })
    });
    let load: Vec<_> = load.collect();
    let mut longest = Duration::ZERO;
    for _ in 0..upgrades {
        let next = tokio::time::Instant::now() + every;
        let old = gateway.worker();
        tokio::task::block_in_place(|| gateway.upgrade());
        let began = tokio::time::Instant::now();
        while std::path::Path::new(&format!("/proc/{old}")).exists() {
            assert!(began.elapsed() < every, "the old worker outlived its grace");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        longest = longest.max(began.elapsed());
        tokio::time::sleep_until(next).await;
    }
    let (mut all, mut failed) = (0, Vec::new());
    for (client, outcomes) in clients.into_iter().zip(join_all(load).await) {
        let outcomes = outcomes.expect("it ran");
        all += outcomes.len();
        let bad = outcomes.into_iter().filter(|outcome| *outcome != Outcome::Rows(0));
        failed.extend(bad.map(|bad| format!("{client:?}: {bad:?}")));
    }
    let (cut, refused) = (front.cut(), front.refused());
    tell(&format!(
        "{upgrades} upgrades under {rate} queries/s: {all} queries, {} failed, {cut} cut, {refused} \
         refused; the old worker was gone after at most {longest:?}",
        failed.len()
    ));
    assert!(all >= usize::try_from(rate * upgrades * 10).expect("small"), "only {all} queries");
    assert_eq!((failed.as_slice(), cut, refused), (&[][..], 0, 0));
}

/// Behind a TCP balancer, as two gateways are run.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_gateways_dies_and_its_clients_go_on() {
    make_table().await;
    let database = tokio::task::spawn_blocking(Server::start).await.expect("a MariaDB");
    let addresses = [blue(), green()];
    let mut one = Gateway::start_with_store(&database.url(), &both(&addresses));
    let mut other = Gateway::start_with_store(&database.url(), &both(&addresses));
    one.wait_until_ready().await;
    other.wait_until_ready().await;
    let balancer = Balancer::start([one.client(), other.client()]).await;
    let front = Front::start(balancer.address.clone()).await;
    let running = Running::start(front.address(), size(200, 40)).await;

    let began = tokio::time::Instant::now();
    one.set_intent("blue", "draining").await;
    while other.cluster("blue").await["intent"] != "draining" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let heard = began.elapsed();
    tell(&format!("an intent set on one gateway was in force on the other after {heard:?}"));
    assert!(heard < Duration::from_secs(1), "{heard:?}");

    let alive = running.alive().await;
    signal("KILL", one.process());
    tell(&format!("one of two gateways was killed under {alive} queries"));
    running.end("two gateways", &front).await;
    other.set_intent("blue", "active").await;
    assert!(!is_whole() || alive >= 200, "{alive}");
}

/// A HAProxy in front of two addresses; ends with the value.
struct Balancer {
    address: String,
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Balancer {
    async fn start(servers: [&str; 2]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address().to_string();
        let settings = format!(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 5m\n  timeout server 5m\n  \
             retries 3\n  option redispatch 1\nfrontend clients\n  bind {address}\n  \
             default_backend warren\nbackend warren\n  balance roundrobin\n  \
             server one {} check inter 200ms on-marked-down shutdown-sessions\n  \
             server other {} check inter 200ms on-marked-down shutdown-sessions\n",
            servers[0], servers[1]
        );
        let config = folder.path().join("haproxy.cfg");
        std::fs::write(&config, settings).expect("a writable folder");
        let process = std::process::Command::new(file("WARREN_TEST_HAPROXY"))
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .spawn()
            .expect("haproxy starts");
        let balancer = Self { address, process, _folder: folder };
        while wire::ask(&balancer.address, "GET", "/v1/info", &[], "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
