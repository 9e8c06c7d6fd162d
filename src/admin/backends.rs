//! The API of trinodb/trino-gateway, as far as scripts call it: its paths, words and shapes, so that
//! a roll that was written for that gateway drives this one.
//!
//! A backend is a cluster; active is the intent `active`, and a deactivated one is `draining`.
//! Backends cannot be added, changed or removed here: they stand in the settings file.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::Shared;
use super::clusters::{declared, unchanged};
use crate::cluster::Cluster;
use crate::control::intents;
use crate::health::verdict::Health;
use crate::store::{Intent, IntentChange};
use crate::time;

/// Who changed an intent, in the log and the store.
const ACTOR: &str = "java-api";

/// What the guard lets pass.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/gateway/backend/all", get(all))
        .route("/gateway/backend/active", get(active))
        .route("/gateway/backend/activate/{name}", post(activate))
        .route("/gateway/backend/deactivate/{name}", post(deactivate))
        .route("/api/public/backends", get(all))
        .route("/api/public/backends/{name}", get(one))
        .route("/api/public/backends/{name}/state", get(state))
}

/// Their `ProxyBackendConfiguration`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Backend {
    name: String,
    proxy_to: String,
    active: bool,
    routing_group: String,
    external_url: String,
}

impl Backend {
    fn of(cluster: &Cluster) -> Self {
        let url = cluster.url().to_string();
        Self {
            name: cluster.name().to_string(),
            proxy_to: url.clone(),
            active: cluster.intent() == Intent::Active,
            routing_group: cluster.settings().group.to_string(),
            external_url: url,
        }
    }
}

/// Their `ClusterStats`. What is not known is null, where they say 0: a script that waits for the
/// last query must not take the one for the other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendState {
    cluster_id: String,
    running_query_count: Option<u32>,
    queued_query_count: Option<u32>,
    num_worker_nodes: Option<u32>,
    trino_status: TrinoStatus,
    proxy_to: String,
    external_url: String,
    routing_group: String,
    user_queued_count: Option<()>,
    custom_metrics: Nothing,
}

/// `{}`.
#[derive(Debug, Serialize)]
struct Nothing {}

impl BackendState {
    fn of(cluster: &Cluster) -> Self {
        let Backend { name, proxy_to, routing_group, external_url, .. } = Backend::of(cluster);
        let figures = cluster.figures();
        let health = cluster.verdict().health();
        Self {
            cluster_id: name,
            running_query_count: figures.running,
            queued_query_count: figures.queued,
            num_worker_nodes: None,
            trino_status: TrinoStatus::of(cluster.intent(), health, cluster.is_unseen()),
            proxy_to,
            external_url,
            routing_group,
            user_queued_count: None,
            custom_metrics: Nothing {},
        }
    }
}

/// Their words for health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum TrinoStatus {
    Pending,
    Healthy,
    Unhealthy,
    Unknown,
}

impl TrinoStatus {
    /// They do not look at a backend that is not active, and call one pending that they did not look
    /// at since it was activated.
    fn of(intent: Intent, health: Health, unseen: bool) -> Self {
        match health {
            _ if intent != Intent::Active => Self::Unknown,
            _ if unseen => Self::Pending,
            Health::Unknown | Health::Starting => Self::Pending,
            Health::Ready => Self::Healthy,
            Health::Unhealthy => Self::Unhealthy,
        }
    }
}

async fn all(State(shared): State<Shared>) -> Json<Vec<Backend>> {
    Json(backends(&shared))
}

async fn active(State(shared): State<Shared>) -> Json<Vec<Backend>> {
    let mut backends = backends(&shared);
    backends.retain(|backend| backend.active);
    Json(backends)
}

fn backends(shared: &Shared) -> Vec<Backend> {
    let fleet = shared.gateway.registry.fleet();
    let declared = fleet.clusters.iter().filter(|cluster| !cluster.is_retired());
    declared.map(|cluster| Backend::of(cluster)).collect()
}

async fn one(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Backend>, StatusCode> {
    let fleet = shared.gateway.registry.fleet();
    let cluster = declared(&fleet, &name).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Backend::of(cluster)))
}

async fn state(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<BackendState>, StatusCode> {
    let fleet = shared.gateway.registry.fleet();
    let cluster = declared(&fleet, &name).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(BackendState::of(cluster)))
}

/// A status and a plain text, as they tell what went wrong.
type Told = (StatusCode, String);

async fn activate(state: State<Shared>, name: Path<String>) -> Result<(), Told> {
    set(state, name, Intent::Active, "activated").await
}

async fn deactivate(state: State<Shared>, name: Path<String>) -> Result<(), Told> {
    set(state, name, Intent::Draining, "deactivated").await
}

async fn set(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    intent: Intent,
    reason: &str,
) -> Result<(), Told> {
    let fleet = shared.gateway.registry.fleet();
    let cluster = declared(&fleet, &name).ok_or_else(|| {
        let text = format!("No cluster found with name: {name}, could not (de)activate");
        (StatusCode::NOT_FOUND, text)
    })?;
    let change = IntentChange {
        cluster: cluster.name().clone(),
        intent,
        actor: ACTOR.to_owned(),
        reason: reason.to_owned(),
        at_ms: time::unix_ms(),
    };
    intents::set(&shared.gateway, change).await.map(drop).map_err(|error| unchanged(&error))
}

pub(super) async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Told> {
    match shared.gateway.not_ready_because() {
        None => Ok("ok"),
        Some(why) => Err((StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_in_their_words() {
        use Health::{Ready, Starting, Unhealthy, Unknown};
        let seen = [Unknown, Starting, Ready, Unhealthy]
            .map(|health| TrinoStatus::of(Intent::Active, health, false));
        let expected = [
            TrinoStatus::Pending,
            TrinoStatus::Pending,
            TrinoStatus::Healthy,
            TrinoStatus::Unhealthy,
        ];
        assert_eq!(seen, expected);
        assert_eq!(TrinoStatus::of(Intent::Active, Ready, true), TrinoStatus::Pending);
        for intent in [Intent::Standby, Intent::Draining, Intent::Drained] {
            assert_eq!(TrinoStatus::of(intent, Ready, false), TrinoStatus::Unknown, "{intent:?}");
        }
    }
}
