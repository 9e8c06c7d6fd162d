//! Where something is: sockets, networks, and the addresses of clusters and of Warren itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::problem::Wrong;
use super::{ClusterUrl, PublicUrl, Scheme};

/// Reads the address of a listening socket.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(
            "not the address of a socket",
            "write address and port, as `\"127.0.0.1:8080\"`, `\"0.0.0.0:8080\"` or `\"[::]:8080\"`",
        )
    })
}

/// Reads a network; a bare address is the network of itself.
pub(super) fn network(text: &str) -> Result<IpNet, Wrong> {
    let bare = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| bare()).map_err(|_| {
        Wrong::new("not a network", "write it as `\"10.0.0.0/8\"`, `\"fd00::/8\"` or one address")
    })
}

/// Reads a host name as it stands in `Host`, without a port.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    let bracketless = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = bracketless.unwrap_or(text);
    if is_host(host) {
        return Ok(host.to_ascii_lowercase());
    }
    Err(Wrong::new("not a host name", "write the name alone, without scheme, port or path"))
}

/// Reads the address of a coordinator.
pub(super) fn cluster_url(text: &str) -> Result<ClusterUrl, Wrong> {
    let (scheme, host, port) =
        origin(text, "write the coordinator's origin, as `\"http://trino-blue:8080\"`")?;
    Ok(ClusterUrl { scheme, host, port: port.unwrap_or_else(|| scheme.default_port()) })
}

/// Reads the address that clients are told to come back to.
pub(super) fn public_url(text: &str) -> Result<PublicUrl, Wrong> {
    let (scheme, host, port) =
        origin(text, "write the origin that clients use, as `\"https://trino.example.com\"`")?;
    let authority =
        ClusterUrl { scheme, host, port: port.unwrap_or_else(|| scheme.default_port()) };
    Ok(PublicUrl { scheme, authority: authority.authority() })
}

/// Reads scheme, host and port; `right` is what would be right.
pub(super) fn origin(text: &str, right: &str) -> Result<(Scheme, String, Option<u16>), Wrong> {
    let wrong = |what: &str| Wrong::new(what, right);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        _ => return Err(wrong("an address that begins neither with `http://` nor `https://`")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(wrong("an address with a user in it"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("an address with a path or a query"));
    }
    let (host, port) = split_port(authority).ok_or_else(|| wrong("an address without a host"))?;
    if !is_host(host) {
        return Err(wrong("an address without a proper host name"));
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err(wrong("an address whose port is not between 1 and 65535")),
    };
    Ok((scheme, host.to_ascii_lowercase(), port))
}

/// Takes `host`, `host:port`, `[v6]` or `[v6]:port` apart.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return if after.is_empty() {
            Some((host, None))
        } else {
            after.strip_prefix(':').map(|port| (host, Some(port)))
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
        || (!text.is_empty()
            && text.len() <= 253
            && !text.starts_with(['-', '.'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read() {
        for (text, shown) in [
            ("http://a", "http://a"),
            ("HTTP://A:80/", "http://a"),
            ("http://a:8080", "http://a:8080"),
            ("https://a:443", "https://a"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("http://10.0.0.1:18081", "http://10.0.0.1:18081"),
        ] {
            assert_eq!(cluster_url(text).map(|url| url.to_string()), Ok(shown.to_owned()));
        }
        assert_eq!(
            public_url("https://Trino.example.com:443/").map(|url| url.authority),
            Ok("trino.example.com".to_owned())
        );
    }

    #[test]
    fn what_is_no_origin() {
        for text in [
            "",
            "a:8080",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a:b",
            "http://u:p@a",
            "http://a/ui",
            "http://a?x",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "http://a b",
            "http://ä",
        ] {
            assert!(cluster_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_and_hosts() {
        assert!(network("10.0.0.0/8").is_ok());
        assert_eq!(network("::1").map(|net| net.prefix_len()), Ok(128));
        assert!(network("10.0.0.0/33").is_err());
        assert_eq!(host_name("Trino.Example.com"), Ok("trino.example.com".to_owned()));
        assert_eq!(host_name("[::1]"), Ok("::1".to_owned()));
        assert!(host_name("a:80").is_err());
        assert!(host_name("http://a").is_err());
    }
}
