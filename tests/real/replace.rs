//! A coordinator is replaced at noon: `warren rollout` from one to another that boots meanwhile, the
//! old one really stopped once it is said to be drained, real clients querying without a pause.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::clients::{Client, Outcome};
use crate::support::coordinator;
use crate::support::front::Front;
use crate::support::gateway::{Gateway, free_address, signal};
use crate::support::own::Coordinator;
use crate::support::size::size;

/// How long a round of a client's queries lasts.
const ROUND: u32 = 15;

const SOURCE: &str = "replace";

/// A short query, and long ones of 10 and 60 seconds that take no CPU.
const SHORT: &str = "SELECT name FROM tpch.tiny.nation";
const NATIONS: u64 = 25;

fn make(seconds: u64) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS blackhole.default.for_{seconds} (x bigint) WITH (split_count = \
         1, pages_per_split = {seconds}, rows_per_page = 10, field_length = 8, \
         page_processing_delay = '1s')"
    )
}

/// Two places for coordinators, of which one is empty between two rolls.
struct Places {
    names: [&'static str; 2],
    ports: [String; 2],
    running: [Option<Coordinator>; 2],
}

impl Places {
    fn new() -> Self {
        let ports = [(); 2].map(|()| free_address().port().to_string());
        Self { names: ["blue", "green"], ports, running: [None, None] }
    }

    fn address(&self, place: usize) -> String {
        format!("127.0.0.1:{}", self.ports[place])
    }

    fn boot(&mut self, place: usize) {
        let arguments = ["--port", &self.ports[place]];
        let name = format!("replace-{}", self.names[place]);
        self.running[place] = Some(Coordinator::start(&name, &arguments));
    }

    /// The old one must have no living query when it is stopped; then it is.
    async fn stop(&mut self, place: usize) {
        let left = coordinator::queries_of(&self.address(place), SOURCE).await;
        let living: Vec<_> =
            left.iter().filter(|(state, _)| state != "FINISHED" && state != "FAILED").collect();
        assert!(living.is_empty(), "{} was said to be drained: {living:?}", self.names[place]);
        self.running[place] = None;
    }
}

/// What one client does again and again.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Short queries, so many a second.
    Short(Client, u32),
    /// So many at once that take so many seconds.
    Long(Client, u32, u64),
}

impl Load {
    /// Runs rounds until it is told to stop; gives how many queries ran and those that failed.
    async fn run(self, address: String, stop: Arc<AtomicBool>) -> (usize, Vec<Outcome>) {
        let (mut all, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let (outcomes, expected) = match self {
                Self::Short(Client::Cli, _) => {
                    (vec![Client::Cli.outcome(&address, SOURCE, SHORT).await], NATIONS)
                }
                Self::Short(client, rate) => {
                    (client.pace(&address, SOURCE, (rate, ROUND), SHORT).await, NATIONS)
                }
                Self::Long(client, count, seconds) => {
                    let statement = format!("SELECT * FROM blackhole.default.for_{seconds}");
                    (client.many(&address, SOURCE, count, &statement).await, seconds * 10)
                }
            };
            all += outcomes.len();
            failed.extend(outcomes.into_iter().filter(|told| *told != Outcome::Rows(expected)));
        }
        (all, failed)
    }
}

fn loads() -> Vec<Load> {
    let mut loads = vec![
        Load::Short(Client::Jdbc, 1),
        Load::Short(Client::Dbapi, 1),
        Load::Short(Client::Go, 2),
        Load::Short(Client::Cli, 1),
        Load::Long(Client::Go, 3, 10),
    ];
    if size(true, false) {
        loads.push(Load::Long(Client::Dbapi, 2, 60));
        loads.push(Load::Long(Client::Jdbc, 2, 60));
    }
    loads
}

/// Runs `warren rollout start bi --to NAME --wait`; `kills` SIGKILLs the worker in each phase.
async fn roll(gateway: &Gateway, to: &str, kills: bool) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren"));
    command.args(["rollout", "start", "bi", "--to", to, "--wait", "--config"]);
    command.arg(gateway.settings());
    let running = tokio::task::spawn_blocking(move || command.output());
    let mut killed = Vec::new();
    while kills && !running.is_finished() {
        let phase = gateway.rollout_phase().await;
        if !phase.is_empty() && !killed.contains(&phase) && phase != "done" {
            signal("KILL", gateway.worker());
            killed.push(phase);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let done = running.await.expect("it was waited for").expect("warren starts");
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}");
    if kills { format!("killed in {}", killed.join(", ")) } else { "no kill".to_owned() }
}

#[expect(clippy::print_stdout, reason = "the figures are part of the report")]
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_is_replaced_under_load_and_no_query_is_lost() {
    let mut places = Places::new();
    places.boot(0);
    let addresses = [places.address(0), places.address(1)];
    let clusters = [("blue", &*addresses[0]), ("green", &*addresses[1])];
    let gateway = Gateway::start_supervised_for_booting(&clusters);
    gateway.until("blue", "health", "ready").await;
    gateway.set_intent("green", "drained").await;
    let front = Front::start(gateway.client().to_owned()).await;
    let stop = Arc::<AtomicBool>::default();
    for seconds in [10, 60] {
        coordinator::run(&addresses[0], &make(seconds)).await;
    }
    let clients: Vec<_> = loads()
        .into_iter()
        .map(|load| tokio::spawn(load.run(front.address().to_owned(), stop.clone())))
        .collect();
    for number in 0..size(3, 1) {
        let (old, new) = (number % 2, (number + 1) % 2);
        let name = places.names[new];
        places.boot(new);
        gateway.until(name, "health", "ready").await;
        for seconds in [10, 60] {
            coordinator::run(&addresses[new], &make(seconds)).await;
        }
        let began = warren::time::now();
        // Without kills first: what they cut off is counted apart.
        let told = roll(&gateway, name, size(number == 2, false)).await;
        places.stop(old).await;
        println!("roll {} to {name}: {told}, {:.1?}", number + 1, began.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let (mut all, mut failed) = (0, Vec::new());
    for client in clients {
        let (ran, bad) = client.await.expect("it ran");
        all += ran;
        failed.extend(bad);
    }
    let lost = gateway.figure(&["warren_sticky_lookups_total", r#"step="nobody""#]).await;
    println!(
        "{all} queries, {} failed, {} cut, {} refused, {lost} pages that no cluster knew",
        failed.len(),
        front.cut(),
        front.refused()
    );
    let allowed = usize::try_from(front.cut()).expect("a small number");
    assert!(failed.len() <= allowed, "{failed:?}");
    assert_eq!(front.refused(), 0);
    assert!(all >= size(1000, 100), "only {all} queries");
}
