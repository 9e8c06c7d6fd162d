//! What the web UI of a coordinator shows, and its logins. Pure.

use serde::Deserialize;

use super::{Active, Counts, nodes, share, tally};
use crate::cluster::load::Signals;

/// Where the figures are.
pub const STATS: &str = "/ui/api/stats";

/// A form, for Trino up to 482.
pub const FORM_LOGIN: &str = "/ui/login";

/// JSON, for later ones.
pub const JSON_LOGIN: &str = "/ui/auth/login";

/// The most of cookies that is kept; a browser keeps less.
const COOKIES_MAX: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    active_workers: Option<f64>,
    queued_queries: Option<f64>,
    running_queries: Option<f64>,
    /// Those that run and wait for something; not among the running ones.
    blocked_queries: Option<f64>,
    running_drivers: Option<f64>,
    total_available_processors: Option<f64>,
}

/// Reads the figures.
pub fn read(body: &[u8]) -> Result<Counts, String> {
    let stats: Stats =
        serde_json::from_slice(body).map_err(|error| format!("it is no such JSON: {error}"))?;
    let workers = nodes(stats.active_workers, "activeWorkers")?;
    let blocked = stats.blocked_queries.unwrap_or_default();
    let tally = tally(stats.queued_queries, stats.running_queries.map(|it| it + blocked));
    // It tells the memory that is reserved, and not how much there is.
    let cpu = share(stats.running_drivers, stats.total_available_processors);
    let signals = Signals { memory: None, cpu };
    Ok(Counts { active: Active::Workers(workers), tally, signals })
}

/// The body of a login by form.
pub fn form(user: &str, password: &str) -> String {
    format!("username={}&password={}&redirectPath=", encoded(user), encoded(password))
}

/// The body of a login by JSON.
pub fn json(user: &str, password: &str) -> String {
    serde_json::json!({ "username": user, "password": password }).to_string()
}

/// What is sent back of the cookies that a login set; `None`: it set none.
pub fn cookies<'a>(set: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut kept = String::new();
    for cookie in set {
        let pair = cookie.split(';').next().unwrap_or_default().trim();
        let Some((name, value)) = pair.split_once('=') else { continue };
        let deleted = value.is_empty() || value == "delete";
        if deleted || name.is_empty() || kept.len() + pair.len() > COOKIES_MAX {
            continue;
        }
        if !kept.is_empty() {
            kept.push_str("; ");
        }
        kept.push_str(pair);
    }
    (!kept.is_empty()).then_some(kept)
}

fn encoded(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                told.push(char::from(byte));
            }
            _ => {
                told.push('%');
                for digit in [byte >> 4, byte & 15] {
                    told.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
    told
}
