//! What rules cost, beside what they may cost: a call over headers, calls that ask what a statement is, and
//! the memory of the machines.
//!
//! `make bench-rules` runs it. Times are processor time of one thread, also where Criterion tells them: what
//! others on the machine take does not count. Exits with 1 if a figure is beyond its goal by more than
//! [`MARGIN`].

#[path = "../src/statements.rs"]
mod statements;

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue};
use warren::config::{OnError, Rules};
use warren::ids::GroupName;
use warren::route::engine::decide;
use warren::route::facts::{Facts, Statement};
use warren::route::rules::RuleSet;
use warren::route::verdict::Decision;
use warren::time::thread_cpu;

use statements::{join, list, union};

/// The allocator of Warren.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the goal a figure may be before that is a failure: so much do machines differ.
const MARGIN: f64 = 1.5;
/// How many samples are taken of each call; their median counts.
const SAMPLES: usize = 100;

/// Workers whose machines are weighed, rules that these have, and calls that each has made by then.
const WORKERS: usize = 2;
const RULES: usize = 200;
const CALLS: usize = 1000;
/// What these machines may take.
const MACHINES_MIB: f64 = 20.0;

/// What a Trino client sends.
const HEADERS: [(&str, &str); 14] = [
    ("host", "trino.example.com"),
    ("user-agent", "trino-python-client/0.339.0"),
    ("accept", "*/*"),
    ("content-type", "text/plain; charset=utf-8"),
    ("x-team", "risk"),
    ("x-trino-user", "ana"),
    ("x-trino-source", "trino-python-client"),
    ("x-trino-catalog", "hive"),
    ("x-trino-schema", "default"),
    ("x-trino-time-zone", "Europe/Berlin"),
    ("x-trino-client-tags", "bench,rules"),
    ("x-trino-client-info", "a bench of a gateway"),
    ("x-trino-session", "query_max_run_time=1h,join_distribution_type=AUTOMATIC"),
    ("x-trino-client-capabilities", "PARAMETRIC_DATETIME,SESSION_AUTHORIZATION"),
];

/// Six rules over headers, of which a request with [`HEADERS`] meets the last.
const SIX: &str = r#"
local TEAMS = { ben = "bi", eva = "olap" }

function route(request)
  local source = request.source
  if source == "Apache Superset" and request.client_tags == nil then
    return { group = "bi", rule = "superset" }
  end
  if matches(source, "^zeppelin%-.+") then
    return { group = "olap", rule = "zeppelin" }
  end
  if starts_with(source, "dbt-") then
    return { group = "olap", rule = "dbt" }
  end
  if request:has_tag("etl") then
    return { group = "olap", rule = "etl" }
  end
  local team = TEAMS[request.user]
  if team then
    return { group = team, rule = "team" }
  end
  if request:header("X-Team") == "risk" then
    return { group = "olap", rule = "risk", reason = "the team says so" }
  end
  return nil
end
"#;

/// Asks what a statement is and what it touches.
const QUERY: &str = r#"
function route(request)
  local query = request.query
  if query.is_metadata then
    return { group = "bi", rule = "metadata" }
  end
  if table.find(query.tables, "hive.web.hits") then
    return { group = "bi", rule = "hits" }
  end
  if query.kind == "SELECT" and table.find(query.catalogs, "lake") then
    return { group = "olap", rule = "lake" }
  end
  return nil
end
"#;

/// A call of the rules, and what it may take.
struct Call {
    name: &'static str,
    script: &'static str,
    statement: String,
    /// The rule that it meets.
    rule: &'static str,
    goal: Duration,
}

fn calls() -> [Call; 5] {
    let asking =
        |name, statement, goal| Call { name, script: QUERY, statement, rule: "lake", goal };
    let long = Duration::from_millis(15);
    [
        Call {
            name: "six rules over headers",
            script: SIX,
            statement: "SELECT 1".to_owned(),
            rule: "risk",
            goal: Duration::from_micros(5),
        },
        asking("request.query, a join of 1 kB", join(), Duration::from_micros(40)),
        asking("request.query, 500 kB of numbers in a list", list("1234567"), long),
        asking("request.query, 500 kB of calls in a list", list("f(a.b)"), long),
        asking("request.query, 500 kB of tables", union(293), long),
    ]
}

/// A figure beside its goal.
struct Row {
    what: String,
    measured: String,
    goal: String,
    /// Of the goal.
    share: f64,
}

