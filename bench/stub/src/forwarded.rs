//! Where the URIs in answers point: `Host`, or what a proxy says about it.

use crate::http::Request;
use crate::options::ProcessForwarded;

/// What URIs start with, such as `https://gateway:8443/prefix`; `Err`: the header that Trino's
/// default refuses with 406.
pub(crate) fn base(request: &Request, process: ProcessForwarded) -> Result<String, String> {
    let host = request.header("host").unwrap_or("localhost");
    match process {
        ProcessForwarded::Ignore => Ok(format!("http://{host}")),
        ProcessForwarded::Reject => {
            let refused = |name: &&str| name.to_ascii_lowercase().starts_with("x-forwarded-");
            match request.headers.iter().map(|(name, _)| name.as_str()).find(refused) {
                Some(name) => Err(name.to_owned()),
                None => Ok(format!("http://{host}")),
            }
        }
        ProcessForwarded::Honour => Ok(honoured(request, host)),
    }
}

fn honoured(request: &Request, host: &str) -> String {
    let told = |name: &str| request.header(name).map(leftmost);
    let mut scheme = told("x-forwarded-proto").unwrap_or("http");
    if told("x-proxied-https") == Some("on") {
        scheme = "https";
    }
    let mut authority =
        told("x-forwarded-host").or_else(|| told("x-forwarded-server")).unwrap_or(host).to_owned();
    if let Some(port) = told("x-forwarded-port")
        && !has_port(&authority)
        && !matches!((scheme, port), ("http", "80") | ("https", "443"))
    {
        authority = format!("{authority}:{port}");
    }
    if let Some(forwarded) = told("forwarded") {
        for pair in forwarded.split(';') {
            let (name, value) = pair.split_once('=').unwrap_or_default();
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "host" => value.clone_into(&mut authority),
                "proto" => scheme = value,
                _ => {}
            }
        }
    }
    let prefix = told("x-forwarded-prefix").unwrap_or_default().trim_end_matches('/');
    format!("{scheme}://{authority}{prefix}")
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

fn leftmost(list: &str) -> &str {
    list.split(',').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(process: ProcessForwarded, lines: &[(&str, &str)]) -> Result<String, String> {
        let headers = lines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        base(&Request { headers, ..Request::default() }, process)
    }

    #[test]
    fn uris_follow_what_a_proxy_says() {
        use ProcessForwarded::{Honour, Ignore, Reject};
        let host = ("Host", "c:1");
        let forwarded = ("X-Forwarded-Host", "gw, evil");
        for (process, lines, expected) in [
            (Honour, vec![host], Ok("http://c:1")),
            (Honour, vec![host, forwarded], Ok("http://gw")),
            (Honour, vec![host, forwarded, ("x-forwarded-port", "8080")], Ok("http://gw:8080")),
            (
                Honour,
                vec![host, forwarded, ("X-Forwarded-Port", "443"), ("X-Forwarded-Proto", "https")],
                Ok("https://gw"),
            ),
            (
                Honour,
                vec![forwarded, ("Forwarded", "for=x;host=\"f:2\";proto=https")],
                Ok("https://f:2"),
            ),
            (Honour, vec![host, ("X-Forwarded-Prefix", "/_b/blue")], Ok("http://c:1/_b/blue")),
            (Ignore, vec![host, forwarded], Ok("http://c:1")),
            (Reject, vec![host, forwarded], Err("X-Forwarded-Host")),
            (Reject, vec![host, ("Forwarded", "host=f")], Ok("http://c:1")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(told(process, &lines), expected, "{lines:?}");
        }
    }
}
