//! When a worker that could not be started is tried again. Pure.

use std::time::Duration;

use crate::time::Instant;

/// Within this span …
const SPAN: Duration = Duration::from_secs(30);

/// … so many failed starts are enough.
const ENOUGH: usize = 5;

/// Before each of them, times the number of those that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two tries from then on; somebody else answers meanwhile.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Starts that failed, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Starts(Vec<Instant>);

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another start; who connects meanwhile waits.
    At(Instant),
    /// Another start, much later; who connects meanwhile is told.
    StandInUntil(Instant),
}

impl Starts {
    /// A start failed at `now`.
    pub(super) fn failed(&mut self, now: Instant) -> Next {
        self.0.retain(|at| *at + SPAN > now);
        self.0.push(now);
        let count = self.0.len();
        if count >= ENOUGH {
            self.0.drain(..count - ENOUGH);
            return Next::StandInUntil(now + LONG_PAUSE);
        }
        Next::At(now + PAUSE * u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_failure_within_the_span_is_enough() {
        let start = crate::time::now();
        let second = Duration::from_secs(1);
        let mut starts = Starts::default();
        for number in 1..=4u32 {
            let now = start + second * number;
            assert_eq!(starts.failed(now), Next::At(now + PAUSE * number));
        }
        let fifth = start + second * 5;
        assert_eq!(starts.failed(fifth), Next::StandInUntil(fifth + LONG_PAUSE));
        assert_eq!(starts.failed(fifth + second), Next::StandInUntil(fifth + second + LONG_PAUSE));
        let late = fifth + SPAN * 2;
        assert_eq!(starts.failed(late), Next::At(late + PAUSE), "the others are long ago");
    }
}
