//! The operators' port: whether it answers, and what the running Warren holds for wrong.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::cli::client::{Client, ClientError};
use crate::cli::clusters::read;
use crate::cli::finding::Finding;
use crate::config::Config;

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    group: String,
    intent: String,
    health: String,
    health_reason: Option<String>,
}

impl Row {
    fn takes_new(&self) -> bool {
        self.intent == "active" && self.health == "ready"
    }
}

/// Asks the running Warren for its clusters.
pub(super) fn examine(client: &Client, url: &str, config: &Config) -> Vec<Finding> {
    let rows = client.get("/api/v1/clusters").map(read::<Vec<Row>>);
    match rows {
        Ok(Ok(rows)) => judge(&rows, url, config),
        Ok(Err(failure)) => vec![
            Finding::problem("operators", "listen.admin", format!("{url}: {failure}"))
                .with_fix("see whether this is Warren's operators' port (`listen.admin`)"),
        ],
        Err(error) => vec![refused(&error, url)],
    }
}

fn refused(error: &ClientError, url: &str) -> Finding {
    let (text, fix) = match error {
        ClientError::Refused { status, text, .. } => (
            format!("{url}: says no: {status}: {text}"),
            "give its token by --token-file or $WARREN_TOKEN",
        ),
        ClientError::Unreachable { source, .. } => (
            format!("{url}: cannot be reached: {source}"),
            "see that Warren runs; from another machine forward its port (`kubectl port-forward`) and give --admin",
        ),
        ClientError::Odd { .. } => (
            format!("{url}: {error}"),
            "see whether this is Warren's operators' port (`listen.admin`)",
        ),
    };
    Finding::problem("operators", "listen.admin", text).with_fix(fix)
}

fn judge(rows: &[Row], url: &str, config: &Config) -> Vec<Finding> {
    let ready = rows.iter().filter(|row| row.takes_new()).count();
    let text = format!("{url}: answers; {ready} of {} clusters take new queries", rows.len());
    let mut findings = vec![Finding::fine("operators", "listen.admin", text)];
    let warn = |name: &str, text: String, fix: &str| {
        Finding::warning("operators", name, text).with_fix(fix)
    };
    for cluster in &config.clusters {
        if !rows.iter().any(|row| row.name == cluster.name.as_str()) {
            let text = "in the settings, and not known to the running Warren".to_owned();
            let fix = "see in its log why it did not take the settings";
            findings.push(warn(cluster.name.as_str(), text, fix));
        }
    }
    for row in rows.iter().filter(|row| row.intent == "active" && row.health != "ready") {
        let reason = row.health_reason.clone().unwrap_or_default();
        let text = format!("active, and gets no query: {}: {reason}", row.health);
        findings.push(warn(&row.name, text, "see below what is wrong with it"));
    }
    let groups: BTreeSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    for group in groups {
        let members = || rows.iter().filter(|row| row.group == group);
        if members().any(Row::takes_new) {
            continue;
        }
        let (text, fix) = if members().any(|row| row.intent == "active") {
            (
                "none of its clusters is ready: its queries wait, then fail",
                "see below what is wrong with them",
            )
        } else {
            (
                "none of its clusters is active: its queries wait, then fail",
                "`warren clusters intent NAME active --reason …`",
            )
        };
        findings.push(Finding::problem("operators", group, text.to_owned()).with_fix(fix));
    }
    findings
}
