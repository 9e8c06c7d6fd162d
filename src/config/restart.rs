//! Which changed settings a reload cannot bring into force. Pure.

use super::{Config, StoreUrl};

/// Names the settings that differ and count only after a restart, in the order of the docs.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    comparisons(old, new).into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

fn comparisons(old: &Config, new: &Config) -> [(&'static str, bool); 17] {
    let (old_listen, new_listen) = (&old.listen, &new.listen);
    [
        ("listen.client", old_listen.client == new_listen.client),
        ("listen.admin", old_listen.admin == new_listen.admin),
        ("listen.public_url", old_listen.public_url == new_listen.public_url),
        ("listen.allowed_hosts", old_listen.allowed_hosts == new_listen.allowed_hosts),
        ("listen.trusted_proxies", old_listen.trusted_proxies == new_listen.trusted_proxies),
        ("listen.cookie_key", old_listen.cookie_key == new_listen.cookie_key),
        ("listen.workers", old_listen.workers == new_listen.workers),
        ("listen.work_stealing", old_listen.work_stealing == new_listen.work_stealing),
        ("admin.token", old.admin.token == new.admin.token),
        ("store.url", same_store(&old.store, &new.store)),
        ("state.folder", old.state_folder == new.state_folder),
        ("limits.hot_routes", old.limits.hot_routes == new.limits.hot_routes),
        ("limits.journal", old.limits.journal == new.limits.journal),
        ("limits.statements", old.limits.statements == new.limits.statements),
        ("timeouts.shutdown", old.timeouts.shutdown == new.timeouts.shutdown),
        ("log.format", old.log.json == new.log.json),
        ("log.level", old.log.level == new.log.level),
    ]
}

fn same_store(old: &StoreUrl, new: &StoreUrl) -> bool {
    match (old, new) {
        (StoreUrl::Sqlite(old), StoreUrl::Sqlite(new)) => old == new,
        (StoreUrl::Mysql(old), StoreUrl::Mysql(new)) => old == new,
        (StoreUrl::Sqlite(_), StoreUrl::Mysql(_)) | (StoreUrl::Mysql(_), StoreUrl::Sqlite(_)) => {
            false
        }
    }
}
