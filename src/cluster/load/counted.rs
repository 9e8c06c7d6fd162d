//! What a coordinator counts of itself, where it is asked for figures and not for its list. Pure.
//!
//! A count has no ids, so Warren's own queries are told from it by time: one whose first page was
//! asked for before the count began is in it, a later one is not. Ends that were seen since are
//! taken off. What is known to live there is the least that there is.

use super::Ledger;
use crate::time::Instant;

/// How many queries a coordinator has, by its own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Those that wait.
    pub queued: u32,
    /// Those that work.
    pub running: u32,
}

/// How much of a cluster is in use, in thousandths; `None`: not known, which is not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// Of the memory for queries.
    pub memory: Option<u32>,
    /// Of the processors.
    pub cpu: Option<u32>,
}

/// The last count, and what has ended since.
#[derive(Debug)]
pub(super) struct Counted {
    /// As it was told.
    pub(super) tally: Tally,
    /// Queries in it that were seen to end since.
    gone: u32,
    /// Live queries of ours that are in it.
    own: u32,
}

impl Counted {
    /// How many queries there are by now.
    pub(super) fn load(&self) -> u32 {
        let told = self.tally.queued.saturating_add(self.tally.running);
        told.saturating_sub(self.gone).max(self.own)
    }

    /// One that is in it has ended.
    pub(super) fn end_one(&mut self) {
        self.gone = self.gone.saturating_add(1);
        self.own = self.own.saturating_sub(1);
    }
}

impl Ledger {
    /// Takes in a count that was asked for at `began`; without a tally it is not known what is there.
    pub fn count(&mut self, began: Instant, tally: Option<Tally>, signals: Signals) {
        self.poll_failed();
        self.signals = signals;
        let Some(tally) = tally else { return };
        let mut own = 0;
        for live in self.live.values_mut() {
            live.covered = live.seen || live.query.first_get().is_some_and(|first| first < began);
            own += u32::from(live.covered);
            live.count(live.covered, &mut self.unlisted);
        }
        self.counted = Some(Counted { tally, gone: 0, own });
        self.polled = Some(began);
    }

    /// What is in use there.
    pub fn signals(&self) -> Signals {
        self.signals
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Figures;
    use super::*;
    use crate::cluster::live::LiveQuery;
    use crate::config::LoadWeights;
    use crate::ids::QueryId;

    fn id(index: u32) -> QueryId {
        QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id")
    }

    fn bring(ledger: &mut Ledger, index: u32, now: Instant) -> Arc<LiveQuery> {
        ledger.reserve();
        let query = Arc::new(LiveQuery::posted_at(id(index), now));
        ledger.confirm(query.clone(), Duration::from_secs(5));
        query
    }

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn tally(queued: u32, running: u32) -> Option<Tally> {
        Some(Tally { queued, running })
    }

    #[test]
    fn a_query_counts_once_though_a_count_has_no_ids() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        let query = bring(&mut ledger, 1, start);
        ledger.count(start + second(1), tally(0, 2), Signals::default());
        assert_eq!(ledger.load(start), 3, "two of others, and one that has not begun");
        query.asked(start + second(2));
        ledger.count(start + second(3), tally(1, 2), Signals::default());
        let figures = Figures { queued: Some(1), running: Some(2), owned: 1, load: 3 };
        assert_eq!(ledger.figures(start), figures, "it is one of the three");
        assert!(ledger.end(&id(1), start + second(4)));
        assert_eq!(ledger.load(start), 2, "seen to end since the count");
        bring(&mut ledger, 2, start + second(4));
        assert_eq!(ledger.load(start + second(4)), 3, "submitted since the count");
    }

    #[test]
    fn what_lives_there_is_the_least_that_there_is() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        for index in 0..3 {
            bring(&mut ledger, index, start).asked(start);
        }
        // Trino counts no query that it plans.
        ledger.count(start + second(1), tally(0, 1), Signals::default());
        assert_eq!(ledger.load(start), 3);
        ledger.end(&id(0), start + second(1));
        assert_eq!(ledger.load(start), 2);
    }

    #[test]
    fn a_missing_count_is_missing() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        let signals = Signals { memory: Some(500), cpu: None };
        ledger.count(start, tally(3, 4), signals);
        assert_eq!((ledger.load(start), ledger.signals()), (7, signals));
        ledger.count(start, None, signals);
        assert_eq!(ledger.figures(start), Figures::default(), "not known, and not 0");
        assert_eq!((ledger.polled(), ledger.signals()), (None, signals));
        ledger.poll_failed();
        assert_eq!(ledger.signals(), Signals::default());
    }

    #[test]
    fn queries_that_wait_may_count_for_more_here_too() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        ledger.count(start, tally(2, 1), Signals::default());
        let weights = LoadWeights { queued: 3, running: 1, ..LoadWeights::EVEN };
        assert_eq!(ledger.weighed(start, weights), 7);
    }

    #[test]
    fn a_list_takes_the_place_of_a_count() {
        let start = crate::time::now();
        let mut ledger = Ledger::default();
        bring(&mut ledger, 1, start).asked(start);
        ledger.count(start + second(1), tally(0, 9), Signals { memory: Some(1), cpu: Some(1) });
        ledger.poll(start + second(2), Vec::new());
        assert_eq!((ledger.load(start), ledger.signals()), (0, Signals::default()));
        assert_eq!(ledger.all(), [id(1)], "known to this gateway, whoever counts it");
    }
}
