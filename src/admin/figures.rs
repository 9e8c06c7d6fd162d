//! `/metrics`: what was counted, and what is read at the moment of asking.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Shared;
use crate::gateway::Gateway;
use crate::health::verdict::Health;
use crate::store::Intent;
use crate::telemetry::log;
use crate::time;

pub(super) async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let gateway = &shared.gateway;
    read_clusters(gateway);
    read_held(gateway);
    read_gateway(gateway);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], gateway.metrics.render())
}

fn read_clusters(gateway: &Gateway) {
    let metrics = &gateway.metrics;
    metrics.clusters.reset();
    metrics.zones.reset();
    metrics.health.reset();
    metrics.intent.reset();
    let open = gateway.sticky.unfinished.counts(time::now(), gateway.lifetimes());
    for cluster in &gateway.registry.fleet().clusters {
        let settings = cluster.settings();
        let (name, group) = (cluster.name().as_str(), settings.group.as_str());
        let figures = cluster.figures();
        let (transactions, segments) = open.get(name).copied().unwrap_or_default();
        for (figure, value) in [
            ("load", Some(figures.load)),
            ("owned", Some(figures.owned)),
            ("weight", Some(settings.weight)),
            ("queued", figures.queued),
            ("running", figures.running),
            ("transactions", Some(transactions)),
            ("segments", Some(segments)),
        ] {
            let Some(value) = value else { continue };
            metrics.clusters.with_label_values(&[name, group, figure]).set(value.into());
        }
        if let Some(zone) = &settings.zone {
            let ready = i64::from(cluster.takes_new());
            for (figure, value) in
                [("load", figures.load.into()), ("clusters", 1), ("ready", ready)]
            {
                metrics.zones.with_label_values(&[group, zone, figure]).add(value);
            }
        }
        for health in Health::ALL {
            let is = i64::from(cluster.verdict().health() == health);
            metrics.health.with_label_values(&[name, group, health.as_str()]).set(is);
        }
        for intent in Intent::ALL {
            let is = i64::from(cluster.intent() == intent);
            metrics.intent.with_label_values(&[name, group, intent.as_str()]).set(is);
        }
    }
}

fn read_held(gateway: &Gateway) {
    let held = &gateway.metrics.held;
    held.reset();
    for (group, queries, bytes) in gateway.held.figures() {
        for (figure, value) in [("queries", queries), ("bytes", bytes)] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            held.with_label_values(&[group.as_str(), figure]).set(value);
        }
    }
}

fn read_gateway(gateway: &Gateway) {
    let metrics = &gateway.metrics;
    metrics.log_dropped.reset();
    metrics.log_dropped.inc_by(log::dropped());
    let rules = gateway.rules.status();
    metrics.rules.reset();
    metrics.rules.with_label_values(&[&rules.version.to_string()]).set(1);
    let journal = gateway.recorder.stats();
    let hot = gateway.sticky.hot();
    let figures: [(&str, u64); 21] = [
        ("in_flight", gateway.in_flight.count()),
        ("hot_routes", u64::try_from(hot.len()).unwrap_or(u64::MAX)),
        ("hot_routes_early_sweeps", hot.early_sweeps()),
        ("open_dropped", gateway.sticky.unfinished.dropped()),
        ("coordinators", u64::try_from(gateway.sticky.coordinators()).unwrap_or(u64::MAX)),
        ("rules_alarm", u64::from(gateway.rule_alarm.is_raised(&gateway.rules.current()))),
        ("rules_rejected", u64::from(rules.last_error.is_some())),
        ("rules_fallback", u64::from(rules.is_fallback)),
        ("rules_number", rules.source.number()),
        ("rules_reloads", rules.reloads_ok),
        ("rules_reloads_failed", rules.reloads_failed),
        ("journal_events", journal.recorded()),
        ("journal_dropped", journal.dropped()),
        ("journal_pending", journal.pending()),
        ("journal_bytes", journal.bytes()),
        ("journal_corrupt", journal.corrupt()),
        ("journal_torn", journal.torn()),
        ("store_up", u64::from(journal.store_up())),
        ("store_shipped", journal.shipped()),
        ("store_rejected", journal.rejected()),
        ("store_last_ship_ms", journal.last_ship_ms()),
    ];
    for (figure, value) in figures {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        metrics.gauges.with_label_values(&[figure]).set(value);
    }
}
