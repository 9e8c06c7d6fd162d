//! Requests about held queries that another gateway holds: passed on to that one's operators' port,
//! once. What is passed on so is answered there, or not at all; it is never passed on again, since only
//! the clients' port does that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use pingora::http::RequestHeader;
use tracing::debug;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::peers::{Ask, Holder, PERIOD, Peer, Reply, Silent};
use crate::ids::QueryId;
use crate::proxy::held;
use crate::proxy::place::ANSWER_MAX;
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::submit::Outcome;
use crate::time;
use crate::upstream::exchange::{Answer, Bounds, Call, Want};

/// Where a gateway takes what another one passes on.
const PATH: &str = "/peer/v1/held";

/// How long a page waits there, and what its hand-over may take beside the cluster's own answer.
const ALLOWANCE: Duration = Duration::from_secs(5);

/// Answers for the queries that this process holds.
pub struct Here(pub Arc<Gateway>);

#[async_trait]
impl Holder for Here {
    async fn reply(&self, ask: Ask) -> Reply {
        if ask.id.coordinator() != self.0.held.mark() {
            return Reply::NotMine;
        }
        let answer = match held::reply(&self.0, &ask).await {
            held::Reply::Became(id) => return Reply::Became(id),
            held::Reply::Answer(Outcome::Answered(header, body)) => Ok((*header, body)),
            held::Reply::Answer(Outcome::Own(answer)) => answer.into_parts(),
        };
        match answer {
            Ok((header, body)) => {
                Reply::Answer(http::Response::from_parts(header.as_owned_parts(), body))
            }
            Err(_unwritable) => Reply::NotMine,
        }
    }
}

/// Answers a request about a query that another process gave its id.
pub async fn elsewhere(gateway: &Gateway, ask: &Ask) -> held::Reply {
    let fleet = gateway.registry.fleet();
    let lost = || held::Reply::Answer(Outcome::Own(OwnAnswer::held_lost(&ask.id, &ask.origin)));
    let away = || held::Reply::Answer(Outcome::Own(OwnAnswer::owner_away(&ask.id)));
    if fleet.config.store.serves_one_gateway() {
        return lost();
    }
    // One that lives may not have said so for a while.
    let lost_after = fleet.config.health.lost_after.max(PERIOD * 2);
    match gateway.peer(ask.id.coordinator(), fleet.config.timeouts.store).await {
        Err(Silent) => away(),
        // Its gateway may not have told the store of itself yet.
        Ok(None) if is_older(&ask.id, lost_after) => lost(),
        Ok(None) => away(),
        Ok(Some(peer)) => match pass(gateway, &fleet.config, &peer, ask).await {
            Some(Passed::Reply(reply)) => reply,
            Some(Passed::NotMine) => lost(),
            None if age_ms(peer.last_seen_ms) >= millis(lost_after) => lost(),
            None => away(),
        },
    }
}

/// What another gateway said.
enum Passed {
    Reply(held::Reply),
    /// It is another process by now.
    NotMine,
}

/// Asks another gateway. `None`: it gave no answer that can be used.
async fn pass(gateway: &Gateway, config: &Config, peer: &Peer, ask: &Ask) -> Option<Passed> {
    let secret = config.peers.secret.as_ref()?;
    let body = Bytes::from(serde_json::to_vec(ask).ok()?);
    let mut header = RequestHeader::build("POST", PATH.as_bytes(), Some(4)).ok()?;
    header.insert_header(HOST, peer.address.to_string()).ok()?;
    header.insert_header(AUTHORIZATION, format!("Bearer {}", secret.reveal())).ok()?;
    header.insert_header(CONTENT_TYPE, "application/json").ok()?;
    header.insert_header(CONTENT_LENGTH, body.len()).ok()?;
    let timeouts = &config.timeouts;
    let answer = timeouts.connect + timeouts.answer + ALLOWANCE;
    let bounds = Bounds { answer, body: ANSWER_MAX };
    let connected = match gateway.upstream.connect_to_gateway(peer.address, timeouts).await {
        Ok(connected) => connected,
        Err(error) => {
            debug!(query_id = %ask.id, error = error.chain(), "the gateway that holds it is away");
            return None;
        }
    };
    let call = Call { header, body };
    let answer = gateway.upstream.exchange_on(connected, call, bounds, Want::Whole).await;
    read(answer.ok()?)
}

fn read(answer: Answer) -> Option<Passed> {
    let Answer { mut header, body } = answer;
    let told = header.remove_header("x-warren-peer")?;
    match told.to_str().ok()?.split_once(' ') {
        Some(("became", id)) => Some(Passed::Reply(held::Reply::Became(QueryId::parse(id).ok()?))),
        None if told == "not_mine" => Some(Passed::NotMine),
        None if told == "answer" => {
            for hop in ["connection", "keep-alive", "transfer-encoding", "date"] {
                header.remove_header(hop);
            }
            if header.status != 204 {
                header.insert_header(CONTENT_LENGTH, body.len()).ok()?;
            }
            let answered = Outcome::Answered(Box::new(header), body);
            Some(Passed::Reply(held::Reply::Answer(answered)))
        }
        _ => None,
    }
}

/// Whether an id was given longer than `age` ago, by the time that stands in it.
fn is_older(id: &QueryId, age: Duration) -> bool {
    let then = time::query_id_time(time::unix_ms().saturating_sub(millis(age)));
    id.as_str() < then.as_str()
}

fn age_ms(then_ms: u64) -> u64 {
    time::unix_ms().saturating_sub(then_ms)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
