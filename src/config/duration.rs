//! Spans of time as people write them: `300ms`, `30s`, `5m`, `1h 30m`.

use std::time::Duration;

use super::problem::Wrong;

/// Reads a span of time.
pub(super) fn parse(text: &str) -> Result<Duration, Wrong> {
    humantime::parse_duration(text).map_err(|_| {
        Wrong::new(
            "not a span of time",
            "write a number and a unit, as `\"300ms\"`, `\"30s\"` or `\"5m\"`",
        )
    })
}

/// Writes a span of time as the file would hold it.
pub(super) fn show(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}
