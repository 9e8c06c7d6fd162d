//! What a gateway says of what it knows to be open, for the other ones, and what all of them say
//! together. Pure.
//!
//! A transaction may begin through one gateway and end through another, and a segment be listed by one
//! and acknowledged through another. So each process says what it knows to be open, and which of what
//! others hold for open it saw end. It says so through the store, beside the requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pins::Key;
use crate::ids::QueryId;

/// How long the silence of a process keeps others from saying that nothing is left. After that it is
/// held for ended; what it said last counts until its time.
const SILENCE: Duration = Duration::from_secs(60);

/// What a process says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Whether it says no more.
    #[serde(default)]
    pub over: bool,
    /// What it knows to be open, by the name of the cluster.
    #[serde(default)]
    pub clusters: BTreeMap<String, AtCluster>,
    /// What others hold for open and it saw end.
    #[serde(default)]
    pub closed: BTreeSet<Key>,
}

/// What is open at one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtCluster {
    /// Open transactions.
    #[serde(default)]
    pub transactions: Vec<Held>,
    /// Segments that nobody acknowledged.
    #[serde(default)]
    pub segments: Vec<Held>,
    /// Further segments, which are not named, and for how many milliseconds the last of them counts.
    #[serde(default)]
    pub more: (u32, u64),
}

/// Something open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its key.
    pub key: Key,
    /// For how many milliseconds it counts yet.
    pub for_ms: u64,
    /// The query that used it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl Holdings {
    /// All that it names, without the times.
    pub fn names(&self) -> Vec<String> {
        let clusters = self.clusters.values();
        let held = clusters.flat_map(|at| at.transactions.iter().chain(&at.segments));
        let held = held.map(|held| (held.key, held.query.as_deref().unwrap_or_default()));
        let closed = self.closed.iter().map(|key| (*key, "closed"));
        let mut names: Vec<String> =
            held.chain(closed).map(|(key, word)| String::from(key) + word).collect();
        names.sort_unstable();
        names
    }
}

impl Held {
    /// The query that used it last.
    pub fn query(&self) -> Option<QueryId> {
        QueryId::parse(self.query.as_deref()?).ok()
    }
}

/// What some process said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its gateway.
    pub gateway: String,
    /// Its number; a later one of the same gateway has a larger one.
    pub process: u64,
    /// How long ago.
    pub age: Duration,
    /// What it said.
    pub holdings: Holdings,
}

impl Told {
    /// What it said of a cluster.
    fn at(&self, cluster: &str) -> Option<&AtCluster> {
        self.holdings.clusters.get(cluster)
    }

    /// Those that count still.
    pub fn in_time<'a>(&self, held: &'a [Held]) -> impl Iterator<Item = &'a Held> {
        let age = self.age;
        held.iter().filter(move |held| Duration::from_millis(held.for_ms) > age)
    }

    /// All keys that it holds for open.
    pub fn keys(&self) -> impl Iterator<Item = &Held> {
        let clusters = self.holdings.clusters.values();
        clusters.flat_map(|at| at.transactions.iter().chain(&at.segments))
    }
}

/// Keys of what is open at a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// Transactions.
    pub transactions: BTreeSet<Key>,
    /// Segments.
    pub segments: BTreeSet<Key>,
}

/// How many are open at a cluster by what all gateways say: transactions, and segments. `own` is what
/// this process knows, `is_closed` what it saw end.
pub fn count(
    cluster: &str,
    mut own: Open,
    others: &[Told],
    is_closed: impl Fn(&Held) -> bool,
) -> (u32, u32) {
    let mut unnamed = 0u32;
    for told in others {
        let Some(at) = told.at(cluster) else { continue };
        let open = |held: &&Held| !is_closed(held);
        own.transactions.extend(told.in_time(&at.transactions).filter(open).map(|held| held.key));
        own.segments.extend(told.in_time(&at.segments).filter(open).map(|held| held.key));
        let (more, for_ms) = at.more;
        if Duration::from_millis(for_ms) > told.age {
            unnamed = unnamed.saturating_add(more);
        }
    }
    for key in others.iter().flat_map(|told| &told.holdings.closed) {
        own.transactions.remove(key);
        own.segments.remove(key);
    }
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (narrow(own.transactions.len()), narrow(own.segments.len()).saturating_add(unnamed))
}

