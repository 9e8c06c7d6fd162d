//! What is open at clusters beside queries: transactions, and segments of spooled results that nobody
//! has acknowledged. A cluster that drains is kept for them.
//!
//! Learned from answers of clusters alone. Nothing here waits or asks anybody: what other gateways know
//! comes and goes by `holdings`, beside the requests.
//!
//! A transaction is open from `X-Trino-Started-Transaction-Id` to `X-Trino-Clear-Transaction-Id`, or
//! until nobody used it for Trino's idle time; while a query runs in it, it is in use. A segment is
//! open from the page that lists it to its acknowledgement, or for a time.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use papaya::HashMap;

use super::generations::Generations;
use super::holdings::{AtCluster, Held, Holdings, Open, Told};
use super::pins::{Key, Pin, Pins};
use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::ids::QueryId;
use crate::time::Instant;

/// The most that are kept of each kind.
const LIMIT: usize = 200_000;

/// The most that others are told of by name, of each kind and cluster: some 50 KB.
const NAMED: usize = 1000;

/// How long what is open is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// A transaction that nobody uses.
    pub transaction: Duration,
    /// A segment that nobody acknowledges.
    pub segment: Duration,
}

/// The books.
#[derive(Debug)]
pub struct Unfinished {
    transactions: HashMap<Key, Transaction>,
    segments: HashMap<Key, Segment>,
    /// What was seen to end, for gateways that saw it begin.
    closed: Generations<Key, ()>,
    /// Queries that ended the transaction that they ran in, for the same.
    enders: Generations<QueryId, ()>,
    dropped: AtomicU64,
}

#[derive(Debug, Clone)]
struct Transaction {
    cluster: Arc<Cluster>,
    used: Instant,
    /// The query that used it last.
    query: Option<Arc<LiveQuery>>,
}

#[derive(Debug, Clone)]
struct Segment {
    cluster: Arc<Cluster>,
    listed: Instant,
}

