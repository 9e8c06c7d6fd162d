//! The port for clients, asked as a client asks it: directly, or through what stands before it.

use std::time::Duration;

use super::cluster::Examined;
use super::hop::{Hop, Ran};
use super::judge;
use super::words::{self, End};
use crate::cli::finding::Finding;
use crate::config::{ClusterConfig, Config};

/// Beyond the time that Warren itself takes for a submit or a page.
const MARGIN: Duration = Duration::from_secs(5);

/// A way in.
pub(super) struct Door {
    /// Which one, as `listen.client`.
    pub(super) name: &'static str,
    /// Where it is and as whom it is asked, as if it were a cluster.
    pub(super) settings: ClusterConfig,
    /// Where its answers have to lead.
    pub(super) leads_to: String,
}

/// Runs a statement through a door.
pub(super) async fn examine(door: &Door, config: &Config, clusters: &[Examined]) -> Vec<Finding> {
    let url = &door.settings.url;
    let patience = config.timeouts.submit.max(config.timeouts.page_hold) + MARGIN;
    let ran = match Hop::to(door.settings.clone(), config, patience).await {
        Ok(hop) => hop.run("SELECT 1").await,
        Err(trouble) => Err(trouble),
    };
    let Ran { first, took, .. } = match ran {
        Ok(ran) => ran,
        Err(trouble) => {
            let told = words::tell(&trouble, End::Warren, &door.settings.probe.user);
            let text = format!("{url}: {}", told.text);
            return vec![Finding::problem("clients", door.name, text).with_fix(told.fix)];
        }
    };
    let mark = first.id.coordinator();
    let owner = clusters.iter().find(|cluster| cluster.mark == Some(mark));
    let on = owner.map_or_else(|| format!("coordinator {mark}"), |owner| owner.name.clone());
    let text = format!("{url}: a statement ran on {on} in {} ms", took.as_millis());
    let mut findings = vec![Finding::fine("clients", door.name, text)];
    if owner.is_none() && clusters.iter().all(|cluster| cluster.mark.is_some()) {
        let text = format!("{url}: the coordinator {mark} is none of the clusters in the settings");
        let fix = "see whether this address is that of the Warren with these settings";
        findings.push(Finding::warning("clients", door.name, text).with_fix(fix));
    }
    if let Err((text, fix)) = judge::leads_back(&first.next, &door.leads_to) {
        let text = format!("{url}: {text}");
        findings.push(Finding::problem("clients", door.name, text).with_fix(fix));
    }
    findings
}
