//! Rules that some requests drive to their limits, and statements that take long to read: others that the
//! same worker serves hardly notice.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use warren::sql::{Session, analyse};
use warren::time;
use warren_stub::client::Client;
use warren_stub::{Stub, StubOptions};

use crate::support::clients::Query;
use crate::support::gateway::{Gateway, Plan};
use crate::support::tell;

/// Each of them goes on until it is ended.
const ATTACKS: [(&str, &str); 8] = [
    ("loop", "while true do end"),
    ("pcall", "while true do pcall(function() while true do end end) end"),
    ("texts", "local t, k = {}, ('x'):rep(65000) while true do t[#t + 1] = k .. #t end"),
    ("tables", "local t = {} while true do t[#t + 1] = { #t } end"),
    ("doubling", "while true do pcall(function() local s = 'x' while true do s ..= s end end) end"),
    ("patterns", "while true do local _ = ('x'):rep(65536):find('x-x-x-y') end"),
    (
        "searches",
        "local k = ('a'):rep(65536) while true do local _ = k:find(k:sub(1, 999) .. 'b') end",
    ),
    ("lists", "while true do local _ = { ('x'):rep(30000):byte(1, -1) } end"),
];

const RUNS: usize = 5;
/// Honest queries of one run, without and with attacks.
const QUERIES: usize = 400;
/// Between two attacks. Each takes the worker for some 3 ms, so this is the work of one that is
/// attacked for a sixth of its time.
const PERIOD: Duration = Duration::from_millis(20);
/// How much later the answer to the slowest one of a hundred submits may come.
const LATER_MAX: Duration = Duration::from_millis(5);
/// How much larger the process may be when it is over.
const LARGER_MAX: u64 = 32 << 20;

/// The bytes of a long statement.
const LONG: usize = 500_000;
/// Requests of one run beside long statements, and the time between two of them.
const ASKED: u32 = 200;
const EVERY: Duration = Duration::from_millis(5);
/// How much longer they may wait where the rules ask what the long statements are.
const WAIT_MAX: Duration = Duration::from_millis(1);

fn rules() -> String {
    let branches =
        ATTACKS.map(|(name, code)| format!("if attack == \"{name}\" then\n{code}\nend\n"));
    format!(
        "function route(request)\nlocal attack = request:header(\"X-Attack\")\n{}return \"olap\"\nend\n",
        branches.concat()
    )
}

/// The times from submit to answer of honest queries, all of which have to come through.
fn submits(client: &Client) -> Vec<Duration> {
    let submit = |_| {
        let began = time::now();
        let mut query = Query::submit(client, "SELECT 1").unwrap();
        let took = began.elapsed();
        query.finish(client).unwrap();
        took
    };
    let mut times: Vec<Duration> = (0..QUERIES).map(submit).collect();
    times.sort_unstable();
    times
}

/// The time that 99 of 100 do not reach.
fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

/// Runs `work` while attacked requests come; how many came, all of which ran in the default group.
fn under_attack<R>(gateway: &Gateway, bi: &Stub, work: impl FnOnce() -> R) -> (R, usize) {
    let attack = |number: usize| {
        let (name, _) = ATTACKS[number % ATTACKS.len()];
        let client = gateway.client().with("X-Attack", name);
        let query = Query::run(&client, "SELECT 2").unwrap();
        assert_eq!(query.mark(), bi.coordinator_id(), "{name}");
        thread::sleep(PERIOD);
    };
    beside(attack, work)
}

/// Runs `work` while another thread does something else again and again, which hears how often it was done
/// before; how often it was in the end.
fn beside<R>(other: impl Fn(usize) + Sync, work: impl FnOnce() -> R) -> (R, usize) {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                other(count.load(Ordering::Relaxed));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Also when the work fails, the other has to end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        result
    });
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    (result, count.into_inner())
}

