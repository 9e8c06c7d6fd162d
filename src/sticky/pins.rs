//! What lives in one coordinator and carries no query id: open transactions, hand-shakes of OAuth2,
//! segments of spooled results.
//!
//! Learned from answers of clusters alone. The names are secrets of a sort and may be long, so the
//! table keeps a part of their hash; what nobody asks for goes after 15 to 30 minutes, which is
//! longer than Trino's own idle time of a transaction (5 min) and of a hand-shake (15 min).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::generations::Generations;
use crate::cluster::Cluster;

/// The most pins that are kept.
const LIMIT: usize = 500_000;

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// An open transaction, by its id.
    Transaction,
    /// A hand-shake, by its id or the hash of it.
    Handshake,
    /// A segment, by its identifier.
    Segment,
}

/// A part of the hash of a name: what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key([u8; 16]);

impl Key {
    /// The key of a name.
    pub fn of(pin: Pin, name: &str) -> Self {
        let kind = match pin {
            Pin::Transaction => b't',
            Pin::Handshake => b'h',
            Pin::Segment => b's',
        };
        let hash = Sha256::new_with_prefix([kind]).chain_update(name).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        URL_SAFE_NO_PAD.encode(key.0)
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("no key: expected 16 bytes in URL-safe base64")
    }
}

/// All pins.
#[derive(Debug)]
pub struct Pins {
    table: Generations<Key, Arc<Cluster>>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { table: Generations::with_limit(LIMIT) }
    }
}

impl Pins {
    /// A cluster's answer showed `name`.
    pub fn learn(&self, pin: Pin, name: &str, cluster: &Arc<Cluster>) {
        self.recall(Key::of(pin, name), cluster);
    }

    /// A cluster's answer showed the name of this key to some gateway.
    pub fn recall(&self, key: Key, cluster: &Arc<Cluster>) {
        self.table.remember(key, cluster.clone());
    }

    /// A cluster's answer showed the id of a hand-shake; browsers name it by its hash.
    pub fn learn_handshake(&self, id: &str, cluster: &Arc<Cluster>) {
        self.learn(Pin::Handshake, id, cluster);
        let hash: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
        self.learn(Pin::Handshake, &hash, cluster);
    }

    /// The cluster that has `name`.
    pub fn owner(&self, pin: Pin, name: &str) -> Option<Arc<Cluster>> {
        self.table.lookup(&Key::of(pin, name))
    }

    /// Forgets what nobody asked for since the last sweep but one.
    pub fn sweep(&self) {
        self.table.sweep();
    }

    /// How many pins are kept.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::cluster;

    #[test]
    fn each_kind_has_names_of_its_own() {
        let (pins, a, b) = (Pins::default(), cluster("a"), cluster("b"));
        pins.learn(Pin::Transaction, "x", &a);
        pins.learn(Pin::Segment, "x", &b);
        let owner = |pin, name| pins.owner(pin, name).map(|cluster| cluster.name().to_string());
        assert_eq!(owner(Pin::Transaction, "x").as_deref(), Some("a"));
        assert_eq!(owner(Pin::Segment, "x").as_deref(), Some("b"));
        assert_eq!(owner(Pin::Handshake, "x"), None);
        pins.learn_handshake("abc", &b);
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(owner(Pin::Handshake, hash).as_deref(), Some("b"));
    }
}
