//! What operators want of clusters: from the store, else as last known here, else from the file.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::{ClusterConfig, Config};
use crate::gateway::Gateway;
use crate::ids::ClusterName;
use crate::store::{Intent, IntentChange, IntentRow, Intents, Store, StoreError, last_known};
use crate::time;

/// For the store at the start; a gateway does not wait longer for it.
const START: Duration = Duration::from_secs(2);

/// Between two looks at the version. A change is in force everywhere within a second.
const PERIOD: Duration = Duration::from_millis(400);

/// For one look.
const LOOK: Duration = Duration::from_secs(5);

/// The intents that a gateway starts with.
#[derive(Debug, Default)]
pub struct Start {
    known: HashMap<ClusterName, Intent>,
    version: Option<u64>,
}

impl Start {
    /// Asks the store, else the state folder. Says which.
    pub async fn load(config: &Config, store: &dyn Store) -> Self {
        let why = match timeout(START, store.intents()).await {
            Ok(Ok(intents)) => {
                info!(version = intents.version, "intents are those of the store");
                remember(config, &intents);
                return Self::of_rows(&intents, Some(intents.version));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {START:?}"),
        };
        match last_known::load(&config.state_folder) {
            Ok(Some(intents)) => {
                warn!(
                    why,
                    version = intents.version,
                    "the store is away: intents are the last known ones"
                );
                Self::of_rows(&intents, None)
            }
            Ok(None) => {
                warn!(why, "the store is away: intents are those of the file");
                Self::default()
            }
            Err(error) => {
                error!(why, %error, "the store is away and the last known intents cannot be read: intents are those of the file");
                Self::default()
            }
        }
    }

    fn of_rows(intents: &Intents, version: Option<u64>) -> Self {
        let known = intents.rows.iter().map(|row| (row.cluster.clone(), row.intent)).collect();
        Self { known, version }
    }

    /// The intent of a cluster of the file.
    pub fn of(&self, cluster: &ClusterConfig) -> Intent {
        self.known.get(&cluster.name).copied().unwrap_or(cluster.initial_intent)
    }
}

/// Follows the store for as long as the gateway lives.
pub async fn keep(gateway: Arc<Gateway>, start: Start) {
    let mut version = start.version;
    let mut seeded: Vec<u64> = Vec::new();
    let mut away = false;
    loop {
        match timeout(LOOK, follow(&gateway, version, &mut seeded)).await {
            Ok(Ok(now)) => {
                version = Some(now);
                if std::mem::take(&mut away) {
                    info!("intents follow the store again");
                }
            }
            failed => {
                if !std::mem::replace(&mut away, true) {
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => format!("no answer within {LOOK:?}"),
                    };
                    warn!(why, "intents stay as they are: the store is away");
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn follow(
    gateway: &Gateway,
    version: Option<u64>,
    seeded: &mut Vec<u64>,
) -> Result<u64, StoreError> {
    let fleet = gateway.registry.fleet();
    // A cluster whose address changed is another one under the same name: it is told its intent too.
    let keys: Vec<u64> = fleet.clusters.iter().map(|cluster| cluster.key()).collect();
    if *seeded != keys {
        let seeds = fleet.config.clusters.iter().map(|cluster| IntentChange {
            cluster: cluster.name.clone(),
            intent: cluster.initial_intent,
            actor: "config".to_owned(),
            reason: "initial_intent".to_owned(),
            at_ms: time::unix_ms(),
        });
        gateway.store.seed_intents(seeds.collect()).await?;
        *seeded = keys;
    } else if Some(gateway.store.intents_version().await?) == version {
        return Ok(version.unwrap_or_default());
    }
    let intents = gateway.store.intents().await?;
    apply(gateway, &intents);
    Ok(intents.version)
}

/// Sets an intent in the store, then here. Refused when the store is away.
pub async fn set(gateway: &Gateway, change: IntentChange) -> Result<IntentRow, StoreError> {
    let row = gateway.store.set_intent(change).await?;
    info!(
        cluster = %row.cluster, intent = row.intent.as_str(), actor = row.actor, reason = row.reason,
        "intent changed"
    );
    apply(gateway, &gateway.store.intents().await?);
    Ok(row)
}

fn apply(gateway: &Gateway, intents: &Intents) {
    // Two readers may come here in another order than they read.
    let mut version = gateway.intents_version.lock().unwrap_or_else(PoisonError::into_inner);
    if intents.version < *version {
        return;
    }
    *version = intents.version;
    let fleet = gateway.registry.fleet();
    let mut changed = false;
    for row in &intents.rows {
        let Some(cluster) = fleet.cluster(&row.cluster).filter(|cluster| !cluster.is_retired())
        else {
            continue;
        };
        if cluster.set_wanted(row) {
            info!(cluster = %row.cluster, to = row.intent.as_str(), "intent in force");
            changed = true;
        }
    }
    remember(&fleet.config, intents);
    if changed {
        gateway.registry.cluster_changed();
    }
}

fn remember(config: &Config, intents: &Intents) {
    if let Err(error) = last_known::save(&config.state_folder, intents) {
        error!(%error, "the intents could not be kept for a start without the store");
    }
}
