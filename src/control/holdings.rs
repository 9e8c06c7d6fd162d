//! Tells other gateways what is open here beside queries, and hears it from them.
//!
//! Every process says so every two seconds, and at once when it changed; while a cluster drains, twice
//! a second, because somebody waits for it. A process that is killed takes what it had not said along.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::gateway::Gateway;
use crate::store::{Intent, StoreError};
use crate::time::{self, Instant};

/// Between two looks at what has changed, and the same while a cluster drains.
const PERIOD: Duration = Duration::from_secs(1);
const DRAINING: Duration = Duration::from_millis(500);

/// The longest between two words.
const WORD: Duration = Duration::from_secs(2);

/// Between two looks for what counts no more.
const EXPIRE: Duration = Duration::from_secs(60);

/// Tells and hears for as long as the gateway lives.
pub(super) async fn keep(gateway: Arc<Gateway>) {
    let mut teller = Teller { named: Vec::new(), told: None, expired: time::now() };
    loop {
        // Who follows intents tells that the store is away.
        if let Err(error) = teller.round(&gateway).await {
            debug!(%error, "other gateways do not hear what is open here");
        }
        tokio::time::sleep(if is_draining(&gateway) { DRAINING } else { PERIOD }).await;
    }
}

fn is_draining(gateway: &Gateway) -> bool {
    let fleet = gateway.registry.fleet();
    fleet.clusters.iter().any(|cluster| cluster.intent() == Intent::Draining)
}

struct Teller {
    /// What was named when it was told last.
    named: Vec<String>,
    /// When that was.
    told: Option<Instant>,
    expired: Instant,
}

impl Teller {
    async fn round(&mut self, gateway: &Gateway) -> Result<(), StoreError> {
        let (now, fleet) = (time::now(), gateway.registry.fleet());
        let unfinished = &gateway.sticky.unfinished;
        if now >= self.expired + EXPIRE {
            self.expired = now;
            unfinished.expire(now, gateway.lifetimes());
        }
        let others = gateway.told_by_others().await?;
        unfinished.heard(&others, &gateway.sticky.pins, &fleet.clusters);
        let holdings = unfinished.holdings(now, gateway.lifetimes(), &others);
        let named = holdings.names();
        // With a store for one gateway nobody asks whether this one lives.
        let alone =
            fleet.config.store.serves_one_gateway() && others.is_empty() && named.is_empty();
        let due = self.told.is_none_or(|told| now >= told + WORD) || is_draining(gateway);
        if named != self.named || (due && !alone) {
            gateway.tell(&holdings).await?;
            (self.named, self.told) = (named, Some(now));
        }
        Ok(())
    }
}
