//! Where a request goes that streams: to the owner of its query, or, about no query, to a cluster
//! that takes new ones. A query that was moved is found under its old id; one whose coordinator is
//! lost is answered here.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::{PathAndQuery, Uri};
use pingora_proxy::Session;

use crate::classify::RequestKind;
use crate::cluster::Cluster;
use crate::cluster::live::{LiveQuery, Moved};
use crate::gateway::Gateway;
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::context::{Context, Stage, Streaming};
use crate::proxy::follow::{self, Found};
use crate::proxy::held::{self, Reply};
use crate::proxy::peers;
use crate::proxy::pinned::{self, Place};
use crate::proxy::rescue::OwnAnswer;
use crate::proxy::submit::Outcome;
use crate::sticky::Known;
use crate::time;

/// Decides where a request goes; an answer ends it here.
pub async fn direct(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Context,
    client: &Client,
) -> Result<(), OwnAnswer> {
    let give_up = time::now() + ctx.fleet.config.timeouts.page_hold;
    let streaming = if let Some(id) = ctx.facts.query_id.clone() {
        let found = follow::find(gateway, session.req_header(), ctx, client, &id).await;
        let (cluster, query) = match found {
            Found::Owner(cluster, query) => owner(gateway, session, ctx, cluster, query)?,
            Found::Own(answer) => return Err(answer),
        };
        let id = query.as_ref().map_or(id, |query| query.id().clone());
        let lost = lost(gateway, ctx.fleet.config.health.lost_after, client, &cluster, &id);
        match (&ctx.kind, lost) {
            (Some(RequestKind::Page(_)), Some(answer)) => return Err(answer),
            (Some(RequestKind::Cancel(_)), Some(_)) => return Err(OwnAnswer::cancelled()),
            _ => {}
        }
        Streaming { query, ..Streaming::to(cluster, Some(id), give_up) }
    } else {
        let cluster = match pinned::of_request(gateway, session.req_header(), ctx, client).await {
            Place::Pinned(cluster) => Some(cluster),
            Place::Done(status) => return Err(OwnAnswer::acknowledged(status)),
            Place::Any => ctx.fleet.any_ready().cloned(),
        };
        Streaming::to(cluster.ok_or_else(OwnAnswer::no_cluster)?, None, give_up)
    };
    if let (Some(RequestKind::Page(_)), Some(query)) = (&ctx.kind, &streaming.query)
        && query.asked(time::now())
    {
        streaming.cluster.ledger().begin(query.id());
    }
    ctx.facts.cluster = Some(streaming.cluster.clone());
    ctx.stage = Stage::Streaming(Box::new(streaming));
    Ok(())
}

/// The owner of a query, or of the one that took its place: then the request is about that one.
fn owner(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &Context,
    cluster: Arc<Cluster>,
    query: Option<Arc<LiveQuery>>,
) -> Result<(Arc<Cluster>, Option<Arc<LiveQuery>>), OwnAnswer> {
    let Some(old) = query else { return Ok((cluster, None)) };
    let Some(Moved { query: new, answer }) = old.moved() else { return Ok((cluster, Some(old))) };
    if matches!(ctx.kind, Some(RequestKind::Page(_))) {
        // The client did not get the answer that told it of the other one.
        return Err(OwnAnswer::again(answer));
    }
    retarget(session, ctx.kind.as_ref(), old.id(), new.id())?;
    match gateway.sticky.known(new.id()) {
        Known::Owned { cluster, .. } => Ok((cluster, Some(new.clone()))),
        Known::Among(_) | Known::Unknown => Err(OwnAnswer::owner_away(new.id())),
    }
}

/// Makes a request about one query one about the query that took its place.
fn retarget(
    session: &mut Session,
    kind: Option<&RequestKind>,
    old: &QueryId,
    new: &QueryId,
) -> Result<(), OwnAnswer> {
    let path = match kind {
        // What is behind the id there is of no use at another cluster.
        Some(RequestKind::Cancel(_)) => format!("/v1/query/{new}"),
        _ => {
            let target = session.req_header().uri.path_and_query().map_or("", PathAndQuery::as_str);
            target.replace(old.as_str(), new.as_str())
        }
    };
    let uri: Uri = path.parse().map_err(|_| OwnAnswer::owner_away(old))?;
    session.req_header_mut().set_uri(uri);
    Ok(())
}

/// Answers a request about a query that is held, or was. `None`: it became another one, and the
/// request is about that now.
pub async fn held(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Context,
    client: &Client,
    id: &QueryId,
) -> Option<Outcome> {
    let kind = ctx.kind.as_ref()?;
    let ask = held::ask_of(session.req_header(), kind, client)?;
    let reply = match id.coordinator() == gateway.held.mark() {
        true => held::reply(gateway, &ask).await,
        false => peers::elsewhere(gateway, &ask).await,
    };
    let new = match reply {
        Reply::Answer(outcome) => return Some(outcome),
        Reply::Became(new) => new,
    };
    if let Err(answer) = retarget(session, Some(kind), id, &new) {
        return Some(Outcome::Own(answer));
    }
    ctx.kind = Some(match kind {
        RequestKind::Cancel(_) => RequestKind::Cancel(new.clone()),
        _ => RequestKind::Query(new.clone()),
    });
    ctx.facts.query_id = Some(new);
    None
}

/// The answer about a query whose coordinator is lost.
fn lost(
    gateway: &Gateway,
    lost_after: Duration,
    client: &Client,
    cluster: &Arc<Cluster>,
    id: &QueryId,
) -> Option<OwnAnswer> {
    let lost = gateway.sticky.lost(cluster, id, lost_after)?;
    Some(OwnAnswer::query_lost(id, &client.origin.to_string(), cluster.name().as_str(), lost))
}

/// The same for a page that was tried and waits. One that may still be moved is not lost yet.
pub fn lost_while_waiting(gateway: &Gateway, ctx: &Context) -> Option<OwnAnswer> {
    let (Some(RequestKind::Page(_)), Stage::Streaming(waiting)) = (&ctx.kind, &ctx.stage) else {
        return None;
    };
    if waiting.failures == 0 || waiting.query.as_ref().is_some_and(|query| !query.is_bound()) {
        return None;
    }
    let lost_after = ctx.fleet.config.health.lost_after;
    let (client, id) = (ctx.client.as_ref()?, waiting.id.as_ref()?);
    lost(gateway, lost_after, client, &waiting.cluster, id)
}

/// Whether a request asks for a page with its rows.
pub fn reads_page(session: &Session, ctx: &Context) -> bool {
    matches!(ctx.kind, Some(RequestKind::Page(_))) && session.req_header().method == Method::GET
}
