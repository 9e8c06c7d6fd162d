//! A statement at one cluster: what is sent there, what its answer says, and what is remembered of
//! it before the client hears it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::cluster::live::LiveQuery;
use crate::cluster::registry::Fleet;
use crate::cluster::traffic::{Kind, Sender};
use crate::cluster::{Cluster, Forwarding, Reservation};
use crate::gateway::Gateway;
use crate::gateway::kept::Order;
use crate::gateway::traffic::sender;
use crate::history::record::{EndCause, Event, Submission};
use crate::ids::QueryId;
use crate::proxy::statement::{beginning, header_text};
use crate::proxy::{headers, observe, passing, pinned, rewrite};
use crate::time;
use crate::upstream::exchange::{Answer, Bounds, Call, ExchangeError};

/// The most of an answer that is kept. Trino's first answer has no rows and takes about 1 KiB.
pub const ANSWER_MAX: usize = 16 << 20;

/// A statement on its way to some cluster.
#[derive(Clone, Copy)]
pub struct Placing<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// The settings that it goes by.
    pub fleet: &'a Arc<Fleet>,
    /// The statement.
    pub order: &'a Arc<Order>,
    /// Whether all of it is in memory.
    pub whole: bool,
}

/// What a cluster answered, as its client is to see it.
#[derive(Debug)]
pub struct Placed {
    /// The head.
    pub header: ResponseHeader,
    /// The body.
    pub body: Bytes,
    /// The query, if it became one.
    pub query: Option<Arc<LiveQuery>>,
}

/// What came of sending a statement to one cluster.
#[derive(Debug)]
pub enum Sent {
    /// An answer for the client.
    Answer(Answer),
    /// Nothing reached it. It is not ready any more.
    Unsent(ExchangeError),
    /// It, or what stands before it, answered that it could not.
    Failed(Answer),
    /// No answer came, or none that can be passed on.
    Silent(ExchangeError),
}

impl Placing<'_> {
    /// Sends the statement, waits for the answer within `bounds`, and notes how that went.
    pub async fn send(&self, cluster: &Arc<Cluster>, bounds: Bounds) -> Sent {
        match self.exchange(cluster, bounds).await {
            // A coordinator that misread the request says 204, and what stands before it may say that
            // one should log in; a query was not made.
            Ok(answer)
                if matches!(answer.header.status.as_u16(), 204 | 500..)
                    || passing::is_web_page(&answer.header) =>
            {
                warn!(cluster = %cluster.name(), status = %answer.header.status, "submit failed");
                self.went_wrong(cluster);
                Sent::Failed(answer)
            }
            Ok(answer) => {
                self.gateway.went_well(cluster, Kind::Submit, self.sender());
                Sent::Answer(answer)
            }
            Err(error) if error.is_unsent() => {
                self.gateway.cannot_connect(cluster, &error.chain());
                Sent::Unsent(error)
            }
            Err(error) => {
                warn!(cluster = %cluster.name(), error = error.chain(), "submit got no answer");
                self.went_wrong(cluster);
                Sent::Silent(error)
            }
        }
    }

    /// The cluster gave no answer that can be passed on.
    pub fn went_wrong(&self, cluster: &Arc<Cluster>) {
        self.gateway.went_wrong(cluster, Kind::Submit, self.sender());
    }

    fn sender(&self) -> Sender {
        sender(&self.order.head.headers, self.order.client.address)
    }

    async fn exchange(
        &self,
        cluster: &Arc<Cluster>,
        bounds: Bounds,
    ) -> Result<Answer, ExchangeError> {
        let header = self.header_for(cluster).map_err(|source| ExchangeError::Broken {
            cluster: cluster.name().to_string(),
            source,
        })?;
        let call = Call { header, body: self.order.text.clone() };
        let timeouts = &self.fleet.config.timeouts;
        self.gateway.upstream.exchange(cluster, call, timeouts, bounds).await
    }

    /// The head for `cluster`, with the length of what is in memory.
    pub fn header_for(&self, cluster: &Arc<Cluster>) -> pingora::Result<RequestHeader> {
        let mut header = headers::copy_for(cluster, &self.order.head, &self.order.client)?;
        header.remove_header(&EXPECT);
        if self.whole {
            header.remove_header(&TRANSFER_ENCODING);
            header.insert_header(CONTENT_LENGTH, self.order.text.len())?;
        } else if !header.headers.contains_key(CONTENT_LENGTH) {
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        Ok(header)
    }

    /// A cluster answered: remembers the route and what the answer tells, then lets it go.
    pub fn accepted(&self, reservation: Reservation, answer: Answer) -> pingora::Result<Placed> {
        let cluster = reservation.cluster().clone();
        let Answer { mut header, mut body } = answer;
        let first = (header.status == 200).then(|| read_first(&header, &body)).flatten();
        cluster.reached(time::now());
        pinned::learn(self.gateway, &cluster, &header, None);
        let query = first.map(|first| self.remember(reservation, first));
        if let Some(query) = &query {
            pinned::accepted(self.gateway, &self.order.head, &cluster, query);
            self.gateway.answered_by(&cluster, query.id().coordinator());
        }
        let origin = &self.order.client.origin;
        if cluster.forwarding_for(origin.scheme) == Forwarding::Rewritten {
            body = rewrite::whole(body, &origin.to_string());
        }
        for hop in ["connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"] {
            header.remove_header(hop);
        }
        header.insert_header(CONTENT_LENGTH, body.len())?;
        Ok(Placed { header, body, query })
    }

    fn remember(&self, reservation: Reservation, first: First) -> Arc<LiveQuery> {
        let cluster = reservation.cluster().clone();
        let config = &self.fleet.config;
        let kept = first.goes_on && self.keep(&first.id);
        let grace = config.timeouts.first_get;
        let query = self.gateway.sticky.submitted(reservation, first.id, grace);
        if !kept {
            query.bind();
        }
        let id = query.id().clone();
        let headers = &self.order.head.headers;
        self.gateway.recorder.record(Event::Submitted(Submission {
            query_id: id.clone(),
            held_id: self.order.held_id.clone(),
            cluster: cluster.name().clone(),
            group: self.order.wish.group.clone(),
            rule: self.order.rule.clone(),
            user: header_text(headers, "x-trino-user"),
            source: header_text(headers, "x-trino-source"),
            tags: header_text(headers, "x-trino-client-tags"),
            request: Some(Box::new(self.order.request.clone())),
            statement: beginning(&self.order.text, config.limits.statement_history),
            at_ms: time::unix_ms(),
        }));
        debug!(query_id = %id, cluster = %cluster.name(), "query submitted");
        if !first.goes_on {
            let told = (first.state, first.error);
            self.gateway.sticky.ended(&cluster, &id, EndCause::LastPage, told);
        }
        query
    }

    /// Keeps the statement until its first page is asked for, if it may be moved until then.
    fn keep(&self, id: &QueryId) -> bool {
        let config = &self.fleet.config;
        let alone = config.store.serves_one_gateway() && !self.gateway.in_flight.is_draining();
        let kept = &self.gateway.kept;
        config.queries.rebind
            && alone
            && self.whole
            && kept.keep(id, self.order, time::now(), &config.queries)
    }
}

