//! Rollouts as operators begin, watch and abort them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::Shared;
use super::problem::{Problem, Readable, status_of};
use crate::cluster::registry::Fleet;
use crate::ids::{ClusterName, GroupName};
use crate::rollout::{Asked, Canary, OnTimeout, Rollout, Step};
use crate::store::rollout::{NewRollout, RolloutRow, Wish};
use crate::store::{Intent, StoreError, chain};
use crate::time;

/// How many rollouts a list shows.
const LISTED: u32 = 20;

/// What a rollout may take to drain when nobody says it.
const DRAIN_TIMEOUT: &str = "30m";

/// A rollout.
#[derive(Debug, Serialize)]
pub(super) struct RolloutView {
    id: u64,
    group: String,
    to: String,
    from: Vec<String>,
    phase: &'static str,
    /// `done` or `aborted`; null: it is under way.
    outcome: Option<&'static str>,
    /// What it does or waits for.
    text: String,
    phase_since_ms: u64,
    started_ms: Option<u64>,
    drain_timeout_ms: u64,
    on_timeout: &'static str,
    canary: Option<Canary>,
    left_at_first: u32,
    actor: String,
    reason: String,
    steps: Vec<Step>,
}

impl RolloutView {
    fn of(row: &RolloutRow) -> Option<Self> {
        let rollout: Rollout = serde_json::from_str(&row.document).ok()?;
        let phase = rollout.phase.as_str();
        Some(Self {
            id: row.id,
            group: rollout.group.to_string(),
            to: rollout.to.to_string(),
            from: rollout.from.iter().map(ToString::to_string).collect(),
            phase,
            outcome: rollout.phase.is_over().then_some(phase),
            text: rollout.told,
            phase_since_ms: rollout.since_ms,
            started_ms: rollout.steps.first().map(|step| step.at_ms),
            drain_timeout_ms: rollout.drain_timeout_ms,
            on_timeout: rollout.on_timeout.as_str(),
            canary: rollout.canary,
            left_at_first: rollout.left_at_first,
            actor: rollout.actor,
            reason: rollout.reason,
            steps: rollout.steps,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    group: String,
    to: String,
    /// Every other active cluster of the group, if it is not told.
    #[serde(default)]
    from: Vec<String>,
    drain_timeout: Option<String>,
    on_timeout: Option<String>,
    /// `5%:10m`.
    canary: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedAbort {
    #[serde(default)]
    reason: String,
}

fn bad(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}

fn away(error: &StoreError) -> Problem {
    Problem::new(status_of(error), format!("failed to {}", chain(error)))
}

pub(super) async fn start(
    State(shared): State<Shared>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<RolloutView>), Problem> {
    let Json(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let fleet = shared.gateway.registry.fleet();
    let asked = check(&fleet, wanted).map_err(bad)?;
    let intents: BTreeMap<ClusterName, Intent> = std::iter::once(&asked.to)
        .chain(&asked.from)
        .filter_map(|name| Some((name.clone(), fleet.cluster(name)?.own_intent())))
        .collect();
    let at_ms = time::unix_ms();
    let by = Wish { actor: asked.actor.clone(), reason: asked.reason.clone(), at_ms };
    let group = asked.group.clone();
    let rollout = Rollout::new(asked, intents, at_ms);
    let document = serde_json::to_string(&rollout).map_err(|error| bad(error.to_string()))?;
    let new = NewRollout { group: group.clone(), document: document.clone(), by };
    let id = shared.gateway.store.start_rollout(new).await.map_err(|error| away(&error))?;
    let Some(id) = id else {
        let text = format!(
            "the group '{group}' has a rollout under way: see `warren rollout status`, end it with \
             `warren rollout abort`"
        );
        return Err(Problem::new(StatusCode::CONFLICT, text));
    };
    info!(rollout = id, group = %group, text = rollout.told, "rollout begins");
    let row = RolloutRow { id, under_way: true, revision: 1, document, abort: None };
    let view = RolloutView::of(&row).ok_or_else(|| bad("the rollout cannot be shown"))?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Reads what is wanted, or says what would be right.
fn check(fleet: &Fleet, wanted: Wanted) -> Result<Asked, String> {
    let known: Vec<_> = fleet.config.groups.iter().map(|group| group.name.as_str()).collect();
    let group = GroupName::parse(&wanted.group).ok().and_then(|name| fleet.group(&name));
    let group = group.ok_or_else(|| {
        format!("no group is called '{}'; known are {}", wanted.group, known.join(", "))
    })?;
    let members: Vec<_> = group.clusters.iter().map(|cluster| cluster.name().as_str()).collect();
    let member = |name: &str| {
        let found = group.clusters.iter().find(|cluster| cluster.name().as_str() == name);
        found.map(|cluster| cluster.name().clone()).ok_or_else(|| {
            format!("'{}' has no cluster '{name}'; it has {}", group.name(), members.join(", "))
        })
    };
    let to = member(&wanted.to)?;
    let mut from = wanted.from.iter().map(|name| member(name)).collect::<Result<Vec<_>, _>>()?;
    if from.contains(&to) {
        return Err(format!("'{to}' cannot take over from itself"));
    }
    if from.is_empty() {
        let active = group.clusters.iter().filter(|cluster| cluster.intent() == Intent::Active);
        from = active.map(|cluster| cluster.name().clone()).filter(|name| *name != to).collect();
    }
    if from.is_empty() {
        return Err(format!(
            "no other cluster of '{}' is active: name those in `from`",
            group.name()
        ));
    }
    let drain_timeout = wanted.drain_timeout.as_deref().unwrap_or(DRAIN_TIMEOUT);
    let on_timeout = wanted.on_timeout.as_deref().unwrap_or(OnTimeout::Wait.as_str());
    let found = OnTimeout::ALL.into_iter().find(|known| known.as_str() == on_timeout);
    let on_timeout = found.ok_or_else(|| {
        let known = OnTimeout::ALL.map(OnTimeout::as_str).join(", ");
        format!("`on_timeout` is one of {known}, not `{on_timeout}`")
    })?;
    Ok(Asked {
        group: group.name().clone(),
        to,
        from,
        drain_timeout: duration(drain_timeout)?,
        on_timeout,
        canary: wanted.canary.as_deref().map(canary).transpose()?,
        actor: "api".to_owned(),
        reason: wanted.reason,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no time ({error}); write it as `30m` or `90s`"))
}

/// Reads `5%:10m`.
fn canary(text: &str) -> Result<Canary, String> {
    let wrong = || format!("`{text}` is no canary; write share and time, as `5%:10m`");
    let (share, time) = text.split_once(':').ok_or_else(wrong)?;
    let percent = share.trim().strip_suffix('%').and_then(|share| share.parse().ok());
    let percent = percent.filter(|percent| (1..=99).contains(percent)).ok_or_else(wrong)?;
    let for_ms = u64::try_from(duration(time.trim())?.as_millis()).map_err(|_| wrong())?;
    Ok(Canary { percent, for_ms })
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Readable(Query(page)): Readable<Query<Page>>,
) -> Result<Json<Vec<RolloutView>>, Problem> {
    let limit = page.limit.unwrap_or(LISTED);
    let rows = shared.gateway.store.newest_rollouts(limit).await.map_err(|error| away(&error))?;
    Ok(Json(rows.iter().filter_map(RolloutView::of).collect()))
}

pub(super) async fn show(
    State(shared): State<Shared>,
    Readable(Path(id)): Readable<Path<u64>>,
) -> Result<Json<RolloutView>, Problem> {
    find(&shared, id).await.map(Json)
}

async fn find(shared: &Shared, id: u64) -> Result<RolloutView, Problem> {
    let row = shared.gateway.store.rollout(id).await.map_err(|error| away(&error))?;
    let view = row.as_ref().and_then(RolloutView::of);
    view.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no rollout {id}")))
}

pub(super) async fn abort(
    State(shared): State<Shared>,
    Readable(Path(id)): Readable<Path<u64>>,
    wanted: Result<Json<WantedAbort>, JsonRejection>,
) -> Result<Json<RolloutView>, Problem> {
    let Json(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let by = Wish { actor: "api".to_owned(), reason: wanted.reason, at_ms: time::unix_ms() };
    let noted = shared.gateway.store.abort_rollout(id, by).await.map_err(|error| away(&error))?;
    let view = find(&shared, id).await?;
    if !noted {
        let text = format!("rollout {id} is over: it is {}", view.phase);
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    Ok(Json(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_read() {
        assert_eq!(canary("5%:10m"), Ok(Canary { percent: 5, for_ms: 600_000 }));
        assert_eq!(canary("50% : 1s"), Ok(Canary { percent: 50, for_ms: 1000 }));
        for text in ["", "5", "5%", "0%:1m", "100%:1m", "5:1m", "x%:1m", "5%:"] {
            assert!(canary(text).is_err(), "{text}");
        }
    }
}
