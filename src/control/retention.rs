//! Forgets the history that is older than `store.keep_history`. Of several gateways one does it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info};

use crate::gateway::Gateway;
use crate::store::StoreError;
use crate::time;

/// What the lease is for.
const LEASE: &str = "retention";

/// Between two looks, and how long a gateway that died keeps others from it at most.
const PERIOD: Duration = Duration::from_secs(60);
const TERM: Duration = Duration::from_secs(180);

/// How many rows go at once, and the pause after them: clients' events are written in between.
const ROWS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(50);

/// Forgets for as long as the gateway lives.
pub async fn keep(gateway: Arc<Gateway>) {
    loop {
        match forget(&gateway).await {
            Ok(0) => {}
            Ok(rows) => info!(rows, "old history was forgotten"),
            // The store is away, or in trouble; who follows intents tells it.
            Err(error) => debug!(%error, "old history stays for now"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Forgets all that is too old now; tells how many rows that were.
async fn forget(gateway: &Gateway) -> Result<u64, StoreError> {
    let keep = gateway.registry.fleet().config.keep_history;
    let Some(fence) = gateway.store.lease(LEASE, &gateway.name, TERM).await? else { return Ok(0) };
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let oldest = time::query_id_time(time::unix_ms().saturating_sub(keep_ms));
    let mut rows = 0;
    loop {
        let gone = gateway.store.forget_history(&fence, &oldest, ROWS).await?;
        rows += gone;
        if gone < u64::from(ROWS) {
            return Ok(rows);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
