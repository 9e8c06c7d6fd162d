//! Polls what a cluster carries, without running a statement there if it shows its list.
//!
//! The lists of the states are asked for in the order in which a query passes through them. As a
//! query only moves forwards, one that lives through the poll is seen at least once; the whole list
//! would bring the texts of a hundred finished queries each time.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tracing::{info, warn};

use crate::cluster::Forwarding;
use crate::cluster::load::{Listed, Stage};
use crate::config::{Config, Source};
use crate::gateway::Gateway;
use crate::health::ask::{AskError, Asker, Question, SOURCE};
use crate::health::probe::jittered;
use crate::health::statement::{self, Ran};
use crate::history::record::EndCause;
use crate::ids::QueryId;
use crate::time::{self, Instant};

/// The states of a living query, in the order of its life.
const STATES: [&str; 7] = [
    "QUEUED",
    "WAITING_FOR_RESOURCES",
    "DISPATCHING",
    "PLANNING",
    "STARTING",
    "RUNNING",
    "FINISHING",
];

/// The same by SQL, where the list itself is not shown.
const QUERIES: &str = "SELECT query_id, state, source FROM system.runtime.queries \
     WHERE state NOT IN ('FINISHED', 'FAILED')";

/// Between two of these statements: each is a query itself.
const STATEMENT_PERIOD: Duration = Duration::from_secs(10);

/// How long a refused list is not asked for: credentials may have been mended.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A list older than this many periods is not believed any more.
const STALE: u32 = 5;

/// What Trino allows beside `query.client.timeout` before it drops a query.
const CLIENT_GRACE: Duration = Duration::from_secs(60);

/// Polls a cluster for as long as it exists.
pub async fn watch(gateway: Arc<Gateway>, asker: Asker) {
    let mut last_good: Option<Instant> = None;
    let mut told = false;
    let (mut ways, since) = (Ways::default(), time::now());
    loop {
        let config = gateway.registry.fleet().config.clone();
        let began = time::now();
        match told_of(&asker, &config, &mut ways, since).await {
            Ok(None) => {
                if asker.cluster.ledger().polled().is_some() && std::mem::take(&mut told) {
                    info!(cluster = %asker.cluster.name(), "its queries are counted again");
                }
            }
            Ok(Some(list)) => {
                gateway.metrics.probe(asker.cluster.name().as_str(), "load", "good");
                last_good = Some(began);
                if std::mem::take(&mut told) {
                    info!(cluster = %asker.cluster.name(), "its queries can be listed again");
                }
                let ends = asker.cluster.ledger().poll(began, list);
                for (id, cause) in ends {
                    gateway.sticky.ended(&asker.cluster, &id, cause, (None, None));
                }
            }
            Err(why) => {
                gateway.metrics.probe(asker.cluster.name().as_str(), "load", "failed");
                let period = if ways.refused.is_some() {
                    STATEMENT_PERIOD
                } else {
                    config.health.load_period
                };
                // With counts, it is their age that tells.
                let counted = asker.cluster.ledger().polled();
                let last_good = last_good.max(counted);
                let stale = last_good.is_none_or(|good| good + period * STALE < time::now());
                if stale && !told {
                    told = true;
                    warn!(cluster = %asker.cluster.name(), why, "its queries cannot be listed");
                }
                if stale {
                    asker.cluster.ledger().poll_failed();
                }
            }
        }
        if asker.cluster.is_silent(time::now(), config.health.lost_after) {
            let lost = asker.cluster.ledger().live();
            if !lost.is_empty() {
                warn!(
                    cluster = %asker.cluster.name(), queries = lost.len(),
                    "its coordinator is lost; its queries are answered with an error"
                );
            }
            for id in lost {
                let cause = EndCause::CoordinatorGone;
                gateway.sticky.ended(&asker.cluster, &id, cause, (None, None));
            }
        }
        let silent = config.timeouts.client + CLIENT_GRACE;
        if let Some(before) = time::now().checked_sub(silent) {
            let abandoned = asker.cluster.ledger().abandoned(before);
            for id in abandoned {
                gateway.sticky.ended(&asker.cluster, &id, EndCause::Abandoned, (None, None));
            }
        }
        tokio::time::sleep(jittered(config.health.load_period)).await;
    }
}

