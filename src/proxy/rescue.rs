//! Every answer that Warren makes itself comes from here: what it says, how a client will take it,
//! and whether the connection goes on.
//!
//! Clients of Trino give up at once on 404, 410, 429, 500 and HTML, and retry 502, 503 and 504. So
//! what may pass is 503 with `Retry-After`; what was decided is a Trino result that carries an
//! error, which every driver shows as the error of a query; 404 is said only where Trino says it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use pingora::http::ResponseHeader;
use serde_json::json;

use crate::classify::Refusal;
use crate::cluster::live::FirstAnswer;
use crate::gateway::held::Ticket;
use crate::gateway::held::line::{Full, Standing};
use crate::ids::{GroupName, QueryId};
use crate::sticky::Lost;

/// An error as Trino numbers and names it (`io.trino.spi.StandardErrorCode`, Trino 476).
struct TrinoError {
    code: u32,
    name: &'static str,
    kind: &'static str,
}

/// Nobody can take the query.
const NO_RESOURCES: TrinoError = TrinoError {
    code: 131_072,
    name: "GENERIC_INSUFFICIENT_RESOURCES",
    kind: "INSUFFICIENT_RESOURCES",
};

/// Too many queries wait.
const QUEUE_FULL: TrinoError =
    TrinoError { code: 131_074, name: "QUERY_QUEUE_FULL", kind: "INSUFFICIENT_RESOURCES" };

/// Its client cancelled the query.
const USER_CANCELED: TrinoError = TrinoError { code: 3, name: "USER_CANCELED", kind: "USER_ERROR" };

/// The gateway's rules refuse the query.
const PERMISSION_DENIED: TrinoError =
    TrinoError { code: 4, name: "PERMISSION_DENIED", kind: "USER_ERROR" };

/// Who ran the query is gone.
const REMOTE_HOST_GONE: TrinoError =
    TrinoError { code: 65_558, name: "REMOTE_HOST_GONE", kind: "INTERNAL_ERROR" };

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAnswer {
    /// Its status.
    pub status: u16,
    body: Bytes,
    json: bool,
    encoding: Option<HeaderValue>,
    retry_after: Option<u32>,
    /// Where a held query stands.
    position: Option<usize>,
    /// Whether the connection ends with it.
    pub close: bool,
    /// The label in metrics.
    pub why: &'static str,
}

impl OwnAnswer {
    fn text(status: u16, why: &'static str, text: String) -> Self {
        let body = Bytes::from(text + "\n");
        Self {
            status,
            body,
            json: false,
            encoding: None,
            retry_after: None,
            position: None,
            close: false,
            why,
        }
    }

    fn retry(why: &'static str, text: String) -> Self {
        Self { retry_after: Some(1), ..Self::text(503, why, text) }
    }

    /// The head was refused.
    pub fn bad_head(objection: &str) -> Self {
        let text = format!("Warren refuses this request: {objection}.");
        Self { close: true, ..Self::text(400, "bad_head", text) }
    }

    /// The address that the request used cannot be used.
    pub fn bad_host(text: &str) -> Self {
        Self::text(421, "bad_host", format!("Warren does not serve {text}."))
    }

    /// The path is not passed on.
    pub fn refused(refusal: Refusal) -> Self {
        let (status, text) = match refusal {
            Refusal::Ambiguous => (
                400,
                "This path can be read in two ways. Send it without `;`, `//`, dot segments, \
                 a trailing slash or escaped letters.",
            ),
            Refusal::Internal => (404, "This path is not open to clients of the gateway."),
            Refusal::Unknown => (
                404,
                "Warren serves Trino's client paths: /v1/statement, /v1/query, /v1/info, \
                 /v1/spooled, /ui, /oauth2. Its own API is on the operators' port.",
            ),
            Refusal::Method => (405, "A statement is sent with POST, its pages are read with GET."),
        };
        Self::text(status, "refused", text.to_owned())
    }

    /// The statement cannot be read from the client.
    pub fn bad_body(text: &str) -> Self {
        let text = format!("The statement could not be read: {text}.");
        Self { close: true, ..Self::text(400, "bad_body", text) }
    }

    /// No cluster knows the query.
    pub fn unknown_query(status: u16, id: &QueryId) -> Self {
        Self::text(status, "unknown_query", format!("No cluster knows the query {id}."))
    }

