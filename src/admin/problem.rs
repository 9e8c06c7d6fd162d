//! How the API says that something is wrong.

use std::error::Error;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::task::JoinError;

use crate::store::{StoreError, chain};

/// A status and a text for people, and what was found if that is more than one thing.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    text: String,
    findings: Vec<String>,
}

impl Problem {
    /// Says `text` with `status`.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), findings: Vec::new() }
    }

    /// The same with all that was found, each by itself.
    pub(super) fn with_findings(self, findings: Vec<String>) -> Self {
        Self { findings, ..self }
    }
}

/// Work that broke off is nobody's mistake but ours.
impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the work broke off: {error}"))
    }
}

/// A part of the address; one that cannot be read is told as all else that is wrong.
#[derive(Debug)]
pub(super) struct Readable<P>(pub(super) P);

impl<S, P> FromRequestParts<S> for Readable<P>
where
    S: Send + Sync,
    P: FromRequestParts<S>,
    P::Rejection: Error,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        P::from_request_parts(parts, state).await.map(Self).map_err(|refusal| {
            let text = chain(&refusal);
            Problem::new(refusal.into_response().status(), text)
        })
    }
}

/// The status that says that the store did not do something.
pub(super) fn status_of(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Unusable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let told = if self.findings.is_empty() {
            json!({ "error": self.text })
        } else {
            json!({ "error": self.text, "findings": self.findings })
        };
        (self.status, Json(told)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_broke_off_is_not_blamed_on_who_asked() {
        let broke = tokio::task::spawn_blocking::<_, ()>(|| panic!("as told")).await.unwrap_err();
        let answer = Problem::from(broke).into_response();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
