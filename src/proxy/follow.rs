//! Finds the owner of a query that a request is about. An unknown query is never sent to some
//! cluster: what memory and the store do not know is asked of every cluster that may own it.
//!
//! Trino says 404 or 410 for a query that is not its own, so any other answer names the owner.
//! When a cluster could not be asked, nobody may say 404: the request waits, then hears 503.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::Method;
use pingora::http::RequestHeader;

use crate::classify::RequestKind;
use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::config::Timeouts;
use crate::gateway::Gateway;
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::context::Context;
use crate::proxy::headers;
use crate::proxy::rescue::OwnAnswer;
use crate::sticky::Known;
use crate::sticky::asking::{Asked, Joined, Round};
use crate::time;
use crate::upstream::exchange::{Bounds, Call, Want};

/// Between two rounds of asking, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Where a request about a query goes.
pub enum Found {
    /// To its owner.
    Owner(Arc<Cluster>, Option<Arc<LiveQuery>>),
    /// Nowhere.
    Own(OwnAnswer),
}

/// Finds the owner of `id` for the request in `ctx`.
pub async fn find(
    gateway: &Gateway,
    head: &RequestHeader,
    ctx: &Context,
    client: &Client,
    id: &QueryId,
) -> Found {
    let candidates = match gateway.sticky.known(id) {
        Known::Owned { cluster, query } => return Found::Owner(cluster, query),
        Known::Among(clusters) => clusters,
        Known::Unknown => ctx.fleet.clusters.clone(),
    };
    let question = Question { gateway, head, client, id, ctx };
    if matches!(head.method, Method::PUT | Method::POST) {
        // Such a request acts; it is not tried on clusters that it may not be meant for.
        if let Some(cluster) = question.stored().await {
            return Found::Owner(cluster, None);
        }
        gateway.metrics.lookup("unknown");
        return Found::Own(OwnAnswer::owner_away(id));
    }
    if !head.uri.path().starts_with("/v1/") && !matches!(ctx.kind, Some(RequestKind::Page(_))) {
        // Web pages answer 200 for any id; whoever is ready may show that it is gone.
        return match (question.stored().await, ctx.fleet.any_ready()) {
            (Some(cluster), _) => Found::Owner(cluster, None),
            (None, Some(cluster)) => Found::Owner(cluster.clone(), None),
            (None, None) => Found::Own(OwnAnswer::no_cluster()),
        };
    }
    question.ask(candidates).await
}

struct Question<'a> {
    gateway: &'a Gateway,
    head: &'a RequestHeader,
    client: &'a Client,
    id: &'a QueryId,
    ctx: &'a Context,
}

impl Question<'_> {
    async fn ask(&self, candidates: Vec<Arc<Cluster>>) -> Found {
        let give_up = time::now() + self.ctx.fleet.config.timeouts.page_hold;
        let limit = self.ctx.fleet.config.limits.held;
        let Some(_held) = self.gateway.metrics.waiting.hold("page", limit) else {
            return Found::Own(OwnAnswer::too_many_held());
        };
        let mut pause = PAUSE.0;
        loop {
            match self.round(&candidates).await {
                Round::Owner(cluster) => {
                    self.gateway.metrics.lookup("asked");
                    return Found::Owner(cluster, None);
                }
                Round::Nobody(status) => {
                    self.gateway.metrics.lookup("nobody");
                    return Found::Own(OwnAnswer::unknown_query(status, self.id));
                }
                Round::Taken => return Found::Own(OwnAnswer::cancelled()),
                Round::Incomplete if time::now() + pause < give_up => {}
                Round::Incomplete => {
                    self.gateway.metrics.lookup("unreachable");
                    return Found::Own(OwnAnswer::owner_away(self.id));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            if let Known::Owned { cluster, query } = self.gateway.sticky.known(self.id) {
                return Found::Owner(cluster, query);
            }
        }
    }

    async fn stored(&self) -> Option<Arc<Cluster>> {
        let limit = self.ctx.fleet.config.timeouts.store;
        let cluster = self.gateway.stored_owner(self.id, limit).await?;
        self.gateway.metrics.lookup("store");
        Some(cluster)
    }

    /// One round; the same requests share it.
    async fn round(&self, candidates: &[Arc<Cluster>]) -> Round {
        let asked: Asked = (self.head.method.clone(), self.head.uri.path().to_owned());
        loop {
            let mut running = match self.gateway.asking.join(&asked, time::now()) {
                Joined::Known(status) => return Round::Nobody(status),
                Joined::First(telling) => {
                    let round = match self.stored().await {
                        Some(cluster) => Round::Owner(cluster),
                        None => self.ask_all(candidates).await,
                    };
                    self.gateway.asking.finish(&asked, &round, time::now());
                    // Nobody may be listening.
                    telling.send_replace(Some(round.clone()));
                    return round;
                }
                Joined::Running(running) => running,
            };
            match running.wait_for(Option::is_some).await.map(|round| round.clone()) {
                Ok(Some(round)) => return round,
                // Whoever asked went away in the middle: the next one asks.
                Ok(None) | Err(_) => self.gateway.asking.forget(&asked),
            }
        }
    }

    async fn ask_all(&self, candidates: &[Arc<Cluster>]) -> Round {
        let answers = join_all(candidates.iter().map(|cluster| self.ask_one(cluster))).await;
        let bare_cancel = matches!(self.ctx.kind, Some(RequestKind::Cancel(_)))
            && self.head.uri.path().starts_with("/v1/query/");
        let mut nobody = None;
        let mut incomplete = false;
        for (cluster, status) in candidates.iter().zip(answers) {
            match status {
                Some(404 | 410) => nobody = status,
                Some(204) if bare_cancel => {}
                // Neither a refusal for lack of rights nor a failure names anybody.
                None | Some(401 | 403 | 406 | 500..) => incomplete = true,
                Some(_) => return Round::Owner(cluster.clone()),
            }
        }
        match (incomplete, nobody) {
            (true, _) => Round::Incomplete,
            (false, Some(status)) => Round::Nobody(status),
            (false, None) if bare_cancel => Round::Taken,
            (false, None) => Round::Incomplete,
        }
    }

    /// The status that `cluster` answers to the client's own request; `None`: it did not.
    async fn ask_one(&self, cluster: &Arc<Cluster>) -> Option<u16> {
        let timeouts = &self.ctx.fleet.config.timeouts;
        let header = headers::copy_for(cluster, self.head, self.client).ok()?;
        status_of(self.gateway, cluster, header, timeouts).await
    }
}

/// The status that `cluster` answers to a request without a body, within `timeouts.ask`.
pub async fn status_of(
    gateway: &Gateway,
    cluster: &Arc<Cluster>,
    header: RequestHeader,
    timeouts: &Timeouts,
) -> Option<u16> {
    let asked = async {
        let connected = gateway.upstream.connect(cluster, timeouts).await.ok()?;
        let call = Call { header, body: bytes::Bytes::new() };
        let bounds = Bounds { answer: timeouts.ask, body: 1 << 16 };
        let answer = gateway.upstream.exchange_on(connected, call, bounds, Want::Refusal).await;
        Some(answer.ok()?.header.status.as_u16())
    };
    tokio::time::timeout(timeouts.ask, asked).await.ok().flatten()
}