    /// The cancel of a query that no cluster knows: Trino answers the same.
    pub fn cancelled() -> Self {
        Self { body: Bytes::new(), ..Self::text(204, "cancelled", String::new()) }
    }

    /// A segment was acknowledged while its cluster was looked for.
    pub fn acknowledged(status: u16) -> Self {
        Self { body: Bytes::new(), ..Self::text(status, "acknowledged", String::new()) }
    }

    /// The owner of a query cannot be found or reached yet.
    pub fn owner_away(id: &QueryId) -> Self {
        let text = format!("The cluster that owns query {id} cannot be reached now.");
        Self::retry("owner_away", text)
    }

    /// What was sent to a cluster may have arrived, and no answer came.
    pub fn cluster_away() -> Self {
        Self::retry("cluster_away", "The cluster does not answer now.".to_owned())
    }

    /// No cluster can take a request that is not a query.
    pub fn no_cluster() -> Self {
        Self::retry("no_cluster", "No cluster is ready.".to_owned())
    }

    /// Too many requests wait already.
    pub fn too_many_held() -> Self {
        Self::retry("too_many_held", "Too many requests wait for a cluster.".to_owned())
    }

    /// Pingora gave up on a request.
    pub fn from_failure(status: u16) -> Self {
        match status {
            431 => Self::text(
                431,
                "head_too_large",
                "The head of a request has at most 256 lines and 1 MiB.".to_owned(),
            ),
            400..=499 => Self::text(status, "bad_request", "The request is malformed.".to_owned()),
            _ => Self::cluster_away(),
        }
    }

    /// The first answer of a query that took another one's place, once more.
    pub fn again(answer: &FirstAnswer) -> Self {
        let FirstAnswer { encoding, body } = answer.clone();
        Self { body, json: true, encoding, ..Self::text(200, "moved", String::new()) }
    }

    /// The coordinator that had a query is gone, and the query with it.
    pub fn query_lost(id: &QueryId, origin: &str, cluster: &str, lost: Lost) -> Self {
        let how = match lost {
            Lost::Restarted => "was restarted",
            Lost::Silent => "cannot be reached any more",
        };
        let message = format!(
            "the coordinator of cluster '{cluster}', which ran query {id}, {how}; the query is \
             lost, submit it again"
        );
        Self { why: "query_lost", ..Self::results(id, origin, &message, &REMOTE_HOST_GONE) }
    }

    /// A query is held: QUEUED, as Trino says it, with its position as the queued splits.
    pub fn held(ticket: &Ticket, origin: &str, token: u64) -> Self {
        let Ticket { id, slug, standing, .. } = ticket;
        let waited = millis(standing.waited);
        let text = json!({
            "id": id.as_str(),
            "infoUri": format!("{origin}/ui/query.html?{id}"),
            "nextUri": format!("{origin}/v1/statement/queued/{id}/{slug}/{token}"),
            "stats": {
                "state": "QUEUED", "queued": true, "scheduled": false, "nodes": 0,
                "totalSplits": standing.position, "queuedSplits": standing.position,
                "runningSplits": 0, "completedSplits": 0,
                "cpuTimeMillis": 0, "wallTimeMillis": 0, "queuedTimeMillis": waited,
                "elapsedTimeMillis": waited, "processedRows": 0, "processedBytes": 0,
                "physicalInputBytes": 0, "peakMemoryBytes": 0, "spilledBytes": 0
            },
            "warnings": []
        });
        let body = Bytes::from(text.to_string());
        let position = Some(standing.position);
        Self { body, json: true, position, ..Self::text(200, "held", String::new()) }
    }

    /// What is known of a query that is held; `json`: for `/v1/query`.
    pub fn held_query(ticket: &Ticket, origin: &str, json: bool) -> Self {
        let Ticket { id, group, standing, .. } = ticket;
        let Standing { position, of, waited } = *standing;
        let answer = if json {
            let text = json!({
                "queryId": id.as_str(), "state": "QUEUED", "scheduled": false,
                "self": format!("{origin}/v1/query/{id}"),
                "held": {
                    "group": group.as_str(), "position": position, "of": of,
                    "waitedMillis": millis(waited)
                }
            });
            let body = Bytes::from(text.to_string());
            Self { body, json: true, ..Self::text(200, "held", String::new()) }
        } else {
            let text = format!(
                "Query {id} is held by the gateway until a cluster of the routing group '{group}' \
                 can take it: position {position} of {of}, waiting for {waited:.0?}."
            );
            Self::text(200, "held", text)
        };
        Self { position: Some(position), ..answer }
    }

