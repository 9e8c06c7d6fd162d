//! Questions of ours to a coordinator, as the probe user.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pingora::http::RequestHeader;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::cluster::{Cluster, Forwarding};
use crate::config::{Scheme, Timeouts};
use crate::time;
use crate::upstream::exchange::{Answer, Bounds, Call, ExchangeError, Upstream};

/// What probes say of themselves in `X-Trino-Source`.
pub const SOURCE: &str = "warren-probe";

/// How a coordinator that reads forwarded headers learns that a request came by TLS.
pub const FORWARDED_PROTO: &str = "X-Forwarded-Proto";

/// The most of an answer that is read: 1,000 queries with statements of 60 KiB.
const ANSWER_MAX: usize = 64 << 20;

/// How the probes of one cluster speak to it.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Connections of the control side.
    pub upstream: Arc<Upstream>,
}

/// Why a question had no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// It was answered with another status than 200.
    #[error("{path} answered {status}")]
    Status {
        /// What was asked.
        path: String,
        /// The status.
        status: u16,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

/// One question.
#[derive(Debug)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// The body; empty: none.
    pub body: Bytes,
    /// Further headers.
    pub headers: &'a [(&'static str, String)],
    /// For the whole of it.
    pub timeout: Duration,
    /// How much of the answer is read, in bytes.
    pub most: usize,
}

impl<'a> Question<'a> {
    /// A GET.
    pub fn get(path: &'a str, timeout: Duration) -> Self {
        Self { method: "GET", path, body: Bytes::new(), headers: &[], timeout, most: ANSWER_MAX }
    }
}

impl Asker {
    /// The same over connections of its own. What stands before a cluster may lead a new connection
    /// elsewhere than those that are open.
    pub fn afresh(&self) -> Self {
        let upstream = Arc::new(self.upstream.afresh());
        Self { cluster: self.cluster.clone(), upstream }
    }

    /// Asks; gives status and body, or what went wrong in words.
    pub async fn ask(
        &self,
        question: Question<'_>,
        timeouts: &Timeouts,
    ) -> Result<(u16, Bytes), String> {
        let answer = self.whole(question, timeouts).await.map_err(|error| error.chain())?;
        self.cluster.reached(time::now());
        Ok((answer.header.status.as_u16(), answer.body))
    }

    /// Asks; gives the answer with its head.
    pub async fn whole(
        &self,
        question: Question<'_>,
        timeouts: &Timeouts,
    ) -> Result<Answer, ExchangeError> {
        let cluster = || self.cluster.name().to_string();
        let header = self.header(&question);
        let header =
            header.map_err(|source| ExchangeError::Broken { cluster: cluster(), source })?;
        let call = Call { header, body: question.body };
        let bounds = Bounds { answer: question.timeout, body: question.most };
        let upstream = self.upstream.showing(&self.cluster.settings().probe);
        let asked = upstream.exchange(&self.cluster, call, timeouts, bounds);
        // The connect has bounds of its own, which may be longer than what is left of this one.
        let limit = question.timeout + timeouts.connect;
        match tokio::time::timeout(limit, asked).await {
            Ok(told) => told,
            Err(_elapsed) => Err(ExchangeError::Deadline { cluster: cluster(), limit }),
        }
    }

    /// Asks for JSON.
    pub async fn json<T: DeserializeOwned>(
        &self,
        question: Question<'_>,
        timeouts: &Timeouts,
    ) -> Result<T, AskError> {
        let path = question.path.split('?').next().unwrap_or_default().to_owned();
        let (status, body) = self.ask(question, timeouts).await.map_err(AskError::Failed)?;
        if status != 200 {
            return Err(AskError::Status { path, status });
        }
        serde_json::from_slice(&body)
            .map_err(|error| AskError::Failed(format!("{path} answered no such JSON: {error}")))
    }

    /// Whether the coordinator must hear that we came by TLS: it takes credentials from nobody else,
    /// and believes a proxy about it if it reads forwarded headers.
    pub fn vouches_for_tls(&self) -> bool {
        let settings = self.cluster.settings();
        let credentials = settings.probe.password.is_some() || settings.probe.token.is_some();
        credentials && self.cluster.url().scheme == Scheme::Http
    }

    fn header(&self, question: &Question<'_>) -> pingora::Result<RequestHeader> {
        let settings = self.cluster.settings();
        let mut header = RequestHeader::build(question.method, question.path.as_bytes(), None)?;
        header.insert_header("Host", self.cluster.authority())?;
        header.insert_header("User-Agent", concat!("warren/", env!("CARGO_PKG_VERSION")))?;
        header.insert_header("Accept", "application/json")?;
        header.insert_header("X-Trino-User", &settings.probe.user)?;
        header.insert_header("X-Trino-Source", SOURCE)?;
        header.insert_header("X-Trino-Client-Tags", "warren")?;
        if let Some(token) = &settings.probe.token {
            header.insert_header("Authorization", format!("Bearer {}", token.reveal()))?;
        } else if let Some(password) = &settings.probe.password {
            let pair = format!("{}:{}", settings.probe.user, password.reveal());
            header.insert_header("Authorization", format!("Basic {}", STANDARD.encode(pair)))?;
        }
        for (name, value) in &settings.probe.headers {
            header.insert_header(name.clone(), value)?;
        }
        if self.vouches_for_tls() && self.cluster.forwarding() == Forwarding::Honoured {
            header.insert_header(FORWARDED_PROTO, "https")?;
        }
        for (name, value) in question.headers {
            header.insert_header(*name, value)?;
        }
        if question.method == "POST" {
            header.insert_header("Content-Length", question.body.len())?;
        }
        Ok(header)
    }
}
