//! A coordinator is replaced at noon: `warren rollout` from one to another that boots meanwhile, the
//! old one really stopped once it is said to be drained, real clients querying without a pause.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use warren_stub::free_address;

use crate::support::clients::{Client, Outcome};
use crate::support::coordinator;
use crate::support::front::Front;
use crate::support::gateway::{Gateway, signal};
use crate::support::own::Coordinator;
use crate::support::size::{is_whole, size};

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

/// What all rolls of a test share.
struct Bed {
    places: Places,
    gateway: Gateway,
    /// Where the queries go now.
    active: usize,
}

impl Bed {
    async fn start() -> Self {
        let mut places = Places::new();
        places.boot(0);
        let addresses = [places.address(0), places.address(1)];
        let clusters = [("blue", &*addresses[0]), ("green", &*addresses[1])];
        let gateway = Gateway::start_supervised_for_booting(&clusters);
        gateway.until("blue", "health", "ready").await;
        gateway.set_intent("green", "drained").await;
        let bed = Self { places, gateway, active: 0 };
        bed.make_tables(0).await;
        bed
    }

    async fn make_tables(&self, place: usize) {
        for seconds in [10, 60] {
            coordinator::run(&self.places.address(place), &make(seconds)).await;
        }
    }

    /// One roll: the other coordinator boots, takes over, and the old one is really stopped.
    async fn roll(&mut self, kills: bool) -> String {
        let (old, new) = (self.active, 1 - self.active);
        let name = self.places.names[new];
        self.places.boot(new);
        self.gateway.until(name, "health", "ready").await;
        self.make_tables(new).await;
        let began = warren::time::now();
        let told = roll(&self.gateway, name, kills).await;
        self.places.stop(old).await;
        // When its place is filled again, *ready* must be about the new one.
        self.gateway.until(self.places.names[old], "health", "unhealthy").await;
        self.active = new;
        format!("to {name}: {told}, {:.1?}", began.elapsed())
    }

    /// So many rolls while clients go on without a pause.
    #[expect(clippy::print_stdout, reason = "the figures are part of the report")]
    async fn rolls(&mut self, count: usize, kills: bool) {
        let front = Front::start(self.gateway.client().to_owned()).await;
        let stop = Arc::<AtomicBool>::default();
        let clients: Vec<_> = loads()
            .into_iter()
            .map(|load| tokio::spawn(load.run(front.address().to_owned(), stop.clone())))
            .collect();
        for number in 1..=count {
            let told = self.roll(kills).await;
            println!("roll {number} {told}");
        }
        stop.store(true, Ordering::Relaxed);
        let (mut all, mut failed) = (0, Vec::new());
        for client in clients {
            let (ran, bad) = client.await.expect("it ran");
            all += ran;
            failed.extend(bad);
        }
        let (cut, awaited, refused) = (front.cut(), front.awaited(), front.refused());
        println!(
            "{all} queries, {} failed; {cut} pages were cut and {awaited} submits unanswered; {refused} refused",
            failed.len()
        );
        // A page that breaks off half-way is lost to most clients. A submit outlasts its worker.
        let allowed = if kills { cut } else { 0 };
        assert!(failed.len() as u64 <= allowed, "{failed:?}");
        assert_eq!(refused, 0);
        assert!(all >= size(1000, 100), "only {all} queries");
    }

    /// Every page went to the cluster that memory names, without asking around, and none of them
    /// said that it does not know the query.
    async fn assert_no_page_went_astray(&self) {
        let by_memory = self.gateway.figure(&["warren_sticky_lookups_total", "exact"]).await;
        let well = self.gateway.figure(&["warren_requests_total", "page", "200"]).await;
        assert!(by_memory > 100.0 && well > 100.0, "{by_memory} lookups, {well} pages");
        for step in ["asked", "nobody"] {
            let step = format!("step=\"{step}\"");
            let found = self.gateway.figure(&["warren_sticky_lookups_total", &step]).await;
            assert!(found < 0.5, "{found} lookups: {step}");
        }
        for status in ["404", "410"] {
            let status = format!("status=\"{status}\"");
            let said = self.gateway.figure(&["warren_requests_total", &status]).await;
            assert!(said < 0.5, "{said} requests: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_is_replaced_under_load_and_no_query_is_lost() {
    let mut bed = Bed::start().await;
    bed.rolls(size(3, 1), false).await;
    bed.assert_no_page_went_astray().await;
    if is_whole() {
        bed.rolls(3, true).await;
    }
}
