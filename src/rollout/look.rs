//! Looks at what is left at a cluster that is to end: asks this gateway, the coordinator and the store.

use std::sync::Arc;
use std::time::Duration;

use super::left::Left;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::holdings::Beside;
use crate::health::ask::{Asker, Question};
use crate::ids::QueryId;
use crate::time;
use crate::upstream::exchange::Upstream;

/// How many queries a coordinator is asked for at most in one look.
const ASKED_MAX: usize = 50;

/// What Trino allows beside `query.client.timeout` before it drops a query.
const CLIENT_GRACE: Duration = Duration::from_secs(60);

/// How long a change of intent may take to be in force on every gateway.
const IN_FORCE: Duration = Duration::from_secs(2);

/// Who looks.
#[derive(Clone, Copy)]
pub struct Looker<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// Connections of the control side.
    pub upstream: &'a Arc<Upstream>,
}

impl Looker<'_> {
    /// What is left at `cluster`, which was told at `since_ms` to take no new query.
    pub async fn left(&self, cluster: &Arc<Cluster>, since_ms: u64, config: &Config) -> Left {
        let now = time::now();
        let figures = cluster.figures();
        let drained_for = Duration::from_millis(time::unix_ms().saturating_sub(since_ms));
        // A submit that another gateway sent before it heard may still be on its way.
        let settles = match config.store.serves_one_gateway() {
            true => Duration::ZERO,
            false => IN_FORCE + config.timeouts.answer,
        };
        let polled = cluster.ledger().polled();
        let fresh =
            polled.is_some_and(|at| now.saturating_duration_since(at) + settles <= drained_for);
        let listed = figures.queued.zip(figures.running).map(|(queued, running)| queued + running);
        let left = Left {
            gone: cluster.is_silent(now, config.health.lost_after),
            owned: figures.owned,
            load: figures.load,
            listed: listed.filter(|_| fresh),
            open: self.open(cluster, config).await,
            ..Left::default()
        };
        self.with_beside(left, cluster).await
    }

    /// Adds what is open there beside queries. What the last query began is known to who carried its
    /// last page, so others are asked once no query is left.
    async fn with_beside(&self, left: Left, cluster: &Arc<Cluster>) -> Left {
        if left.gone {
            return left;
        }
        match self.gateway.open_beside(cluster.name(), left.has_no_query()).await {
            Ok(Beside { transactions, segments, untold }) => {
                Left { transactions, segments, untold, ..left }
            }
            Err(_away) => Left { open: None, ..left },
        }
    }

    /// Queries that the store holds for open and of which the coordinator does not say otherwise.
    async fn open(&self, cluster: &Arc<Cluster>, config: &Config) -> Option<u32> {
        let longest = config.timeouts.client + CLIENT_GRACE;
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        // Older ones have begun, and are in the coordinator's list as long as they live.
        let since = time::query_id_time(time::unix_ms().saturating_sub(longest));
        let ids = self.gateway.store.open_queries(cluster.name(), &since).await.ok()?;
        let mark = cluster.coordinator();
        let ids = ids.into_iter().filter(|id| mark.is_none_or(|mark| id.coordinator() == mark));
        let mut open = 0;
        for (number, id) in ids.enumerate() {
            if number >= ASKED_MAX || !self.has_ended(cluster, &id, config).await {
                open += 1;
            }
        }
        Some(open)
    }

    /// Whether the coordinator says that a query is over. One that it does not know may not have
    /// begun.
    async fn has_ended(&self, cluster: &Arc<Cluster>, id: &QueryId, config: &Config) -> bool {
        #[derive(serde::Deserialize)]
        struct Told {
            state: String,
        }
        let path = format!("/v1/query/{id}?pruned=true");
        let question = Question::get(&path, config.health.timeout);
        let told: Result<Told, _> = self.asker(cluster).json(question, &config.timeouts).await;
        told.is_ok_and(|told| matches!(told.state.as_str(), "FINISHED" | "FAILED"))
    }

    /// Asks `cluster` as the probe user.
    pub fn asker(&self, cluster: &Arc<Cluster>) -> Asker {
        Asker { cluster: cluster.clone(), upstream: self.upstream.clone() }
    }
}