/// What the answer to a submit says of its query.
struct First {
    id: QueryId,
    goes_on: bool,
    state: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FirstResults<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    next_uri: Option<serde::de::IgnoredAny>,
    stats: Option<FirstStats>,
    error: Option<FirstError>,
}

#[derive(Deserialize)]
struct FirstStats {
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FirstError {
    error_name: Option<String>,
}

fn read_first(header: &ResponseHeader, body: &Bytes) -> Option<First> {
    let encoding = header.headers.get(http::header::CONTENT_ENCODING);
    let plain = observe::inflate(encoding.map(|value| value.as_bytes()), body, ANSWER_MAX)?;
    let results: FirstResults<'_> = serde_json::from_slice(&plain).ok()?;
    Some(First {
        id: QueryId::parse(&results.id).ok()?,
        goes_on: results.next_uri.is_some(),
        state: results.stats.and_then(|stats| stats.state),
        error: results.error.and_then(|error| error.error_name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(body: &'static str) -> Option<(String, bool)> {
        let header = ResponseHeader::build(200, None).expect("a head");
        let first = read_first(&header, &Bytes::from_static(body.as_bytes()))?;
        Some((first.id.to_string(), first.goes_on))
    }

    #[test]
    fn what_a_first_answer_tells() {
        let id = "20260101_000000_00000_abcde".to_owned();
        assert_eq!(
            first(
                r#"{"id":"20260101_000000_00000_abcde","nextUri":"http://a/1","stats":{"state":"QUEUED"}}"#
            ),
            Some((id.clone(), true))
        );
        assert_eq!(
            first(
                r#"{"id":"20260101_000000_00000_abcde","nextUri":null,"error":{"errorName":"X"}}"#
            ),
            Some((id, false))
        );
        for body in ["", "[]", r#"{"id":1}"#, r#"{"id":"x"}"#, r#"{"nextUri":"a"}"#] {
            assert_eq!(first(body), None, "{body}");
        }
    }
}
