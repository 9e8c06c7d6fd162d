//! From the file's shape to [`Config`]: what each value may be, and what must fit together.
//!
//! Reads secrets and looks whether named files exist; opens no socket and no store.

mod clusters;
mod groups;
mod listeners;
mod names;
mod services;
mod together;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use super::problem::{Problem, Problems, Wrong};
use super::raw::{Reader, Section};
use super::{
    Config, Health, Limits, Listen, Log, OnError, Paths, Peers, Queries, Rollouts, Rules, StoreUrl,
    Timeouts,
};
use super::{address, secret, statement_paths};
use crate::ids::GroupName;

/// The largest settings file, in bytes; more is surely the wrong file.
const FILE_MAX: u64 = 1 << 20;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads and checks a file. `Err` holds everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let unreadable = |what: String| {
        let right = Some("name another with `--config FILE`".to_owned());
        let problem = Problem { path: String::new(), place: None, value: None, what, right };
        Problems::new(path.to_owned(), vec![problem])
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(unreadable("larger than 1 MiB, so surely no settings".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, path)
}

/// Checks the text of a file; `file` is for messages and for the folder of relative paths.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    parse_with(text, file, &|name| std::env::var(name).ok())
}

/// As [`parse`], with an environment of the caller's.
pub(super) fn parse_with(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let reader = Reader::new(text, folder, environment);
    let config = reader.table().ok().and_then(|table| resolve(&reader.root(&table), absolute));
    let problems = reader.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Problems::new(file.to_owned(), problems)),
    }
}

/// Reads everything before it gives up, so that all problems are noted.
fn resolve(root: &Section<'_>, file: PathBuf) -> Option<Config> {
    let listen = listen(root, &root.section("listen", "listen"));
    let admin = root.section("admin", "admin");
    let admin = super::Admin { token: secret::read(&admin, "token") };
    let store_section = root.section("store", "store");
    let store = store(&store_section);
    let keep_history = store_section.duration("keep_history", HOUR..=876_600 * HOUR);
    let state_folder = root.section("state", "state").path("folder");
    let groups = groups::groups(root);
    let rules = rules(&root.section("rules", "rules"), &groups);
    let paths = paths(&root.section("paths", "paths"));
    let limits = limits(&root.section("limits", "limits"));
    let queries = queries(&root.section("queries", "queries"));
    let timeouts = timeouts(&root.section("timeouts", "timeouts"));
    let health = health(&root.section("health", "health"));
    let rollouts = rollouts(&root.section("rollouts", "rollouts"));
    let log = log(&root.section("log", "log"));
    let clusters = clusters::clusters(root, &groups);
    let peers_section = root.section("peers", "peers");
    let peers = peers(&peers_section, listen.as_ref());
    if let (Some(peers), Some(store)) = (&peers, &store) {
        together::peers(&peers_section, peers, !store.serves_one_gateway(), &groups);
    }
    Some(Config {
        file,
        listen: listen?,
        admin,
        peers: peers?,
        store: store?,
        keep_history,
        state_folder: state_folder?,
        rules: rules?,
        paths,
        limits: limits?,
        queries: queries?,
        timeouts,
        health: health?,
        rollouts,
        log: log?,
        groups,
        clusters,
    })
}

