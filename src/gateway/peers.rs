//! Gateways that share a store: by which mark and where each is reached, for requests about queries that
//! another one holds. Learned from the store; no request waits for it but one about a mark that is
//! not known here.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::history::record::Sighting;
use crate::ids::{CoordinatorId, QueryId};

/// How often each gateway says that it lives.
pub const PERIOD: Duration = Duration::from_secs(10);

/// One that did not say so for this long takes no share of `max_running` any more.
const GONE: Duration = Duration::from_secs(40);

/// The gateways that are known.
#[derive(Debug, Default)]
pub struct Peers {
    known: ArcSwap<HashMap<CoordinatorId, Peer>>,
}

/// The process of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its operators' port.
    pub address: SocketAddr,
    /// When it was last known to live, in milliseconds since 1970.
    pub last_seen_ms: u64,
}

/// The store did not say which gateways it knows.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

/// A request about a held query, as one gateway passes it to another: nothing of the statement, and no
/// credentials.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The query.
    pub id: QueryId,
    /// What is asked for.
    pub wish: Wish,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The origin that the client is to come back to.
    pub origin: String,
    /// Whose it is, by the name or the hash that is known here.
    pub user: String,
}

/// What a request about a held query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// A page.
    Page,
    /// Its end.
    Cancel,
    /// What is known of it.
    Look,
}

/// What comes of it.
pub enum Reply {
    /// The client hears this.
    Answer(http::Response<Bytes>),
    /// The query became this one, and the request is about that.
    Became(QueryId),
    /// This process has never had it.
    NotMine,
}

/// Who answers for the queries that this process holds.
#[async_trait]
pub trait Holder: Send + Sync {
    /// Answers what another gateway passed on.
    async fn reply(&self, ask: Ask) -> Reply;
}

impl Peers {
    /// Where the process with this mark is.
    pub fn of(&self, mark: CoordinatorId) -> Option<Peer> {
        self.known.load().get(&mark).cloned()
    }

    /// Takes in what the store knows; tells how many gateways live at `now_ms`, at least one.
    pub fn learn(&self, seen: &[Sighting], now_ms: u64) -> u32 {
        let gone = u64::try_from(GONE.as_millis()).unwrap_or(u64::MAX);
        let gateways = seen.iter().filter(|sighting| sighting.peer.is_some());
        let living: HashSet<_> = gateways
            .filter(|sighting| sighting.last_seen_ms.saturating_add(gone) > now_ms)
            .map(|sighting| &sighting.cluster)
            .collect();
        let known =
            seen.iter().filter_map(|sighting| Some((sighting.coordinator, peer(sighting)?)));
        self.known.store(std::sync::Arc::new(known.collect()));
        u32::try_from(living.len()).unwrap_or(u32::MAX).max(1)
    }
}

/// The gateway that a sighting tells of.
pub fn peer(sighting: &Sighting) -> Option<Peer> {
    let address = sighting.peer.as_ref()?.parse().ok()?;
    Some(Peer { address, last_seen_ms: sighting.last_seen_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterName;

    #[test]
    fn gateways_are_told_from_coordinators_and_the_living_are_counted() {
        let sighting = |lot: u8, name: &str, peer: Option<&str>, last_seen_ms| Sighting {
            coordinator: CoordinatorId::drawn([lot; 5]),
            cluster: ClusterName::parse(name).expect("a good name"),
            first_seen_ms: 0,
            last_seen_ms,
            peer: peer.map(str::to_owned),
        };
        let seen = [
            sighting(1, "blue", None, 100_000),
            sighting(2, "one", Some("10.0.0.1:8081"), 100_000),
            sighting(3, "one", Some("10.0.0.1:8081"), 90_000),
            sighting(4, "two", Some("10.0.0.2:8081"), 61_000),
            sighting(5, "three", Some("10.0.0.3:8081"), 60_000),
        ];
        let peers = Peers::default();
        assert_eq!(peers.learn(&seen, 100_000), 2, "two processes of one are one gateway");
        assert_eq!(peers.of(CoordinatorId::drawn([1; 5])), None);
        let gone = peers.of(CoordinatorId::drawn([5; 5])).expect("its address stays known");
        assert_eq!(gone.address.to_string(), "10.0.0.3:8081");
        assert_eq!(Peers::default().learn(&[], 0), 1);
    }
}
