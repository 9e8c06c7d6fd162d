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
struct OnItsWay<'a> {
    count: &'a AtomicUsize,
    /// The breaker as it let the question go.
    breaker: Breaker,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
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
        let on_its_way = match admitted {
            Ok(on_its_way) => on_its_way,
            Err(refused) => {
                self.metrics.rule_http(refused.as_str(), None);
                return Err(refused);
            }
        };
        let reply = match self.exchange(post, settings, limit).await {
            Err(Unanswered::Timeout(_)) if limit < post.timeout => Err(Unanswered::Late),
            reply => reply,
        };
        let outcome = reply.as_ref().map_or_else(Unanswered::as_str, |_| "ok");
        self.metrics.rule_http(outcome, Some(began.elapsed()));
        let failure = reply.as_ref().err();
        self.note(&post.url.origin, settings, (on_its_way.breaker, limit), failure);
        reply
    }

    /// Room before breaker: a trial that finds no room would be none.
    fn admit(&self, service: &ClusterUrl, settings: &RuleHttp) -> Result<OnItsWay<'_>, Unanswered> {
        let most = settings.max_in_flight;
        let more = |count| (count < most).then_some(count + 1);
        let room = self.on_their_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        room.map_err(|_| Unanswered::Busy(most))?;
        let mut on_its_way = OnItsWay { count: &self.on_their_way, breaker: Breaker::NEW };
        let now = time::now();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(service.clone()).or_insert(Breaker::NEW);
        let (after, admitted) = breaker.admit(settings.open_for, now);
        (*breaker, on_its_way.breaker) = (after, after);
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

    /// Takes in what came of a question that the breaker let go as `admitted` for at most `limit`, and tells
    /// when the service is left alone, and when no more.
    fn note(
        &self,
        service: &ClusterUrl,
        settings: &RuleHttp,
        (admitted, limit): (Breaker, Duration),
        failure: Option<&Unanswered>,
    ) {
        let RuleHttp { open_after, open_for, timeout, .. } = *settings;
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(service.clone()).or_insert(Breaker::NEW);
        let before = *breaker;
        *breaker = match failure {
            None => Breaker::NEW,
            // It had far less time than a service may take.
            Some(Unanswered::Late | Unanswered::Timeout(_)) if limit < timeout / 2 => {
                before.unjudged(admitted, time::now())
            }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ServiceUrl;
    use crate::route::tests::settings;

    const SHORT: Duration = Duration::from_millis(30);

    /// What is said of a service that never answers, and whether it is left alone then: it may take
    /// `timeout`, a question asks for `asked`, and its query has `left`.
    async fn silent(timeout: Duration, asked: Duration, left: Duration) -> (Unanswered, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let url = ServiceUrl::parse(&format!("http://{address}/route")).expect("a good URL");
        let settings = settings().http.expect("settings of services");
        let settings = RuleHttp { timeout, open_after: 1, ..settings };
        let post = Post { url, headers: Vec::new(), body: Bytes::new(), timeout: asked };
        let services = Services::new(Arc::new(Metrics::default()));
        let reply = services.ask(&post, &settings, time::now() + left).await;
        let is_open = services.admit(&post.url.origin, &settings).is_err();
        (reply.expect_err("nobody answers"), is_open)
    }

    #[tokio::test]
    async fn only_a_service_that_had_its_time_is_left_alone() {
        let long = Duration::from_secs(20);
        assert_eq!(silent(SHORT, SHORT, long).await, (Unanswered::Timeout(SHORT), true));
        assert_eq!(silent(SHORT * 2, SHORT, long).await, (Unanswered::Timeout(SHORT), true));
        assert_eq!(silent(SHORT * 2, SHORT * 2, SHORT).await.0, Unanswered::Late);
        assert_eq!(silent(long, SHORT, long).await, (Unanswered::Timeout(SHORT), false));
        assert_eq!(silent(long, long, SHORT).await, (Unanswered::Late, false));
        assert_eq!(silent(long, long, Duration::ZERO).await, (Unanswered::Late, false));
    }
}
