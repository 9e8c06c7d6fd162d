//! One POST to a service that rules ask, which is no cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;

use super::{Bounds, Call, Connected, ExchangeError, Upstream, Want};
use crate::config::secret::Secret;
use crate::config::{Scheme, ServiceUrl};
use crate::upstream::trust;

/// How long an idle connection is kept. Web servers close them after two seconds and more; what is sent
/// into a connection that is being closed is lost.
const IDLE: Duration = Duration::from_secs(1);

/// What errors call it: where it is stands in what is told beside them.
const NAME: &str = "the service";

/// What is posted, and where to.
#[derive(Debug)]
pub struct Letter<'a> {
    /// The service.
    pub url: &'a ServiceUrl,
    /// Its addresses.
    pub addresses: &'a [SocketAddr],
    /// The authorities to believe instead of the system's.
    pub ca: Option<&'a Path>,
    /// Headers.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The value of `Authorization`.
    pub authorization: Option<&'a Secret>,
    /// The body.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Whether its body is called JSON.
    pub is_json: bool,
    /// Its body.
    pub body: Bytes,
}

impl Upstream {
    /// Connects to the first address that accepts, sends, reads. A redirect is an answer like any other.
    pub async fn post(
        &self,
        letter: Letter<'_>,
        bounds: Bounds,
    ) -> Result<Answered, ExchangeError> {
        let broken = |source| ExchangeError::Broken { cluster: NAME.to_owned(), source };
        let header = letter.header().map_err(broken)?;
        let connected = self.connect_to_service(&letter, bounds.answer).await?;
        let call = Call { header, body: letter.body };
        let answer = self.exchange_on(connected, call, bounds, Want::Whole).await?;
        Ok(Answered {
            status: answer.header.status.as_u16(),
            is_json: is_json(answer.header.headers.get(CONTENT_TYPE)),
            body: answer.body,
        })
    }

    /// Of several addresses each has half of the time that those before it left, in case that it is
    /// silent.
    async fn connect_to_service(
        &self,
        letter: &Letter<'_>,
        limit: Duration,
    ) -> Result<Connected, ExchangeError> {
        let mut failure = ExchangeError::NoAddress(NAME.to_owned());
        let mut share = limit;
        for address in letter.addresses {
            let mut peer = letter.peer(*address);
            if letter.addresses.len() > 1 {
                share /= 2;
                peer.options.connection_timeout = Some(share);
            }
            match self.connector.get_http_session(&peer).await {
                Ok((session, _)) => {
                    return Ok(Connected { session, peer, cluster: NAME.to_owned() });
                }
                // What TLS says tells more than that another address is closed.
                Err(_) if failure.tls().is_some() => {}
                Err(source) => {
                    failure = ExchangeError::Connect { cluster: NAME.to_owned(), source };
                }
            }
        }
        Err(failure)
    }
}

impl Letter<'_> {
    fn header(&self) -> pingora::Result<RequestHeader> {
        let mut header = RequestHeader::build("POST", self.url.target().as_bytes(), None)?;
        header.insert_header("Host", self.url.origin.authority())?;
        header.insert_header("User-Agent", concat!("warren/", env!("CARGO_PKG_VERSION")))?;
        for (name, value) in self.headers {
            header.insert_header(name.clone(), value.clone())?;
        }
        if let Some(authorization) = self.authorization {
            header.insert_header("Authorization", authorization.reveal())?;
        }
        header.insert_header("Content-Length", self.body.len())?;
        Ok(header)
    }

    /// Whoever calls bounds the whole exchange, the connect included.
    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let origin = &self.url.origin;
        let tls = origin.scheme == Scheme::Https;
        // An empty server name switches verification off, so it is never empty.
        let name = if tls { origin.host.clone() } else { String::new() };
        let mut peer = HttpPeer::new(address, tls, name);
        let options = &mut peer.options;
        options.idle_timeout = Some(IDLE);
        options.set_http_version(1, 1);
        if tls && let Some(ca) = self.ca {
            options.ca = Some(trust::authorities(ca));
        }
        peer
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(text) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_a_url_can_be_carried() {
        for sign in (0..128_u8).map(char::from) {
            for text in [format!("http://a/{sign}"), format!("http://a/?{sign}")] {
                let Ok(url) = ServiceUrl::parse(&text) else { continue };
                let letter = Letter {
                    url: &url,
                    addresses: &[],
                    ca: None,
                    headers: &[],
                    authorization: None,
                    body: Bytes::new(),
                };
                assert!(letter.header().is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_called_json() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/html", false),
            ("application/jsonl", false),
            ("", false),
        ] {
            assert_eq!(is_json(Some(&HeaderValue::from_static(kind))), expected, "{kind}");
        }
        assert!(!is_json(None));
    }
}
