//! Calls of the operators' API: small, blocking, bounded in time and size.
//!
//! Plain HTTP only, straight to the address that was given: no proxy, no redirect.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::secret::Secret;

/// The longest that one call may take. The API answers from memory, but for a write of the store.
const CALL_MAX: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes: rows of some ten thousand clusters.
const ANSWER_MAX: u64 = 8 << 20;

/// Why a call brought no answer that can be used.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error("reach the operators' port at {url} (is `warren serve` running there?)")]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("get this from {url}: {status}: {text}")]
    Refused { url: String, status: StatusCode, text: String, findings: Vec<String> },
    #[error("understand the answer of {url}: {what}; is this the operators' port of Warren?")]
    Odd { url: String, what: String },
}

/// Somebody who calls one operators' port.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<Secret>,
}

impl Client {
    /// `base` is an origin, as `http://127.0.0.1:8081`.
    pub(super) fn new(base: String, token: Option<Secret>) -> Self {
        Self { agent: agent(CALL_MAX), base, token }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(bearer) = self.bearer() {
            request = request.header("authorization", bearer);
        }
        understand(&url, request.call())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        self.send(&url, self.agent.put(&url), body)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        self.send(&url, self.agent.post(&url), body)
    }

    fn send(
        &self,
        url: &str,
        mut request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        body: &Value,
    ) -> Result<Value, ClientError> {
        if let Some(bearer) = self.bearer() {
            request = request.header("authorization", bearer);
        }
        request = request.header("content-type", "application/json");
        understand(url, request.send(body.to_string().as_bytes()))
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.reveal()))
    }
}

/// An agent that goes where it is told and gives up in time.
pub(super) fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Reads a bounded body.
pub(super) fn read(response: &mut http::Response<ureq::Body>) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()
}

fn understand(
    url: &str,
    answer: Result<http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value, ClientError> {
    let unreachable =
        |error| ClientError::Unreachable { url: url.to_owned(), source: Box::new(error) };
    let mut response = answer.map_err(unreachable)?;
    let status = response.status();
    let body = read(&mut response).map_err(unreachable)?;
    if !status.is_success() {
        return Err(refused(url.to_owned(), status, &body));
    }
    serde_json::from_slice(&body)
        .map_err(|error| ClientError::Odd { url: url.to_owned(), what: error.to_string() })
}

#[derive(Deserialize)]
struct Complaint {
    error: String,
    /// All that was found, if it is told.
    #[serde(default)]
    findings: Vec<String>,
}

fn refused(url: String, status: StatusCode, body: &[u8]) -> ClientError {
    let mut findings = Vec::new();
    let text = match serde_json::from_slice::<Complaint>(body) {
        Ok(complaint) => {
            findings = complaint.findings;
            complaint.error
        }
        Err(_) if status == StatusCode::UNAUTHORIZED => {
            "give the token by --token-file or $WARREN_TOKEN".to_owned()
        }
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    };
    ClientError::Refused { url, status, text, findings }
}
