//! A new query: rules, choice of a cluster, and the next cluster when one cannot take it.
//!
//! Trino only registers a posted statement; it starts at the first GET. So a submit that was
//! refused, cut off, left without an answer or answered with 5xx goes to another ready cluster, as
//! long as its client has heard nothing: the query still runs at most once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use tokio::time::timeout_at;
use tracing::warn;

use crate::cluster::registry::{Fleet, Group};
use crate::cluster::wish::{Open, Wish};
use crate::cluster::{Cluster, Reservation};
use crate::config::Hold;
use crate::gateway::held::Joined;
use crate::gateway::kept::Order;
use crate::gateway::outlast::Kept;
use crate::gateway::{Gateway, wish};
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::amend::amend;
use crate::proxy::asking::Asking;
use crate::proxy::context::{Context, Facts as LogFacts};
use crate::proxy::kill::killed_query;
use crate::proxy::place::{ANSWER_MAX, Placing, Sent};
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::statement::Statement;
use crate::proxy::{held, pinned};
use crate::time::{self, Instant};
use crate::upstream::exchange::{Answer, Bounds, Call};

/// Before a cluster that failed is asked again because there is no other one.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two looks whether a cluster that was full has room.
const LOOK: Duration = Duration::from_millis(250);

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
    // Until this function has ended: then an answer goes out, or none will.
    let _outlasting = if statement.whole { keep(gateway, session, &statement.text) } else { None };
    let mut head = session.req_header().clone();
    let port = session.server_addr().and_then(|address| address.as_inet()).map(|inet| inet.port());
    let (port, local_time) = (port.unwrap_or_default(), time::local());
    let asking = Asking { gateway, fleet: &fleet, client, port, local_time };
    let (submit, began) = (fleet.config.timeouts.submit, time::now());
    // The other half is for clusters: one that is asked with no time left would be held for slow.
    let decision = asking.decide(&head, &statement, began + submit / 2).await;
    let deadline = (began + submit).max(time::now() + submit / 2);
    ctx.facts.group = Some(decision.group.to_string());
    ctx.facts.rule.clone_from(&decision.rule);
    // Who may kill a query is for its coordinator to say.
    if let Some(text) = &decision.reject
        && killed_query(&statement.text).is_none()
    {
        let (id, origin) = (gateway.next_own_id(), client.origin.to_string());
        return Ok(Outcome::Own(OwnAnswer::rejected(&id, &origin, text)));
    }
    let request = asking.recorded(&head, &statement);
    amend(&mut head, &decision.changes)?;
    // Rules may be newer than this request's clusters.
    let newest = gateway.registry.fleet();
    let known = if fleet.group(&decision.group).is_some() { &fleet } else { &newest };
    let wish = wish::of(&decision, known);
    let group = known.group(&wish.group).unwrap_or_else(|| fleet.default_group());
    let order = Arc::new(Order {
        head,
        request,
        text: statement.text.clone(),
        client: client.clone(),
        wish,
        rule: decision.rule,
        priority: decision.priority.unwrap_or_default(),
        held_id: None,
    });
    let placing = Placing { gateway, fleet: &fleet, order: &order, whole: statement.whole };
    let pinned = pinned::of_submit(gateway, &order.head, &order.text);
    let submit = Submit { placing, group, pinned, deadline };
    if statement.whole {
        submit.run(&mut ctx.facts).await
    } else {
        submit.run_streaming(session, &mut ctx.facts).await
    }
}

/// Has the submit kept in case that this process is killed. With TLS or HTTP/2 nobody else could go
/// on with its connection.
fn keep<'a>(gateway: &'a Gateway, session: &Session, text: &[u8]) -> Option<Kept<'a>> {
    let outlast = gateway.outlast.as_ref()?;
    let http1 = session.as_downstream().as_http1()?;
    if http1.digest().ssl_digest.is_some() {
        return None;
    }
    outlast.keep(http1.stream().id(), &http1.get_headers_raw_bytes(), text)
}

struct Submit<'a> {
    placing: Placing<'a>,
    group: &'a Arc<Group>,
    /// The only cluster that can take it, whatever its group.
    pinned: Option<Arc<Cluster>>,
    /// When the client must have an answer.
    deadline: Instant,
}

/// Why a statement is not sent to any cluster now.
enum Unplaced {
    /// It is held; its client hears so.
    Held(QueryId, OwnAnswer),
    /// Nobody can take it.
    Nobody(OwnAnswer),
}

