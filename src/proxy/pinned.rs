//! Requests that name no query and must still reach one coordinator: transactions, `kill_query`,
//! hand-shakes of OAuth2, segments of spooled results, and the coordinator's web pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use tracing::debug;

use crate::classify::RequestKind;
use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::gateway::Gateway;
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::context::Context;
use crate::proxy::cookie;
use crate::proxy::kill::killed_query;
use crate::proxy::segments;
use crate::proxy::{follow, headers};
use crate::sticky::pins::Pin;
use crate::sticky::{Known, Sticky};
use crate::time;

/// The longest `state` of a hand-shake that is read.
const STATE_MAX: usize = 16 << 10;

/// What an answer of `cluster` pins to it; `query` is the one that it is about.
pub fn learn(
    gateway: &Gateway,
    cluster: &Arc<Cluster>,
    answer: &ResponseHeader,
    query: Option<&QueryId>,
) {
    let Sticky { pins, unfinished, .. } = &gateway.sticky;
    if let Some(id) = text(&answer.headers, "x-trino-started-transaction-id") {
        pins.learn(Pin::Transaction, id, cluster);
        unfinished.began(id, cluster, time::now());
    }
    if let Some(query) = query
        && answer.headers.contains_key("x-trino-clear-transaction-id")
    {
        unfinished.finished(query);
    }
    if answer.status == 401 {
        let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter();
        for id in challenges.filter_map(|value| handshake_id(value.to_str().ok()?)) {
            pins.learn_handshake(id, cluster);
        }
    }
}

/// The cluster that a statement must go to, whatever rules, load and intent say.
pub fn of_submit(
    gateway: &Gateway,
    head: &RequestHeader,
    statement: &[u8],
) -> Option<Arc<Cluster>> {
    let pins = &gateway.sticky.pins;
    if let Some(id) = transaction_of(head) {
        let owner = pins.owner(Pin::Transaction, id);
        if owner.is_none() {
            debug!("a transaction that no cluster showed; its statement goes by the rules");
        }
        return owner;
    }
    match gateway.sticky.known(&killed_query(statement)?) {
        Known::Owned { cluster, .. } => Some(cluster),
        Known::Among(_) | Known::Unknown => None,
    }
}

/// A cluster accepted a statement: if it belongs to a transaction that a cluster showed, that is in use.
pub fn accepted(
    gateway: &Gateway,
    head: &RequestHeader,
    cluster: &Arc<Cluster>,
    query: &Arc<LiveQuery>,
) {
    let Sticky { pins, unfinished, .. } = &gateway.sticky;
    if let Some(id) = transaction_of(head)
        && pins.owner(Pin::Transaction, id).is_some()
    {
        unfinished.used(id, cluster, query, time::now());
    }
}

/// The transaction that a statement says it belongs to.
fn transaction_of(head: &RequestHeader) -> Option<&str> {
    let id = text(&head.headers, "x-trino-transaction-id")?;
    (!id.eq_ignore_ascii_case("NONE")).then_some(id)
}

/// A cluster answered about a spooled segment: one that was acknowledged is open no more.
pub fn answered_about_segment(gateway: &Gateway, path: &str, status: u16) {
    if let (200..300, Some(name)) = (status, path.strip_prefix("/v1/spooled/ack/")) {
        gateway.sticky.unfinished.acknowledged(name);
    }
}

/// Where a request goes that names no query.
pub enum Place {
    /// To the cluster that has what it is about.
    Pinned(Arc<Cluster>),
    /// Nowhere any more: asking for its place has done what it asks, with this status.
    Done(u16),
    /// Anywhere.
    Any,
}

/// Finds out where a request must go that names no query.
pub async fn of_request(
    gateway: &Gateway,
    head: &RequestHeader,
    ctx: &Context,
    client: &Client,
) -> Place {
    if let (Some(RequestKind::Spooled), Some(name)) = (&ctx.kind, segment_of(head.uri.path()))
        && gateway.sticky.pins.owner(Pin::Segment, name).is_none()
    {
        return ask_for_segment(gateway, head, ctx, client, name).await;
    }
    known(gateway, head, ctx).map_or(Place::Any, Place::Pinned)
}

fn segment_of(path: &str) -> Option<&str> {
    segments::identifier(path.strip_prefix("/v1/spooled/")?.as_bytes())
}

