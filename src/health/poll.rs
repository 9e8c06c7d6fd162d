//! Polls what a cluster carries, without running a statement there.
//!
//! The lists of the states are asked for in the order in which a query passes through them. As a
//! query only moves forwards, one that lives through the poll is seen at least once; the whole list
//! would bring the texts of a hundred finished queries each time.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tracing::{info, warn};

use crate::cluster::load::{Listed, Stage};
use crate::gateway::Gateway;
use crate::health::ask::{Asker, Question, SOURCE};
use crate::health::probe::jittered;
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

/// A list older than this many periods is not believed any more.
const STALE: u32 = 5;

/// What Trino allows beside `query.client.timeout` before it drops a query.
const CLIENT_GRACE: Duration = Duration::from_secs(60);

/// Polls a cluster for as long as it exists.
pub async fn watch(gateway: Arc<Gateway>, asker: Asker) {
    let mut last_good: Option<Instant> = None;
    let mut told = false;
    loop {
        let config = gateway.registry.fleet().config.clone();
        let began = time::now();
        match list(&asker, &gateway).await {
            Ok(list) => {
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
                let stale = last_good
                    .is_none_or(|good| good + config.health.load_period * STALE < time::now());
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

async fn list(asker: &Asker, gateway: &Gateway) -> Result<Vec<Listed>, String> {
    let config = gateway.registry.fleet().config.clone();
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
    gateway.metrics.probe(asker.cluster.name().as_str(), "load", "good");
    Ok(listed)
}
