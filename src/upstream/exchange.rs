//! One request, wholly in memory, for one answer, wholly in memory: submits, probes, questions.

pub mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::CertKey;
use pingora::{ErrorType, ImmutStr};
use pingora_proxy::Session;
use thiserror::Error;

use super::{gateway_peer, peer, trust};
use crate::cluster::Cluster;
use crate::config::{Probe, Timeouts};

/// Why an exchange gave no answer. The variant tells how far it came.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// Its name was not resolved yet, or does not resolve.
    #[error("{0} has no address yet")]
    NoAddress(String),
    /// Nothing was sent.
    #[error("connect to {cluster}")]
    Connect {
        /// The cluster.
        cluster: String,
        /// What went wrong.
        #[source]
        source: Box<pingora::Error>,
    },
    /// The request, or a part of it, was sent.
    #[error("exchange with {cluster}")]
    Broken {
        /// The cluster.
        cluster: String,
        /// What went wrong.
        #[source]
        source: Box<pingora::Error>,
    },
    /// The answer did not come in time.
    #[error("no answer from {cluster} within {limit:?}")]
    Deadline {
        /// The cluster.
        cluster: String,
        /// The time that it had.
        limit: Duration,
    },
    /// The answer is larger than what is kept in memory.
    #[error("the answer of {cluster} is larger than {limit} bytes")]
    TooLarge {
        /// The cluster.
        cluster: String,
        /// The bound.
        limit: usize,
    },
}

impl ExchangeError {
    /// Whether nothing of the request can have reached a coordinator.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::NoAddress(_) | Self::Connect { .. })
    }

    /// What TLS said, if the connection failed by it.
    pub fn tls(&self) -> Option<String> {
        let Self::Connect { source, .. } = self else { return None };
        let tls = matches!(
            source.etype(),
            ErrorType::TLSHandshakeFailure
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::InvalidCert
        );
        tls.then(|| source.to_string())
    }

    /// The error with its causes, in one line.
    pub fn chain(&self) -> String {
        match self {
            Self::Connect { source, .. } | Self::Broken { source, .. } => {
                format!("{self}: {}", words(source))
            }
            _ => self.to_string(),
        }
    }
}

/// How long an idle connection is kept that only one conversation uses.
const LANE_IDLE: Duration = Duration::from_secs(2);

/// The longest reason that is told; a certificate may hold any number of names.
const REASON_MAX: usize = 300;

/// The kind of a failure. Of a handshake that failed, the reason too, such as an expired
/// certificate, which stands in a text of Pingora's and nowhere else.
fn words(error: &pingora::Error) -> String {
    let kind = error.etype().as_str();
    if !matches!(error.etype(), ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert) {
        return kind.to_owned();
    }
    let Some(text) = error.context.as_ref().map(ImmutStr::as_str) else { return kind.to_owned() };
    let reason = text.rsplit_once(" cause: ").map_or(text, |(_, reason)| reason);
    let reason = reason.rsplit_once(", SNI: ").map_or(reason, |(reason, _)| reason);
    let reason: String = reason.chars().take(REASON_MAX).collect();
    format!("{kind}: {reason}")
}

/// What is sent.
#[derive(Debug)]
pub struct Call {
    /// Head of the request.
    pub header: RequestHeader,
    /// Its body; nothing is framed by us when it is empty.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Head of the answer.
    pub header: ResponseHeader,
    /// Its body, as it came.
    pub body: Bytes,
}

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For the whole exchange after the connect.
    pub answer: Duration,
    /// For the body of the answer, in bytes.
    pub body: usize,
}

/// How much of an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Head and body.
    Whole,
    /// The head; the body only of a 404 or 410, else the connection is given up.
    Refusal,
}

/// Connections to coordinators that one side of Warren keeps.
pub struct Upstream {
    connector: Arc<Connector>,
    /// Connections of one lane are not found from another; 0: the lane that all share.
    lane: u64,
    /// The certificate that is shown to coordinators.
    identity: Option<Arc<CertKey>>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Upstream").finish_non_exhaustive()
    }
}

