//! Where a query would go now, and why. Sends nothing to any cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::problem::Problem;
use crate::cluster::Cluster;
use crate::health::verdict::Health;
use crate::route::engine;
use crate::route::facts::Facts;
use crate::store::Intent;
use crate::time;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Rules do not read it yet; it is taken so that callers need not change when they do.
    #[serde(default, rename = "query")]
    _query: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    group: String,
    /// The group that the rules named, if this one stands in for it.
    instead_of: Option<String>,
    rule: Option<String>,
    reason: Option<String>,
    error: Option<String>,
    rules_version: String,
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
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let parsed = (HeaderName::try_from(name), HeaderValue::try_from(value));
        let (Ok(header), Ok(value)) = parsed else {
            return Err(bad(format!("`{name}` with its value is no header")));
        };
        headers.append(header, value);
    }
    if let Some(user) = question.user {
        let user =
            HeaderValue::try_from(user).map_err(|_| bad("`user` is no header value".into()))?;
        headers.insert("x-trino-user", user);
    }
    let rules = shared.gateway.rules.current();
    let decision = engine::decide(
        &rules,
        &Facts {
            headers: &headers,
            method: &Method::POST,
            path: "/v1/statement",
            user: None,
            remote_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
        },
    );
    let fleet = shared.gateway.registry.fleet();
    let named = fleet.group(&decision.group).unwrap_or_else(|| fleet.default_group());
    // The choice itself; given back at once, nothing was sent.
    let (group, chosen) = match fleet.choose(named.name(), &[]) {
        Some((group, reservation)) => (group, Some(reservation.cluster().key())),
        None => (named, None),
    };
    let candidates = candidates(&group.clusters, chosen);
    let instead_of = (group.name() != named.name()).then(|| named.name().to_string());
    Ok(Json(Explanation {
        group: group.name().to_string(),
        instead_of,
        rule: decision.rule,
        reason: decision.reason,
        error: decision.error.map(|failure| failure.to_string()),
        rules_version: rules.version().to_string(),
        cluster: candidates.iter().find(|c| c.chosen).map(|c| c.name.clone()),
        candidates,
    }))
}

fn candidates(clusters: &[Arc<Cluster>], chosen: Option<u64>) -> Vec<CandidateView> {
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
    clusters.iter().map(view).collect()
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
