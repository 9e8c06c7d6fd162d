//! Gateways that share a store tell each other by it that they live, and where they are reached.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::gateway::Gateway;
use crate::gateway::peers::PERIOD;
use crate::history::record::{Event, Sighting};
use crate::ids::ClusterName;
use crate::time;

/// Between two looks at who else lives.
const LOOK: Duration = Duration::from_secs(2);

/// Tells and looks for as long as the gateway lives.
pub(super) async fn keep(gateway: Arc<Gateway>) {
    let fleet = gateway.registry.fleet();
    if fleet.config.store.serves_one_gateway() {
        return;
    }
    let Ok(name) = ClusterName::parse(&gateway.name) else {
        warn!(gateway = gateway.name, "its id is no name: other gateways cannot pass pages to it");
        return;
    };
    let (peer, began) = (fleet.config.peers.address.to_string(), time::unix_ms());
    drop(fleet);
    let mut told = None;
    loop {
        let now = time::now();
        if told.is_none_or(|told| told + PERIOD <= now) {
            told = Some(now);
            gateway.recorder.record(Event::Coordinator(Sighting {
                coordinator: gateway.held.mark(),
                cluster: name.clone(),
                first_seen_ms: began,
                last_seen_ms: time::unix_ms(),
                peer: Some(peer.clone()),
            }));
        }
        // Away: what was known stays.
        if let Ok(seen) = gateway.store.coordinators().await {
            let gateways = gateway.peers.learn(&seen, time::unix_ms());
            let fleet = gateway.registry.fleet();
            fleet.clusters.iter().for_each(|cluster| cluster.set_gateways(gateways));
        }
        tokio::time::sleep(LOOK).await;
    }
}
