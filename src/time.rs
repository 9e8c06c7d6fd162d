//! The only clock. Everything that decides takes `now` as an argument; shells ask here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    fn ids_begin_with_their_time() {
        assert_eq!(query_id_time(0), "19700101_000000");
        assert_eq!(query_id_time(1_587_052_976_999), "20200416_160256");
        assert_eq!(query_id_time(u64::MAX), "99991231_235959");
    }
}
