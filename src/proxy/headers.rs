//! Which headers a coordinator sees. Pure.
//!
//! What a client sends passes in its order and line by line, but for what is about the connection,
//! what only coordinators tell each other, and what would change where clients are sent back to.

use http::Version;
use http::header::{CONNECTION, COOKIE, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::cluster::{Cluster, Forwarding};
use crate::listener::Client;
use crate::proxy::cookie;

/// What never reaches a coordinator as a client sent it.
const DROPPED: [&str; 16] = [
    "te",
    "trailer",
    "proxy-authorization",
    "upgrade",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-forwarded-ssl",
    "x-proxied-https",
];

/// What only the nodes of one cluster tell each other.
const INTERNAL: &str = "x-trino-internal-";

/// How we name ourselves to coordinators.
const VIA: &str = "1.1 warren";

/// Makes of a client's request head what `cluster` is to see.
pub fn prepare_for(
    cluster: &Cluster,
    request: &mut RequestHeader,
    client: &Client,
) -> pingora::Result<()> {
    prepare(request, client, cluster.forwarding_for(client.origin.scheme), cluster.authority())
}

/// A copy of a client's request head for an exchange of our own with `cluster`.
pub fn copy_for(
    cluster: &Cluster,
    head: &RequestHeader,
    client: &Client,
) -> pingora::Result<RequestHeader> {
    let mut request = head.clone();
    request.set_version(Version::HTTP_11);
    request.remove_header(&CONNECTION);
    prepare_for(cluster, &mut request, client)?;
    Ok(request)
}

/// Makes of a client's request head what `forwarding` and `authority` ask for.
fn prepare(
    request: &mut RequestHeader,
    client: &Client,
    forwarding: Forwarding,
    authority: &str,
) -> pingora::Result<()> {
    for name in DROPPED {
        request.remove_header(name);
    }
    let internal: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with(INTERNAL))
        .cloned()
        .collect();
    for name in &internal {
        request.remove_header(name);
    }
    strip_our_cookie(request)?;
    request.append_header("Via", VIA)?;
    match forwarding {
        Forwarding::Honoured => {
            request.insert_header("Host", authority)?;
            request.insert_header("X-Forwarded-For", &client.forwarded_for)?;
            request.insert_header("X-Forwarded-Proto", client.origin.scheme.as_str())?;
            request.insert_header("X-Forwarded-Host", &client.origin.authority)?;
            request.insert_header("X-Forwarded-Port", client.port().to_string())?;
        }
        Forwarding::Unknown | Forwarding::HostOnly => {
            request.insert_header("Host", &client.origin.authority)?;
        }
        Forwarding::Rewritten => {
            request.insert_header("Host", authority)?;
            // What is to be rewritten must be readable.
            request.remove_header("accept-encoding");
        }
    }
    Ok(())
}

/// Other cookies pass, line by line.
fn strip_our_cookie(request: &mut RequestHeader) -> pingora::Result<()> {
    let lines: Vec<_> = request.headers.get_all(COOKIE).iter().cloned().collect();
    let cleaned = |line: &HeaderValue| cookie::without_ours(line.to_str().ok()?);
    if !lines.iter().any(|line| cleaned(line).is_some()) {
        return Ok(());
    }
    request.remove_header(&COOKIE);
    for line in lines {
        match cleaned(&line) {
            None => request.append_header(COOKIE, line)?,
            Some(others) if others.is_empty() => false,
            Some(others) => request.append_header(COOKIE, others)?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::{PublicUrl, Scheme};

    fn check(forwarding: Forwarding, expect: &Expect) {
        let mut request = RequestHeader::build("POST", b"/v1/statement", None).expect("a head");
        for (name, value) in [
            ("Host", "evil.example"),
            ("X-Trino-Session", "a=1"),
            ("X-Trino-User", "alice"),
            ("x-trino-session", "b=2"),
            ("X-Trino-Internal-Bearer", "junk"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "host=evil.example"),
            ("X-Forwarded-Prefix", "//evil"),
            ("X-Forwarded-Server", "evil"),
            ("X-Proxied-Https", "on"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
            ("Accept-Encoding", "gzip"),
            ("Via", "1.1 proxy"),
        ] {
            request.append_header(name, value).expect("a good header");
        }
        let client = Client {
            address: "10.0.0.9".parse().expect("an address"),
            forwarded_for: "1.2.3.4, 10.0.0.9".into(),
            origin: PublicUrl { scheme: Scheme::Https, authority: "bi.example".into() },
        };
        prepare(&mut request, &client, forwarding, "blue:8080").expect("prepared");
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        expect.assert_eq(&String::from_utf8_lossy(&wire).replace("\r\n", "\n"));
    }

    #[test]
    fn a_coordinator_that_reads_forwarded_headers() {
        check(
            Forwarding::Honoured,
            &expect![[r#"
            Host: blue:8080
            X-Trino-Session: a=1
            x-trino-session: b=2
            X-Trino-User: alice
            Accept-Encoding: gzip
            Via: 1.1 proxy
            Via: 1.1 warren
            X-Forwarded-For: 1.2.3.4, 10.0.0.9
            X-Forwarded-Proto: https
            X-Forwarded-Host: bi.example
            X-Forwarded-Port: 443
        "#]],
        );
    }

    #[test]
    fn a_coordinator_that_reads_host_alone() {
        check(
            Forwarding::HostOnly,
            &expect![[r#"
            Host: bi.example
            X-Trino-Session: a=1
            x-trino-session: b=2
            X-Trino-User: alice
            Accept-Encoding: gzip
            Via: 1.1 proxy
            Via: 1.1 warren
        "#]],
        );
    }

    #[test]
    fn a_coordinator_whose_addresses_are_rewritten() {
        check(
            Forwarding::Rewritten,
            &expect![[r#"
            Host: blue:8080
            X-Trino-Session: a=1
            x-trino-session: b=2
            X-Trino-User: alice
            Via: 1.1 proxy
            Via: 1.1 warren
        "#]],
        );
    }
}
