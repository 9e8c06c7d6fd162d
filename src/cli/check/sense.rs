//! Settings that are allowed and are probably not what was meant. Pure.

use crate::cli::finding::Finding;
use crate::config::{Config, Probe, Scheme};
use crate::store::Intent;

/// Warns of what looks like a slip.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for group in &config.groups {
        let mut members = config.clusters.iter().filter(|c| c.group == group.name).peekable();
        let what = if members.peek().is_none() {
            "no cluster serves it"
        } else if !members.any(|c| c.initial_intent == Intent::Active) {
            "none of its clusters is active at first; see `initial_intent`"
        } else {
            continue;
        };
        findings.push(Finding::warning("group", group.name.as_str(), what.to_owned()));
    }
    if !config.listen.admin.ip().is_loopback() && config.admin.token.is_none() {
        let what = "bound elsewhere than on loopback without `admin.token`: it will serve /livez, \
                    /readyz and /metrics only";
        findings.push(Finding::warning("settings", "listen.admin", what.to_owned()));
    }
    for cluster in &config.clusters {
        let Probe { password, token, .. } = &cluster.probe;
        if (password.is_some() || token.is_some()) && cluster.url.scheme == Scheme::Http {
            let what = "the probe's password or token goes over plain HTTP, which Trino refuses unless it \
                        is told to trust a proxy";
            findings.push(Finding::warning("cluster", cluster.name.as_str(), what.to_owned()));
        }
    }
    findings
}
