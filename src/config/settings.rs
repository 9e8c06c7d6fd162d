//! The list of all settings: name, default, unit, meaning, and whether a reload changes it.
//!
//! One list for the reader of the file, its hints, `docs/config.md` and the tests: a default is
//! written here and nowhere else. It holds no rule about values; those stand in `resolve`.

/// What counts when a setting is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It must be written.
    Required,
    /// It may be left out, and then there is none.
    Nothing,
    /// This value, as the file would hold it but without quotes.
    Value(&'static str),
    /// An empty list or table.
    Empty,
    /// What these words tell.
    Told(&'static str),
}

/// How a changed value comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// By a reload.
    Reload,
    /// By a restart.
    Restart,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its full name; `[]` marks a list, as in `clusters[].url`.
    pub key: &'static str,
    /// What counts when it is not written.
    pub fallback: Fallback,
    /// What kind of value it takes.
    pub unit: &'static str,
    /// How a change comes into force.
    pub change: Change,
    /// What it does.
    pub meaning: &'static str,
}

use Change::{Reload, Restart};
use Fallback::{Empty, Nothing, Required, Told, Value};

const fn setting(
    key: &'static str,
    fallback: Fallback,
    unit: &'static str,
    change: Change,
    meaning: &'static str,
) -> Setting {
    Setting { key, fallback, unit, change, meaning }
}

