//! Figures for Prometheus. Labels come from closed sets: kinds, steps, causes, and the names that
//! the file declares. No user, query or statement is ever a label.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::held::Waiting;
use crate::history::record::EndCause;

/// Bounds of what Warren adds to a request: 50 µs to 100 ms.
const ADDED: [f64; 11] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1];

/// Bounds of what a coordinator takes: 1 ms to 30 s; a page waits up to a second by design.
const UPSTREAM: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Bounds of how long a query is held: 50 ms to 10 min.
const HELD: [f64; 10] = [0.05, 0.25, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Bounds of how long a service takes that rules ask: 1 ms to 5 s.
const RULE_HTTP: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// All figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    added: HistogramVec,
    upstream: HistogramVec,
    lookups: IntCounterVec,
    ends: IntCounterVec,
    own_answers: IntCounterVec,
    rule_errors: IntCounterVec,
    rule_http: IntCounterVec,
    rule_http_seconds: HistogramVec,
    retries: IntCounterVec,
    fallbacks: IntCounterVec,
    tried_unhealthy: IntCounterVec,
    /// Submits that wait for a cluster, and pages that wait for their owner.
    pub waiting: Waiting,
    held_ends: IntCounterVec,
    held_seconds: HistogramVec,
    /// Queries that are held.
    pub held: IntGaugeVec,
    /// Figures that are read when they are asked for.
    pub gauges: IntGaugeVec,
    /// Figures of each cluster.
    pub clusters: IntGaugeVec,
    /// Figures of the zones of a group.
    pub zones: IntGaugeVec,
    /// 1 for the health that a cluster has.
    pub health: IntGaugeVec,
    /// 1 for the intent that a cluster has.
    pub intent: IntGaugeVec,
    /// 1 for the version of the rules in force.
    pub rules: IntGaugeVec,
    outlasting: IntCounterVec,
    probes: IntCounterVec,
    /// Log lines that could not be written in time.
    pub log_dropped: IntCounter,
}

