//! The stub's only clock, and the scale between simulated and real time.
//!
//! A query of 60 simulated seconds runs in 0.6 real ones at a scale of 0.01. It reads the
//! system's clock, not tokio's: the stub is another process as far as a test is concerned, so a
//! test that pauses its own time does not stop the stub.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The instant now.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Simulated time of one coordinator process, counted from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimClock {
    start: Instant,
    scale: f64,
}

impl SimClock {
    /// A clock that starts at `start`; a simulated second lasts `scale` real ones.
    pub(crate) fn new(start: Instant, scale: f64) -> Self {
        let usable = scale.is_finite() && scale > 0.0;
        Self { start, scale: if usable { scale.clamp(1e-6, 1e3) } else { 1.0 } }
    }

    /// The simulated time at a real instant.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start).div_f64(self.scale)
    }

    /// The real instant of a simulated time; far times are cut at a day.
    pub(crate) fn real(&self, sim: Duration) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400);
        let seconds = (sim.as_secs_f64() * self.scale).min(FAR.as_secs_f64());
        self.start + Duration::from_secs_f64(seconds)
    }
}

/// The day and time of a second since 1970, as `yyyyMMdd_HHmmss`.
pub(crate) fn stamp(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    let second = unix % 86_400;
    format!(
        "{year:04}{month:02}{day:02}_{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The same as `2026-01-31T12:00:00Z`.
pub(crate) fn iso(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    let second = unix % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a day since 1970, by Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_stamps() {
        for (unix, expected) in [
            (0, "19700101_000000"),
            (951_782_400, "20000229_000000"),
            (1_587_052_976, "20200416_160256"),
            (1_767_225_599, "20251231_235959"),
        ] {
            assert_eq!(stamp(unix), expected);
        }
        assert_eq!(iso(1_587_052_976), "2020-04-16T16:02:56Z");
    }

    #[test]
    fn a_scaled_clock_runs_faster_and_back() {
        let start = now();
        let clock = SimClock::new(start, 0.01);
        assert_eq!(clock.at(start + Duration::from_millis(10)), Duration::from_secs(1));
        assert_eq!(clock.real(Duration::from_secs(60)), start + Duration::from_millis(600));
    }
}