/// All settings, in the order of the docs.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("listen.client", Value("127.0.0.1:8080"), "address:port", Restart, "where Trino clients connect"),
    setting("listen.admin", Value("127.0.0.1:8081"), "address:port", Restart, "the operators' port: API, metrics, health"),
    setting("listen.tls.certificate", Nothing, "path", Restart, "a PEM file with the certificate chain for clients of `listen.client`; a changed file counts within a second"),
    setting("listen.tls.key", Nothing, "path", Restart, "the PEM file with its key"),
    setting("listen.tls.client_ca", Nothing, "path", Restart, "a PEM file with the authorities of which each client must show a certificate"),
    setting("listen.tls.more[].certificate", Nothing, "path", Restart, "a further certificate, for clients that ask for its names"),
    setting("listen.tls.more[].key", Nothing, "path", Restart, "the PEM file with its key"),
    setting("listen.public_url", Nothing, "URL", Restart, "the origin that clients are told to come back to; without it, the `Host` that they sent"),
    setting("listen.allowed_hosts", Empty, "host names", Restart, "which `Host` a client may send; empty: any"),
    setting("listen.trusted_proxies", Empty, "networks", Restart, "whose `X-Forwarded-*` headers are believed"),
    setting("listen.cookie_key", Told("a random one in the state folder"), "secret", Restart, "what the cookie is signed with that keeps a browser at one coordinator; the same for all gateways behind one address"),
    setting("listen.workers", Told("one for each processor"), "number", Restart, "threads of the data path"),
    setting("listen.work_stealing", Value("false"), "true, false", Restart, "whether workers take tasks from each other"),
    setting("listeners[].name", Required, "text", Restart, "a further port for clients"),
    setting("listeners[].address", Required, "address:port", Restart, "where it is"),
    setting("listeners[].tls.certificate", Nothing, "path", Restart, "as `listen.tls.certificate`"),
    setting("listeners[].tls.key", Nothing, "path", Restart, "as `listen.tls.key`"),
    setting("listeners[].tls.client_ca", Nothing, "path", Restart, "as `listen.tls.client_ca`"),
    setting("listeners[].tls.more[].certificate", Nothing, "path", Restart, "as `listen.tls.more[].certificate`"),
    setting("listeners[].tls.more[].key", Nothing, "path", Restart, "as `listen.tls.more[].key`"),
    setting("admin.token", Nothing, "secret", Restart, "what a caller of the operators' API carries as `Authorization: Bearer …`"),
    setting("peers.address", Told("`listen.admin`, if that is one address"), "address:port", Restart, "where the other gateways reach the operators' port of this one, for pages of queries that it holds"),
    setting("peers.secret", Nothing, "secret", Restart, "what gateways show each other for that; the same for all, and needed where several gateways share a store and a group holds queries"),
    setting("store.url", Value("sqlite:warren.db"), "URL or secret", Restart, "`sqlite:FILE` for one gateway, `mysql://user:password@host:3306/database` for more"),
    setting("store.keep_history", Value("30d"), "time", Reload, "how long the history of queries is kept"),
    setting("state.folder", Value("warren-state"), "path", Restart, "journal, last known intents and rules, id of this gateway"),
    setting("rules.file", Value("lua/route.lua"), "path", Reload, "the routing rules, with [what they require](rules.md#several-files) beside them, unless a version of the store is active"),
    setting("rules.default_group", Required, "name", Reload, "where a query goes that no rule names"),
    setting("rules.routing_group_header", Value("false"), "true, false", Reload, "whether clients may name a group by `X-Trino-Routing-Group`"),
    setting("rules.cpu", Value("2ms"), "time", Reload, "the most time that one decision may take"),
    setting("rules.memory", Value("32MiB"), "size", Reload, "the most memory of one virtual machine for rules"),
    setting("rules.on_error", Value("default_group"), "default_group, reject", Reload, "what becomes of a query for which the rules failed: it goes to the default group, or is refused"),
    setting("rules.alarm_after", Value("10"), "number", Reload, "after how many failures in a row the rules' alarm is raised, in the log and as `warren_state{figure=\"rules_alarm\"}`"),
    setting("rules.http.allow", Empty, "URLs", Reload, "what rules may call by `http.post`: an origin and the beginning of a path, by whole segments, as `http://127.0.0.1:9000/route`; empty: nothing"),
    setting("rules.http.ca", Nothing, "path", Reload, "a PEM file with the authorities to believe instead of the system's, for `https://`"),
    setting("rules.http.authorization", Nothing, "secret", Reload, "the whole value of `Authorization` that each call carries, such as `Bearer …`"),
    setting("rules.http.timeout", Value("200ms"), "time", Reload, "for a whole call, the connect included; a rule may ask for less"),
    setting("rules.http.on_failure", Value("nil"), "nil, default_group, reject", Reload, "what becomes of a query whose call failed: `http.post` gives nil and why, and the rule decides; it goes to the default group; or it is refused"),
    setting("rules.http.open_after", Value("5"), "number", Reload, "after how many failures in a row calls of that origin fail at once"),
    setting("rules.http.open_for", Value("10s"), "time", Reload, "for how long, until one call tries it again"),
    setting("rules.http.max_in_flight", Value("64"), "number", Reload, "how many calls may be on their way at once; the next one fails at once"),
    setting("paths.statement", Empty, "paths", Reload, "further paths that take statements, beside `/v1/statement`"),
    setting("paths.extra", Empty, "regexes", Reload, "whole paths that are passed to a ready cluster"),
    setting("limits.statement", Value("16MiB"), "size", Reload, "the largest statement that is kept in memory; of larger ones rules see the beginning alone"),
    setting("limits.statement_history", Value("4KiB"), "size", Reload, "how much of a statement the history keeps"),
    setting("limits.hot_routes", Value("1000000"), "number", Restart, "how many exact routes are kept in memory"),
    setting("limits.journal", Value("256MiB"), "size", Restart, "the room on disk for events that the store has not taken yet"),
    setting("limits.submit_clusters", Value("3"), "number", Reload, "how many clusters one submit may try"),
    setting("limits.held", Value("10000"), "number", Reload, "how many requests may wait for a cluster or an owner at once; the next one hears 503"),
    setting("limits.statements", Value("256MiB"), "size", Restart, "the room in memory for the statements of all submits on their way; the next one hears 503"),
    setting("queries.rebind", Value("reads"), "reads, off", Reload, "whether a statement that surely only reads is submitted to another cluster when its own cannot be connected at the first page; with a store for several gateways it never is"),
    setting("queries.rebind_for", Value("30s"), "time", Reload, "how long a statement is kept for that"),
    setting("queries.rebind_statement", Value("1MiB"), "size", Reload, "the largest statement that is kept for that, with its headers"),
    setting("queries.rebind_memory", Value("64MiB"), "size", Reload, "the room in memory for all of them"),
    setting("timeouts.connect", Value("2s"), "time", Reload, "to connect to a coordinator"),
    setting("timeouts.answer", Value("10s"), "time", Reload, "for a submit's whole answer, once connected"),
    setting("timeouts.submit", Value("25s"), "time", Reload, "for a submit with all its tries"),
    setting("timeouts.ask", Value("2s"), "time", Reload, "to find the owner of an unknown query"),
    setting("timeouts.page_hold", Value("20s"), "time", Reload, "how long a page waits for its owner; below 30 s, after which clients give up"),
    setting("timeouts.page_read", Value("60s"), "time", Reload, "to the next byte of a page"),
    setting("timeouts.store", Value("300ms"), "time", Reload, "for a look into the store by a page"),
    setting("timeouts.first_get", Value("5s"), "time", Reload, "how long a query counts as load while nobody has asked for its first page, which is when Trino starts it"),
    setting("timeouts.client", Value("5m"), "time", Reload, "Trino's `query.client.timeout`: a query that nobody asked for that long, and one minute more, is abandoned"),
    setting("timeouts.transaction", Value("5m"), "time", Reload, "Trino's `transaction.idle-timeout`: an open transaction that nobody used that long is not waited for when its cluster drains"),
    setting("timeouts.segment", Value("15m"), "time", Reload, "how long a draining cluster is kept for a spooled segment that nobody acknowledges"),
    setting("timeouts.shutdown", Value("30s"), "time", Restart, "the most that a shutdown waits for requests in flight"),
    setting("health.info_period", Value("2s"), "time", Reload, "between two looks at `/v1/info`"),
    setting("health.statement_period", Value("30s"), "time", Reload, "between two probe statements"),
    setting("health.load_period", Value("2s"), "time", Reload, "between two polls of a cluster's queries"),
    setting("health.timeout", Value("2s"), "time", Reload, "for `/v1/info` and the list of queries"),
    setting("health.statement_timeout", Value("10s"), "time", Reload, "until a probe statement is called busy"),
    setting("health.rise", Value("2"), "number", Reload, "good probes in a row that make a cluster ready"),
    setting("health.fall", Value("3"), "number", Reload, "failed probes in a row that make it unhealthy"),
    setting("health.settle", Value("10s"), "time", Reload, "how long a coordinator that was seen to start, or that has been up for less than three minutes, must have been started before it is ready: at first Trino runs `SELECT 1` and fails scans of tables"),
    setting("health.lost_after", Value("60s"), "time", Reload, "how long nothing of a coordinator must have been reached until its queries are answered with an error"),
    setting("health.ramp", Value("60s"), "time", Reload, "how long a cluster that became ready after a start or a fall takes fewer queries, a tenth of its share at first; one that was up for three minutes when Warren first saw it takes its share at once"),
    setting("health.eject_percent", Value("50"), "number", Reload, "the share of submits, or of pages, of the last ten seconds that must have failed (no answer, or 5xx) until a cluster is taken out and probed at once; 0: never"),
    setting("health.eject_requests", Value("20"), "number", Reload, "how many submits, or pages, of ten seconds that takes at least"),
    setting("rollouts.command", Empty, "list of texts", Reload, "a program and its arguments, run before and after each phase of a rollout with what happens as JSON on its standard input; the rollout waits until it succeeds"),
    setting("rollouts.webhook", Nothing, "URL", Reload, "called in the same way with POST; only `http://`"),
    setting("rollouts.hook_timeout", Value("60s"), "time", Reload, "for a run of either"),
    setting("log.format", Value("text"), "text, json", Restart, "the shape of the log"),
    setting("log.level", Value("info"), "level or filter", Restart, "`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,warren::health=debug`"),
    setting("groups[].name", Required, "name", Reload, "a group of clusters that rules can name"),
    setting("groups[].mode", Value("active-active"), "active-active, active-standby", Reload, "whether its active clusters share the queries by load, or the first in the file of those that can takes all"),
    setting("groups[].queued_weight", Value("1"), "number", Reload, "how much a query that waits in the queue of its cluster counts when a cluster is chosen"),
    setting("groups[].running_weight", Value("1"), "number", Reload, "how much one counts that works there, or that no list shows yet"),
    setting("groups[].memory_weight", Value("0"), "number", Reload, "how many queries a cluster's memory counts for when all of it is in use; 0: it does not count. Needs `probe.source` metrics or jmx in each of its clusters"),
    setting("groups[].cpu_weight", Value("0"), "number", Reload, "how many queries a cluster's processors count for when all of them are in use; 0: they do not count. Needs `probe.source` metrics, ui or jmx in each of its clusters"),
    setting("groups[].auto_failover", Value("false"), "true, false", Reload, "whether a ready standby takes the queries when no active cluster can, and is made the active one"),
    setting("groups[].fallback", Empty, "names", Reload, "the groups that take its queries, in this order, while none of its own clusters can"),
    setting("groups[].reject", Nothing, "text", Reload, "what clients are told at once while neither its clusters nor `fallback` can take a query; without it they wait, up to `timeouts.submit`; with `hold`, what they are told after `hold.max_wait`"),
    setting("groups[].hold.max_wait", Value("5m"), "time", Reload, "with `hold = {}` or more of these, a query that no cluster can take is held rather than refused: its client sees a QUEUED query; for how long at most"),
    setting("groups[].hold.max_queries", Value("1000"), "number", Reload, "how many queries the group holds; the next one ends with an error"),
    setting("groups[].hold.max_bytes", Value("64MiB"), "size", Reload, "the room in memory for them, statements with their headers"),
    setting("groups[].hold.per_user", Value("100"), "number", Reload, "how many of them may be of one user"),
    setting("clusters[].name", Required, "name", Reload, "a cluster; its queries and its intent are kept under this name"),
    setting("clusters[].group", Required, "name", Reload, "the group that it serves"),
    setting("clusters[].url", Required, "URL", Reload, "the coordinator; another URL is another cluster under that name"),
    setting("clusters[].weight", Value("1"), "number", Reload, "its capacity beside the others of its group"),
    setting("clusters[].zone", Nothing, "text", Reload, "the availability zone that it is in, as shown to operators"),
    setting("clusters[].initial_intent", Value("active"), "intent", Reload, "`active`, `standby`, `draining` or `drained`; counts only for a name that the store has never seen"),
    setting("clusters[].min_workers", Value("1"), "number", Reload, "active workers that it must have to be ready; above 1 they are counted by a statement, which then is the probe, or by `probe.source`"),
    setting("clusters[].expected_workers", Value("0"), "number", Reload, "active workers that it has when all is well; 0: not told"),
    setting("clusters[].workers_percent", Value("50"), "number", Reload, "the share of `expected_workers` that must be active for it to be ready; this or `min_workers`, whichever is more"),
    setting("clusters[].max_running", Nothing, "number", Reload, "the most queries that it has at a time, waiting ones of its own included; of several gateways each admits its share, rounded up. Beyond that queries are held, or wait up to `timeouts.submit`"),
    setting("clusters[].probe.user", Value("warren"), "text", Reload, "the user that asks the cluster how it is"),
    setting("clusters[].probe.password", Nothing, "secret", Reload, "sent with the user as Basic credentials; a coordinator without TLS takes it only with `http-server.process-forwarded=true`"),
    setting("clusters[].probe.token", Nothing, "secret", Reload, "a JSON web token that is sent as `Authorization: Bearer …` in the place of a password; its file is read again at each reload"),
    setting("clusters[].probe.certificate", Nothing, "path", Reload, "a PEM file with the certificate that probes show; no request of a client is ever sent with it. A changed file counts for the next connection"),
    setting("clusters[].probe.key", Nothing, "path", Reload, "the PEM file with its key"),
    setting("clusters[].probe.source", Value("statement"), "statement, info, metrics, ui, jmx", Reload, "what shows that the cluster can take queries: a statement that ran; what `/metrics`, the web UI or JMX count, which then is its load too; or `/v1/info` alone. With all but a statement nobody sees that statements fail, or, before its first query, which coordinator it is; `info` sees no missing workers either"),
    setting("clusters[].probe.statement", Value("SELECT 1"), "SQL", Reload, "the statement that proves that the cluster works"),
    setting("clusters[].probe.headers", Empty, "table", Reload, "further headers of a probe"),
    setting("clusters[].probe.metrics_min", Empty, "table", Reload, "metrics of `/metrics` and what each must be at least for the cluster to be ready; one that is missing is too little"),
    setting("clusters[].probe.metrics_max", Empty, "table", Reload, "metrics of `/metrics` and what each may be at most; one that is missing is too much"),
    setting("clusters[].tls.ca", Nothing, "path", Reload, "a PEM file with the authorities to believe instead of the system's"),
    setting("clusters[].tls.server_name", Nothing, "host name", Reload, "the name in its certificate, where it is not the host of `url`"),
];