fn main() -> ExitCode {
    // First, while nothing was freed that they could take.
    let machines = machines();
    let mut criterion = Criterion::default().sample_size(SAMPLES);
    let mut rows = Vec::from(calls().map(|call| timed(&mut criterion, &call)));
    rows.push(machines);
    show(&rows);
    let is_good = rows.iter().all(|row| row.share <= MARGIN);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the table is the product of this program")]
fn show(rows: &[Row]) {
    println!("\n{:<44} {:>10} {:>10}", "what", "measured", "goal");
    for Row { what, measured, goal, share } in rows {
        println!("{what:<44} {measured:>10} {goal:>10}  {}", judged(*share));
    }
    if cfg!(debug_assertions) {
        println!("a DEBUG build: these figures are no measure");
    }
}

/// What is to be said of a figure that is such a share of its goal.
fn judged(share: f64) -> &'static str {
    if share <= 1.0 {
        "ok"
    } else if share <= MARGIN {
        "not ok, within the margin"
    } else {
        "not ok"
    }
}

/// The processor time of a call, with the facts that are built for it.
fn timed(criterion: &mut Criterion, call: &Call) -> Row {
    let rules = compiled(call.script);
    let submit = Submit::of(&call.statement);
    let told = submit.ask(&rules);
    assert_eq!((told.rule.as_deref(), told.error), (Some(call.rule), None), "{}", call.name);
    let mut samples = Vec::new();
    criterion.bench_function(call.name, |bencher| {
        bencher.iter_custom(|times| {
            let began = thread_cpu();
            for _ in 0..times {
                black_box(submit.ask(&rules));
            }
            let spent = thread_cpu().saturating_sub(began);
            samples.push(spent.as_secs_f64() / times as f64);
            spent
        });
    });
    let seconds = median(samples);
    let in_millis = call.goal >= Duration::from_millis(1);
    let text = |seconds: f64| {
        if in_millis {
            format!("{:.1} ms", seconds * 1e3)
        } else {
            format!("{:.1} µs", seconds * 1e6)
        }
    };
    let goal = call.goal.as_secs_f64();
    Row {
        what: call.name.to_owned(),
        measured: text(seconds),
        goal: text(goal),
        share: seconds / goal,
    }
}

/// Of the last samples: those before them were there to warm up.
fn median(samples: Vec<f64>) -> f64 {
    let begin = samples.len().saturating_sub(SAMPLES);
    let mut samples = samples[begin..].to_vec();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// What the machines of the workers take of memory. The compiled rules are in it, and what the allocator
/// keeps of the machine that tried them.
fn machines() -> Row {
    let before = anonymous_mib();
    let rules = compiled(&many_rules());
    let submit = Submit::of("SELECT 1");
    let meeting = Barrier::new(WORKERS + 1);
    let work = || {
        let failed = (0..CALLS).filter(|_| submit.ask(&rules).error.is_some()).count();
        // Each has its machine; then they are weighed.
        meeting.wait();
        meeting.wait();
        failed
    };
    let taken = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        meeting.wait();
        let taken = anonymous_mib() - before;
        meeting.wait();
        for worker in workers {
            assert_eq!(worker.join().expect("nothing in it panics"), 0, "calls failed");
        }
        taken
    });
    Row {
        what: format!("memory of {WORKERS} workers with {RULES} rules"),
        measured: format!("{taken:.1} MiB"),
        goal: format!("{MACHINES_MIB:.1} MiB"),
        share: taken / MACHINES_MIB,
    }
}

/// Memory of this process that lies in no file.
fn anonymous_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.expect("Linux tells it of each process") / 1024.0
}

fn many_rules() -> String {
    let mut script = "function route(request)\n  local source = request.source\n".to_owned();
    for index in 0..RULES {
        // Writing into a text does not fail.
        let _ = writeln!(
            script,
            "  if source == 'source-{index}' and request:has_tag('tag-{index}') then\n    \
             return {{ group = 'olap', rule = 'rule-{index}', reason = 'it is source {index}' }}\n  \
             end"
        );
    }
    script + "  return nil\nend\n"
}

/// A rule set under the settings that count where nothing is said.
fn compiled(script: &str) -> Arc<RuleSet> {
    let group = |name| GroupName::parse(name).expect("a group's name");
    let settings = Rules {
        file: PathBuf::from("route.lua"),
        default_group: group("bi"),
        routing_group_header: false,
        cpu: Duration::from_millis(2),
        memory: 32 << 20,
        on_error: OnError::DefaultGroup,
        alarm_after: 10,
        http: None,
    };
    let rules = RuleSet::compile(script.as_bytes(), &settings, &[group("bi"), group("olap")]);
    Arc::new(rules.unwrap_or_else(|error| panic!("{error}")))
}

/// A submit, as the data path has it when it asks the rules.
struct Submit {
    headers: HeaderMap,
    statement: Statement,
}

impl Submit {
    fn of(text: &str) -> Self {
        let line = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self {
            headers: HEADERS.into_iter().map(line).collect(),
            statement: Statement { text: text.to_owned().into(), ..Statement::default() },
        }
    }

    /// Builds what rules see of it, and asks them.
    fn ask(&self, rules: &Arc<RuleSet>) -> Decision {
        let statement = self.statement.clone();
        decide(rules, &Facts { statement, ..Facts::plain(&self.headers) })
    }
}