/// What memory and the cookie say.
fn known(gateway: &Gateway, head: &RequestHeader, ctx: &Context) -> Option<Arc<Cluster>> {
    let pins = &gateway.sticky.pins;
    let path = head.uri.path();
    let pinned = match &ctx.kind {
        Some(RequestKind::Oauth) => {
            handshake_of(path, head.uri.query()).and_then(|name| pins.owner(Pin::Handshake, &name))
        }
        Some(RequestKind::Spooled) => pins.owner(Pin::Segment, segment_of(path)?),
        _ => None,
    };
    let fleet = &ctx.fleet;
    let by_cookie = || fleet.cluster(&cookie::read(&gateway.cookie_key, &head.headers)?).cloned();
    let web = matches!(ctx.kind, Some(RequestKind::Ui | RequestKind::Oauth));
    let pinned = pinned.or_else(|| web.then(by_cookie).flatten())?;
    let usable = !web || !pinned.is_silent(time::now(), fleet.config.health.lost_after);
    (usable && fleet.clusters.iter().any(|known| Arc::ptr_eq(known, &pinned))).then_some(pinned)
}

/// Who has a segment that no page of ours listed: after a restart, or through another gateway. An
/// identifier is encrypted for its cluster, so another one answers with an error.
async fn ask_for_segment(
    gateway: &Gateway,
    head: &RequestHeader,
    ctx: &Context,
    client: &Client,
    name: &str,
) -> Place {
    let timeouts = &ctx.fleet.config.timeouts;
    let clusters = &ctx.fleet.clusters;
    let asked = clusters.iter().map(async |cluster| {
        let header = headers::copy_for(cluster, head, client).ok()?;
        follow::status_of(gateway, cluster, header, timeouts).await
    });
    let answers = join_all(asked).await;
    let mut told = clusters.iter().zip(answers);
    let Some((owner, status)) = told.find(|(_, status)| matches!(status, Some(200..400))) else {
        return Place::Any;
    };
    gateway.metrics.lookup("asked");
    gateway.sticky.pins.learn(Pin::Segment, name, owner);
    answered_about_segment(gateway, head.uri.path(), status.unwrap_or_default());
    match status {
        // It is deleted now; asking once more would find nothing.
        Some(status) if head.uri.path().starts_with("/v1/spooled/ack/") => Place::Done(status),
        _ => Place::Pinned(owner.clone()),
    }
}

/// The hand-shake's id in a challenge: the end of `x_token_server="…/oauth2/token/ID"`.
fn handshake_id(challenge: &str) -> Option<&str> {
    let (_, server) = challenge.split_once("x_token_server=\"")?;
    let (address, _) = server.split_once('"')?;
    let (_, id) = address.rsplit_once("/oauth2/token/")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// The hand-shake that a request is about, by its id or by the hash of it.
fn handshake_of(path: &str, query: Option<&str>) -> Option<String> {
    let rest = path.strip_prefix("/oauth2/")?;
    if let Some(name) = rest.strip_prefix("token/") {
        return Some(name.strip_prefix("initiate/").unwrap_or(name).to_owned());
    }
    if rest != "callback" {
        return None;
    }
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, state) = pairs.find(|(name, _)| *name == "state")?;
    handler_state(state)
}

#[derive(Deserialize)]
struct Claims {
    handler_state: String,
}

/// The claim in the state that the coordinator signed. It is not verified here: it only chooses the
/// cluster, which verifies it.
fn handler_state(state: &str) -> Option<String> {
    let payload = state.get(..state.len().min(STATE_MAX))?.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    Some(serde_json::from_slice::<Claims>(&claims).ok()?.handler_state)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_told_by_challenges_and_paths() {
        let challenge = "Bearer x_redirect_server=\"https://t/oauth2/token/initiate/aa\", \
                         x_token_server=\"https://t/oauth2/token/1-2-3\"";
        assert_eq!(handshake_id(challenge), Some("1-2-3"));
        assert_eq!(handshake_id("Bearer realm=\"x\""), None);
        assert_eq!(handshake_id("Bearer x_token_server=\"https://t/oauth2/token/\""), None);
        let of = |path, query| handshake_of(path, query);
        assert_eq!(of("/oauth2/token/1-2-3", None).as_deref(), Some("1-2-3"));
        assert_eq!(of("/oauth2/token/initiate/aa", None).as_deref(), Some("aa"));
        let claims = URL_SAFE_NO_PAD.encode(r#"{"aud":"trino_oauth_ui","handler_state":"aa"}"#);
        let query = format!("code=1&state=x.{claims}.y");
        assert_eq!(of("/oauth2/callback", Some(&query)).as_deref(), Some("aa"));
        for query in ["", "state=", "state=x", "state=x.!!.y", "state=x.e30.y"] {
            assert_eq!(of("/oauth2/callback", Some(query)), None, "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_panics(text in ".{0,80}") {
            handshake_id(&text);
            handshake_of(&format!("/oauth2/{text}"), Some(&format!("state={text}")));
            handler_state(&format!("x.{text}"));
        }
    }
}
