//! Where a query would go now, and why. Sends nothing to any cluster.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::problem::Problem;
use crate::cluster::Cluster;
use crate::gateway::wish;
use crate::health::verdict::Health;
use crate::route::explain::{Question, Told};
use crate::store::Intent;
use crate::time;

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    #[serde(flatten)]
    told: Told,
    /// The group that the rules named, if `group` stands in for it.
    instead_of: Option<String>,
    candidates: Vec<CandidateView>,
    cluster: Option<String>,
}

#[derive(Debug, Serialize)]
struct CandidateView {
    name: String,
    intent: &'static str,
    health: &'static str,
    load: u32,
    weight: u32,
    chosen: bool,
    why_not: Option<String>,
}

pub(super) async fn explain(
    State(shared): State<Shared>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<Explanation>, Problem> {
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let Json(question) = question.map_err(|error| bad(error.body_text()))?;
    // Reading a long statement takes a while.
    let asked = tokio::task::spawn_blocking(move || question.ask()).await?.map_err(bad)?;
    let gateway = &shared.gateway;
    let (rules, fleet) = (gateway.rules.current(), gateway.registry.fleet());
    // As a submit has it.
    let deadline = time::now() + fleet.config.timeouts.submit / 2;
    let decision = gateway.decide(&rules, asked.facts(fleet.clone()), deadline).await;
    let decision = wish::checked(decision, &rules, &fleet);
    let wish = wish::of(&decision, &fleet);
    let refused = decision.reject.is_some();
    // The choice itself; given back at once, nothing was sent.
    let chosen = if refused { None } else { fleet.choose(&wish, &[]) };
    let (group, chosen) = match chosen {
        Some((group, reservation)) => (Some(group), Some(reservation.cluster().key())),
        None => (fleet.group(&wish.group), None),
    };
    let group = group.unwrap_or_else(|| fleet.default_group());
    let candidates = match &wish.cluster {
        _ if refused => Vec::new(),
        Some(name) => candidates(fleet.cluster(name).into_iter(), chosen),
        None => candidates(group.clusters.iter(), chosen),
    };
    let instead_of = (!wish.names(group.name())).then(|| wish.group.to_string());
    let told = Told { group: group.name().to_string(), ..asked.told(decision, &rules) };
    Ok(Json(Explanation {
        told,
        instead_of,
        cluster: candidates.iter().find(|c| c.chosen).map(|c| c.name.clone()),
        candidates,
    }))
}

fn candidates<'a>(
    clusters: impl Iterator<Item = &'a Arc<Cluster>>,
    chosen: Option<u64>,
) -> Vec<CandidateView> {
    let view = |cluster: &Arc<Cluster>| {
        // Not within the value: its books would stay locked while they are asked for room.
        let load = cluster.ledger().weighed(time::now(), cluster.settings().load);
        CandidateView {
            name: cluster.name().to_string(),
            intent: cluster.intent().as_str(),
            health: cluster.verdict().health().as_str(),
            load,
            weight: cluster.settings().weight,
            chosen: chosen == Some(cluster.key()),
            why_not: (chosen != Some(cluster.key())).then(|| why_not(cluster)),
        }
    };
    clusters.map(view).collect()
}

fn why_not(cluster: &Cluster) -> String {
    let verdict = cluster.verdict();
    if cluster.intent() != Intent::Active {
        format!("operators want it {}", cluster.intent().as_str())
    } else if verdict.health() != Health::Ready {
        verdict.reason.clone()
    } else if !cluster.has_room() {
        "it has `max_running` queries, or this gateway's share of them".to_owned()
    } else {
        "another one carries less, or as little".to_owned()
    }
}
