//! One cluster, asked directly: each thing that Warren relies on, in the order in which one that
//! fails makes the next ones meaningless.

use serde::Deserialize;
use serde_json::Value;

use super::hop::{Hop, Ran};
use super::judge::{self, Asked};
use super::words::{self, End, Trouble};
use super::{Who, who_asks};
use crate::cli::finding::Finding;
use crate::config::{ClusterConfig, Config};
use crate::health::counting::Told;
use crate::health::probe::WORKERS;
use crate::ids::CoordinatorId;
use crate::time;

/// A host that no client can have: an address that shows it was built from what we sent.
const SENTINEL: &str = "warren-doctor.invalid";

/// Statements that are posted over connections of their own. Two coordinators that take turns, or are
/// drawn by chance, show two marks in so many but once in 128 times.
const POSTS: usize = 8;

/// How long a query may take to be shown as finished.
const SHOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// What was found of a cluster.
pub(super) struct Examined {
    pub(super) name: String,
    /// The mark of its coordinator, if a query showed it.
    pub(super) mark: Option<CoordinatorId>,
    pub(super) findings: Vec<Finding>,
}

struct Visit<'a> {
    settings: &'a ClusterConfig,
    config: &'a Config,
    who: Who,
    findings: Vec<Finding>,
    /// What was well, for one line.
    well: Vec<String>,
    mark: Option<CoordinatorId>,
    /// By how many seconds its clock is ahead.
    ahead: Option<i64>,
}

/// Looks at a cluster.
pub(super) async fn examine(
    settings: &ClusterConfig,
    config: &Config,
    given: Option<&Who>,
) -> Examined {
    let who = who_asks(given, settings);
    let (findings, well) = (Vec::new(), Vec::new());
    let mut visit = Visit { settings, config, who, findings, well, mark: None, ahead: None };
    let walked = visit.walk().await;
    visit.judge_clock();
    let Visit { mut findings, well, mark, .. } = visit;
    match walked {
        Err(finding) => findings.insert(0, finding),
        Ok(()) => {
            let text = format!("{}: {}", settings.url, well.join(", "));
            findings.insert(0, Finding::fine("cluster", settings.name.as_str(), text));
        }
    }
    Examined { name: settings.name.to_string(), mark, findings }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    node_version: NodeVersion,
    coordinator: bool,
    starting: bool,
}

#[derive(Deserialize)]
struct NodeVersion {
    version: String,
}

