//! A new query: rules, choice of a cluster, the exchange with it, and the route that is remembered
//! before the client gets its answer.
//!
//! Trino only registers a posted statement; it starts at the first GET. So a submit whose cluster
//! could not be reached goes to the next ready one, as long as nothing was sent. What may have been
//! sent is answered with 503, which clients repeat.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use serde::Deserialize;
use tokio::time::timeout_at;
use tracing::{debug, warn};

use crate::cluster::registry::{Fleet, Group};
use crate::cluster::{Cluster, Forwarding, Reservation};
use crate::gateway::Gateway;
use crate::history::record::{EndCause, Event, Submission};
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::context::{Context, Facts as LogFacts};
use crate::proxy::observe;
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::statement::{Statement, header_text};
use crate::proxy::{headers, rewrite};
use crate::route::engine;
use crate::route::facts::Facts;
use crate::route::verdict::Decision;
use crate::time::{self, Instant};
use crate::upstream::exchange::{Answer, Bounds, Call, ExchangeError};

/// The most of an answer that is kept. Trino's first answer has no rows and takes about 1 KiB.
const ANSWER_MAX: usize = 16 << 20;

/// How many submits may wait for a cluster at once; the next one is told to come again.
const HELD_MAX: i64 = 10_000;

/// What goes back to the client.
#[derive(Debug)]
pub enum Outcome {
    /// What a cluster answered.
    Answered(Box<ResponseHeader>, Bytes),
    /// What Warren says.
    Own(OwnAnswer),
}

/// Serves a submit.
pub async fn serve(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Context,
    client: &Client,
) -> pingora::Result<Outcome> {
    let fleet = ctx.fleet.clone();
    let room = &gateway.statements;
    let statement = match Statement::read(session, fleet.config.limits.statement, room).await {
        Ok(Some(statement)) => statement,
        Ok(None) => return Ok(Outcome::Own(OwnAnswer::too_many_held())),
        // Pingora names these two by text alone.
        Err(error) if matches!(error.etype().as_str(), "InvalidChunk" | "InvalidTrailerEnd") => {
            return Ok(Outcome::Own(OwnAnswer::bad_body("its chunks are malformed")));
        }
        Err(error) => return Err(error),
    };
    let head = session.req_header().clone();
    let decision = decide(gateway, &head, client);
    ctx.facts.group = Some(decision.group.to_string());
    ctx.facts.rule.clone_from(&decision.rule);
    // Rules may be newer than this request's clusters.
    let newest = gateway.registry.fleet();
    let group = fleet.group(&decision.group).or_else(|| newest.group(&decision.group));
    let group = group.unwrap_or_else(|| fleet.default_group());
    let submit =
        Submit { gateway, fleet: &fleet, client, head, statement, group, decision: &decision };
    if submit.statement.whole {
        submit.run(&mut ctx.facts).await
    } else {
        submit.run_streaming(session, &mut ctx.facts).await
    }
}

/// Asks the rules. They always name a group; what went wrong in them is counted and told.
fn decide(gateway: &Gateway, head: &RequestHeader, client: &Client) -> Decision {
    let rules = gateway.rules.current();
    let decision = engine::decide(
        &rules,
        &Facts {
            headers: &head.headers,
            method: &head.method,
            path: head.uri.path(),
            user: None,
            remote_addr: client.address,
        },
    );
    if let Some(failure) = &decision.error {
        gateway.metrics.rule_error(failure.kind.as_str());
        gateway.rule_alarm.tell(failure, &rules);
    }
    decision
}

struct Submit<'a> {
    gateway: &'a Gateway,
    fleet: &'a Arc<Fleet>,
    client: &'a Client,
    head: RequestHeader,
    statement: Statement,
    group: &'a Arc<Group>,
    decision: &'a Decision,
}

