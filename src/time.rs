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

/// How long the calling thread has run on a processor since it started.
///
/// Time that another thread took is not counted, so a limit on it does not depend on how busy the
/// machine is. Where the system cannot tell, it is zero: whoever limits by it needs a second limit.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
