//! What other gateways pass on: requests about queries that this process holds. They show the secret that
//! all of them share, and what comes so is answered here or nowhere.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::guard::bears;
use super::problem::Problem;
use crate::gateway::peers::{Ask, Reply};

/// How the answer tells what it is.
const TOLD: &str = "x-warren-peer";

pub(super) async fn held(
    State(shared): State<Shared>,
    headers: HeaderMap,
    ask: Result<Json<Ask>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let config = shared.gateway.registry.fleet().config.clone();
    let secret = config.peers.secret.as_ref();
    if !secret.is_some_and(|secret| bears(&headers, secret.reveal())) {
        let text = "this is for other gateways, which show `peers.secret`";
        return Problem::new(StatusCode::UNAUTHORIZED, text).into_response();
    }
    let Json(ask) = match ask {
        Ok(ask) => ask,
        Err(error) => {
            return Problem::new(StatusCode::BAD_REQUEST, error.body_text()).into_response();
        }
    };
    let (mut response, told) = match shared.holder.reply(ask).await {
        Reply::Answer(answer) => (answer.map(Body::from), "answer".to_owned()),
        Reply::Became(id) => (StatusCode::OK.into_response(), format!("became {id}")),
        Reply::NotMine => (StatusCode::NOT_FOUND.into_response(), "not_mine".to_owned()),
    };
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert(TOLD, told);
    }
    response
}
