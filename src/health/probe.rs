//! Looks at one cluster: `/v1/info` often, a real statement seldom and after every suspicion, or what it
//! counts of itself with each look.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::config::{Config, Source};
use crate::gateway::Gateway;
use crate::health::ask::{Asker, Question};
use crate::health::counting::{self, Session};
use crate::health::statement::{self, Ran};
use crate::health::verdict::{Evidence, Thresholds};
use crate::time;

/// Asks for the active workers. A coordinator that works too is not one of them.
pub const WORKERS: &str =
    "SELECT count(*) FROM system.runtime.nodes WHERE state = 'active' AND NOT coordinator";

/// Between two looks, however often a cluster is suspected, and however well it looks.
const LOOKS_APART: Duration = Duration::from_millis(200);

/// Looks at a cluster for as long as it exists.
pub async fn watch(gateway: Arc<Gateway>, asker: Asker) {
    let cluster = asker.cluster.clone();
    let mut statement: Option<Pin<Box<dyn Future<Output = Evidence> + Send>>> = None;
    let mut next_look = time::now();
    let mut last_look = time::now();
    let mut suspected = false;
    let session = Arc::new(Session::default());
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
                if cluster.verdict().may_hurry() {
                    next_look = next_look.min(time::now() + LOOKS_APART);
                }
                continue;
            }
        }
        let config = gateway.registry.fleet().config.clone();
        let evidence = look_at_info(&asker, &config).await;
        last_look = time::now();
        let good = matches!(evidence, Evidence::Info { starting: false, .. });
        observe(&gateway, &asker, evidence);
        let limits = thresholds(&config, &asker);
        let wanted = suspected && limits.source == Source::Statement
            || cluster.verdict().wants_statement(&limits, last_look);
        if good && wanted && statement.is_none() {
            suspected = false;
            statement = Some(Box::pin(prove(asker.clone(), config.clone(), session.clone())));
        }
        next_look = time::now() + jittered(pause(&cluster, &config));
    }
}

/// Until the next look.
fn pause(cluster: &Cluster, config: &Config) -> Duration {
    let period = config.health.info_period;
    if cluster.verdict().may_hurry() { period.min(LOOKS_APART) } else { period }
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
    Thresholds {
        min_workers: asker.cluster.settings().needed_workers(),
        statement_period: jittered(config.health.statement_period),
        source: asker.cluster.settings().probe.source,
        ..Thresholds::of(&config.health)
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
        Evidence::Counted(None) => ("count", "good"),
        Evidence::Counted(Some(_)) => ("count", "lacking"),
        Evidence::CountFailed(_) => ("count", "failed"),
        Evidence::CannotConnect(_) => ("traffic", "failed"),
        Evidence::TrafficFailed(_) => ("traffic", "ejected"),
        Evidence::Answered(_) => ("traffic", "good"),
        Evidence::Moved => ("name", "moved"),
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
        Err(why) => Evidence::InfoFailed(why.to_string()),
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

/// What `probe.source` says: counts, which are the load too, or a statement.
async fn prove(asker: Asker, config: Arc<Config>, session: Arc<Session>) -> Evidence {
    if !asker.cluster.settings().probe.source.counts() {
        return run_statement(asker, config).await;
    }
    let began = time::now();
    match counting::count(&asker, &config, &session).await {
        Err(why) => {
            asker.cluster.set_workers(None);
            Evidence::CountFailed(why)
        }
        Ok(told) => {
            asker.cluster.set_workers(Some(told.counts.active.workers()));
            asker.cluster.ledger().count(began, told.counts.tally, told.counts.signals);
            Evidence::Counted(told.lacking)
        }
    }
}

/// Runs the statement that proves that a cluster works.
async fn run_statement(asker: Asker, config: Arc<Config>) -> Evidence {
    let settings = asker.cluster.settings();
    let counts = settings.needed_workers() > 0;
    let text = if counts { WORKERS } else { settings.probe.statement.as_str() };
    match statement::run(&asker, &config, text).await {
        Err(why) => Evidence::StatementFailed(why),
        Ok(Ran::Unfinished { coordinator }) => {
            let running = asker.cluster.figures().running;
            let others_run = running.is_some_and(|running| running > 0);
            Evidence::StatementBusy { coordinator, others_run }
        }
        Ok(Ran::Done { coordinator, rows }) => {
            let count = rows.first().and_then(|row| row.first()).and_then(Value::as_u64);
            let workers = count.filter(|_| counts).and_then(|count| u32::try_from(count).ok());
            asker.cluster.set_workers(workers);
            Evidence::StatementDone { coordinator, workers }
        }
    }
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
}
