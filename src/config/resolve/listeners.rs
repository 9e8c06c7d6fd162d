//! The clients' ports: `[listen] client` with its TLS, and `[[listeners]]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::super::raw::Section;
use super::super::{FIRST, Listener, Tls, address};

/// Reads the TLS of `[listen] client`. `Err`: something is wrong with it, which was noted.
pub(super) fn first(listen: &Section<'_>) -> Option<Tls> {
    let more = listen.section("tls", "listen.tls");
    tls(listen, &more, "listen.tls.more[]")
}

/// Reads `[[listeners]]`. `taken` are the addresses of `[listen]`.
pub(super) fn more(root: &Section<'_>, taken: &[SocketAddr]) -> Vec<Listener> {
    let mut names: BTreeSet<String> = BTreeSet::from([FIRST.to_owned()]);
    let mut addresses: BTreeSet<SocketAddr> =
        taken.iter().filter(|address| address.port() != 0).copied().collect();
    let mut listeners = Vec::new();
    for section in root.sections("listeners", "listeners[]") {
        let name = section.parsed("name", |text| Ok(text.to_owned()));
        let address = section.parsed("address", address::socket);
        let tls =
            tls(&section, &section.section("tls", "listeners[].tls"), "listeners[].tls.more[]");
        let (Some(name), Some(address)) = (name, address) else { continue };
        if !names.insert(name.clone()) {
            section.complain("name", "already taken", "each listener has a name of its own");
        }
        if address.port() != 0 && !addresses.insert(address) {
            section.complain("address", "already taken", "choose another port");
        }
        listeners.push(Listener { name, address, tls });
    }
    listeners
}

fn tls(of: &Section<'_>, section: &Section<'_>, more: &'static str) -> Option<Tls> {
    of.find("tls")?;
    let mut pairs = vec![pair(section)?];
    pairs.extend(section.sections("more", more).iter().filter_map(pair));
    Some(Tls { pairs, client_ca: section.path("client_ca") })
}

fn pair(section: &Section<'_>) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, key) = (section.path("certificate"), section.path("key"));
    if certificate.is_none() {
        section.complain("certificate", "no certificate", "name a PEM file with the chain");
    }
    if key.is_none() {
        section.complain("key", "no key", "name the PEM file with the certificate's key");
    }
    Some((certificate?, key?))
}
