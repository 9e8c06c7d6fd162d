//! Rule sets as operators put, look at and activate them.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::problem::{Problem, Readable, status_of};
use crate::control::rules::{self, Activated, Asker, FILE, Refusal, Trial};
use crate::gateway::Gateway;
use crate::route::reload::Source;
use crate::store::rules::{ActiveRules, FileText, RulesRow};
use crate::store::{StoreError, chain};

/// How many versions a list shows when nobody says it.
const LISTED: u32 = 20;

/// The largest body of a version: a script and the files beside it at their bounds, as JSON writes them.
const BODY_MAX: usize = 12 << 20;

/// Who puts or activates rules when nobody says it.
const SOMEBODY: &str = "api";

/// The rules of this gateway, and what the store has.
#[derive(Debug, Serialize)]
struct RulesView {
    /// Where those in force here come from: `file` or `version`.
    source: &'static str,
    /// Their version; null: they are those of the file.
    number: Option<u64>,
    hash: String,
    loaded_at_ms: u64,
    /// Whether they stand in for others that cannot be used.
    fallback: bool,
    warnings: Vec<String>,
    /// Why the newest rules are not in force here; null: they are.
    error: Option<FailureView>,
    /// The version that all gateways are to run; 0: each its file. Null: the store is away.
    active: Option<u64>,
    /// The one before, which a rollback activates.
    before: Option<u64>,
    /// The newest versions, the newest first.
    versions: Vec<RulesRow>,
    /// Why the store does not say.
    store_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct FailureView {
    text: String,
    findings: Vec<String>,
    line: Option<u32>,
    at_ms: u64,
}

/// A version with its texts.
#[derive(Debug, Serialize)]
struct VersionView {
    #[serde(flatten)]
    row: RulesRow,
    script: String,
    files: Vec<FileText>,
}

/// What came of putting a version.
#[derive(Debug, Serialize)]
struct PutView {
    /// Null: nothing was put, as was asked.
    number: Option<u64>,
    hash: String,
    /// Whether the store did not have it before.
    is_new: bool,
    /// How many cases of tests it holds.
    cases: usize,
    warnings: Vec<String>,
    /// Null: it was not to be activated.
    activated: Option<ActiveView>,
}

/// What is active once it changed.
#[derive(Debug, Serialize)]
struct ActiveView {
    /// 0: each gateway runs its file.
    active: u64,
    before: u64,
    /// Rises by one with each activation.
    change: u64,
    /// Whether this gateway runs it.
    in_force: bool,
    /// Why it does not; null: it does.
    why_not: Option<String>,
}

impl From<Activated> for ActiveView {
    fn from(Activated { active, why_not }: Activated) -> Self {
        let ActiveRules { change, number, before } = active;
        Self { active: number, before, change, in_force: why_not.is_none(), why_not }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedRules {
    script: String,
    #[serde(default)]
    files: Vec<FileText>,
    #[serde(default)]
    comment: String,
    author: Option<String>,
    #[serde(default)]
    activate: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedActivation {
    #[serde(default)]
    comment: String,
    author: Option<String>,
    /// The version that must be active at this moment; 0: the file.
    instead_of: Option<u64>,
}

/// All that is about rules.
pub(super) fn router() -> Router<Shared> {
    let put = post(put).layer(DefaultBodyLimit::max(BODY_MAX));
    Router::new()
        .route("/api/v1/rules", get(list).merge(put))
        .route("/api/v1/rules/rollback", post(roll_back))
        .route("/api/v1/rules/{number}", get(show))
        .route("/api/v1/rules/{number}/activate", post(activate))
}

fn bad(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}

fn away(error: &StoreError) -> Problem {
    Problem::new(status_of(error), format!("failed to {}", chain(error)))
}

/// A body that is no version, or is too large for one.
fn unread(error: JsonRejection) -> Problem {
    let status = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, error.body_text())
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => Self::new(StatusCode::NOT_FOUND, text),
            Refusal::Bad(error) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, text).with_findings(error.findings())
            }
            Refusal::Overtaken { .. } | Refusal::NoWayBack => Self::new(StatusCode::CONFLICT, text),
            Refusal::Broke(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            Refusal::Store(error) | Refusal::Unsure(error) => Self::new(status_of(&error), text),
        }
    }
}

/// Who asks. Nobody passes for a file.
fn asker(author: Option<String>, comment: String) -> Result<Asker, Problem> {
    let name = author.unwrap_or_else(|| SOMEBODY.to_owned());
    if name.is_empty() || name == FILE {
        return Err(bad(format!("`author` is a name of somebody, not `{name}`")));
    }
    Ok(Asker { name, comment })
}