    /// A query finds no room among those that are held.
    pub fn hold_full(id: &QueryId, origin: &str, group: &GroupName, full: Full) -> Self {
        let which = match full {
            Full::Queries => "as many queries as the gateway may hold for it",
            Full::Bytes => "queries that take all the memory the gateway may hold for it",
            Full::User => "as many queries of this user as the gateway may hold for it",
        };
        let setting = match full {
            Full::Queries => "max_queries",
            Full::Bytes => "max_bytes",
            Full::User => "per_user",
        };
        let message = format!(
            "no cluster of the routing group '{group}' can take a query now, and {which} wait \
             already (`hold.{setting}`); it never ran, submit it again later"
        );
        Self { why: "hold_full", ..Self::results(id, origin, &message, &QUEUE_FULL) }
    }

    /// A held query that its client cancelled.
    pub fn held_cancelled(id: &QueryId, origin: &str) -> Self {
        let message = "the query was cancelled while it was held; it never ran";
        Self { why: "held_cancelled", ..Self::results(id, origin, message, &USER_CANCELED) }
    }

    /// A query was held by a process that is gone.
    pub fn held_lost(id: &QueryId, origin: &str) -> Self {
        let message = format!(
            "held query was lost with its gateway, submit it again: {id} waited in the memory of a \
             gateway that ended; it never ran"
        );
        Self { why: "held_lost", ..Self::results(id, origin, &message, &REMOTE_HOST_GONE) }
    }

    /// The rules refuse the query.
    pub fn rejected(id: &QueryId, origin: &str, text: &str) -> Self {
        Self { why: "rejected", ..Self::results(id, origin, text, &PERMISSION_DENIED) }
    }

    /// A decision, in the form in which every driver shows it as the error of a query.
    pub fn query_error(id: &QueryId, origin: &str, message: &str) -> Self {
        Self::results(id, origin, message, &NO_RESOURCES)
    }

    fn results(id: &QueryId, origin: &str, message: &str, error: &TrinoError) -> Self {
        let TrinoError { code, name, kind } = error;
        let text = json!({
            "id": id.as_str(),
            "infoUri": format!("{origin}/ui/query.html?{id}"),
            "stats": {
                "state": "FAILED", "queued": false, "scheduled": false, "nodes": 0,
                "totalSplits": 0, "queuedSplits": 0, "runningSplits": 0, "completedSplits": 0,
                "cpuTimeMillis": 0, "wallTimeMillis": 0, "queuedTimeMillis": 0,
                "elapsedTimeMillis": 0, "processedRows": 0, "processedBytes": 0,
                "physicalInputBytes": 0, "peakMemoryBytes": 0, "spilledBytes": 0
            },
            "error": {
                "message": message,
                "errorCode": code,
                "errorName": name,
                "errorType": kind,
                "failureInfo": {
                    "type": "warren", "message": message, "suppressed": [], "stack": []
                }
            },
            "warnings": []
        });
        let body = Bytes::from(text.to_string());
        Self { body, json: true, ..Self::text(200, "decision", String::new()) }
    }

    /// Head and body, ready to be written.
    pub fn into_parts(self) -> pingora::Result<(ResponseHeader, Bytes)> {
        let mut header = ResponseHeader::build(self.status, Some(6))?;
        if self.status != 204 {
            let kind = if self.json { "application/json" } else { "text/plain; charset=utf-8" };
            header.insert_header("Content-Type", kind)?;
            header.insert_header("Content-Length", self.body.len())?;
        }
        if let Some(encoding) = self.encoding {
            header.insert_header("Content-Encoding", encoding)?;
        }
        header.insert_header("Cache-Control", "no-store")?;
        if let Some(seconds) = self.retry_after {
            header.insert_header("Retry-After", seconds)?;
        }
        if let Some(position) = self.position {
            header.insert_header("X-Warren-Position", position)?;
        }
        if self.close {
            header.insert_header("Connection", "close")?;
        }
        Ok((header, self.body))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