impl Setting {
    /// The last part of its name.
    pub fn name(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }

    /// The name of its section: `timeouts`, `clusters[].probe`.
    pub fn section(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

/// Finds a setting by section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.section() == section && setting.name() == name)
}

/// The names that may stand in a section, sub-sections included, each once; the empty section is
/// the file itself.
pub(super) fn names_in(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for setting in SETTINGS {
        let rest = if section.is_empty() {
            Some(setting.key)
        } else {
            setting.key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        let Some(first) = rest.and_then(|rest| rest.split('.').next()) else { continue };
        let name = first.trim_end_matches("[]");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The table of `docs/config.md`.
pub fn markdown() -> String {
    let mut table =
        String::from("| setting | default | unit | meaning | change by |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = match setting.fallback {
            Required => "**required**".to_owned(),
            Nothing => "none".to_owned(),
            Value(text) => format!("`{text}`"),
            Empty => "empty".to_owned(),
            Told(words) => words.to_owned(),
        };
        let change = match setting.change {
            Reload => "reload",
            Restart => "restart",
        };
        let Setting { key, unit, meaning, .. } = setting;
        table.push_str("| `");
        table.push_str(&[key, "` | "].concat());
        table.push_str(&[&default, " | ", unit, " | ", meaning, " | ", change, " |\n"].concat());
    }
    table
}
