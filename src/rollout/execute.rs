//! Carries rollouts out: looks, asks `plan`, does it, and keeps how far it came. Of several gateways
//! one does it; all of them take in which share of new queries a canary gets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::hooks::{self, When};
use super::left::Left;
use super::look::Looker;
use super::plan::{Act, Seen, World, plan};
use super::{Phase, Rollout};
use crate::cluster::Cluster;
use crate::cluster::registry::Share;
use crate::config::Config;
use crate::control::intents;
use crate::gateway::Gateway;
use crate::health::ask::Question;
use crate::health::verdict::Health;
use crate::ids::{ClusterName, QueryId};
use crate::store::lease::Fence;
use crate::store::rollout::RolloutRow;
use crate::store::{IntentChange, StoreError, chain};
use crate::time;
use crate::upstream::exchange::Upstream;

/// What the lease is for.
const LEASE: &str = "rollouts";

/// Between two looks, and how long a gateway that died keeps others from it at most.
const PERIOD: Duration = Duration::from_millis(500);
const TERM: Duration = Duration::from_secs(5);

/// Idle connections for questions about single queries.
const POOL: usize = 8;

/// Carries rollouts out for as long as the gateway lives.
pub async fn keep(gateway: Arc<Gateway>) {
    let upstream = Arc::new(Upstream::with_pool(POOL));
    loop {
        tokio::time::sleep(PERIOD).await;
        // Who follows intents tells that the store is away.
        let Ok(rows) = gateway.store.rollouts_under_way().await else { continue };
        gateway.registry.set_shares(rows.iter().filter_map(share).collect());
        if rows.is_empty() {
            continue;
        }
        match gateway.store.lease(LEASE, &gateway.name, TERM).await {
            Ok(Some(fence)) => {
                for row in rows {
                    Executor { gateway: &gateway, upstream: &upstream, fence: &fence }
                        .advance(row)
                        .await;
                }
            }
            Ok(None) => {}
            Err(error) => warn!(error = chain(&error), "rollouts wait: the store is away"),
        }
    }
}

/// The share of a rollout that is a canary.
fn share(row: &RolloutRow) -> Option<Share> {
    let rollout: Rollout = serde_json::from_str(&row.document).ok()?;
    let percent = rollout.canary.filter(|_| rollout.phase == Phase::Canary)?.percent;
    Some(Share { group: rollout.group, cluster: rollout.to, percent })
}

struct Executor<'a> {
    gateway: &'a Gateway,
    upstream: &'a Arc<Upstream>,
    fence: &'a Fence,
}

