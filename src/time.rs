//! The only clock. Everything that decides takes `now` as an argument; shells ask here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Local, Timelike, Utc};
use nix::time::{ClockId, clock_gettime};

pub use tokio::time::Instant;

/// The instant now, by tokio's clock, so that tests can pause it.
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, for what is stored or shown.
pub fn unix_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The hour and the day, by the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// From 0 to 23.
    pub hour: u8,
    /// From 1, Monday, to 7.
    pub weekday: u8,
}

/// The time in the time zone of this machine (`TZ`, else `/etc/localtime`).
pub fn local() -> LocalTime {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = Local::now();
    by_the_wall(now)
}

/// The same of a moment, in milliseconds since 1970.
pub fn local_at(unix_ms: u64) -> LocalTime {
    let moment = i64::try_from(unix_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    by_the_wall(moment.unwrap_or_default().with_timezone(&Local))
}

fn by_the_wall(moment: DateTime<Local>) -> LocalTime {
    let small = |number: u32| u8::try_from(number).unwrap_or_default();
    LocalTime { hour: small(moment.hour()), weekday: small(moment.weekday().number_from_monday()) }
}

/// The beginning of the ids that queries of that time have: `yyyyMMdd_HHmmss`, UTC.
pub fn query_id_time(unix_ms: u64) -> String {
    /// The last second that has four digits for its year.
    const LAST: u64 = 253_402_300_799;
    let time = UNIX_EPOCH + Duration::from_secs((unix_ms / 1000).min(LAST));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace(['-', ':', 'Z'], "").replace('T', "_")
}

/// How long the calling thread has run on a processor since it started.
///
/// Time that another thread took is not counted, so a limit on it does not depend on how busy the
/// machine is. Where the system cannot tell, it is zero: whoever limits by it needs a second limit.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_hour_and_day() {
        let before = local();
        let here = local_at(unix_ms());
        assert!(here == before || here == local());
        assert_eq!(local_at(u64::MAX), local_at(0));
    }

    #[test]
    fn ids_begin_with_their_time() {
        assert_eq!(query_id_time(0), "19700101_000000");
        assert_eq!(query_id_time(1_587_052_976_999), "20200416_160256");
        assert_eq!(query_id_time(u64::MAX), "99991231_235959");
    }
}
