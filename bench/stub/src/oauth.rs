//! The paths of a hand-shake of OAuth2, and who may post a statement without one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use crate::api::{Act, not_found};
use crate::coordinator::handshake::{self, Asked};
use crate::coordinator::{Coordinator, LONG_POLL, Moment};
use crate::http::{Request, Response, percent_encoded};

/// The cookie that ties a login to the browser that began it.
const NONCE: &str = "__Secure-Trino-Nonce";

/// A token asked for, owned, because it may be waited for.
#[derive(Debug)]
pub(crate) struct Awaited {
    id: String,
    deadline: Duration,
}

/// What refuses a statement of somebody who has not logged in.
pub(crate) fn refusal(
    coordinator: &mut Coordinator,
    request: &Request,
    moment: Moment<'_>,
) -> Option<Response> {
    moment.behaviour.oauth.as_ref()?;
    match request.header("authorization").and_then(|told| told.split_once(' ')) {
        // Whose password it is does not matter here.
        Some(("Basic", _)) => return None,
        Some(("Bearer", token)) if handshake::is_token(token) => return None,
        _ => {}
    }
    let Some((id, hash)) = coordinator.handshakes.begin() else {
        return Some(Response::text(503, "the stub keeps no more hand-shakes"));
    };
    let base = moment.base;
    let challenge = format!(
        "Bearer x_redirect_server=\"{base}/oauth2/token/initiate/{hash}\", \
         x_token_server=\"{base}/oauth2/token/{id}\""
    );
    let basic = "Basic realm=\"Trino\"".to_owned();
    let headers = vec![("WWW-Authenticate", basic), ("WWW-Authenticate", challenge)];
    Some(Response { headers, ..Response::text(401, "Unauthorized") })
}

/// Decides about a request below `/oauth2`.
pub(crate) fn act(coordinator: &mut Coordinator, request: &Request, moment: Moment<'_>) -> Act {
    let Some(login) = &moment.behaviour.oauth else { return Act::Answer(not_found()) };
    let segments: Vec<&str> = request.path().split('/').skip(2).collect();
    let answer = match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["token", "initiate", hash]) => initiate(coordinator, hash, login, moment.base),
        ("GET", ["callback"]) => callback(coordinator, request),
        ("GET", ["token", id]) => {
            let deadline = moment.now + LONG_POLL;
            return Act::Token(Awaited { id: (*id).to_owned(), deadline });
        }
        ("DELETE", ["token", id]) if coordinator.handshakes.knows(&handshake::hex_of(id)) => {
            Response::empty(200)
        }
        _ => not_found(),
    };
    Act::Answer(answer)
}

/// The hash of the hand-shake that a request is about.
pub(crate) fn hash_of(request: &Request) -> Option<String> {
    let rest = request.path().strip_prefix("/oauth2/")?;
    match rest.strip_prefix("token/") {
        Some(name) => Some(match name.strip_prefix("initiate/") {
            Some(hash) => hash.to_owned(),
            None => handshake::hex_of(name),
        }),
        None => handshake::hash_in(request.parameter("state")?),
    }
}

/// Sends a browser to the login.
fn initiate(coordinator: &Coordinator, hash: &str, login: &str, base: &str) -> Response {
    let Some((state, nonce)) = coordinator.handshakes.state(hash) else { return not_found() };
    let back = percent_encoded(&format!("{base}/oauth2/callback"));
    let cookie = format!("{NONCE}={nonce}; Path=/oauth2/callback; Secure; HttpOnly");
    let headers = vec![
        ("Location", format!("{login}?redirect_uri={back}&state={state}")),
        ("Set-Cookie", cookie),
    ];
    Response { headers, ..Response::empty(303) }
}

/// A browser comes back from the login.
fn callback(coordinator: &mut Coordinator, request: &Request) -> Response {
    let (Some(state), Some(code)) = (request.parameter("state"), request.parameter("code")) else {
        return Response::html(400, "<!DOCTYPE html><title>bad callback</title>");
    };
    let cookies = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let nonce = cookies
        .flat_map(|(_, line)| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NONCE)
        .map(|(_, value)| value);
    if coordinator.handshakes.complete(state, code, nonce) {
        Response::html(200, "<!DOCTYPE html><title>logged in</title><p>You may close this page")
    } else {
        Response::html(401, "<!DOCTYPE html><title>not logged in</title>")
    }
}

/// Tries to answer a poll; `Err`: wait until then, or for the bell.
pub(crate) fn try_token(
    coordinator: &Coordinator,
    awaited: &Awaited,
    moment: Moment<'_>,
) -> Result<Response, (Duration, Arc<Notify>)> {
    let told = match coordinator.handshakes.ask(&awaited.id) {
        Asked::Unknown => return Ok(not_found()),
        Asked::Token(token) => json!({"token": token}),
        Asked::Waits(bell) if moment.now < awaited.deadline => {
            return Err((awaited.deadline, bell));
        }
        Asked::Waits(_) => json!({
            "nextUri": format!("{}/oauth2/token/{}", moment.base, awaited.id),
        }),
    };
    Ok(Response::json(told.to_string().into_bytes()))
}
