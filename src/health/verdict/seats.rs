//! Which coordinators showed themselves at one address. Pure.
//!
//! A mark is drawn by a process when it starts, and an ended process does not come back. So one mark
//! after another is a restart, and a mark that returns after another one was there means that two
//! coordinators live behind the address: a query of one is unknown to the other, and no query may be
//! sent there.

use std::time::Duration;

use crate::ids::CoordinatorId;
use crate::time::Instant;

/// How long one must have been alone there.
const ALONE: Duration = Duration::from_secs(60);

/// A mark that left longer ago may come back: a pair of which one stands by, and takes over.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The most marks that are remembered.
const KEPT: usize = 8;

/// Who sits at an address, and who sat there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seats {
    present: Option<CoordinatorId>,
    /// Those before, with when they were replaced.
    past: Vec<(CoordinatorId, Instant)>,
    /// When two were seen last.
    shared: Option<Instant>,
}

impl Seats {
    /// `mark` showed itself at `now`.
    #[must_use]
    pub(super) fn and(mut self, mark: CoordinatorId, now: Instant) -> Self {
        self.past.retain(|(_, left)| now < *left + REMEMBERED);
        let Some(before) = self.present.replace(mark).filter(|before| *before != mark) else {
            return self;
        };
        let returned = self.past.iter().any(|(past, _)| *past == mark);
        if returned || self.are_shared(now) {
            self.shared = Some(now);
        }
        self.past.retain(|(past, _)| *past != mark && *past != before);
        if self.past.len() == KEPT {
            self.past.remove(0);
        }
        self.past.push((before, now));
        self
    }

    /// Who showed itself last.
    pub(super) fn present(&self) -> Option<CoordinatorId> {
        self.present
    }

    /// Whether two coordinators were seen there, and none of them alone for long enough since.
    pub(super) fn are_shared(&self, now: Instant) -> bool {
        self.shared.is_some_and(|shared| now < shared + ALONE)
    }

    /// The same in words.
    pub(super) fn complaint(&self) -> String {
        let other = self.past.last().map(|(mark, _)| *mark);
        let names =
            [self.present, other].map(|mark| mark.map_or_else(String::new, |m| m.to_string()));
        format!(
            "two coordinators behind one address: {} and {}; one must be alone there for {ALONE:?}",
            names[0], names[1]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the address is held for shared after each of these marks, told at these seconds.
    fn shared(seen: &[(&str, u64)]) -> Vec<bool> {
        let start = crate::time::now();
        let mut seats = Seats::default();
        let mut told = Vec::new();
        for (mark, second) in seen {
            let mark = CoordinatorId::parse(mark).expect("a good mark");
            let now = start + Duration::from_secs(*second);
            seats = seats.and(mark, now);
            told.push(seats.are_shared(now));
        }
        told
    }

    #[test]
    fn a_mark_that_returns_means_two() {
        let (a, b, c) = ("aaaaa", "bbbbb", "ccccc");
        assert_eq!(shared(&[(a, 0), (a, 1), (b, 2), (b, 3), (c, 4)]), [false; 5], "restarts");
        assert_eq!(
            shared(&[(a, 0), (b, 1), (a, 2), (a, 61), (a, 62)]),
            [false, false, true, true, false]
        );
        let again = shared(&[(a, 0), (b, 1), (a, 2), (a, 50), (b, 51), (b, 110), (b, 111)]);
        assert_eq!(again, [false, false, true, true, true, true, false]);
        assert_eq!(shared(&[(a, 0), (b, 1), (a, 602)]), [false; 3], "a pair that takes turns");
    }

    #[test]
    fn both_are_named() {
        let now = crate::time::now();
        let marks =
            ["aaaaa", "bbbbb", "aaaaa"].map(|mark| CoordinatorId::parse(mark).expect("good"));
        let seats = marks.into_iter().fold(Seats::default(), |seats, mark| seats.and(mark, now));
        let told =
            "two coordinators behind one address: aaaaa and bbbbb; one must be alone there for 60s";
        assert_eq!(seats.complaint(), told);
    }
}