/// A session that has been connected, and where to.
pub struct Connected {
    session: HttpSession,
    peer: HttpPeer,
    cluster: String,
}

impl Upstream {
    /// An empty pool of at most `keep` idle connections.
    pub fn with_pool(keep: usize) -> Self {
        let connector = Arc::new(Connector::new(Some(ConnectorOptions::new(keep))));
        Self { connector, lane: 0, identity: None }
    }

    /// The same pool without the connections that are in it: the first request connects anew.
    pub fn afresh(&self) -> Self {
        let lane = rand::random::<u64>() | 1;
        Self { connector: self.connector.clone(), lane, identity: self.identity.clone() }
    }

    /// The same pool, with the certificate of these credentials, if they have one.
    pub fn showing(&self, probe: &Probe) -> Self {
        let pair = probe.certificate.as_ref();
        let identity = pair.and_then(|(certificate, key)| trust::identity(certificate, key));
        Self { connector: self.connector.clone(), lane: self.lane, identity }
    }

    /// Connects to the first of the cluster's addresses that accepts.
    pub async fn connect(
        &self,
        cluster: &Arc<Cluster>,
        timeouts: &Timeouts,
    ) -> Result<Connected, ExchangeError> {
        let name = cluster.name().to_string();
        let mut failure = ExchangeError::NoAddress(format!("cluster {name}"));
        for address in cluster.addresses().iter() {
            let mut peer = peer(cluster, *address, timeouts);
            peer.client_cert_key.clone_from(&self.identity);
            if self.lane != 0 {
                peer.group_key ^= self.lane;
                peer.options.idle_timeout = Some(LANE_IDLE);
            }
            match self.connector.get_http_session(&peer).await {
                Ok((session, _)) => return Ok(Connected { session, peer, cluster: name }),
                Err(source) => failure = ExchangeError::Connect { cluster: name.clone(), source },
            }
        }
        Err(failure)
    }

    /// Connects to another gateway.
    pub async fn connect_to_gateway(
        &self,
        address: SocketAddr,
        timeouts: &Timeouts,
    ) -> Result<Connected, ExchangeError> {
        let (peer, name) = (gateway_peer(address, timeouts), format!("the gateway at {address}"));
        match self.connector.get_http_session(&peer).await {
            Ok((session, _)) => Ok(Connected { session, peer, cluster: name }),
            Err(source) => Err(ExchangeError::Connect { cluster: name, source }),
        }
    }

    /// Connects, sends, reads.
    pub async fn exchange(
        &self,
        cluster: &Arc<Cluster>,
        call: Call,
        timeouts: &Timeouts,
        bounds: Bounds,
    ) -> Result<Answer, ExchangeError> {
        let connected = self.connect(cluster, timeouts).await?;
        self.exchange_on(connected, call, bounds, Want::Whole).await
    }

    /// Sends and reads on a session that is connected.
    pub async fn exchange_on(
        &self,
        connected: Connected,
        call: Call,
        bounds: Bounds,
        want: Want,
    ) -> Result<Answer, ExchangeError> {
        let Connected { mut session, peer, cluster } = connected;
        session.set_read_timeout(Some(bounds.answer));
        session.set_write_timeout(Some(bounds.answer));
        let spoken = speak(&mut session, call, bounds, want);
        match tokio::time::timeout(bounds.answer, spoken).await {
            Err(_elapsed) => Err(ExchangeError::Deadline { cluster, limit: bounds.answer }),
            Ok(Err(spoken)) => Err(spoken.of(cluster, bounds)),
            Ok(Ok(answer)) => {
                self.keep(session, &peer).await;
                Ok(answer)
            }
        }
    }
}

