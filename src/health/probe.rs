//! Looks at one cluster: `/v1/info` often, a real statement seldom and after every suspicion.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use serde::Deserialize;
use tracing::info;

use crate::cluster::Forwarding;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::health::ask::{Asker, Question};
use crate::health::verdict::{Evidence, Thresholds};
use crate::ids::{CoordinatorId, QueryId};
use crate::time;

/// Asks for the active workers. A coordinator that works too is not one of them.
const WORKERS: &str =
    "SELECT count(*) FROM system.runtime.nodes WHERE state = 'active' AND NOT coordinator";

/// A host that no client can have: an address that shows it was built from what we sent.
const SENTINEL: &str = "warren-probe.invalid";

/// Between two looks, however often a cluster is suspected.
const LOOKS_APART: Duration = Duration::from_millis(200);

/// Between two pages of a probe statement that come at once.
const PAGE_PAUSE: Duration = Duration::from_millis(20);

/// Looks at a cluster for as long as it exists.
pub async fn watch(gateway: Arc<Gateway>, asker: Asker) {
    let cluster = asker.cluster.clone();
    let mut statement: Option<Pin<Box<dyn Future<Output = Evidence> + Send>>> = None;
    let mut next_look = time::now();
    let mut last_look = time::now();
    let mut suspected = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next_look) => {}
            () = cluster.suspected() => {
                suspected = true;
                // Many may be told of one trouble; each second look would tell nothing new.
                tokio::time::sleep_until(last_look + LOOKS_APART).await;
            }
            evidence = running(&mut statement), if statement.is_some() => {
                statement = None;
                observe(&gateway, &asker, evidence);
                continue;
            }
        }
        let config = gateway.registry.fleet().config.clone();
        let evidence = look_at_info(&asker, &config).await;
        last_look = time::now();
        let good = matches!(evidence, Evidence::Info { starting: false, .. });
        observe(&gateway, &asker, evidence);
        let limits = thresholds(&config, &asker);
        let wanted = suspected || cluster.verdict().wants_statement(&limits, last_look);
        if good && wanted && statement.is_none() {
            suspected = false;
            statement = Some(Box::pin(run_statement(asker.clone(), config.clone())));
        }
        next_look = time::now() + jittered(config.health.info_period);
    }
}

async fn running(
    statement: &mut Option<Pin<Box<dyn Future<Output = Evidence> + Send>>>,
) -> Evidence {
    match statement {
        Some(statement) => statement.await,
        None => std::future::pending().await,
    }
}

/// A tenth more or less, so that gateways do not look all at once.
pub fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::rng().random_range(0.9..1.1))
}

fn thresholds(config: &Config, asker: &Asker) -> Thresholds {
    let min_workers = asker.cluster.settings().min_workers;
    Thresholds {
        rise: config.health.rise,
        fall: config.health.fall,
        min_workers: if min_workers > 1 { min_workers } else { 0 },
        statement_period: jittered(config.health.statement_period),
    }
}

/// Takes in a look, and tells the world when it changed something.
pub fn observe(gateway: &Gateway, asker: &Asker, evidence: Evidence) {
    let cluster = &asker.cluster;
    let config = gateway.registry.fleet().config.clone();
    let (probe, outcome) = labels(&evidence);
    gateway.metrics.probe(cluster.name().as_str(), probe, outcome);
    if let Evidence::StatementDone { coordinator, .. }
    | Evidence::StatementBusy { coordinator, .. } = &evidence
    {
        gateway.sticky.probed(cluster, *coordinator);
    }
    gateway.observe(cluster, evidence, &thresholds(&config, asker));
}

