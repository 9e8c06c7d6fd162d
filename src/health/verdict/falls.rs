//! How often a cluster fell of late. One that flaps has to show more good looks each time. Pure.

use std::time::Duration;

use crate::time::Instant;

/// A fall before that says nothing of today. A coordinator takes most of a minute to restart, so one
/// that is restarted twice by intent is hardly taken for one that flaps.
const RECENT: Duration = Duration::from_secs(300);

/// More good looks than this are never asked for: a minute, by the default period.
const LOOKS_MAX: u32 = 30;

/// More falls than this change nothing.
const KEPT: usize = 8;

/// The last falls from being ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Falls(Vec<Instant>);

impl Falls {
    /// It fell at `now`.
    #[must_use]
    pub(super) fn and(mut self, now: Instant) -> Self {
        self.0.retain(|fall| now < *fall + RECENT);
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(now);
        self
    }

    /// How many good looks in a row it takes until it is ready again, where `rise` do for one that
    /// fell once.
    pub(super) fn looks(&self, rise: u32, now: Instant) -> u32 {
        let recent = self.0.iter().filter(|fall| now < **fall + RECENT).count();
        let again = u32::try_from(recent).unwrap_or(u32::MAX).saturating_sub(1);
        let looks = rise.saturating_mul(1_u32.saturating_add(again.saturating_mul(4)));
        looks.min(LOOKS_MAX).max(rise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fall_after_the_first_costs_more_looks() {
        let start = crate::time::now();
        let fallen = |times: u64| {
            (0..times).fold(Falls::default(), |falls, n| falls.and(start + Duration::from_secs(n)))
        };
        let looks = |times, rise| fallen(times).looks(rise, start + Duration::from_secs(10));
        assert_eq!([0, 1, 2, 3, 4, 5, 50].map(|times| looks(times, 2)), [2, 2, 10, 18, 26, 30, 30]);
        assert_eq!([1, 2, 3].map(|times| looks(times, 40)), [40, 40, 40], "never less than `rise`");
        let later = start + RECENT + Duration::from_secs(1);
        assert_eq!(fallen(3).looks(2, later), 2, "one of three falls is recent: it is free");
        assert!(fallen(50).0.len() <= KEPT);
    }
}