impl Upstream {
    /// Like [`Self::exchange`], with the rest of the body taken from `session` as it comes.
    ///
    /// The answer's time begins when the whole request was sent; until then each write and each
    /// read of the client has its own bound.
    pub async fn exchange_streaming(
        &self,
        cluster: &Arc<Cluster>,
        call: Call,
        client: &mut Session,
        (timeouts, bounds): (&Timeouts, Bounds),
    ) -> Result<Answer, ExchangeError> {
        let Connected { mut session, peer, cluster } = self.connect(cluster, timeouts).await?;
        session.set_read_timeout(Some(bounds.answer));
        session.set_write_timeout(Some(bounds.answer));
        let sent = async {
            session.write_request_header(Box::new(call.header)).await?;
            session.write_request_body(call.body, false).await?;
            while let Some(chunk) = client.as_downstream_mut().read_request_body().await? {
                // A read that ended within a chunk's head gives nothing; written as a chunk, nothing
                // would end the body.
                if !chunk.is_empty() {
                    session.write_request_body(chunk, false).await?;
                }
            }
            session.finish_request_body().await
        };
        if let Err(source) = sent.await {
            return Err(ExchangeError::Broken { cluster, source });
        }
        let read = tokio::time::timeout(bounds.answer, listen(&mut session, bounds, Want::Whole));
        let answer = match read.await {
            Err(_elapsed) => return Err(ExchangeError::Deadline { cluster, limit: bounds.answer }),
            Ok(heard) => heard.map_err(|heard| heard.of(cluster, bounds))?,
        };
        self.keep(session, &peer).await;
        Ok(answer)
    }

    async fn keep(&self, mut session: HttpSession, peer: &HttpPeer) {
        if session.response_done() {
            let idle = peer.options.idle_timeout;
            self.connector.release_http_session(session, peer, idle).await;
        } else {
            session.shutdown().await;
        }
    }
}

impl Spoken {
    fn of(self, cluster: String, bounds: Bounds) -> ExchangeError {
        match self {
            // Its own clock may ring before that of the whole exchange, which has the same time.
            Self::Broken(source) if *source.etype() == ErrorType::ReadTimedout => {
                ExchangeError::Deadline { cluster, limit: bounds.answer }
            }
            Self::Broken(source) => ExchangeError::Broken { cluster, source },
            Self::TooLarge => ExchangeError::TooLarge { cluster, limit: bounds.body },
        }
    }
}

enum Spoken {
    Broken(Box<pingora::Error>),
    TooLarge,
}

impl From<Box<pingora::Error>> for Spoken {
    fn from(source: Box<pingora::Error>) -> Self {
        Self::Broken(source)
    }
}

async fn speak(
    session: &mut HttpSession,
    call: Call,
    bounds: Bounds,
    want: Want,
) -> Result<Answer, Spoken> {
    session.write_request_header(Box::new(call.header)).await?;
    if !call.body.is_empty() {
        session.write_request_body(call.body, true).await?;
    }
    session.finish_request_body().await?;
    listen(session, bounds, want).await
}

async fn listen(session: &mut HttpSession, bounds: Bounds, want: Want) -> Result<Answer, Spoken> {
    session.read_response_header().await?;
    let mut header = session.response_header().cloned().unwrap_or_else(no_header);
    while header.status.is_informational() {
        session.read_response_header().await?;
        header = session.response_header().cloned().unwrap_or_else(no_header);
    }
    let mut body = BytesMut::new();
    let wanted = match want {
        Want::Whole => true,
        Want::Refusal => matches!(header.status.as_u16(), 404 | 410),
    };
    if wanted {
        while let Some(chunk) = session.read_response_body().await? {
            if body.len() + chunk.len() > bounds.body {
                return Err(Spoken::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
    }
    Ok(Answer { header, body: body.freeze() })
}

/// An answer without a head is one that its session did not read; it reads as a bad gateway.
fn no_header() -> ResponseHeader {
    ResponseHeader::build(502, None).expect("502 is a status")
}