/// How a cluster tells what it carries, as far as that was found out.
#[derive(Debug, Default)]
struct Ways {
    /// Until when it is not asked for its list, which it did not show to the probe user.
    refused: Option<Instant>,
    /// When a statement may ask next.
    next_statement: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryInfo {
    query_id: String,
    state: String,
    session: Option<Session>,
}

#[derive(Deserialize)]
struct Session {
    source: Option<String>,
}

/// The list, unless the probe counts: then only whether a count is too old.
async fn told_of(
    asker: &Asker,
    config: &Config,
    ways: &mut Ways,
    since: Instant,
) -> Result<Option<Vec<Listed>>, String> {
    if !asker.cluster.settings().probe.source.counts() {
        return list(asker, config, ways).await;
    }
    let period = config.health.load_period.max(config.health.info_period);
    let counted = asker.cluster.ledger().polled().unwrap_or(since);
    if time::now() < counted + period * STALE {
        return Ok(None);
    }
    let source = asker.cluster.settings().probe.source.as_str();
    Err(format!("its queries are not counted; `probe.source` is {source}"))
}

/// What the coordinator carries, asked for in the cheapest way that it allows.
///
/// `Ok(None)`: it is too early. Either the way that is left runs a statement, or the probe has not
/// found out yet how to ask.
async fn list(
    asker: &Asker,
    config: &Config,
    ways: &mut Ways,
) -> Result<Option<Vec<Listed>>, String> {
    if asker.vouches_for_tls() && asker.cluster.forwarding() == Forwarding::Unknown {
        // Without the word that we came by TLS it would refuse the password.
        return Ok(None);
    }
    let now = time::now();
    if ways.refused.is_none_or(|until| until <= now) {
        match by_state(asker, config).await {
            Err(AskError::Status { status: 401 | 403 | 404, .. }) => {
                if ways.refused.replace(now + REFUSED_FOR).is_none() {
                    info!(
                        cluster = %asker.cluster.name(),
                        "it does not show its list of queries; a statement asks for them"
                    );
                }
            }
            listed => {
                ways.refused = None;
                return listed.map(Some).map_err(|error| error.to_string());
            }
        }
    }
    if asker.cluster.settings().probe.source == Source::Info {
        return Err("it does not show its list, and is asked by no statement".to_owned());
    }
    if ways.next_statement.is_some_and(|next| now < next) {
        return Ok(None);
    }
    ways.next_statement = Some(now + jittered(STATEMENT_PERIOD.max(config.health.load_period)));
    by_statement(asker, config).await.map(Some)
}

/// The list of each state.
async fn by_state(asker: &Asker, config: &Config) -> Result<Vec<Listed>, AskError> {
    let mut listed = Vec::new();
    for state in STATES {
        let path = format!("/v1/query?state={state}");
        let question = Question::get(&path, config.health.timeout);
        let infos: Vec<QueryInfo> = asker.json(question, &config.timeouts).await?;
        let probe = |info: &QueryInfo| {
            info.session.as_ref().and_then(|session| session.source.as_deref()) == Some(SOURCE)
        };
        // A query that was seen in an earlier state counts as it stands now: later ones win.
        listed.extend(infos.into_iter().filter(|info| !probe(info)).filter_map(|info| {
            let stage = Stage::of(&info.state);
            Some(Listed { id: QueryId::parse(&info.query_id).ok()?, stage })
        }));
    }
    Ok(listed)
}

/// The same by SQL.
async fn by_statement(asker: &Asker, config: &Config) -> Result<Vec<Listed>, String> {
    let Ran::Done { rows, .. } = statement::run(asker, config, QUERIES).await? else {
        return Err("the statement that lists queries waits".to_owned());
    };
    let listed = rows.iter().filter_map(|row| {
        let [id, state, source] = row.as_slice() else { return None };
        if source == SOURCE {
            return None;
        }
        let stage = Stage::of(state.as_str()?);
        Some(Listed { id: QueryId::parse(id.as_str()?).ok()?, stage })
    });
    Ok(listed.collect())
}
