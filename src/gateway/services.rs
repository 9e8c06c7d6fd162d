//! Asks services what rules want to know of them, outside of the rules' machines.
//!
//! Promises that a question takes no longer than it has, and that none is sent to a service that fails in
//! a row, nor beyond the number that may be on their way: those fail at once. Nothing of a client's
//! request goes along but what the rule put into its question. Does not look names up
//! (`control/services.rs` does).

mod breaker;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tracing::{info, warn};

use self::breaker::Breaker;
use super::Gateway;
use crate::config::{ClusterUrl, RuleHttp};
use crate::route::engine::{self, Step};
use crate::route::facts::Facts;
use crate::route::rules::RuleSet;
use crate::route::services::{BODY_MAX, Heard, Post, Reply, Unanswered};
use crate::route::verdict::Decision;
use crate::telemetry::metrics::Metrics;
use crate::time::{self, Instant};
use crate::upstream::exchange::service::Letter;
use crate::upstream::exchange::{Bounds, ExchangeError, Upstream};

/// Idle connections to services.
const POOL: usize = 64;

/// Where services are whose host is a name.
pub type Addresses = HashMap<ClusterUrl, Vec<SocketAddr>>;

/// The way to services.
#[derive(Debug)]
pub struct Services {
    upstream: Upstream,
    metrics: Arc<Metrics>,
    on_their_way: AtomicUsize,
    /// Held for a moment.
    breakers: Mutex<HashMap<ClusterUrl, Breaker>>,
    addresses: ArcSwap<Addresses>,
}

/// A question on its way, until it is dropped.
struct OnItsWay<'a>(&'a AtomicUsize);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateway {
    /// What the rules decide about a request. Services are asked what the rules ask of them, until
    /// `deadline`.
    pub async fn decide(
        &self,
        rules: &Arc<RuleSet>,
        mut facts: Facts<'_>,
        deadline: Instant,
    ) -> Decision {
        loop {
            let post = match engine::step(rules, &facts) {
                Step::Decided(decision) => return *decision,
                Step::Asks(post) => post,
            };
            let reply = match rules.http() {
                // In a box, as most rules ask nobody: a submit that waits would be larger for it.
                Some(settings) => Box::pin(self.services.ask(&post, settings, deadline)).await,
                None => Err(Unanswered::Offline),
            };
            facts.heard.push(Arc::new(Heard { post, reply }));
        }
    }
}

impl Services {
    /// Nothing was asked yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            upstream: Upstream::with_pool(POOL),
            metrics,
            on_their_way: AtomicUsize::new(0),
            breakers: Mutex::default(),
            addresses: ArcSwap::default(),
        }
    }

    /// Puts the addresses of names in force.
    pub fn set_addresses(&self, addresses: Addresses) {
        self.addresses.store(Arc::new(addresses));
    }

    /// Asks a service, if it may be asked now.
    async fn ask(
        &self,
        post: &Post,
        settings: &RuleHttp,
        deadline: Instant,
    ) -> Result<Reply, Unanswered> {
        let began = time::now();
        let limit = post.timeout.min(deadline.saturating_duration_since(began));
        // That no time is left is not the service's failure.
        let admitted = if limit.is_zero() {
            Err(Unanswered::Late)
        } else {
            self.admit(&post.url.origin, settings)
        };
        let _on_its_way = match admitted {
            Ok(on_its_way) => on_its_way,
            Err(refused) => {
                self.metrics.rule_http(refused.as_str(), None);
                return Err(refused);
            }
        };
        let reply = self.exchange(post, settings, limit).await;
        let outcome = reply.as_ref().map_or_else(Unanswered::as_str, |_| "ok");
        self.metrics.rule_http(outcome, Some(began.elapsed()));
        self.note(&post.url.origin, settings, reply.as_ref().err());
        reply
    }

    /// Room before breaker: a trial that finds no room would be none.
    fn admit(&self, service: &ClusterUrl, settings: &RuleHttp) -> Result<OnItsWay<'_>, Unanswered> {
        let most = settings.max_in_flight;
        let more = |count| (count < most).then_some(count + 1);
        let room = self.on_their_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        room.map_err(|_| Unanswered::Busy(most))?;
        let on_its_way = OnItsWay(&self.on_their_way);
        let now = time::now();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(service.clone()).or_insert(Breaker::NEW);
        let (after, admitted) = breaker.admit(settings.open_for, now);
        *breaker = after;
        admitted.then_some(on_its_way).ok_or(Unanswered::Open)
    }

    async fn exchange(
        &self,
        post: &Post,
        settings: &RuleHttp,
        limit: Duration,
    ) -> Result<Reply, Unanswered> {
        let letter = Letter {
            url: &post.url,
            addresses: &self.addresses_of(&post.url.origin),
            ca: settings.ca.as_deref(),
            headers: &post.headers,
            authorization: settings.authorization.as_ref(),
            body: post.body.clone(),
        };
        let bounds = Bounds { answer: limit, body: BODY_MAX };
        match timeout(limit, self.upstream.post(letter, bounds)).await {
            Err(_) | Ok(Err(ExchangeError::Deadline { .. })) => Err(Unanswered::Timeout(limit)),
            Ok(Err(error)) => Err(Unanswered::failed(&error.chain())),
            Ok(Ok(answer)) => Reply::of(answer.status, answer.is_json, answer.body),
        }
    }

    fn addresses_of(&self, service: &ClusterUrl) -> Vec<SocketAddr> {
        match service.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, service.port)],
            Err(_) => self.addresses.load().get(service).cloned().unwrap_or_default(),
        }
    }

    /// Takes in what came of a question, and tells when the service is left alone, and when no more.
    fn note(&self, service: &ClusterUrl, settings: &RuleHttp, failure: Option<&Unanswered>) {
        let RuleHttp { open_after, open_for, .. } = *settings;
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(service.clone()).or_insert(Breaker::NEW);
        let before = *breaker;
        *breaker = match failure {
            None => Breaker::NEW,
            Some(_) => before.failed(open_after, open_for, time::now()),
        };
        let (was_open, is_open) = (before.is_open(), breaker.is_open());
        drop(breakers);
        match failure {
            Some(error) if is_open && !was_open => {
                warn!(%service, %error, ?open_for, "a service that rules ask fails and is left alone");
            }
            None if was_open => info!(%service, "a service that rules ask answers again"),
            Some(_) | None => {}
        }
    }
}