/// The memory of a process that is in use, in bytes.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_neighbour_on_the_same_worker_hardly_notices_attacks() {
    let (bi, olap) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]);
    let gateway = plan.rules(&rules()).setting("listen", "workers = 1").start_ready();
    let client = gateway.client();
    submits(&client);
    let before = resident(gateway.process());
    let mut later = Vec::new();
    let mut attacks = 0;
    for _ in 0..RUNS {
        let calm = p99(&submits(&client));
        let (times, count) = under_attack(&gateway, &bi, || submits(&client));
        let attacked = p99(&times);
        tell(&format!("p99 of submits: {calm:?} alone, {attacked:?} beside {count} attacks"));
        assert!(count >= ATTACKS.len(), "{count} attacks");
        later.push(attacked.saturating_sub(calm));
        attacks += count;
    }
    later.sort_unstable();
    assert!(later[RUNS / 2] <= LATER_MAX, "{later:?}");
    let ended: i64 = ["timeout", "memory", "runtime"]
        .iter()
        .filter_map(|kind| gateway.metric(&format!("warren_rule_errors_total{{kind=\"{kind}\"}}")))
        .sum();
    assert!(usize::try_from(ended).unwrap() >= attacks, "{ended} of {attacks} were ended");
    let after = resident(gateway.process());
    tell(&format!("{attacks} attacks; the process had {before} bytes before and {after} after"));
    assert!(after < before + LARGER_MAX, "{before} {after}");
    assert!(olap.counters().executed > 0);
}

/// A statement that takes longer to read than most of its length.
fn long_statement() -> String {
    let call = "f(a.b), ";
    format!("SELECT * FROM hive.web.hits WHERE a IN ({}0)", call.repeat(LONG / call.len()))
}

/// The processor time that it takes to read a statement, in a build like that of the gateway.
fn reading(statement: &str) -> Duration {
    let began = time::thread_cpu();
    let known = analyse(statement, &Session::default());
    assert_eq!(known.tables.len(), 1);
    time::thread_cpu().saturating_sub(began)
}

/// How long requests wait that come at even distances, and that the worker answers by itself: three of four
/// of them at most so long.
fn waits(client: &Client) -> Duration {
    let began = time::now();
    let ask = |number: u32| {
        let due = began + EVERY * number;
        thread::sleep(due.saturating_duration_since(time::now()));
        assert_eq!(client.get("/").unwrap().status, 404);
        due.elapsed()
    };
    let mut times: Vec<Duration> = (0..ASKED).map(ask).collect();
    times.sort_unstable();
    times[times.len() * 3 / 4]
}

#[test]
fn a_neighbour_on_the_same_worker_hardly_notices_that_statements_are_read() {
    let (bi, olap) = (Stub::start(StubOptions::default()), Stub::start(StubOptions::default()));
    let start = |answer: &str| {
        let plan = Plan::of(&[("bi-blue", "bi", &bi), ("olap-blue", "olap", &olap)]);
        let rules = format!("function route(request)\nreturn {answer}\nend\n");
        plan.rules(&rules).setting("listen", "workers = 1").start_ready()
    };
    // Both get the same statements, so what it takes to pass these on is in both.
    let asking = start("request.query.tables[1] == \"hive.web.hits\" and \"olap\" or nil");
    let not_asking = start("\"olap\"");
    let statement = long_statement();
    // A worker that read them itself would be away for half of the time.
    let period = 2 * reading(&statement);
    let beside_long_ones = |gateway: &Gateway| {
        let client = gateway.client();
        let submit = |_| {
            let began = time::now();
            let query = Query::run(&client, &statement).unwrap();
            assert_eq!(query.mark(), olap.coordinator_id());
            thread::sleep(period.saturating_sub(began.elapsed()));
        };
        beside(submit, || waits(&client))
    };
    let mut later = Vec::new();
    for _ in 0..RUNS {
        let (base, _) = beside_long_ones(&not_asking);
        let (waited, count) = beside_long_ones(&asking);
        tell(&format!("requests wait {base:?}, and {waited:?} while {count} statements are read"));
        later.push(waited.saturating_sub(base));
    }
    later.sort_unstable();
    assert!(later[RUNS / 2] <= WAIT_MAX, "{later:?}");
}