/// How many processes that should have said something within `within` have not. `own` is the gateway
/// and the number of this process: it needs no word of those that it followed.
pub fn untold(others: &[Told], own: (&str, u64), within: Duration) -> usize {
    let late = |told: &&Told| {
        let processes = others.iter().map(|other| (other.gateway.as_str(), other.process));
        let mut processes = processes.chain([own]);
        let followed =
            processes.any(|(name, number)| name == told.gateway && number > told.process);
        !told.holdings.over && !followed && told.age > within && told.age < SILENCE
    };
    others.iter().filter(late).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sticky::pins::Pin;

    fn transaction(name: &str, for_ms: u64) -> Held {
        Held { key: Key::of(Pin::Transaction, name), for_ms, query: None }
    }

    fn segment(name: &str, for_ms: u64) -> Held {
        Held { key: Key::of(Pin::Segment, name), for_ms, query: None }
    }

    fn told(gateway: &str, age_ms: u64, at: AtCluster) -> Told {
        let clusters = BTreeMap::from([("blue".to_owned(), at)]);
        let holdings = Holdings { clusters, ..Holdings::default() };
        let age = Duration::from_millis(age_ms);
        Told { gateway: gateway.to_owned(), process: 1, age, holdings }
    }

    fn at(transactions: &[&str], segments: &[&str]) -> AtCluster {
        AtCluster {
            transactions: transactions.iter().map(|name| transaction(name, 1000)).collect(),
            segments: segments.iter().map(|name| segment(name, 1000)).collect(),
            more: (0, 0),
        }
    }

    fn check(others: &[Told], expected: (u32, u32)) {
        let own = Open {
            transactions: BTreeSet::from([Key::of(Pin::Transaction, "own")]),
            segments: BTreeSet::from([Key::of(Pin::Segment, "own")]),
        };
        let ended_here = segment("ended", 0).key;
        assert_eq!(count("blue", own, others, |held| held.key == ended_here), expected);
    }

    #[test]
    fn what_is_open_is_what_anybody_holds_and_nobody_saw_end() {
        check(&[], (1, 1));
        check(&[told("b", 0, at(&["own", "b"], &["own", "b", "c"]))], (2, 3));
        check(&[told("b", 0, at(&[], &["ended"]))], (1, 1));
        let mut closer = told("c", 0, AtCluster::default());
        closer.holdings.closed.insert(segment("own", 0).key);
        closer.holdings.closed.insert(transaction("b", 0).key);
        check(&[told("b", 0, at(&["b"], &["b"])), closer], (1, 1));
        check(&[told("b", 1000, at(&["b"], &["b"]))], (1, 1));
        let many = AtCluster { more: (7, 500), ..at(&[], &[]) };
        check(&[told("b", 499, many.clone())], (1, 8));
        check(&[told("b", 500, many)], (1, 1));
        let elsewhere = Holdings {
            clusters: BTreeMap::from([("green".to_owned(), at(&["g"], &["g"]))]),
            ..Holdings::default()
        };
        check(&[Told { holdings: elsewhere, ..told("b", 0, at(&[], &[])) }], (1, 1));
    }

    #[test]
    fn who_must_have_said_something() {
        let within = Duration::from_millis(100);
        let told = |age_ms| told("b", age_ms, at(&[], &[]));
        let untold = |others: &[Told], own| untold(others, own, within);
        assert_eq!(untold(&[told(100)], ("a", 9)), 0);
        assert_eq!(untold(&[told(101)], ("a", 9)), 1);
        assert_eq!(untold(&[told(60_000)], ("a", 9)), 0, "it is held for ended");
        let later = Told { process: 2, ..told(5) };
        assert_eq!(untold(&[told(101), later], ("a", 9)), 0, "another one took its place");
        assert_eq!(untold(&[told(101)], ("b", 2)), 0, "this one did");
        assert_eq!(untold(&[told(101)], ("b", 0)), 1, "it took this one's");
        let mut over = told(101);
        over.holdings.over = true;
        assert_eq!(untold(&[over], ("a", 9)), 0);
    }

    #[test]
    fn what_is_said_is_read_again() {
        let mut said = told("b", 0, at(&["b"], &["x", "y"])).holdings;
        said.closed.insert(segment("z", 0).key);
        let text = serde_json::to_string(&said).expect("plain values");
        assert_eq!(serde_json::from_str::<Holdings>(&text).expect("its own text"), said);
        assert_eq!(
            serde_json::from_str::<Holdings>("{}").expect("of any age"),
            Holdings::default()
        );
        assert!(serde_json::from_str::<Holdings>(r#"{"closed": ["x"]}"#).is_err());
    }
}
