//! Which changed settings a reload cannot bring into force. Pure.

use std::path::{Path, PathBuf};

use super::{Config, Listener, StoreUrl, Tls};

/// Names the settings that differ and count only after a restart, in the order of the docs.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    comparisons(old, new).into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

fn comparisons(old: &Config, new: &Config) -> [(&'static str, bool); 31] {
    let (old_listen, new_listen) = (&old.listen, &new.listen);
    let same_tls = |part| tls(old_listen.tls.as_ref(), part) == tls(new_listen.tls.as_ref(), part);
    let same = |of: fn(&Listener) -> String| {
        old_listen.more.iter().map(of).eq(new_listen.more.iter().map(of))
    };
    let same_part = |part| {
        let of = |listener: &Listener| {
            tls(listener.tls.as_ref(), part).into_iter().map(Path::to_owned).collect::<Vec<_>>()
        };
        old_listen.more.iter().map(of).eq(new_listen.more.iter().map(of))
    };
    [
        ("listen.client", old_listen.client == new_listen.client),
        ("listen.admin", old_listen.admin == new_listen.admin),
        ("listen.tls.certificate", same_tls(0)),
        ("listen.tls.key", same_tls(1)),
        ("listen.tls.client_ca", same_tls(2)),
        ("listen.tls.more[].certificate", same_tls(3)),
        ("listen.tls.more[].key", same_tls(4)),
        ("listen.public_url", old_listen.public_url == new_listen.public_url),
        ("listen.allowed_hosts", old_listen.allowed_hosts == new_listen.allowed_hosts),
        ("listen.trusted_proxies", old_listen.trusted_proxies == new_listen.trusted_proxies),
        ("listen.cookie_key", old_listen.cookie_key == new_listen.cookie_key),
        ("listen.workers", old_listen.workers == new_listen.workers),
        ("listen.work_stealing", old_listen.work_stealing == new_listen.work_stealing),
        ("listeners[].name", same(|listener| listener.name.clone())),
        ("listeners[].address", same(|listener| listener.address.to_string())),
        ("listeners[].tls.certificate", same_part(0)),
        ("listeners[].tls.key", same_part(1)),
        ("listeners[].tls.client_ca", same_part(2)),
        ("listeners[].tls.more[].certificate", same_part(3)),
        ("listeners[].tls.more[].key", same_part(4)),
        ("admin.token", old.admin.token == new.admin.token),
        ("peers.address", old.peers.address == new.peers.address),
        ("peers.secret", old.peers.secret == new.peers.secret),
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

/// The files of one part of `tls`: certificate, key, `client_ca`, further certificates, their keys.
fn tls(tls: Option<&Tls>, part: usize) -> Vec<&Path> {
    let Some(tls) = tls else { return Vec::new() };
    let first = tls.pairs.first().into_iter();
    let more = tls.pairs.iter().skip(1);
    match part {
        0 => first.map(|(certificate, _)| certificate.as_path()).collect(),
        1 => first.map(|(_, key)| key.as_path()).collect(),
        2 => tls.client_ca.iter().map(PathBuf::as_path).collect(),
        3 => more.map(|(certificate, _)| certificate.as_path()).collect(),
        _ => more.map(|(_, key)| key.as_path()).collect(),
    }
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