fn listen(root: &Section<'_>, section: &Section<'_>) -> Option<Listen> {
    let client = section.parsed("client", address::socket);
    let admin = section.parsed("admin", address::socket);
    if let (Some(client), Some(admin)) = (client, admin)
        && client == admin
        && client.port() != 0
    {
        section.complain("admin", "the same address as `listen.client`", "choose another port");
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = match section.find("workers") {
        Some(_) => section.number("workers", 1..=1024).and_then(|n| usize::try_from(n).ok()),
        None => Some(processors),
    };
    let public_url = section.parsed("public_url", address::public_url);
    let allowed_hosts = section.list("allowed_hosts", address::host_name);
    let trusted_proxies = section.list("trusted_proxies", address::network);
    let work_stealing = section.flag("work_stealing");
    let cookie_key = secret::read(section, "cookie_key");
    let tls = listeners::first(section);
    let taken: Vec<_> = client.iter().chain(&admin).copied().collect();
    let more = listeners::more(root, &taken);
    Some(Listen {
        client: client?,
        tls,
        more,
        admin: admin?,
        public_url,
        allowed_hosts,
        trusted_proxies,
        cookie_key,
        workers: workers?,
        work_stealing,
    })
}

fn peers(section: &Section<'_>, listen: Option<&Listen>) -> Option<Peers> {
    let address = match section.find("address") {
        Some(_) => section.parsed("address", address::socket),
        None => listen.map(|listen| listen.admin),
    };
    let secret = secret::read(section, "secret");
    Some(Peers { address: address?, secret })
}

fn store(section: &Section<'_>) -> Option<StoreUrl> {
    let wrong = |what| {
        let right = "write `\"sqlite:warren.db\"`, `\"mysql://user:password@host:3306/database\"`, \
                     or where the address is, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";
        Wrong::new(what, right)
    };
    let read = |text: &str| {
        if text.starts_with("mysql:") {
            return match is_mysql(text) {
                true => Ok(StoreUrl::Mysql(secret::Secret::new(text.to_owned()))),
                false => Err(wrong("a MySQL address without host or database")),
            };
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(wrong("not the address of a store"));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(':') {
            return Err(wrong("an SQLite store without a file"));
        }
        Ok(StoreUrl::Sqlite(section.reader.resolve(path)))
    };
    let Some(found) = section.find("url") else { return section.parsed("url", read) };
    let told = found.value.is_table().then(|| secret::follow(section, &found));
    let text = match &told {
        Some(secret) => secret.as_ref()?.reveal(),
        None => section.text_of(&found)?,
    };
    read(text).map_err(|wrong| section.refuse_hidden(&found, wrong)).ok()
}

/// Whether a text has the parts of `mysql://user:password@host:port/database`. What they hold is
/// for the store to try.
fn is_mysql(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("mysql://") else { return false };
    let Some((authority, path)) = rest.rsplit_once('/') else { return false };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let database = path.split('?').next().unwrap_or_default();
    !database.is_empty() && !host.is_empty() && !host.starts_with(':')
}

fn rules(section: &Section<'_>, groups: &[super::Group]) -> Option<Rules> {
    let file = section.path("file");
    let known: Vec<&GroupName> = groups.iter().map(|group| &group.name).collect();
    let default_group = names::known_group(section, "default_group", &known);
    let routing_group_header = section.flag("routing_group_header");
    let cpu = section.duration("cpu", MS / 10..=SECOND);
    let memory = section.size("memory", 1 << 20..=1 << 30);
    let on_error = section.parsed("on_error", |text| match text {
        "default_group" => Ok(OnError::DefaultGroup),
        "reject" => Ok(OnError::Reject),
        _ => {
            let right = "write `\"default_group\"` or `\"reject\"`";
            Err(Wrong::new("not what can become of such a query", right))
        }
    });
    let alarm_after = section.number("alarm_after", 1..=1_000_000);
    let http = services::rule_http(&section.section("http", "rules.http"));
    Some(Rules {
        file: file?,
        default_group: default_group?,
        routing_group_header,
        cpu,
        memory: usize::try_from(memory).ok()?,
        on_error: on_error?,
        alarm_after: alarm_after.and_then(|count| u32::try_from(count).ok())?,
        http,
    })
}

fn paths(section: &Section<'_>) -> Paths {
    let mut statement = vec![statement_paths::STATEMENT.to_owned()];
    section.list("statement", |text| statement_paths::add(&mut statement, text));
    let extra = section.list("extra", |text| {
        let right = "write a regular expression for the whole path, as `\"/custom/.*\"`";
        // First alone, so that the message speaks of what was written.
        let wrong = |error: regex::Error| Wrong::new(last_line(&error.to_string()), right);
        Regex::new(text).map_err(wrong)?;
        Regex::new(&format!("^(?:{text})$")).map_err(wrong)
    });
    Paths { statement, extra }
}

/// The line of a regex's error that says what is wrong; those above draw where.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    format!("not a regular expression: {}", line.trim_start_matches("error: "))
}

fn limits(section: &Section<'_>) -> Option<Limits> {
    let statement = section.size("statement", 1 << 10..=1 << 30);
    let statement_history = section.size("statement_history", 0..=1 << 20);
    let hot_routes = section.number("hot_routes", 1_000..=100_000_000);
    let journal = section.size("journal", 1 << 20..=1 << 40);
    let submit_clusters = section.number("submit_clusters", 1..=16);
    let held = section.number("held", 1..=1_000_000);
    let statements = section.size("statements", 1 << 20..=1 << 32);
    Some(Limits {
        statement: usize::try_from(statement).ok()?,
        statement_history: usize::try_from(statement_history).ok()?,
        hot_routes: usize::try_from(hot_routes?).ok()?,
        journal,
        submit_clusters: usize::try_from(submit_clusters?).ok()?,
        held: usize::try_from(held?).ok()?,
        statements: usize::try_from(statements).ok()?,
    })
}

fn queries(section: &Section<'_>) -> Option<Queries> {
    let rebind = section.parsed("rebind", |text| match text {
        "reads" => Ok(true),
        "off" => Ok(false),
        _ => Err(Wrong::new("not a way of late binding", "write `\"reads\"` or `\"off\"`")),
    });
    let rebind_statement = section.size("rebind_statement", 1 << 10..=1 << 30);
    let rebind_memory = section.size("rebind_memory", 1 << 20..=1 << 40);
    let rebind_for = section.duration("rebind_for", SECOND..=HOUR);
    Some(Queries {
        rebind: rebind?,
        rebind_for,
        rebind_statement: usize::try_from(rebind_statement).ok()?,
        rebind_memory: usize::try_from(rebind_memory).ok()?,
    })
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    let timeouts = Timeouts {
        connect: section.duration("connect", 10 * MS..=60 * SECOND),
        answer: section.duration("answer", 10 * MS..=HOUR),
        submit: section.duration("submit", 10 * MS..=HOUR),
        ask: section.duration("ask", 10 * MS..=60 * SECOND),
        page_hold: section.duration("page_hold", 10 * MS..=29 * SECOND),
        page_read: section.duration("page_read", SECOND..=HOUR),
        store: section.duration("store", MS..=10 * SECOND),
        first_get: section.duration("first_get", 10 * MS..=HOUR),
        client: section.duration("client", SECOND..=24 * HOUR),
        transaction: section.duration("transaction", SECOND..=24 * HOUR),
        segment: section.duration("segment", SECOND..=24 * HOUR),
        shutdown: section.duration("shutdown", Duration::ZERO..=24 * HOUR),
    };
    together::timeouts(section, &timeouts);
    timeouts
}

fn health(section: &Section<'_>) -> Option<Health> {
    let rise = section.number("rise", 1..=100);
    let fall = section.number("fall", 1..=100);
    let eject_percent = section.number("eject_percent", 0..=100);
    let eject_requests = section.number("eject_requests", 1..=1_000_000);
    let health = Health {
        info_period: section.duration("info_period", 10 * MS..=HOUR),
        statement_period: section.duration("statement_period", 10 * MS..=24 * HOUR),
        load_period: section.duration("load_period", 10 * MS..=HOUR),
        timeout: section.duration("timeout", 10 * MS..=60 * SECOND),
        statement_timeout: section.duration("statement_timeout", 10 * MS..=HOUR),
        rise: u32::try_from(rise?).ok()?,
        fall: u32::try_from(fall?).ok()?,
        settle: section.duration("settle", Duration::ZERO..=HOUR),
        lost_after: section.duration("lost_after", SECOND..=24 * HOUR),
        ramp: section.duration("ramp", Duration::ZERO..=HOUR),
        eject_percent: u32::try_from(eject_percent?).ok()?,
        eject_requests: u32::try_from(eject_requests?).ok()?,
    };
    together::health(section, &health);
    Some(health)
}

fn rollouts(section: &Section<'_>) -> Rollouts {
    let webhook = section.parsed("webhook", |text| match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
        _ => Err(Wrong::new("not an address for hooks", "write `\"http://host:port/path\"`")),
    });
    Rollouts {
        command: section.list("command", |text| Ok(text.to_owned())),
        webhook,
        hook_timeout: section.duration("hook_timeout", SECOND..=HOUR),
    }
}

fn log(section: &Section<'_>) -> Option<Log> {
    let json = section.parsed("format", |text| match text {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err(Wrong::new("not a format of logs", "write `\"text\"` or `\"json\"`")),
    });
    let level = section.parsed("level", |text| {
        text.parse::<tracing_subscriber::filter::targets::Targets>().map_err(|_| {
            let right = "write `error`, `warn`, `info`, `debug`, `trace`, or a filter such as \
                         `info,warren::health=debug`";
            Wrong::new("not a level of logs", right)
        })?;
        Ok(text.to_owned())
    });
    Some(Log { json: json?, level: level? })
}
