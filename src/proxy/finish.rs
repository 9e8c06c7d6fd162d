//! The end of a request: its figures, and one access event. No statement, no slug, no credential.

use pingora_proxy::Session;
use tracing::info;

use crate::gateway::Gateway;
use crate::proxy::context::Context;
use crate::telemetry::metrics::RequestFigures;
use crate::time;

/// Tells what became of a request.
pub fn finish(gateway: &Gateway, session: &Session, ctx: &mut Context) {
    let now = time::now();
    ctx.facts.answered(now);
    let facts = &ctx.facts;
    let status = session.response_written().map_or(0, |header| header.status.as_u16());
    let total = now.saturating_duration_since(facts.began);
    let body = facts.body_began.map(|began| now.saturating_duration_since(began));
    let added = total.saturating_sub(facts.upstream).saturating_sub(body.unwrap_or_default());
    let kind = ctx.kind.as_ref().map_or("refused", |kind| kind.label());
    let cluster = facts.cluster.as_ref().map_or("", |cluster| cluster.name().as_str());
    let group = facts.group.as_deref().unwrap_or("");
    gateway.metrics.request(&RequestFigures {
        kind,
        group,
        cluster,
        status,
        added,
        upstream: facts.cluster.is_some().then_some(facts.upstream),
    });
    if let Some(why) = facts.own_answer {
        gateway.metrics.own_answer(why);
    }
    info!(
        target: "access",
        kind,
        method = %session.req_header().method,
        query_id = facts.query_id.as_ref().map_or("", |id| id.as_str()),
        group,
        rule = facts.rule.as_deref().unwrap_or(""),
        cluster,
        status,
        bytes = session.body_bytes_sent(),
        added_us = u64::try_from(added.as_micros()).unwrap_or(u64::MAX),
        upstream_us = u64::try_from(facts.upstream.as_micros()).unwrap_or(u64::MAX),
        own_answer = facts.own_answer.unwrap_or(""),
        "request"
    );
}