impl Submit<'_> {
    async fn run(&self, facts: &mut LogFacts) -> pingora::Result<Outcome> {
        let mut tried: Vec<u64> = Vec::new();
        let mut last = OwnAnswer::cluster_away();
        loop {
            let reservation = match self.reserve(&tried).await {
                Ok(reservation) => reservation,
                // Who was asked and gave no answer says more than that nobody is left to ask.
                Err(Unplaced::Nobody(_)) if !tried.is_empty() => return Ok(Outcome::Own(last)),
                Err(unplaced) => return Ok(Self::tell(unplaced, facts)),
            };
            let cluster = reservation.cluster().clone();
            facts.ask(time::now());
            let sent = self.placing.send(&cluster, self.bounds()).await;
            facts.answered(time::now());
            match sent {
                Sent::Answer(answer) => return self.pass_on(reservation, answer, facts),
                // The next choice falls on another one, or waits.
                Sent::Unsent(_) => {
                    if self.pinned.is_some() {
                        tokio::time::sleep_until(self.deadline.min(time::now() + PAUSE)).await;
                    }
                }
                Sent::Failed(answer) => {
                    tried.push(cluster.key());
                    // That nobody can is told in the words of the last one, if it has any.
                    if self.is_over(&tried) && answer.header.status.is_server_error() {
                        return self.pass_on(reservation, answer, facts);
                    }
                }
                Sent::Silent(_) => {
                    tried.push(cluster.key());
                    last = OwnAnswer::cluster_away();
                }
            }
            if self.is_over(&tried) {
                return Ok(Outcome::Own(last));
            }
            self.gateway().metrics.retry("submit");
        }
    }

    /// Whether no further cluster may be tried.
    fn is_over(&self, tried: &[u64]) -> bool {
        tried.len() >= self.placing.fleet.config.limits.submit_clusters
            || time::now() >= self.deadline
    }

    /// A statement too long for memory: it goes to one cluster, and only once.
    async fn run_streaming(
        &self,
        session: &mut Session,
        facts: &mut LogFacts,
    ) -> pingora::Result<Outcome> {
        let reservation = match self.reserve(&[]).await {
            Ok(reservation) => reservation,
            Err(unplaced) => return Ok(Self::tell(unplaced, facts)),
        };
        let cluster = reservation.cluster().clone();
        facts.ask(time::now());
        let header = self.placing.header_for(&cluster)?;
        let call = Call { header, body: self.placing.order.text.clone() };
        let timeouts = &self.placing.fleet.config.timeouts;
        let bounds = Bounds { answer: timeouts.answer, body: ANSWER_MAX };
        let upstream = &self.gateway().upstream;
        let sent = upstream.exchange_streaming(&cluster, call, session, (timeouts, bounds)).await;
        facts.answered(time::now());
        match sent {
            Ok(answer) if answer.header.status != 204 => self.pass_on(reservation, answer, facts),
            Ok(_misread) => Ok(Outcome::Own(OwnAnswer::cluster_away())),
            Err(error) => {
                warn!(cluster = %cluster.name(), error = error.chain(), "submit got no answer");
                self.placing.went_wrong(&cluster);
                Ok(Outcome::Own(OwnAnswer::cluster_away()))
            }
        }
    }

    /// Chooses a cluster, one that was not `tried` before, waiting until the deadline for one to
    /// become ready.
    async fn reserve(&self, tried: &[u64]) -> Result<Reservation, Unplaced> {
        if let Some(cluster) = &self.pinned {
            return Ok(Reservation::new(cluster.clone()));
        }
        if let Some(hold) = self.group.settings.hold.as_ref().filter(|_| self.may_be_held()) {
            return self.reserve_or_hold(hold, tried).await;
        }
        if let Some(reservation) = self.choose(self.placing.fleet, tried) {
            return Ok(reservation);
        }
        if let (true, Some(text)) = (tried.is_empty(), &self.group.settings.reject) {
            return Err(Unplaced::Nobody(self.decision(text)));
        }
        let limit = self.placing.fleet.config.limits.held;
        let waiting = &self.gateway().metrics.waiting;
        let Some(_held) = waiting.hold("submit", limit) else {
            return Err(Unplaced::Nobody(OwnAnswer::too_many_held()));
        };
        if !tried.is_empty() {
            tokio::time::sleep_until(self.deadline.min(time::now() + PAUSE)).await;
        }
        let mut changes = self.gateway().registry.changes();
        loop {
            // A reload makes new groups; the one of this request's snapshot would stay as it is.
            let fleet = self.gateway().registry.fleet();
            let chosen = self.choose(&fleet, tried).or_else(|| self.choose(&fleet, &[]));
            if let Some(reservation) = chosen {
                return Ok(reservation);
            }
            let look = match fleet.is_bounded(self.wish()) {
                true => self.deadline.min(time::now() + LOOK),
                false => self.deadline,
            };
            match timeout_at(look, changes.changed()).await {
                Ok(Ok(())) => {}
                Err(_) if time::now() < self.deadline => {}
                Ok(Err(_)) | Err(_) => return Err(Unplaced::Nobody(self.nobody())),
            }
        }
    }

    /// What is in memory can be held, and not by a process that ends. One that waits for one cluster
    /// would hold up the others of its group.
    fn may_be_held(&self) -> bool {
        let alone = self.wish().cluster.is_some();
        self.placing.whole && !alone && !self.gateway().in_flight.is_draining()
    }

    fn wish(&self) -> &Wish {
        &self.placing.order.wish
    }

    /// Chooses a cluster of the groups for which nobody waits already; when there is none, the statement
    /// is held.
    async fn reserve_or_hold(&self, hold: &Hold, tried: &[u64]) -> Result<Reservation, Unplaced> {
        if !tried.is_empty() {
            tokio::time::sleep_until(self.deadline.min(time::now() + PAUSE)).await;
        }
        let fleet = self.gateway().registry.fleet();
        let Placing { order, .. } = self.placing;
        let user = held::user(&order.head.headers, &order.client);
        let choose = |open: &Open| {
            let choose = |tried: &[u64]| self.choose_open(&fleet, open, tried);
            choose(tried).or_else(|| choose(&[]))
        };
        let origin = order.client.origin.to_string();
        match self.gateway().held.join(order, &user, hold, choose) {
            Joined::Free(reservation) => Ok(reservation),
            Joined::Held(ticket) => {
                Err(Unplaced::Held(ticket.id.clone(), OwnAnswer::held(&ticket, &origin, 0)))
            }
            Joined::Full(full) => {
                let (id, group) = (self.gateway().next_own_id(), self.group.name());
                Err(Unplaced::Nobody(OwnAnswer::hold_full(&id, &origin, group, full)))
            }
        }
    }

    fn tell(unplaced: Unplaced, facts: &mut LogFacts) -> Outcome {
        match unplaced {
            Unplaced::Held(id, answer) => {
                facts.query_id = Some(id);
                Outcome::Own(answer)
            }
            Unplaced::Nobody(answer) => Outcome::Own(answer),
        }
    }

    /// Chooses in `fleet`, of the groups of the rules or of those that stand in for them.
    fn choose(&self, fleet: &Fleet, tried: &[u64]) -> Option<Reservation> {
        self.choose_open(fleet, &Open::All, tried)
    }

    /// The same among those that are `open` to it.
    fn choose_open(&self, fleet: &Fleet, open: &Open, tried: &[u64]) -> Option<Reservation> {
        if *open == Open::All && fleet.group(self.group.name()).is_none() {
            return self.group.choose(tried);
        }
        self.gateway().choose_open(fleet, self.wish(), open, tried)
    }

    fn bounds(&self) -> Bounds {
        let left = self.deadline.saturating_duration_since(time::now());
        let answer = self.placing.fleet.config.timeouts.answer.min(left);
        Bounds { answer, body: ANSWER_MAX }
    }

    fn pass_on(
        &self,
        reservation: Reservation,
        answer: Answer,
        facts: &mut LogFacts,
    ) -> pingora::Result<Outcome> {
        let cluster = reservation.cluster().clone();
        let placed = self.placing.accepted(reservation, answer)?;
        // A request may name a cluster of another group than the rules' one.
        let group = &cluster.settings().group;
        if facts.group.as_deref() != Some(group.as_str()) {
            facts.group = Some(group.to_string());
        }
        facts.cluster = Some(cluster);
        facts.query_id = placed.query.map(|query| query.id().clone());
        Ok(Outcome::Answered(Box::new(placed.header), placed.body))
    }

    /// Nobody can take the query: a decision, which drivers show as the error of a query.
    fn nobody(&self) -> OwnAnswer {
        let Wish { group, others, cluster } = self.wish();
        let who = match cluster {
            Some(cluster) => {
                format!("the cluster '{cluster}', the only one for it, cannot take this")
            }
            None if others.is_empty() => {
                format!("no cluster of the routing group '{group}' can take a")
            }
            None => {
                let all = std::iter::once(group).chain(others);
                let all: Vec<_> = all.map(|name| format!("'{name}'")).collect();
                format!("no cluster of the routing groups {} can take a", all.join(", "))
            }
        };
        self.decision(&format!("{who} query now; try again, or ask the operators of the gateway"))
    }

    fn decision(&self, message: &str) -> OwnAnswer {
        let origin = self.placing.order.client.origin.to_string();
        OwnAnswer::query_error(&self.gateway().next_own_id(), &origin, message)
    }

    fn gateway(&self) -> &Gateway {
        self.placing.gateway
    }
}
