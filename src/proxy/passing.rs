//! An answer on its way back through the proxy: what its head and its bytes teach, and the little that
//! is changed in them.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::classify::RequestKind;
use crate::cluster::traffic::Kind;
use crate::cluster::{Cluster, Forwarding};
use crate::config::Scheme;
use crate::gateway::Gateway;
use crate::history::record::EndCause;
use crate::ids::QueryId;
use crate::proxy::context::{Context, Streaming};
use crate::proxy::observe::{PageObserver, Told};
use crate::proxy::rewrite::Rewriter;
use crate::proxy::segments::Segments;
use crate::proxy::{cookie, pinned};
use crate::sticky::pins::Pin;
use crate::time::{self, Instant};

/// The head of an answer came.
pub fn head(
    gateway: &Gateway,
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> pingora::Result<()> {
    let now = time::now();
    ctx.facts.answered(now);
    ctx.facts.body_began = Some(now);
    let page = matches!(ctx.kind, Some(RequestKind::Page(_)));
    let repeatable = page || matches!(ctx.kind, Some(RequestKind::Cancel(_)));
    let web = ctx.kind == Some(RequestKind::Ui);
    let spooled = ctx.kind == Some(RequestKind::Spooled);
    let origin = ctx.client.as_ref().map(|client| client.origin.clone());
    let went = page.then(|| ctx.sender(&session.req_header().headers)).flatten();
    let Some(streaming) = ctx.streaming() else { return Ok(()) };
    let strange = repeatable && is_web_page(response);
    match went {
        Some(sender) if strange || response.status.is_server_error() => {
            gateway.went_wrong(&streaming.cluster, Kind::Page, sender);
        }
        Some(sender) => gateway.went_well(&streaming.cluster, Kind::Page, sender),
        None => {}
    }
    // Trino says none of these about a page or a cancel: what stands before it has lost it for a
    // while.
    if strange || (repeatable && matches!(response.status.as_u16(), 502..=504)) {
        let status = if strange { 502 } else { response.status.as_u16() };
        let status = ErrorType::HTTPStatus(status);
        return Error::e_explain(status, "it was answered before its coordinator");
    }
    if page && matches!(response.status.as_u16(), 404 | 410) && !is_believed(streaming, now) {
        let status = ErrorType::HTTPStatus(503);
        return Error::e_explain(status, "who denied the query may not be who had it");
    }
    streaming.cluster.reached(now);
    pinned::learn(gateway, &streaming.cluster, response, streaming.id.as_ref());
    if spooled {
        let path = session.req_header().uri.path();
        pinned::answered_about_segment(gateway, path, response.status.as_u16());
    }
    if web && !is_asset(response) {
        let scheme = origin.as_ref().map_or(Scheme::Http, |origin| origin.scheme);
        keep_browser(gateway, session, response, &streaming.cluster, scheme)?;
    }
    if !page || response.status != 200 {
        return Ok(());
    }
    // Only now is it sure that the query lives there: a client can make up any id.
    if let (None, Some(id)) = (&streaming.query, &streaming.id) {
        streaming.query = Some(gateway.sticky.met(&streaming.cluster, id));
    }
    if session.req_header().method != Method::GET {
        return Ok(());
    }
    look_into(streaming, response);
    if let Some(origin) = origin
        && streaming.cluster.forwarding_for(origin.scheme) == Forwarding::Rewritten
    {
        streaming.rewriter = Some(Rewriter::to(origin.to_string()));
        response.remove_header(&CONTENT_LENGTH);
        response.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// The exchange for a page broke. What was answered with a status has been counted by it.
pub fn broken(gateway: &Gateway, session: &Session, error: &Error, ctx: &mut Context) {
    let page = matches!(ctx.kind, Some(RequestKind::Page(_)));
    let own = *error.esource() == ErrorSource::Downstream;
    if !page || own || matches!(error.etype(), ErrorType::HTTPStatus(_)) {
        return;
    }
    let sender = ctx.sender(&session.req_header().headers);
    if let (Some(sender), Some(streaming)) = (sender, ctx.streaming()) {
        gateway.went_wrong(&streaming.cluster, Kind::Page, sender);
    }
}

/// Whether who says now that there is no such query is the process that would know it. Another one
/// may have taken its address: then its queries are lost, which is told in other words than 404.
fn is_believed(streaming: &mut Streaming, now: Instant) -> bool {
    let Some(mark) = streaming.id.as_ref().map(QueryId::coordinator) else { return true };
    let lives = streaming.query.as_ref().is_some_and(|query| !query.is_over());
    if lives || streaming.denied.is_some() {
        // A statement that runs after the first denial shows who it is.
        let denied = *streaming.denied.get_or_insert(now);
        return streaming.cluster.verdict().showed(mark, denied);
    }
    streaming.cluster.is_ready() && streaming.cluster.verdict().coordinator() == Some(mark)
}

/// Gives a browser the cookie for this cluster, unless it has it.
fn keep_browser(
    gateway: &Gateway,
    session: &Session,
    response: &mut ResponseHeader,
    cluster: &Arc<Cluster>,
    scheme: Scheme,
) -> pingora::Result<()> {
    let has = cookie::read(&gateway.cookie_key, &session.req_header().headers);
    if has.as_ref() != Some(cluster.name()) {
        let line = cookie::write(&gateway.cookie_key, cluster.name(), scheme);
        response.append_header("Set-Cookie", line)?;
    }
    Ok(())
}

/// Whether who answers 200 shows a page of the web, as a proxy does that wants a login. No coordinator
/// answers so about a query.
pub fn is_web_page(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    response.status == 200 && kind.is_some_and(|kind| kind.starts_with(b"text/html"))
}

/// Whether an answer is a picture, a style or the like: the same everywhere, and kept in caches, where
/// no cookie belongs.
fn is_asset(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        ["image/", "font/", "text/css"].iter().any(|start| kind.starts_with(start))
            || kind.contains("javascript")
    })
}

fn look_into(streaming: &mut Streaming, response: &ResponseHeader) {
    let encoding = response.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
    streaming.observer = Some(PageObserver::of_encoding(encoding));
    if response.headers.contains_key("x-trino-query-data-encoding") {
        streaming.segments = Some(Segments::of_encoding(encoding));
    }
}

/// A part of its body came; `end`: the last one.
pub fn chunk(gateway: &Gateway, body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    let Some(streaming) = ctx.streaming() else { return };
    if let Some(chunk) = body.as_ref() {
        if let Some(observer) = &mut streaming.observer {
            observer.see(chunk);
        }
        // Before the client can ask for what the chunk lists.
        for name in streaming.segments.iter_mut().flat_map(|segments| segments.see(chunk)) {
            gateway.sticky.pins.learn(Pin::Segment, &name, &streaming.cluster);
            gateway.sticky.unfinished.listed(&name, &streaming.cluster, time::now());
        }
    }
    if let Some(rewriter) = &mut streaming.rewriter {
        *body = rewriter.pass(body.take(), end);
    }
    if end {
        passed(gateway, streaming);
    }
}

/// The page has passed: what it told of its query is noted.
fn passed(gateway: &Gateway, streaming: &mut Streaming) {
    let told = streaming.observer.take().map(|mut observer| observer.finish());
    match (told, &streaming.id, &streaming.query) {
        (Some(Told::Ended { state, error }), Some(id), _) => {
            if error.as_deref() == Some("UNKNOWN_TRANSACTION") {
                gateway.sticky.unfinished.finished(id);
            }
            gateway.sticky.ended(&streaming.cluster, id, EndCause::LastPage, (state, error));
        }
        (Some(Told::GoesOn), _, Some(query)) => gateway.sticky.goes_on(&streaming.cluster, query),
        _ => {}
    }
}