impl Executor<'_> {
    /// One look at one rollout.
    async fn advance(&self, row: RolloutRow) {
        let mut rollout: Rollout = match serde_json::from_str(&row.document) {
            Ok(rollout) => rollout,
            Err(error) => {
                warn!(rollout = row.id, %error, "a rollout of another version of Warren is left alone");
                return;
            }
        };
        let before = rollout.clone();
        if let Err(why) = self.step(&row, &mut rollout).await {
            rollout.told = why;
        }
        if rollout == before {
            return;
        }
        if rollout.phase != before.phase {
            info!(
                rollout = row.id, group = %rollout.group, phase = rollout.phase.as_str(),
                text = rollout.told, "rollout"
            );
        }
        let document = serde_json::to_string(&rollout).unwrap_or_default();
        let next = RolloutRow { under_way: !rollout.phase.is_over(), document, ..row };
        match self.gateway.store.keep_rollout(self.fence, next).await {
            Ok(true) => {}
            Ok(false) => warn!("another gateway carries the rollout on"),
            // What was done is done again with the next look, and changes nothing.
            Err(error) => warn!(error = chain(&error), "a rollout waits: the store is away"),
        }
    }

    /// Does what comes next; what went wrong is told, and tried again with the next look.
    async fn step(&self, row: &RolloutRow, rollout: &mut Rollout) -> Result<(), String> {
        let config = self.gateway.registry.fleet().config.clone();
        let world = self.look(row, rollout, &config).await?;
        // What is taken back waits for nobody.
        let patient = rollout.phase != Phase::Aborting && world.abort.is_none();
        if !rollout.begun {
            let ran = hooks::run(&config.rollouts, (row.id, rollout), When::Before).await;
            match ran {
                Err(why) if patient => return Err(why),
                Err(why) => warn!(rollout = row.id, why, "a hook failed, and the abort goes on"),
                Ok(()) => {}
            }
            rollout.begun = true;
        }
        let next = plan(rollout, &world);
        for act in next.acts {
            self.carry_out(rollout, act, &config).await?;
        }
        if next.phase == rollout.phase {
            rollout.told = next.told;
            return Ok(());
        }
        let ran = hooks::run(&config.rollouts, (row.id, rollout), When::After).await;
        match ran {
            Err(why) if patient => return Err(why),
            Err(why) => warn!(rollout = row.id, why, "a hook failed, and the abort goes on"),
            Ok(()) => {}
        }
        rollout.enter(next.phase, next.told, world.now_ms);
        if rollout.phase == Phase::Draining {
            rollout.left_at_first =
                self.all_left(rollout, &config).await.values().map(Left::queries).sum();
        }
        Ok(())
    }

    async fn look(
        &self,
        row: &RolloutRow,
        rollout: &Rollout,
        config: &Config,
    ) -> Result<World, String> {
        let fleet = self.gateway.registry.fleet();
        let left = match rollout.phase {
            Phase::Draining => self.all_left(rollout, config).await,
            _ => BTreeMap::new(),
        };
        let ended = match rollout.phase {
            Phase::Canary => {
                let since = time::query_id_time(rollout.since_ms);
                let ended = self.gateway.store.ended_queries(&rollout.group, &since).await;
                ended.map_err(|error| format!("the store is away: {}", chain(&error)))?
            }
            _ => Vec::new(),
        };
        let declared = fleet.clusters.iter().filter(|cluster| !cluster.is_retired());
        let now_ms = time::unix_ms();
        let waits = rollout.phase == Phase::Waiting;
        let age = Duration::from_millis(now_ms.saturating_sub(rollout.since_ms));
        let clusters = declared.map(|cluster| {
            let verdict = cluster.verdict();
            // Where a coordinator was just stopped it is held for ready until probes have failed.
            let answered = !waits || cluster.silent_for(time::now()) < age;
            let seen = Seen {
                intent: cluster.intent(),
                ready: verdict.health() == Health::Ready && answered,
                why: match answered {
                    true => verdict.reason.clone(),
                    false => "it has not answered since the rollout began".to_owned(),
                },
                left: left.get(cluster.name()).copied().unwrap_or_default(),
            };
            (cluster.name().clone(), seen)
        });
        Ok(World { now_ms, clusters: clusters.collect(), ended, abort: row.abort.clone() })
    }

    /// What is left at each cluster that is to end.
    async fn all_left(&self, rollout: &Rollout, config: &Config) -> BTreeMap<ClusterName, Left> {
        let mut all = BTreeMap::new();
        for name in &rollout.from {
            let fleet = self.gateway.registry.fleet();
            if let Some(cluster) = fleet.cluster(name) {
                all.insert(
                    name.clone(),
                    self.looker().left(cluster, rollout.since_ms, config).await,
                );
            }
        }
        all
    }

    async fn carry_out(&self, rollout: &Rollout, act: Act, config: &Config) -> Result<(), String> {
        let fleet = self.gateway.registry.fleet();
        match act {
            Act::Want(name, intent) => {
                let Some(cluster) = fleet.cluster(&name) else { return Ok(()) };
                if cluster.own_intent() == intent {
                    return Ok(());
                }
                let change = IntentChange {
                    cluster: name,
                    intent,
                    actor: format!("rollout by {}", rollout.actor),
                    reason: rollout.reason.clone(),
                    at_ms: time::unix_ms(),
                };
                let set: Result<_, StoreError> = intents::set(self.gateway, change).await;
                set.map(drop).map_err(|error| format!("the store is away: {}", chain(&error)))
            }
            Act::Kill(name) => {
                let Some(cluster) = fleet.cluster(&name) else { return Ok(()) };
                let queries = cluster.ledger().all();
                for id in queries {
                    self.kill(cluster, &id, config).await;
                }
                Ok(())
            }
        }
    }

    async fn kill(&self, cluster: &Arc<Cluster>, id: &QueryId, config: &Config) {
        let path = format!("/v1/query/{id}");
        let question = Question { method: "DELETE", ..Question::get(&path, config.health.timeout) };
        match self.looker().asker(cluster).ask(question, &config.timeouts).await {
            Ok((204, _)) => info!(query_id = %id, cluster = %cluster.name(), "killed by a rollout"),
            Ok((status, _)) => warn!(query_id = %id, status, "a query cannot be killed"),
            Err(why) => warn!(query_id = %id, why, "a query cannot be killed"),
        }
    }

    fn looker(&self) -> Looker<'_> {
        Looker { gateway: self.gateway, upstream: self.upstream }
    }
}
