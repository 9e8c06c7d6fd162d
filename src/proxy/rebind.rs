//! Late binding: a query whose cluster cannot even be connected when its first page is asked for
//! has not begun anywhere. If it surely only reads, it is submitted to another cluster, and its
//! client gets that cluster's first answer: a new id and a new `nextUri`. The old id stays an alias.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use pingora::http::ResponseHeader;
use tracing::info;

use crate::cluster::Cluster;
use crate::cluster::live::{FirstAnswer, LiveQuery, Moved};
use crate::gateway::Gateway;
use crate::gateway::kept::Order;
use crate::history::record::EndCause;
use crate::proxy::place::{ANSWER_MAX, Placed, Placing, Sent};
use crate::proxy::reads::surely_reads;
use crate::time;
use crate::upstream::exchange::Bounds;

/// Moves `query` away from `owner`, which could not be connected; gives the answer for its client.
/// `None`: it cannot be moved now.
pub async fn to_another_cluster(
    gateway: &Gateway,
    owner: &Arc<Cluster>,
    query: &Arc<LiveQuery>,
) -> Option<(Box<ResponseHeader>, Bytes)> {
    // During an upgrade a second process serves; the page may have gone through that one.
    if gateway.in_flight.is_draining() {
        return None;
    }
    let kept = gateway.kept.take(query.id(), time::now())?;
    if !may_move(&kept.1) {
        query.bind();
        return None;
    }
    let Some(placed) = submit_elsewhere(gateway, owner, &kept.1).await else {
        gateway.kept.put_back(query.id(), kept);
        return None;
    };
    let moved_to = placed.query?;
    info!(
        query_id = %query.id(), cluster = %owner.name(), new_query_id = %moved_to.id(),
        "its cluster cannot be connected and it has not begun: submitted to another one"
    );
    gateway.metrics.retry("rebind");
    let encoding = placed.header.headers.get(CONTENT_ENCODING).cloned();
    let answer = FirstAnswer { encoding, body: placed.body.clone() };
    query.move_to(Moved { query: moved_to, answer });
    gateway.sticky.ended(owner, query.id(), EndCause::Moved, (None, None));
    Some((Box::new(placed.header), placed.body))
}

/// Whether a second submit of it changes nothing.
fn may_move(order: &Order) -> bool {
    let transaction = order.head.headers.get("x-trino-transaction-id");
    transaction.is_none_or(|id| id.as_bytes().eq_ignore_ascii_case(b"NONE"))
        && str::from_utf8(&order.text).is_ok_and(surely_reads)
}

async fn submit_elsewhere(
    gateway: &Gateway,
    owner: &Arc<Cluster>,
    order: &Arc<Order>,
) -> Option<Placed> {
    let fleet = gateway.registry.fleet();
    let reservation = gateway.choose(&fleet, &order.wish, &[owner.key()])?;
    let cluster = reservation.cluster().clone();
    let placing = Placing { gateway, fleet: &fleet, order, whole: true };
    let bounds = Bounds { answer: fleet.config.timeouts.answer, body: ANSWER_MAX };
    match placing.send(&cluster, bounds).await {
        Sent::Answer(answer) if answer.header.status == 200 => {
            let placed = placing.accepted(reservation, answer).ok()?;
            placed.query.is_some().then_some(placed)
        }
        _ => None,
    }
}
