//! Settings from the file, again: at SIGHUP, and when the file changed. A bad file changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::config;
use crate::gateway::Gateway;

/// Between two looks at the file.
const PERIOD: Duration = Duration::from_millis(400);

/// A changed file is read again after this time.
const SETTLE: Duration = Duration::from_millis(50);

/// Watches the file for as long as the gateway lives.
pub async fn watch(gateway: Arc<Gateway>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        error!("SIGHUP cannot be received; settings are read at the start only");
        return;
    };
    let file = gateway.registry.fleet().config.file.clone();
    let mut known = read(&file).await;
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(PERIOD) => false,
        };
        let found = read(&file).await;
        let changed = found != known && found.is_some();
        if !asked && !changed {
            continue;
        }
        if changed {
            // A writer that is not done yet is left to finish.
            tokio::time::sleep(SETTLE).await;
            if read(&file).await != found {
                continue;
            }
        }
        known = found;
        // Trying rules takes long, with all their tests.
        let gateway = Arc::clone(&gateway);
        if let Err(error) = spawn_blocking(move || reload(&gateway)).await {
            error!(%error, "the settings were not read again");
        }
    }
}

async fn read(file: &std::path::Path) -> Option<Vec<u8>> {
    // A file that is being replaced may be away for a moment; the old settings stay meanwhile.
    tokio::fs::read(file).await.ok()
}

fn reload(gateway: &Gateway) {
    let old = gateway.registry.fleet().config.clone();
    let mut new = match config::load(&old.file) {
        Ok(new) => new,
        Err(problems) => {
            gateway.metrics.gauges.with_label_values(&["config_rejected"]).set(1);
            error!(file = %old.file.display(), %problems, "bad settings: the old ones stay in force");
            return;
        }
    };
    if let Err(error) = gateway.rules.reload(&new.rules, &new.group_names()) {
        gateway.metrics.gauges.with_label_values(&["config_rejected"]).set(1);
        let error = error.in_words();
        error!(error, "the rules do not fit the new settings: the old ones of both stay in force");
        return;
    }
    let waiting = config::needs_restart(&old, &new);
    if !waiting.is_empty() {
        warn!(settings = waiting.join(", "), "changes of these wait for a restart");
    }
    // What cannot change now must not be read as if it had.
    new.listen = old.listen.clone();
    new.admin = old.admin.clone();
    new.store = old.store.clone();
    new.state_folder.clone_from(&old.state_folder);
    let fresh = gateway.registry.reload(Arc::new(new));
    gateway.metrics.gauges.with_label_values(&["config_rejected"]).set(0);
    info!(new_clusters = fresh.len(), "new settings are in force");
}