impl Submit<'_> {
    async fn run(&self, facts: &mut LogFacts) -> pingora::Result<Outcome> {
        let deadline = time::now() + self.fleet.config.timeouts.submit;
        for _try in 0..self.fleet.config.limits.submit_clusters {
            let reservation = match self.reserve(deadline).await {
                Ok(reservation) => reservation,
                Err(answer) => return Ok(Outcome::Own(answer)),
            };
            let cluster = reservation.cluster().clone();
            facts.ask(time::now());
            let sent = self.send(&cluster).await;
            facts.answered(time::now());
            match sent {
                Ok(answer) => return self.accepted(reservation, answer, facts),
                Err(error) if error.is_unsent() => {
                    self.gateway.cannot_connect(&cluster, &error.chain());
                    // It is not ready any more; the next choice falls on another one, or waits.
                    self.gateway.metrics.retry("submit");
                }
                Err(error) => return Ok(Outcome::Own(no_answer(&cluster, &error))),
            }
        }
        Ok(Outcome::Own(self.nobody()))
    }

    /// A statement too long for memory: it goes to one cluster, and only once.
    async fn run_streaming(
        &self,
        session: &mut Session,
        facts: &mut LogFacts,
    ) -> pingora::Result<Outcome> {
        let deadline = time::now() + self.fleet.config.timeouts.submit;
        let reservation = match self.reserve(deadline).await {
            Ok(reservation) => reservation,
            Err(answer) => return Ok(Outcome::Own(answer)),
        };
        let cluster = reservation.cluster().clone();
        facts.ask(time::now());
        let call = Call { header: self.header_for(&cluster)?, body: self.statement.text.clone() };
        let timeouts = &self.fleet.config.timeouts;
        let sent = self
            .gateway
            .upstream
            .exchange_streaming(&cluster, call, session, (timeouts, self.bounds()))
            .await;
        facts.answered(time::now());
        match sent {
            Ok(answer) => self.accepted(reservation, answer, facts),
            Err(error) => Ok(Outcome::Own(no_answer(&cluster, &error))),
        }
    }

    /// Chooses a cluster, waiting for one to become ready until the deadline.
    async fn reserve(&self, deadline: Instant) -> Result<Reservation, OwnAnswer> {
        if let Some(reservation) = self.group.choose() {
            return Ok(reservation);
        }
        let held = self.gateway.metrics.held.with_label_values(&["submit"]);
        if held.get() >= HELD_MAX {
            return Err(OwnAnswer::too_many_held());
        }
        let _held = Held::new(&held);
        let mut changes = self.gateway.registry.changes();
        loop {
            // A reload makes new groups; the one of this request's snapshot would stay as it is.
            let fleet = self.gateway.registry.fleet();
            let group = fleet.group(&self.group.name).unwrap_or(self.group);
            if let Some(reservation) = group.choose() {
                return Ok(reservation);
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(self.nobody()),
            }
        }
    }

    async fn send(&self, cluster: &Arc<Cluster>) -> Result<Answer, ExchangeError> {
        let header = self.header_for(cluster).map_err(|source| ExchangeError::Broken {
            cluster: cluster.name().to_string(),
            source,
        })?;
        let call = Call { header, body: self.statement.text.clone() };
        let timeouts = &self.fleet.config.timeouts;
        self.gateway.upstream.exchange(cluster, call, timeouts, self.bounds()).await
    }

    fn bounds(&self) -> Bounds {
        Bounds { answer: self.fleet.config.timeouts.answer, body: ANSWER_MAX }
    }

    /// The head for `cluster`, with the length of what is in memory.
    fn header_for(&self, cluster: &Arc<Cluster>) -> pingora::Result<RequestHeader> {
        let mut header = headers::copy_for(cluster, &self.head, self.client)?;
        header.remove_header(&EXPECT);
        if self.statement.whole {
            header.remove_header(&TRANSFER_ENCODING);
            header.insert_header(CONTENT_LENGTH, self.statement.text.len())?;
        } else if !header.headers.contains_key(CONTENT_LENGTH) {
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        Ok(header)
    }

    /// A cluster answered: remembers the route, then lets the answer go.
    fn accepted(
        &self,
        reservation: Reservation,
        answer: Answer,
        facts: &mut LogFacts,
    ) -> pingora::Result<Outcome> {
        let cluster = reservation.cluster().clone();
        facts.cluster = Some(cluster.clone());
        let Answer { mut header, mut body } = answer;
        if header.status == 200
            && let Some(first) = read_first(&header, &body)
        {
            facts.query_id = Some(first.id.clone());
            self.remember(reservation, first);
        } else if header.status == 204 {
            // A coordinator that misread the request says this; a query was not made.
            warn!(cluster = %cluster.name(), "a submit was answered with 204");
            return Ok(Outcome::Own(OwnAnswer::cluster_away()));
        }
        let origin = &self.client.origin;
        if cluster.forwarding_for(origin.scheme) == Forwarding::Rewritten {
            body = rewrite::whole(body, &origin.to_string());
        }
        for hop in ["connection", "keep-alive", "transfer-encoding", "upgrade", "trailer"] {
            header.remove_header(hop);
        }
        if header.status != 204 {
            header.insert_header(CONTENT_LENGTH, body.len())?;
        }
        Ok(Outcome::Answered(Box::new(header), body))
    }

    fn remember(&self, reservation: Reservation, first: First) {
        let cluster = reservation.cluster().clone();
        let grace = self.fleet.config.timeouts.first_get;
        let query = self.gateway.sticky.submitted(reservation, first.id, grace);
        let id = query.id().clone();
        let headers = &self.head.headers;
        self.gateway.recorder.record(Event::Submitted(Submission {
            query_id: id.clone(),
            cluster: cluster.name().clone(),
            group: self.group.name.clone(),
            rule: self.decision.rule.clone(),
            user: header_text(headers, "x-trino-user"),
            source: header_text(headers, "x-trino-source"),
            tags: header_text(headers, "x-trino-client-tags"),
            statement: self.statement.beginning(self.fleet.config.limits.statement_history),
            at_ms: time::unix_ms(),
        }));
        debug!(query_id = %id, cluster = %cluster.name(), "query submitted");
        if !first.goes_on {
            let told = (first.state, first.error);
            self.gateway.sticky.ended(&cluster, &id, EndCause::LastPage, told);
        }
    }

    /// Nobody can take the query: a decision, which drivers show as the error of a query.
    fn nobody(&self) -> OwnAnswer {
        let message = format!(
            "no cluster of the routing group '{}' can take a query now; try again, or ask the \
             operators of the gateway",
            self.group.name
        );
        let origin = self.client.origin.to_string();
        OwnAnswer::query_error(&self.gateway.next_own_id(), &origin, &message)
    }
}

/// Counts a request that waits, for as long as it waits.
pub struct Held<'a>(&'a prometheus::IntGauge);

impl<'a> Held<'a> {
    /// One more waits.
    pub fn new(gauge: &'a prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn no_answer(cluster: &Arc<Cluster>, error: &ExchangeError) -> OwnAnswer {
    warn!(cluster = %cluster.name(), error = error.chain(), "submit got no answer");
    cluster.suspect();
    OwnAnswer::cluster_away()
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
