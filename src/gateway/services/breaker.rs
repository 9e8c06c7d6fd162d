//! Whether a service is asked that failed of late. Pure.

use std::time::Duration;

use crate::time::Instant;

/// The circuit breaker of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// It is asked. So many questions in a row failed.
    Closed { failures: u32 },
    /// It is not asked before `until`; then by one question, for which `until` moves on.
    Open { until: Instant },
}

impl Breaker {
    /// Nothing failed yet, or a question was answered since, be it one from before it opened.
    pub(super) const NEW: Self = Self::Closed { failures: 0 };

    /// Whether a question may be asked at `now`, and the state that follows. One that is a trial and of
    /// which nothing is heard lets the next one go after `open_for`.
    pub(super) fn admit(self, open_for: Duration, now: Instant) -> (Self, bool) {
        match self {
            Self::Closed { .. } => (self, true),
            Self::Open { until } if now < until => (self, false),
            Self::Open { .. } => (Self::Open { until: now + open_for }, true),
        }
    }

    /// A question failed at `now`. After `open_after` in a row it opens for `open_for`.
    pub(super) fn failed(self, open_after: u32, open_for: Duration, now: Instant) -> Self {
        match self {
            Self::Closed { failures } if failures + 1 < open_after => {
                Self::Closed { failures: failures + 1 }
            }
            Self::Closed { .. } => Self::Open { until: now + open_for },
            // A trial, or one from before it opened: `until` was set when that happened.
            Self::Open { .. } => self,
        }
    }

    /// What came of a question that was let go as `admitted` says nothing of the service. If it was the
    /// trial, the next one may go at once.
    pub(super) fn unjudged(self, admitted: Self, now: Instant) -> Self {
        match self {
            Self::Open { .. } if self == admitted => Self::Open { until: now },
            _ => self,
        }
    }

    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    /// What happens, each a letter at its second: `+` an answer, `-` a failure, `?` may one be asked.
    /// `expected` is what each `?` is told.
    fn check(story: &[(u64, char)], expected: &str) {
        let (start, open_for) = (time::now(), Duration::from_secs(10));
        let (mut breaker, mut told) = (Breaker::NEW, String::new());
        for (second, what) in story {
            let now = start + Duration::from_secs(*second);
            match what {
                '+' => breaker = Breaker::NEW,
                '-' => breaker = breaker.failed(3, open_for, now),
                _ => {
                    let (after, admitted) = breaker.admit(open_for, now);
                    breaker = after;
                    told.push(if admitted { 'y' } else { 'n' });
                }
            }
        }
        assert_eq!(told, expected, "{story:?}");
    }

    #[test]
    fn failures_in_a_row_open_it() {
        check(&[(0, '?'), (0, '-'), (0, '-'), (0, '?')], "yy");
        check(&[(0, '-'), (0, '-'), (0, '-'), (0, '?'), (9, '?')], "nn");
        check(&[(0, '-'), (0, '-'), (0, '+'), (0, '-'), (0, '-'), (0, '?')], "y");
    }

    #[test]
    fn one_trial_goes_through_and_decides() {
        let opened = [(0, '-'), (0, '-'), (0, '-')];
        let then = |more: &[(u64, char)]| [&opened[..], more].concat();
        check(&then(&[(10, '?'), (10, '?'), (11, '+'), (11, '?'), (11, '?')]), "ynyy");
        check(&then(&[(10, '?'), (11, '-'), (11, '?'), (19, '?'), (20, '?'), (20, '?')]), "ynnyn");
        // Nothing is heard of the trial.
        check(&then(&[(10, '?'), (19, '?'), (20, '?'), (20, '?')]), "ynyn");
        // One from before it opened fails late, another one is answered.
        check(&then(&[(5, '-'), (10, '?')]), "y");
        check(&then(&[(5, '+'), (5, '?')]), "y");
    }

    #[test]
    fn a_trial_that_says_nothing_is_given_back() {
        let (start, open_for) = (time::now(), Duration::from_secs(10));
        let opened = Breaker::NEW.failed(1, open_for, start);
        let later = start + open_for;
        let (trial, admitted) = opened.admit(open_for, later);
        assert!(admitted && !trial.admit(open_for, later).1);
        // One from before it opened gives nothing back.
        assert_eq!(trial.unjudged(Breaker::NEW, later), trial);
        let after = trial.unjudged(trial, later);
        assert!(after.is_open() && after.admit(open_for, later).1);
        assert_eq!(Breaker::NEW.unjudged(Breaker::NEW, later), Breaker::NEW);
    }

    #[test]
    fn one_failure_may_be_enough() {
        let now = time::now();
        assert!(Breaker::NEW.failed(1, Duration::from_secs(1), now).is_open());
        assert!(!Breaker::NEW.failed(2, Duration::from_secs(1), now).is_open());
    }
}
