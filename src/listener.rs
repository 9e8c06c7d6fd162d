//! Who the client is, and by which address it knows us.
//!
//! `X-Forwarded-*` is believed only of trusted proxies; everybody else's is replaced. The address
//! that clients are told to come back to is the configured one, or the `Host` that they sent if it
//! is allowed, and never comes from a header that anybody can forge.

pub mod guard;

use std::net::IpAddr;

use http::HeaderMap;
use http::uri::Authority;

use crate::config::{Listen, PublicUrl, Scheme};

/// Who sent a request, and the address that it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client itself, behind trusted proxies.
    pub address: IpAddr,
    /// What coordinators are to read in `X-Forwarded-For`.
    pub forwarded_for: String,
    /// The origin that it is told to come back to.
    pub origin: PublicUrl,
}

impl Client {
    /// The port of the origin.
    pub fn port(&self) -> u16 {
        let explicit = self.origin.authority.parse::<Authority>().ok().and_then(|a| a.port_u16());
        explicit.unwrap_or_else(|| self.origin.scheme.default_port())
    }
}

/// Why a request's own address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadHost {
    /// It is no host name with an optional port.
    Malformed,
    /// `listen.allowed_hosts` does not have it.
    NotAllowed(String),
}

/// Tells who sent a request that came from `peer` over `scheme`.
pub fn client(
    peer: IpAddr,
    scheme: Scheme,
    head: Head<'_>,
    listen: &Listen,
) -> Result<Client, BadHost> {
    let trusted = is_trusted(peer, listen);
    let chain = if trusted { forwarded_chain(head.headers) } else { Vec::new() };
    // The client is the first address from the right that no trusted proxy of ours has.
    let client = chain.iter().rev().find(|ip| !is_trusted(**ip, listen)).or_else(|| chain.first());
    let mut forwarded_for: Vec<String> = chain.iter().map(IpAddr::to_string).collect();
    forwarded_for.push(peer.to_string());
    let origin = match &listen.public_url {
        Some(origin) => origin.clone(),
        None => told_origin(scheme, trusted, head, listen)?,
    };
    Ok(Client {
        address: client.copied().unwrap_or(peer),
        forwarded_for: forwarded_for.join(", "),
        origin,
    })
}

/// What of a request's head tells its address.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The `:authority` of HTTP/2, or `Host`.
    pub authority: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

fn is_trusted(ip: IpAddr, listen: &Listen) -> bool {
    listen.trusted_proxies.iter().any(|net| net.contains(&ip))
}

/// The addresses in `X-Forwarded-For`, the client's first. What cannot be read ends the chain.
fn forwarded_chain(headers: &HeaderMap) -> Vec<IpAddr> {
    let lines = headers.get_all("x-forwarded-for").iter();
    let mut chain: Vec<IpAddr> = lines
        .flat_map(|line| line.to_str().unwrap_or_default().split(','))
        .rev()
        .map_while(|part| address(part.trim()))
        .take(32)
        .collect();
    chain.reverse();
    chain
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse().map(|at: std::net::SocketAddr| at.ip()).ok())
}

fn told_origin(
    scheme: Scheme,
    trusted: bool,
    head: Head<'_>,
    listen: &Listen,
) -> Result<PublicUrl, BadHost> {
    let told = |name: &str| {
        let value = head.headers.get(name).filter(|_| trusted)?.to_str().ok()?;
        value.split(',').next().map(str::trim).filter(|first| !first.is_empty())
    };
    let scheme = match told("x-forwarded-proto") {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => scheme,
    };
    let host = told("x-forwarded-host").unwrap_or(head.authority);
    let authority: Authority = host.parse().map_err(|_| BadHost::Malformed)?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(BadHost::Malformed);
    }
    let name = authority.host().to_ascii_lowercase();
    if !listen.allowed_hosts.is_empty() && !listen.allowed_hosts.contains(&name) {
        return Err(BadHost::NotAllowed(name));
    }
    let told_port = told("x-forwarded-port").and_then(|port| port.parse::<u16>().ok());
    let port = authority.port_u16().or(told_port).filter(|port| *port != scheme.default_port());
    let authority = match port {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    Ok(PublicUrl { scheme, authority })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn listen(trusted: &[&str], allowed: &[&str]) -> Listen {
        Listen {
            client: "127.0.0.1:8080".parse().expect("an address"),
            admin: "127.0.0.1:8081".parse().expect("an address"),
            public_url: None,
            allowed_hosts: allowed.iter().map(|&host| host.to_owned()).collect(),
            cookie_key: None,
            tls: None,
            more: Vec::new(),
            trusted_proxies: trusted.iter().map(|net| net.parse().expect("a net")).collect(),
            workers: 1,
            work_stealing: false,
        }
    }

    fn check(peer: &str, listen: &Listen, lines: &[(&'static str, &str)], expect: &Expect) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        let head = Head { authority: "trino.example:8080", headers: &headers };
        let told = client(peer.parse().expect("an address"), Scheme::Http, head, listen);
        let told = match told {
            Ok(told) => format!(
                "{} for=[{}] {}://{} port={}",
                told.address,
                told.forwarded_for,
                told.origin.scheme.as_str(),
                told.origin.authority,
                told.port()
            ),
            Err(error) => format!("{error:?}"),
        };
        expect.assert_eq(&told);
    }

    #[test]
    fn a_stranger_is_not_believed() {
        check(
            "10.0.0.9",
            &listen(&[], &[]),
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "https"),
            ],
            &expect!["10.0.0.9 for=[10.0.0.9] http://trino.example:8080 port=8080"],
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_as_far_as_trust_goes() {
        let listen = listen(&["10.0.0.0/8"], &[]);
        check(
            "10.0.0.9",
            &listen,
            &[
                ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.8"),
                ("x-forwarded-host", "bi.example, evil"),
                ("x-forwarded-proto", "https"),
            ],
            &expect![
                "1.2.3.4 for=[6.6.6.6, 1.2.3.4, 10.0.0.8, 10.0.0.9] https://bi.example port=443"
            ],
        );
        check(
            "10.0.0.9",
            &listen,
            &[("x-forwarded-for", "junk, 1.2.3.4"), ("x-forwarded-port", "9000")],
            &expect!["1.2.3.4 for=[1.2.3.4, 10.0.0.9] http://trino.example:8080 port=8080"],
        );
    }

    #[test]
    fn a_host_that_is_not_allowed_is_told() {
        check(
            "10.0.0.9",
            &listen(&[], &["bi.example"]),
            &[],
            &expect![[r#"NotAllowed("trino.example")"#]],
        );
    }
}