fn labels(evidence: &Evidence) -> (&'static str, &'static str) {
    match evidence {
        Evidence::Info { starting: true, .. } => ("info", "starting"),
        Evidence::Info { .. } => ("info", "good"),
        Evidence::InfoFailed(_) => ("info", "failed"),
        Evidence::StatementDone { .. } => ("statement", "good"),
        Evidence::StatementBusy { .. } => ("statement", "busy"),
        Evidence::StatementFailed(_) => ("statement", "failed"),
        Evidence::CannotConnect(_) => ("traffic", "failed"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    node_version: NodeVersion,
    coordinator: bool,
    starting: bool,
    uptime: String,
}

#[derive(Deserialize)]
struct NodeVersion {
    version: String,
}

async fn look_at_info(asker: &Asker, config: &Config) -> Evidence {
    let question = Question::get("/v1/info", config.health.timeout);
    match asker.json::<Info>(question, &config.timeouts).await {
        Err(why) => Evidence::InfoFailed(why),
        Ok(info) if !info.coordinator => {
            Evidence::InfoFailed("this is a worker, not a coordinator".to_owned())
        }
        Ok(info) => {
            asker.cluster.set_version(info.node_version.version);
            let uptime = duration_of(&info.uptime).unwrap_or_default();
            Evidence::Info { starting: info.starting, uptime }
        }
    }
}

/// A duration as Trino writes it, such as `1.23m`.
fn duration_of(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let count: f64 = text[..unit].trim().parse().ok()?;
    let seconds = match &text[unit..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(count * seconds).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    id: String,
    next_uri: Option<String>,
    data: Option<Vec<Vec<serde_json::Value>>>,
    error: Option<PageError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageError {
    message: String,
    error_name: Option<String>,
}

/// Runs a statement to its end, or to its deadline.
async fn run_statement(asker: Asker, config: Arc<Config>) -> Evidence {
    let run = Statement { asker: &asker, config: &config };
    run.to_its_end().await.unwrap_or_else(Evidence::StatementFailed)
}

struct Statement<'a> {
    asker: &'a Asker,
    config: &'a Config,
}

impl Statement<'_> {
    async fn to_its_end(&self) -> Result<Evidence, String> {
        let deadline = time::now() + self.config.health.statement_timeout;
        let settings = self.asker.cluster.settings();
        let counts = settings.min_workers > 1;
        let text = if counts { WORKERS } else { settings.probe.statement.as_str() };
        let mut page = self.post(text).await?;
        let coordinator =
            QueryId::parse(&page.id).map_err(|error| error.to_string())?.coordinator();
        let mut rows = Vec::new();
        loop {
            if let Some(error) = page.error {
                let name = error.error_name.unwrap_or_default();
                return Err(format!("a probe statement failed: {name} {}", error.message));
            }
            rows.extend(page.data.take().unwrap_or_default());
            let Some(next) = page.next_uri.as_deref().map(path_of) else { break };
            let next = next.ok_or("a page's nextUri is no address")?.to_owned();
            if time::now() >= deadline {
                return Ok(self.busy(&next, coordinator).await);
            }
            let left = deadline.saturating_duration_since(time::now()) + Duration::from_secs(2);
            let question = Question::get(&next, left.min(self.config.health.statement_timeout));
            match self.asker.json(question, &self.config.timeouts).await {
                Ok(next_page) => page = next_page,
                Err(why) => {
                    self.cancel(&next).await;
                    return Err(why);
                }
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        let workers = rows.first().and_then(|row| row.first()).and_then(serde_json::Value::as_u64);
        let workers = workers.filter(|_| counts).and_then(|count| u32::try_from(count).ok());
        Ok(Evidence::StatementDone { coordinator, workers })
    }

    async fn busy(&self, next: &str, coordinator: CoordinatorId) -> Evidence {
        self.cancel(next).await;
        let others_run = self.asker.cluster.figures().running.is_some_and(|running| running > 0);
        Evidence::StatementBusy { coordinator, others_run }
    }

    async fn cancel(&self, path: &str) {
        let question =
            Question { method: "DELETE", ..Question::get(path, self.config.health.timeout) };
        if let Err(why) = self.asker.ask(question, &self.config.timeouts).await {
            info!(cluster = %self.asker.cluster.name(), why, "a probe statement was not cancelled");
        }
    }

    /// Posts the statement, finding out how the coordinator learns our address if it is not known.
    async fn post(&self, text: &str) -> Result<Page, String> {
        let cluster = &self.asker.cluster;
        let tests = match cluster.forwarding() {
            Forwarding::Unknown => {
                vec![Forwarding::Honoured, Forwarding::HostOnly, Forwarding::Rewritten]
            }
            known => vec![known],
        };
        let mut why = String::new();
        let mut forgotten = false;
        for test in tests {
            let headers = match test {
                Forwarding::Honoured => vec![("X-Forwarded-Host", SENTINEL.to_owned())],
                Forwarding::HostOnly => vec![("Host", SENTINEL.to_owned())],
                Forwarding::Unknown | Forwarding::Rewritten => Vec::new(),
            };
            let question = Question {
                method: "POST",
                path: "/v1/statement",
                body: Bytes::copy_from_slice(text.as_bytes()),
                headers: &headers,
                timeout: self.config.timeouts.answer,
            };
            let (status, body) = self.asker.ask(question, &self.config.timeouts).await?;
            if status != 200 {
                // 406 is how a coordinator refuses forwarded headers.
                why = format!("a probe statement was answered with {status}");
                forgotten |= status == 406;
                continue;
            }
            let page: Page = serde_json::from_slice(&body).map_err(|error| {
                format!("a probe statement was answered with no result: {error}")
            })?;
            self.learn(test, &page);
            return Ok(page);
        }
        if forgotten {
            cluster.set_forwarding(Forwarding::Unknown);
        }
        Err(why)
    }

    fn learn(&self, tested: Forwarding, page: &Page) {
        let cluster = &self.asker.cluster;
        let Some(next) = &page.next_uri else { return };
        let host = next.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
        let found = match (tested, host == Some(SENTINEL)) {
            (Forwarding::Honoured | Forwarding::HostOnly, true) => tested,
            // It ignores what it does not know: then `Host` is tried next time.
            (Forwarding::Honoured, false) => Forwarding::HostOnly,
            _ => Forwarding::Rewritten,
        };
        if cluster.forwarding() != found {
            info!(cluster = %cluster.name(), addresses = found.as_str(), "how it builds addresses");
            cluster.set_forwarding(found);
        }
    }
}

/// Path and query of an address.
fn path_of(address: &str) -> Option<&str> {
    let authority = address.find("://")? + 3;
    let path = address[authority..].find('/')?;
    Some(&address[authority + path..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_trino_writes_them() {
        assert_eq!(duration_of("1.50m"), Some(Duration::from_secs(90)));
        assert_eq!(duration_of("250.00ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration_of("2.00d"), Some(Duration::from_secs(172_800)));
        for text in ["", "m", "1", "1x", "-1s", "1e400d"] {
            assert_eq!(duration_of(text), None, "{text}");
        }
    }

    #[test]
    fn the_path_of_an_address() {
        assert_eq!(path_of("http://a:1/v1/x?y=1"), Some("/v1/x?y=1"));
        for text in ["", "/v1/x", "http://a"] {
            assert_eq!(path_of(text), None, "{text}");
        }
    }
}
