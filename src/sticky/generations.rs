//! A bounded table that forgets what nobody asks for, with no clock in any entry.
//!
//! Two generations of a concurrent map behind one `ArcSwap`. A lookup reads the young one, then
//! the old one, and promotes what it finds there; a sweep makes young old and drops old in one
//! swap.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use papaya::HashMap;

struct Pair<K, V> {
    young: Arc<HashMap<K, V>>,
    old: Arc<HashMap<K, V>>,
}

/// The table.
pub struct Generations<K, V> {
    generations: ArcSwap<Pair<K, V>>,
    /// The most entries of one generation.
    bound: usize,
    early_sweeps: AtomicU64,
}

impl<K, V> std::fmt::Debug for Generations<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Generations").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Generations<K, V> {
    /// Room for `limit` entries in two generations.
    pub fn with_limit(limit: usize) -> Self {
        let empty = Pair { young: Arc::default(), old: Arc::default() };
        Self {
            generations: ArcSwap::from_pointee(empty),
            bound: (limit / 2).max(1),
            early_sweeps: AtomicU64::new(0),
        }
    }

    /// What is known of `key`.
    pub fn lookup(&self, key: &K) -> Option<V> {
        let generations = self.generations.load();
        if let Some(value) = generations.young.pin().get(key) {
            return Some(value.clone());
        }
        let value = generations.old.pin().get(key).cloned()?;
        self.remember(key.clone(), value.clone());
        Some(value)
    }

    /// Remembers an entry. At the bound, the older half goes at once and the sweep is counted.
    pub fn remember(&self, key: K, value: V) {
        let generations = self.generations.load();
        if generations.young.len() >= self.bound {
            self.early_sweeps.fetch_add(1, Ordering::Relaxed);
            self.sweep();
            self.generations.load().young.pin().insert(key, value);
        } else {
            generations.young.pin().insert(key, value);
        }
    }

    /// Makes young old and drops old.
    pub fn sweep(&self) {
        self.generations
            .rcu(|generations| Pair { young: Arc::default(), old: generations.young.clone() });
    }

    /// How many entries are kept; one that was promoted counts twice until the next sweep.
    pub fn len(&self) -> usize {
        let generations = self.generations.load();
        generations.young.len() + generations.old.len()
    }

    /// Whether no entry is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often the bound forced a sweep.
    pub fn early_sweeps(&self) -> u64 {
        self.early_sweeps.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_survives_every_sweep() {
        let table: Generations<u32, &str> = Generations::with_limit(100);
        table.remember(1, "kept");
        table.remember(2, "lost");
        for _ in 0..3 {
            table.sweep();
            assert_eq!(table.lookup(&1), Some("kept"));
        }
        assert_eq!(table.lookup(&2), None);
    }

    #[test]
    fn the_bound_holds_and_is_counted() {
        let table: Generations<u32, u32> = Generations::with_limit(100);
        for number in 0..1000 {
            table.remember(number, number);
        }
        assert!(table.len() <= 100, "{}", table.len());
        assert_eq!(table.early_sweeps(), 19);
        assert_eq!(table.lookup(&999), Some(999));
    }
}
