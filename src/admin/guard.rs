//! Who may call the API: whoever carries the token; without a token, whoever is on this machine.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::problem::Problem;
use crate::gateway::equal_secrets;

/// Lets a call pass, or says what it lacks.
pub(super) async fn authorize(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let config = shared.gateway.registry.fleet().config.clone();
    let refusal = match &config.admin.token {
        Some(token) => {
            let right = bears(request.headers(), token.reveal());
            (!right).then_some((StatusCode::UNAUTHORIZED, "send `Authorization: Bearer TOKEN`"))
        }
        None if !shared.bound.ip().is_loopback() => Some((
            StatusCode::FORBIDDEN,
            "set `admin.token`: without one, only a port on loopback serves the API",
        )),
        // A page in a browser on this machine can call loopback under a name of its own.
        None if !names_loopback(&request) => {
            Some((StatusCode::FORBIDDEN, "call this port by `localhost` or a loopback address"))
        }
        None => None,
    };
    match refusal {
        Some((status, text)) => Problem::new(status, text).into_response(),
        None => next.run(request).await,
    }
}

fn names_loopback(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Whether a caller carries this token.
pub(super) fn bears(headers: &HeaderMap, token: &str) -> bool {
    let told = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let told = told.and_then(|value| value.strip_prefix(b"Bearer "));
    told.is_some_and(|told| equal_secrets(told, token.as_bytes()))
}