impl Transaction {
    fn counts_until(&self, now: Instant, lifetimes: Lifetimes) -> Instant {
        let used = match &self.query {
            Some(query) if !query.is_over() => now,
            Some(query) => self.used.max(query.last_seen()),
            None => self.used,
        };
        used + lifetimes.transaction
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Self {
            transactions: HashMap::new(),
            segments: HashMap::new(),
            closed: Generations::with_limit(LIMIT),
            enders: Generations::with_limit(LIMIT),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Unfinished {
    /// A cluster's answer said that a transaction began.
    pub fn began(&self, id: &str, cluster: &Arc<Cluster>, now: Instant) {
        let key = Key::of(Pin::Transaction, id);
        // The same page again, after the end.
        if self.closed.lookup(&key).is_some() {
            return;
        }
        let fresh = Transaction { cluster: cluster.clone(), used: now, query: None };
        self.insert_transaction(key, fresh);
    }

    /// A cluster accepted a statement of a transaction that some cluster showed.
    pub fn used(&self, id: &str, cluster: &Arc<Cluster>, query: &Arc<LiveQuery>, now: Instant) {
        let key = Key::of(Pin::Transaction, id);
        let query = Some(query.clone());
        self.insert_transaction(key, Transaction { cluster: cluster.clone(), used: now, query });
    }

    fn insert_transaction(&self, key: Key, transaction: Transaction) {
        if self.transactions.len() >= LIMIT {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.transactions.pin().insert(key, transaction);
    }

    /// A query ended the transaction that it ran in, or there was none any more.
    pub fn finished(&self, query: &QueryId) {
        self.enders.remember(query.clone(), ());
        let transactions = self.transactions.pin();
        let is_its = |held: &Transaction| held.query.as_ref().is_some_and(|own| own.id() == query);
        let found = transactions.iter().find(|(_, held)| is_its(held)).map(|(key, _)| *key);
        if let Some(key) = found {
            transactions.remove(&key);
            self.closed.remember(key, ());
        }
    }

    /// A page of `cluster` lists a segment.
    pub fn listed(&self, identifier: &str, cluster: &Arc<Cluster>, now: Instant) {
        let key = Key::of(Pin::Segment, identifier);
        if self.closed.lookup(&key).is_some() {
            return;
        }
        if self.segments.len() >= LIMIT {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.segments.pin().insert(key, Segment { cluster: cluster.clone(), listed: now });
    }

    /// A segment was acknowledged.
    pub fn acknowledged(&self, identifier: &str) {
        let key = Key::of(Pin::Segment, identifier);
        self.segments.pin().remove(&key);
        self.closed.remember(key, ());
    }

    /// Another coordinator process answers for `cluster`: transactions of the old one are gone.
    /// Segments lie in a storage.
    pub fn restarted(&self, cluster: &Arc<Cluster>) {
        self.transactions.pin().retain(|_, held| !Arc::ptr_eq(&held.cluster, cluster));
    }

    /// What is open at the cluster of that name, by what this process knows.
    pub fn open(&self, cluster: &str, now: Instant, lifetimes: Lifetimes) -> Open {
        let is_there = |at: &Arc<Cluster>| at.name().as_str() == cluster;
        let (transactions, segments) = (self.transactions.pin(), self.segments.pin());
        let transactions = transactions
            .iter()
            .filter(|(_, held)| is_there(&held.cluster) && held.counts_until(now, lifetimes) > now);
        let segments = segments
            .iter()
            .filter(|(_, held)| is_there(&held.cluster) && held.listed + lifetimes.segment > now);
        Open {
            transactions: transactions.map(|(key, _)| *key).collect(),
            segments: segments.map(|(key, _)| *key).collect(),
        }
    }

    /// How many are open at each cluster by what this process knows: transactions, and segments.
    pub fn counts(&self, now: Instant, lifetimes: Lifetimes) -> BTreeMap<String, (u32, u32)> {
        let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for (_, held) in &self.transactions.pin() {
            if held.counts_until(now, lifetimes) > now {
                counts.entry(held.cluster.name().to_string()).or_default().0 += 1;
            }
        }
        for (_, held) in &self.segments.pin() {
            if held.listed + lifetimes.segment > now {
                counts.entry(held.cluster.name().to_string()).or_default().1 += 1;
            }
        }
        counts
    }

    /// How many could not be kept for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What is to be said to other gateways, which said `others`.
    pub fn holdings(&self, now: Instant, lifetimes: Lifetimes, others: &[Told]) -> Holdings {
        let mut clusters: BTreeMap<String, AtCluster> = BTreeMap::new();
        for (key, held) in &self.transactions.pin() {
            let for_ms = left_ms(held.counts_until(now, lifetimes), now);
            let at = clusters.entry(held.cluster.name().to_string()).or_default();
            if for_ms > 0 && at.transactions.len() < NAMED {
                let query = held.query.as_ref().map(|query| query.id().to_string());
                at.transactions.push(Held { key: *key, for_ms, query });
            }
        }
        for (key, held) in &self.segments.pin() {
            let for_ms = left_ms(held.listed + lifetimes.segment, now);
            let at = clusters.entry(held.cluster.name().to_string()).or_default();
            match at.segments.len() {
                _ if for_ms == 0 => {}
                0..NAMED => at.segments.push(Held { key: *key, for_ms, query: None }),
                _ => at.more = (at.more.0 + 1, at.more.1.max(for_ms)),
            }
        }
        let asked = others.iter().flat_map(Told::keys);
        let closed: BTreeSet<Key> =
            asked.filter(|held| self.has_ended(held)).map(|h| h.key).collect();
        Holdings { over: false, clusters, closed }
    }

    /// Whether this process saw end what another one holds for open.
    pub fn has_ended(&self, held: &Held) -> bool {
        self.closed.lookup(&held.key).is_some()
            || held.query().is_some_and(|query| self.enders.lookup(&query).is_some())
    }

    /// Takes in what others said: what they saw end has ended, and statements of the transactions that
    /// they know find their cluster here too.
    pub fn heard(&self, others: &[Told], pins: &Pins, clusters: &[Arc<Cluster>]) {
        for told in others {
            for key in &told.holdings.closed {
                self.transactions.pin().remove(key);
                self.segments.pin().remove(key);
            }
            for (name, at) in &told.holdings.clusters {
                let cluster = clusters.iter().find(|cluster| cluster.name().as_str() == name);
                let Some(cluster) = cluster else { continue };
                for held in told.in_time(&at.transactions).filter(|held| !self.has_ended(held)) {
                    pins.recall(held.key, cluster);
                }
            }
        }
    }

    /// Forgets what does not count any more.
    pub fn expire(&self, now: Instant, lifetimes: Lifetimes) {
        self.transactions.pin().retain(|_, held| held.counts_until(now, lifetimes) > now);
        self.segments.pin().retain(|_, held| held.listed + lifetimes.segment > now);
    }

    /// Forgets ends that nobody asked for since the last sweep but one.
    pub fn sweep(&self) {
        self.closed.sweep();
        self.enders.sweep();
    }
}

fn left_ms(until: Instant, now: Instant) -> u64 {
    u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::cluster;
    use crate::sticky::holdings;

    const LIFETIMES: Lifetimes =
        Lifetimes { transaction: Duration::from_secs(300), segment: Duration::from_secs(900) };

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn query(index: u32, now: Instant) -> Arc<LiveQuery> {
        let id = QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id");
        Arc::new(LiveQuery::posted_at(id, now))
    }

    fn check(books: &Unfinished, now: Instant, expected: (usize, usize)) {
        let open = books.open("a", now, LIFETIMES);
        assert_eq!((open.transactions.len(), open.segments.len()), expected);
        let counted = books.counts(now, LIFETIMES).remove("a").unwrap_or_default();
        assert_eq!((counted.0 as usize, counted.1 as usize), expected, "counted at once");
    }

    #[test]
    fn a_transaction_is_open_until_it_is_cleared_or_idle() {
        let (books, a, start) = (Unfinished::default(), cluster("a"), crate::time::now());
        books.began("one", &a, start);
        books.began("two", &a, start);
        let work = query(1, start + second(200));
        books.used("one", &a, &work, start + second(200));
        check(&books, start + second(299), (2, 0));
        check(&books, start + second(300), (1, 0));
        check(&books, start + second(5000), (1, 0));
        work.asked(start + second(5000));
        work.set_over(true);
        check(&books, start + second(5299), (1, 0));
        check(&books, start + second(5300), (0, 0));

        let commit = query(2, start + second(5000));
        books.used("one", &a, &commit, start + second(5000));
        books.finished(work.id());
        check(&books, start + second(5000), (1, 0));
        books.finished(commit.id());
        check(&books, start + second(5000), (0, 0));
        books.began("one", &a, start + second(5000));
        check(&books, start + second(5000), (0, 0));
        books.expire(start + second(5300), LIFETIMES);
        assert!(books.transactions.is_empty());
    }

    #[test]
    fn a_segment_is_open_until_it_is_acknowledged_or_for_a_time() {
        let (books, a, start) = (Unfinished::default(), cluster("a"), crate::time::now());
        for name in ["x", "y", "y"] {
            books.listed(name, &a, start);
        }
        check(&books, start, (0, 2));
        books.acknowledged("x");
        books.listed("x", &a, start);
        check(&books, start + second(899), (0, 1));
        check(&books, start + second(900), (0, 0));
        books.restarted(&a);
        check(&books, start, (0, 1));
        books.began("one", &a, start);
        books.restarted(&cluster("a"));
        check(&books, start, (1, 1));
        books.restarted(&a);
        check(&books, start, (0, 1));
    }

    /// What one gateway began, another one carries on and ends.
    #[test]
    fn gateways_tell_each_other() {
        let (one, other, start) =
            (Unfinished::default(), Unfinished::default(), crate::time::now());
        let (pins, a) = (Pins::default(), cluster("a"));
        let told = |books: &Unfinished, others: &[Told]| Told {
            gateway: "g".to_owned(),
            process: 1,
            age: Duration::ZERO,
            holdings: books.holdings(start, LIFETIMES, others),
        };
        let count = |books: &Unfinished, others: &[Told]| {
            let own = books.open("a", start, LIFETIMES);
            holdings::count("a", own, others, |held| books.has_ended(held))
        };
        one.began("t", &a, start);
        one.listed("s", &a, start);
        let from_one = [told(&one, &[])];
        assert_eq!(count(&other, &from_one), (1, 1));
        other.heard(&from_one, &pins, std::slice::from_ref(&a));
        assert!(pins.owner(Pin::Transaction, "t").is_some(), "its statements find their way");

        let commit = query(1, start);
        other.used("t", &a, &commit, start);
        other.finished(commit.id());
        other.acknowledged("s");
        assert_eq!(count(&other, &from_one), (0, 0));
        let from_other = [told(&other, &from_one)];
        assert_eq!(count(&one, &from_other), (0, 0));
        one.heard(&from_other, &pins, &[]);
        check(&one, start, (0, 0));
        assert!(
            told(&other, &[told(&one, &[])]).holdings.closed.is_empty(),
            "nobody asks any more"
        );

        // The commit is posted through one and its page passes the other.
        one.began("u", &a, start);
        let commit = query(2, start);
        one.used("u", &a, &commit, start);
        other.finished(commit.id());
        assert_eq!(count(&one, &[told(&other, &[told(&one, &[])])]), (0, 0));
    }

    #[test]
    fn beyond_a_bound_segments_are_told_by_number() {
        let (books, a, start) = (Unfinished::default(), cluster("a"), crate::time::now());
        for name in 0..NAMED + 5 {
            books.listed(&name.to_string(), &a, start);
        }
        let holdings = books.holdings(start, LIFETIMES, &[]);
        assert_eq!(holdings.clusters["a"].segments.len(), NAMED);
        assert_eq!(holdings.clusters["a"].more, (5, 900_000));
    }
}
