//! Load: one `wrk`, one thread, 32 connections, the headers of a Trino client.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::quick::BenchError;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `GET` of a page: the sticky hit.
    Page,
    /// `POST /v1/statement`.
    Submit,
}

impl Kind {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 2] = [Self::Page, Self::Submit];

    /// Its name in reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Submit => "submit",
        }
    }
}

/// What `wrk` tells about a run.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Outcome {
    /// Answers received.
    pub requests: u64,
    /// How long it ran.
    pub duration_us: u64,
    /// Median latency.
    pub p50_us: f64,
    /// The latency that one in a hundred exceeds.
    pub p99_us: f64,
    /// Socket errors, timeouts, answers outside 2xx and 3xx.
    pub errors: u64,
}

/// The 13 headers that a Trino client sends.
const HEADERS: [(&str, &str); 13] = [
    ("User-Agent", "trino-python-client/0.339.0"),
    ("Accept", "*/*"),
    ("Content-Type", "text/plain; charset=utf-8"),
    ("X-Trino-User", "bench"),
    ("X-Trino-Source", "trino-python-client"),
    ("X-Trino-Catalog", "hive"),
    ("X-Trino-Schema", "default"),
    ("X-Trino-Time-Zone", "Europe/Berlin"),
    ("X-Trino-Client-Tags", "bench,quick"),
    ("X-Trino-Client-Info", "a bench of a gateway"),
    ("X-Trino-Session", "query_max_run_time=1h,join_distribution_type=AUTOMATIC"),
    ("X-Trino-Client-Capabilities", "PARAMETRIC_DATETIME,SESSION_AUTHORIZATION"),
    ("X-Trino-Transaction-Id", "NONE"),
];

/// A statement of 270 bytes.
fn statement() -> String {
    let sql = "SELECT o.orderkey, c.name, sum(l.extendedprice * (1 - l.discount)) AS revenue FROM orders o JOIN customer c ON o.custkey = c.custkey JOIN lineitem l ON l.orderkey = o.orderkey WHERE o.orderdate < DATE '1995-03-15' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 10";
    format!("{sql:<270}")
}

/// The script that tells `wrk` what to send and how to report.
pub(crate) fn script(kind: Kind) -> String {
    let mut text = String::new();
    for (name, value) in HEADERS {
        let _ = writeln!(text, "wrk.headers[{name:?}] = {value:?}");
    }
    if kind == Kind::Submit {
        let _ = writeln!(text, "wrk.method = \"POST\"\nwrk.body = {:?}", statement());
    }
    text.push_str(
        r#"done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#,
    );
    text
}

/// Runs `wrk` on one CPU against a URL.
pub(crate) fn run(
    script: &Path,
    cpu: usize,
    address: SocketAddr,
    path: &str,
    time: Duration,
) -> Result<Outcome, BenchError> {
    let output = Command::new("taskset")
        .args(["-c", &cpu.to_string(), "wrk", "-t1", "-c32", "-d"])
        .arg(format!("{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(script)
        .arg(format!("http://{address}{path}"))
        .output()
        .map_err(|source| BenchError::Start { name: "wrk", source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .and_then(|result| serde_json::from_str(result).ok())
        .ok_or_else(|| BenchError::Start {
            name: "wrk",
            source: io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_sends_what_a_client_sends() {
        assert_eq!(statement().len(), 270);
        let page = script(Kind::Page);
        assert_eq!(page.matches("wrk.headers").count(), 13);
        assert!(!page.contains("POST"));
        assert!(script(Kind::Submit).contains("wrk.method = \"POST\""));
    }
}
