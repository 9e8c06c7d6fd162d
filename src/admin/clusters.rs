//! The clusters as operators see them, and what they want of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Shared;
use super::problem::{Problem, Readable, status_of};
use crate::cluster::Cluster;
use crate::cluster::registry::Fleet;
use crate::control::intents;
use crate::rollout::look::Looker;
use crate::store::{Intent, IntentChange, IntentRow, StoreError};
use crate::time;

/// A cluster.
#[derive(Debug, Serialize)]
pub(super) struct ClusterView {
    name: String,
    group: String,
    url: String,
    zone: Option<String>,
    weight: u32,
    intent: &'static str,
    /// When that was wanted, by whom and why; null: the store has not told it yet.
    intent_since_ms: Option<u64>,
    intent_by: Option<String>,
    intent_reason: Option<String>,
    /// Whether the file no longer has it; it stays while it owns live queries.
    retired: bool,
    health: &'static str,
    health_reason: String,
    /// By the coordinator's own list; null: not known.
    queued: Option<u32>,
    running: Option<u32>,
    /// Its active workers; null: not counted.
    workers: Option<u32>,
    /// How much of its memory and of its processors is in use, in percent; null: not known.
    memory_percent: Option<f64>,
    cpu_percent: Option<f64>,
    /// Live queries that Warren knows to be there.
    owned: u32,
    /// How long the oldest of them has lived, in milliseconds.
    oldest_ms: Option<u64>,
    load: u32,
    coordinator_id: Option<String>,
    version: Option<String>,
    addresses: &'static str,
}

impl ClusterView {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let settings = cluster.settings();
        let verdict = cluster.verdict();
        let figures = cluster.figures();
        let signals = cluster.ledger().signals();
        let percent = |thousandths: u32| f64::from(thousandths) / 10.0;
        let wanted = cluster.wanted();
        let oldest = cluster.ledger().oldest();
        let age = oldest.map(|since| time::now().saturating_duration_since(since).as_millis());
        Self {
            name: cluster.name().to_string(),
            group: settings.group.to_string(),
            url: cluster.url().to_string(),
            zone: settings.zone.clone(),
            weight: settings.weight,
            intent: cluster.intent().as_str(),
            intent_since_ms: wanted.as_ref().map(|row| row.at_ms),
            intent_by: wanted.as_ref().map(|row| row.actor.clone()),
            intent_reason: wanted.as_ref().map(|row| row.reason.clone()),
            retired: cluster.is_retired(),
            health: verdict.health().as_str(),
            health_reason: verdict.reason.clone(),
            queued: figures.queued,
            running: figures.running,
            workers: cluster.workers(),
            memory_percent: signals.memory.map(percent),
            cpu_percent: signals.cpu.map(percent),
            owned: figures.owned,
            oldest_ms: age.and_then(|age| u64::try_from(age).ok()),
            load: figures.load,
            coordinator_id: cluster.coordinator().map(|mark| mark.to_string()),
            version: cluster.version().map(|version| version.to_string()),
            addresses: cluster.forwarding().as_str(),
        }
    }
}

pub(super) async fn list(State(shared): State<Shared>) -> Json<Vec<ClusterView>> {
    let fleet = shared.gateway.registry.fleet();
    Json(fleet.clusters.iter().map(|cluster| ClusterView::of(cluster)).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedIntent {
    intent: String,
    #[serde(default)]
    reason: String,
}

/// Gives up the coordinator of a cluster, here alone: its queries are answered with an error until
/// it shows a sign of life.
pub(super) async fn give_up(
    State(shared): State<Shared>,
    Readable(Path(name)): Readable<Path<String>>,
) -> Result<Json<ClusterView>, Problem> {
    let fleet = shared.gateway.registry.fleet();
    let cluster = fleet.clusters.iter().find(|cluster| cluster.name().as_str() == name);
    let cluster = cluster.ok_or_else(|| unknown(&fleet, &name))?;
    cluster.give_up();
    warn!(cluster = %cluster.name(), "operators gave its coordinator up");
    Ok(Json(ClusterView::of(cluster)))
}

/// What is left at a cluster that takes no new queries.
#[derive(Debug, Serialize)]
pub(super) struct LeftView {
    cluster: String,
    intent: &'static str,
    /// Whether it may be stopped.
    drained: bool,
    /// What is left, in words.
    text: String,
    queries: u32,
    oldest_ms: Option<u64>,
    /// Open transactions, and spooled segments that nobody acknowledged, of all gateways.
    transactions: u32,
    segments: u32,
}

pub(super) async fn left(
    State(shared): State<Shared>,
    Readable(Path(name)): Readable<Path<String>>,
) -> Result<Json<LeftView>, Problem> {
    let fleet = shared.gateway.registry.fleet();
    let cluster = fleet.clusters.iter().find(|cluster| cluster.name().as_str() == name);
    let cluster = cluster.ok_or_else(|| unknown(&fleet, &name))?;
    let view = ClusterView::of(cluster);
    if cluster.intent() == Intent::Active {
        let text = format!("'{name}' is active and takes new queries: drain it first");
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    let looker = Looker { gateway: &shared.gateway, upstream: &shared.upstream };
    let since = view.intent_since_ms.unwrap_or_default();
    let left = looker.left(cluster, since, &fleet.config).await;
    Ok(Json(LeftView {
        cluster: name,
        intent: view.intent,
        drained: left.is_nothing(),
        text: left.in_words(),
        queries: left.queries(),
        oldest_ms: view.oldest_ms,
        transactions: left.transactions,
        segments: left.segments,
    }))
}

fn unknown(fleet: &Fleet, name: &str) -> Problem {
    let known: Vec<_> = fleet.config.clusters.iter().map(|c| c.name.as_str()).collect();
    let text = format!("no cluster is called '{name}'; known are {}", known.join(", "));
    Problem::new(StatusCode::NOT_FOUND, text)
}

pub(super) async fn set_intent(
    State(shared): State<Shared>,
    Readable(Path(name)): Readable<Path<String>>,
    wanted: Result<Json<WantedIntent>, JsonRejection>,
) -> Result<Json<IntentRow>, Problem> {
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let Json(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let intent = Intent::parse(&wanted.intent).ok_or_else(|| {
        let known = Intent::ALL.map(Intent::as_str).join(", ");
        bad(format!("`{}` is no intent; known are {known}", wanted.intent))
    })?;
    let fleet = shared.gateway.registry.fleet();
    let cluster = declared(&fleet, &name).ok_or_else(|| unknown(&fleet, &name))?;
    let change = IntentChange {
        cluster: cluster.name().clone(),
        intent,
        actor: "api".to_owned(),
        reason: wanted.reason,
        at_ms: time::unix_ms(),
    };
    let changed = intents::set(&shared.gateway, change).await;
    changed.map(Json).map_err(|error| {
        let (status, text) = unchanged(&error);
        Problem::new(status, text)
    })
}

/// A cluster that the file has.
pub(super) fn declared<'a>(fleet: &'a Fleet, name: &str) -> Option<&'a Arc<Cluster>> {
    fleet.clusters.iter().find(|c| c.name().as_str() == name && !c.is_retired())
}

/// How it is said that the store did not take an intent.
pub(super) fn unchanged(error: &StoreError) -> (StatusCode, String) {
    (status_of(error), format!("the intent is unchanged: failed to {error}"))
}
