//! The control side's own duties: intent and rules from the store, settings from the file, what is
//! open anywhere, where services are, forgetting.
//!
//! Each is a task that reads the whole state and can be run again at any time; what went wrong is
//! told, and the next run is the retry.

mod failover;
mod holdings;
pub mod intents;
mod peers;
pub mod reload;
pub mod retention;
pub mod rules;
mod services;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::debug;

use crate::gateway::Gateway;
use crate::health::ask::Asker;
use crate::health::{poll, probe, resolve};
use crate::upstream::exchange::Upstream;
use intents::Start;

/// How long a route that nobody asks for stays in memory at least.
const GENERATION: Duration = Duration::from_secs(15 * 60);

/// Between two looks for retired clusters that own nothing any more.
const RETIRED: Duration = Duration::from_secs(1);

/// Between two looks for held queries that have waited for too long.
const HELD: Duration = Duration::from_secs(1);

/// Idle connections that probes keep.
const POOL: usize = 64;

/// Starts all tasks of the control side.
pub fn start(gateway: &Arc<Gateway>, start: Start, stopped: &watch::Receiver<bool>) {
    run("probes", keep_probing(gateway.clone()), stopped);
    run("intents", intents::keep(gateway.clone(), start), stopped);
    run("reload", reload::watch(gateway.clone()), stopped);
    run("sweep", sweep(gateway.clone()), stopped);
    run("retired", forget_retired(gateway.clone()), stopped);
    run("held", sweep_held(gateway.clone()), stopped);
    run("peers", peers::keep(gateway.clone()), stopped);
    run("failover", failover::keep(gateway.clone()), stopped);
    run("holdings", holdings::keep(gateway.clone()), stopped);
    run("retention", retention::keep(gateway.clone()), stopped);
    run("recall", recall(gateway.clone()), stopped);
    run("rules", gateway.rules.clone().watch(), stopped);
    run("versions", rules::follow::keep(gateway.clone()), stopped);
    run("services", services::keep(gateway.clone()), stopped);
}

/// Runs a task until the gateway ends.
pub fn run(
    task: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
    stopped: &watch::Receiver<bool>,
) {
    let mut stopped = stopped.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = work => debug!(task, "task ended"),
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    });
}

/// Keeps the tasks of each cluster running for as long as the fleet has it.
async fn keep_probing(gateway: Arc<Gateway>) {
    let upstream = Arc::new(Upstream::with_pool(POOL));
    let mut changes = gateway.registry.changes();
    let mut running: HashMap<u64, Vec<AbortHandle>> = HashMap::new();
    loop {
        let fleet = gateway.registry.fleet();
        // A task that ended by a panic is started again.
        running.retain(|_, tasks| {
            !tasks.iter().any(AbortHandle::is_finished) || {
                tasks.iter().for_each(AbortHandle::abort);
                false
            }
        });
        for cluster in &fleet.clusters {
            running.entry(cluster.key()).or_insert_with(|| {
                let asker = Asker { cluster: cluster.clone(), upstream: upstream.clone() };
                vec![
                    tokio::spawn(resolve::watch(gateway.clone(), cluster.clone())).abort_handle(),
                    tokio::spawn(probe::watch(gateway.clone(), asker.clone())).abort_handle(),
                    tokio::spawn(poll::watch(gateway.clone(), asker)).abort_handle(),
                ]
            });
        }
        running.retain(|key, tasks| {
            let kept = fleet.clusters.iter().any(|cluster| cluster.key() == *key);
            if !kept {
                tasks.iter().for_each(AbortHandle::abort);
            }
            kept
        });
        drop(fleet);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Learns the coordinators that the store knows, as soon as it says them. Probes know better.
async fn recall(gateway: Arc<Gateway>) {
    let seen = loop {
        match gateway.store.coordinators().await {
            Ok(seen) => break seen,
            Err(_away) => tokio::time::sleep(RETIRED).await,
        }
    };
    let fleet = gateway.registry.fleet();
    for sighting in seen.into_iter().filter(|sighting| sighting.peer.is_none()) {
        if let Some(cluster) = fleet.cluster(&sighting.cluster) {
            gateway.sticky.recall(sighting.coordinator, cluster);
        }
    }
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(GENERATION).await;
        gateway.sticky.sweep(&gateway.registry.fleet().clusters);
    }
}

async fn sweep_held(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(HELD).await;
        gateway.held.sweep(gateway.registry.fleet().config.timeouts.client);
    }
}

async fn forget_retired(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(RETIRED).await;
        gateway.registry.forget_retired();
    }
}