impl Visit<'_> {
    async fn walk(&mut self) -> Result<(), Finding> {
        let to = Hop::to(self.settings.clone(), self.config, self.config.timeouts.answer).await;
        let hop = to.map_err(|trouble| self.problem(&trouble))?;
        self.info(&hop).await?;
        self.counts(&hop).await;
        self.one_coordinator(&hop).await?;
        self.addresses(&hop).await?;
        self.statement(&hop).await?;
        self.workers(&hop).await;
        self.sees_others(&hop).await;
        Ok(())
    }

    fn problem(&self, trouble: &Trouble) -> Finding {
        let told = words::tell(trouble, End::Cluster, &self.settings.probe.user);
        self.problem_of(told.text, told.fix)
    }

    fn problem_of(&self, text: String, fix: impl Into<String>) -> Finding {
        let text = format!("{}: {text}", self.settings.url);
        Finding::problem("cluster", self.settings.name.as_str(), text).with_fix(fix)
    }

    fn warning_of(&self, text: String, fix: impl Into<String>) -> Finding {
        let text = format!("{}: {text}", self.settings.url);
        Finding::warning("cluster", self.settings.name.as_str(), text).with_fix(fix)
    }

    async fn info(&mut self, hop: &Hop<'_>) -> Result<(), Finding> {
        let from = time::unix_ms();
        let answer = hop.get("/v1/info").await.map_err(|trouble| self.problem(&trouble))?;
        let asked = Asked { from, to: time::unix_ms() };
        let date = answer.header.headers.get("date").and_then(|date| date.to_str().ok());
        self.ahead = date.and_then(judge::second_of_date).map(|second| asked.ahead(second));
        let info: Info = serde_json::from_slice(&answer.body).map_err(|_| {
            self.problem(&Trouble::NoTrino("/v1/info is not that of a coordinator".to_owned()))
        })?;
        if !info.coordinator {
            let fix = "write the coordinator's address into `url`";
            return Err(self.problem_of("a worker, not a coordinator".to_owned(), fix));
        }
        if info.starting {
            let text = "the coordinator says that it is starting".to_owned();
            let fix = "wait; if it stays so, look at its log and at its workers";
            return Err(self.warning_of(text, fix));
        }
        self.well.push(format!("Trino {}", info.node_version.version));
        Ok(())
    }

    /// What the probe goes by, where that is no statement.
    async fn counts(&mut self, hop: &Hop<'_>) {
        let source = self.settings.probe.source;
        if !source.counts() {
            return;
        }
        let word = source.as_str();
        match hop.count().await {
            Err(why) => {
                let fix = "mend that, or choose another `probe.source`";
                let text = format!("`probe.source = \"{word}\"`: {why}");
                self.findings.push(self.problem_of(text, fix));
            }
            Ok(Told { lacking: Some(why), .. }) => {
                let fix = "start what is missing, or lower what is asked for";
                self.findings.push(self.problem_of(format!("by its {word}: {why}"), fix));
            }
            Ok(Told { counts, .. }) => {
                let workers = counts.active.workers();
                self.well.push(format!("{word} count {workers} workers"));
                if counts.tally.is_none() {
                    let text = format!(
                        "its {word} do not tell its queries: only what this gateway sent is its load"
                    );
                    let fix = "choose another `probe.source`";
                    self.findings.push(self.warning_of(text, fix));
                }
            }
        }
    }

    async fn one_coordinator(&mut self, hop: &Hop<'_>) -> Result<(), Finding> {
        let mut ids = Vec::new();
        let close = [("Connection", "close".to_owned())];
        for _ in 0..POSTS {
            let posted = hop.submit("SELECT 1", &close).await;
            let posted = posted.map_err(|trouble| self.problem(&trouble))?;
            hop.cancel(&posted).await;
            self.ahead = Some(posted.ahead);
            ids.push(posted.id);
        }
        let marks = judge::marks(&ids);
        if marks.len() > 1 {
            let marks: Vec<_> = marks.iter().map(ToString::to_string).collect();
            let text = format!(
                "{} coordinators answer at this address (marks {}): pages of one are asked of the other",
                marks.len(),
                marks.join(", ")
            );
            let fix = "make each coordinator a cluster with an address of its own; or did it restart just now?";
            return Err(self.problem_of(text, fix));
        }
        self.mark = marks.into_iter().next();
        self.well.extend(self.mark.map(|mark| format!("coordinator {mark}")));
        Ok(())
    }

    /// How it builds the addresses that clients come back to.
    async fn addresses(&mut self, hop: &Hop<'_>) -> Result<(), Finding> {
        let fix =
            "set `http-server.process-forwarded=true` in its `config.properties`, and restart it";
        let forwarded = [("X-Forwarded-Host", SENTINEL.to_owned())];
        let why = match hop.submit("SELECT 1", &forwarded).await {
            Ok(posted) => {
                hop.cancel(&posted).await;
                if judge::split(&posted.next).is_some_and(|(at, _)| at.contains(SENTINEL)) {
                    self.well.push("forwarded headers are honoured".to_owned());
                    return Ok(());
                }
                "ignores forwarded headers"
            }
            Err(Trouble::Status { code: 406, .. }) => "refuses forwarded headers (406)",
            Err(trouble) => return Err(self.problem(&trouble)),
        };
        let text = format!(
            "{why}: it learns neither the address nor the scheme of clients; if they come by https, Warren has to \
             write each page again"
        );
        self.findings.push(self.warning_of(text, fix));
        let plain = hop.submit("SELECT 1", &[]).await.map_err(|trouble| self.problem(&trouble))?;
        hop.cancel(&plain).await;
        if let Err((text, _)) = judge::leads_back(&plain.next, &self.settings.url.to_string()) {
            self.findings.push(self.warning_of(text, fix));
        }
        Ok(())
    }

    async fn statement(&mut self, hop: &Hop<'_>) -> Result<(), Finding> {
        let ran = hop.run(&self.settings.probe.statement).await;
        let Ran { took, .. } = ran.map_err(|trouble| self.problem(&trouble))?;
        self.well.push(format!("a statement ran in {} ms", took.as_millis()));
        Ok(())
    }

    async fn workers(&mut self, hop: &Hop<'_>) {
        let wanted = self.settings.needed_workers();
        match hop.run(WORKERS).await {
            Ok(Ran { rows, .. }) => {
                let count = rows.first().and_then(|row| row.first()).and_then(Value::as_u64);
                let count = count.unwrap_or_default();
                if wanted > 1 && count < u64::from(wanted) {
                    let text = format!("{count} active workers, {wanted} wanted");
                    let fix = "start the workers that are missing, or lower `min_workers` or `workers_percent`";
                    self.findings.push(self.problem_of(text, fix));
                } else {
                    self.well.push(format!("workers: {count}"));
                }
            }
            Err(trouble) => {
                let told = words::tell(&trouble, End::Cluster, &self.settings.probe.user);
                let text = format!("workers cannot be counted: {}", told.text);
                let fix = "let the probe user read `system.runtime.nodes`";
                let finding = if wanted > 1 {
                    self.problem_of(text, fix)
                } else {
                    self.warning_of(text, fix)
                };
                self.findings.push(finding);
            }
        }
    }

    /// Whether the probe user is shown what others run, without which the load is not known.
    async fn sees_others(&mut self, hop: &Hop<'_>) {
        if self.settings.probe.source.counts() {
            return;
        }
        if self.who.is_probe {
            self.well.push("queries of others not looked for (give --user)".to_owned());
            return;
        }
        let settings = self.who.apply(self.settings.clone());
        let other = match Hop::to(settings, self.config, self.config.timeouts.answer).await {
            Ok(other) => other.run("SELECT 1").await,
            Err(trouble) => Err(trouble),
        };
        let Ok(Ran { first, .. }) = other else {
            let user = &self.who.user;
            self.well
                .push(format!("queries of others not looked for ({user} may not; give --user)"));
            return;
        };
        let user = hop.user();
        let fix = format!(
            "let {user} view the queries of all users; with file-based access control: \
             \"queries\": [{{\"user\": \"{user}\", \"allow\": [\"view\"]}}, …]"
        );
        match shown(hop, first.id.as_str()).await {
            Shown::Listed => self.well.push(format!("{user} sees queries of others")),
            Shown::ByStatement(code) => {
                let text = format!(
                    "does not show its list of queries to {user} ({code}): a statement asks for the load, each 10 s"
                );
                self.findings.push(self.warning_of(text, fix));
            }
            Shown::Never => {
                let text = format!(
                    "{user} sees no queries of others: only what this gateway sent counts as its load"
                );
                self.findings.push(self.problem_of(text, fix));
            }
        }
    }

    fn judge_clock(&mut self) {
        let Some(ahead) = self.ahead else { return };
        if ahead.abs() <= judge::CLOCK_MAX {
            return;
        }
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        let text = format!("its clock is {} s {side} that of this machine", ahead.abs());
        let fix = "let NTP (chrony) set both; if all clusters differ alike, it is this machine's";
        self.findings.push(self.problem_of(text, fix));
    }
}

enum Shown {
    Listed,
    /// Only by SQL; the list was refused with this status.
    ByStatement(u16),
    Never,
}

/// Whether a query of another user is shown, in the ways in which Warren asks for the load.
async fn shown(hop: &Hop<'_>, id: &str) -> Shown {
    let until = time::now() + SHOWN_WITHIN;
    loop {
        let code = match hop.get("/v1/query?state=FINISHED").await {
            Ok(answer) => {
                let list: Vec<Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
                if list.iter().any(|query| query["queryId"] == id) {
                    return Shown::Listed;
                }
                None
            }
            Err(Trouble::Status { code: code @ (401 | 403 | 404), .. }) => Some(code),
            Err(_) => None,
        };
        if let Some(code) = code {
            let text = format!(
                "SELECT query_id, state, source FROM system.runtime.queries WHERE query_id = '{id}'"
            );
            let found = hop.run(&text).await.is_ok_and(|ran| !ran.rows.is_empty());
            return if found { Shown::ByStatement(code) } else { Shown::Never };
        }
        if time::now() > until {
            return Shown::Never;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