async fn list(
    State(shared): State<Shared>,
    Readable(Query(page)): Readable<Query<Page>>,
) -> Result<Json<RulesView>, Problem> {
    let gateway = &shared.gateway;
    let stored = stored(gateway, page.limit.unwrap_or(LISTED)).await;
    let (active, versions, store_error) = match stored {
        Ok((active, versions)) => (Some(active), versions, None),
        Err(error) => (None, Vec::new(), Some(format!("failed to {}", chain(&error)))),
    };
    let status = gateway.rules.status();
    let error = status.last_error.map(|failure| FailureView {
        text: failure.text,
        findings: failure.findings,
        line: failure.line,
        at_ms: failure.at_ms,
    });
    let (source, number) = match status.source {
        Source::File => ("file", None),
        Source::Version(number) => ("version", Some(number)),
    };
    Ok(Json(RulesView {
        source,
        number,
        hash: status.version.hash,
        loaded_at_ms: status.version.loaded_at_ms,
        fallback: status.is_fallback,
        warnings: status.warnings,
        error,
        active: active.map(|active| active.number),
        before: active.map(|active| active.before),
        versions,
        store_error,
    }))
}

async fn stored(gateway: &Gateway, limit: u32) -> Result<(ActiveRules, Vec<RulesRow>), StoreError> {
    Ok((gateway.store.active_rules().await?, gateway.store.newest_rules(limit).await?))
}

async fn show(
    State(shared): State<Shared>,
    Readable(Path(number)): Readable<Path<u64>>,
) -> Result<Json<VersionView>, Problem> {
    let found = shared.gateway.store.rules(number).await.map_err(|error| away(&error))?;
    let found = found.ok_or(Refusal::Unknown(number))?;
    Ok(Json(VersionView { row: found.row, script: found.script, files: found.files }))
}

async fn put(
    State(shared): State<Shared>,
    Readable(Query(how)): Readable<Query<How>>,
    wanted: Result<Json<WantedRules>, JsonRejection>,
) -> Result<(StatusCode, Json<PutView>), Problem> {
    let wanted = wanted.map_err(unread)?;
    let Json(WantedRules { script, files, comment, author, activate }) = wanted;
    let by = asker(author, comment)?;
    let texts = rules::texts_of(script, files);
    let gateway = &shared.gateway;
    if how.dry_run {
        let trial = rules::try_out(gateway, Arc::new(texts)).await?;
        return Ok((StatusCode::OK, Json(PutView::of(trial))));
    }
    let (put, trial) = rules::put(gateway, texts, by.clone()).await?;
    let number = put.row.number;
    let activated = if activate {
        Some(rules::activate(gateway, Source::of(number), None, by).await?.into())
    } else {
        None
    };
    let status = if put.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let view =
        PutView { number: Some(number), is_new: put.is_new, activated, ..PutView::of(trial) };
    Ok((status, Json(view)))
}

impl PutView {
    /// Of rules that were tried, and not put.
    fn of(Trial { hash, cases, warnings }: Trial) -> Self {
        Self { number: None, hash, is_new: false, cases, warnings, activated: None }
    }
}

async fn activate(
    State(shared): State<Shared>,
    Readable(Path(number)): Readable<Path<String>>,
    wanted: Result<Json<WantedActivation>, JsonRejection>,
) -> Result<Json<ActiveView>, Problem> {
    let Json(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let source = if number == FILE { Some(0) } else { number.parse().ok() };
    let source = source.map(Source::of).ok_or_else(|| {
        bad(format!("`{number}` is no version of the rules; write its number, or `{FILE}`"))
    })?;
    let by = asker(wanted.author, wanted.comment)?;
    let instead_of = wanted.instead_of.map(Source::of);
    Ok(Json(rules::activate(&shared.gateway, source, instead_of, by).await?.into()))
}

async fn roll_back(
    State(shared): State<Shared>,
    wanted: Result<Json<WantedActivation>, JsonRejection>,
) -> Result<Json<ActiveView>, Problem> {
    let Json(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    if wanted.instead_of.is_some() {
        return Err(bad("a rollback takes no `instead_of`: it goes back from what is active"));
    }
    let by = asker(wanted.author, wanted.comment)?;
    Ok(Json(rules::roll_back(&shared.gateway, by).await?.into()))
}