/// One request, for the figures.
#[derive(Debug, Clone, Copy)]
pub struct RequestFigures<'a> {
    /// What it asked for.
    pub kind: &'static str,
    /// The group, if one was chosen.
    pub group: &'a str,
    /// The cluster, if one answered.
    pub cluster: &'a str,
    /// The status that the client saw; 0: none.
    pub status: u16,
    /// What Warren added.
    pub added: Duration,
    /// What the coordinator took, if one was asked.
    pub upstream: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new().expect("the figures of this file have good names, each once")
    }
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "a table: one entry for each figure")]
    fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let times = |name: &str, help: &str, labels: &[&str], bounds: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            register(&registry, HistogramVec::new(opts, labels)?)
        };
        Ok(Self {
            requests: counters(
                "warren_requests_total",
                "Requests by what they asked for, where they went and what was answered.",
                &["kind", "group", "cluster", "status"],
            )?,
            added: times(
                "warren_added_seconds",
                "Time that Warren added to a request.",
                &["kind"],
                &ADDED,
            )?,
            upstream: times(
                "warren_upstream_seconds",
                "Time that a coordinator took.",
                &["kind", "cluster"],
                &UPSTREAM,
            )?,
            lookups: counters(
                "warren_sticky_lookups_total",
                "Lookups of the owner of a query, by the step that answered.",
                &["step"],
            )?,
            ends: counters(
                "warren_query_ends_total",
                "Ends of queries, by what was taken for the end.",
                &["cause"],
            )?,
            own_answers: counters(
                "warren_own_answers_total",
                "Answers that Warren made itself, by reason.",
                &["why"],
            )?,
            rule_errors: counters(
                "warren_rule_errors_total",
                "Decisions that a rule failed to make; they went to the default group.",
                &["kind"],
            )?,
            rule_http: counters(
                "warren_rule_http_total",
                "Questions of rules to services, by what came of them.",
                &["outcome"],
            )?,
            rule_http_seconds: times(
                "warren_rule_http_seconds",
                "Time that services took that rules asked.",
                &["outcome"],
                &RULE_HTTP,
            )?,
            retries: counters(
                "warren_upstream_retries_total",
                "Requests that were sent again, by kind.",
                &["kind"],
            )?,
            fallbacks: counters(
                "warren_fallbacks_total",
                "Queries that another group took, because no cluster of their own could.",
                &["group", "to"],
            )?,
            tried_unhealthy: counters(
                "warren_unhealthy_tries_total",
                "Queries that an unhealthy cluster was tried for, because no other one was left.",
                &["group"],
            )?,
            waiting: Waiting::new(gauges(
                "warren_held_requests",
                "Requests that wait inside Warren.",
                &["kind"],
            )?),
            held_ends: counters(
                "warren_held_ends_total",
                "Held queries that are held no more, by what came of them.",
                &["group", "end"],
            )?,
            held_seconds: times(
                "warren_held_seconds",
                "How long queries were held that a cluster took.",
                &["group"],
                &HELD,
            )?,
            held: gauges(
                "warren_held",
                "Queries that are held, and the bytes that they take.",
                &["group", "figure"],
            )?,
            gauges: gauges("warren_state", "Figures of the gateway by name.", &["figure"])?,
            clusters: gauges(
                "warren_cluster",
                "Figures of a cluster: load, owned, queued, running, weight, transactions, segments. A figure that is not known is absent.",
                &["cluster", "group", "figure"],
            )?,
            zones: gauges(
                "warren_zone",
                "Figures of the clusters of a group in one zone: load, clusters, ready.",
                &["group", "zone", "figure"],
            )?,
            health: gauges(
                "warren_cluster_health",
                "1 for the health that a cluster has.",
                &["cluster", "group", "health"],
            )?,
            intent: gauges(
                "warren_cluster_intent",
                "1 for the intent that a cluster has.",
                &["cluster", "group", "intent"],
            )?,
            rules: gauges(
                "warren_rules_version",
                "1 for the version of the rules in force.",
                &["version"],
            )?,
            outlasting: counters(
                "warren_outlasting_submits_total",
                "Submits by whether the supervisor keeps them in case that this process ends.",
                &["outcome"],
            )?,
            probes: counters(
                "warren_probes_total",
                "Looks at clusters, by what was done and what came of it.",
                &["cluster", "probe", "outcome"],
            )?,
            log_dropped: register(
                &registry,
                IntCounter::new(
                    "warren_log_lines_dropped_total",
                    "Log lines that nobody took in time.",
                )?,
            )?,
            registry,
        })
    }

    /// A request has ended.
    pub fn request(&self, request: &RequestFigures<'_>) {
        let mut digits = [0; 3];
        let status = status_text(request.status, &mut digits);
        self.requests
            .with_label_values(&[request.kind, request.group, request.cluster, status])
            .inc();
        self.added.with_label_values(&[request.kind]).observe(request.added.as_secs_f64());
        if let Some(upstream) = request.upstream {
            self.upstream
                .with_label_values(&[request.kind, request.cluster])
                .observe(upstream.as_secs_f64());
        }
    }

    /// The owner of a query was found, or not, by this step.
    pub fn lookup(&self, step: &str) {
        self.lookups.with_label_values(&[step]).inc();
    }

    /// A query was seen to end.
    pub fn end(&self, cause: EndCause) {
        self.ends.with_label_values(&[cause.as_str()]).inc();
    }

    /// Warren answered by itself.
    pub fn own_answer(&self, why: &str) {
        self.own_answers.with_label_values(&[why]).inc();
    }

    /// A rule failed.
    pub fn rule_error(&self, kind: &str) {
        self.rule_errors.with_label_values(&[kind]).inc();
    }

    /// A question of a rule to a service had this outcome; `took`: it was sent, and took so long.
    pub fn rule_http(&self, outcome: &str, took: Option<Duration>) {
        self.rule_http.with_label_values(&[outcome]).inc();
        if let Some(took) = took {
            let seconds = self.rule_http_seconds.with_label_values(&[outcome]);
            seconds.observe(took.as_secs_f64());
        }
    }

    /// A request was sent again.
    pub fn retry(&self, kind: &str) {
        self.retries.with_label_values(&[kind]).inc();
    }

    /// A query of one group went to another.
    pub fn fallback(&self, group: &str, to: &str) {
        self.fallbacks.with_label_values(&[group, to]).inc();
    }

    /// An unhealthy cluster of a group was tried for a query.
    pub fn tried_unhealthy(&self, group: &str) {
        self.tried_unhealthy.with_label_values(&[group]).inc();
    }

    /// A query is held no more.
    pub fn held_end(&self, group: &str, end: &str) {
        self.held_ends.with_label_values(&[group, end]).inc();
    }

    /// A cluster took a query that was held for this long.
    pub fn held_for(&self, group: &str, waited: Duration) {
        self.held_seconds.with_label_values(&[group]).observe(waited.as_secs_f64());
    }

    /// A submit is kept by the supervisor, or not, or was taken from another process.
    pub fn outlast(&self, outcome: &str) {
        self.outlasting.with_label_values(&[outcome]).inc();
    }

    /// A cluster was looked at.
    pub fn probe(&self, cluster: &str, probe: &str, outcome: &str) {
        self.probes.with_label_values(&[cluster, probe, outcome]).inc();
    }

    /// Everything in the text form of Prometheus.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "writing to memory");
        text
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    if !(100..1000).contains(&status) {
        return "none";
    }
    for (place, unit) in digits.iter_mut().zip([100, 10, 1]) {
        *place = b'0' + u8::try_from(status / unit % 10).unwrap_or(0);
    }
    std::str::from_utf8(digits).unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_with_their_labels() {
        let metrics = Metrics::default();
        metrics.request(&RequestFigures {
            kind: "page",
            group: "bi",
            cluster: "blue",
            status: 200,
            added: Duration::from_micros(80),
            upstream: Some(Duration::from_millis(3)),
        });
        metrics.end(EndCause::LastPage);
        let text = String::from_utf8(metrics.render()).expect("text");
        for line in [
            r#"warren_requests_total{cluster="blue",group="bi",kind="page",status="200"} 1"#,
            r#"warren_added_seconds_bucket{kind="page",le="0.0001"} 1"#,
            r#"warren_query_ends_total{cause="last_page"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
