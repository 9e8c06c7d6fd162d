//! Asks the rules about a submit, tells how they fared, and what of the request the history keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderMap;
use pingora::http::RequestHeader;
use tokio::task::spawn_blocking;
use tracing::error;

use crate::cluster::registry::Fleet;
use crate::gateway::{Gateway, wish};
use crate::history::record::{HEADERS, Request};
use crate::listener::Client;
use crate::proxy::statement::Statement;
use crate::route::facts::{self, Facts, analysed_ahead, is_long};
use crate::route::rules::RuleSet;
use crate::route::verdict::Decision;
use crate::time::{Instant, LocalTime};

/// Who asks.
pub(super) struct Asking<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) fleet: &'a Arc<Fleet>,
    pub(super) client: &'a Client,
    /// The port that the request came to.
    pub(super) port: u16,
    /// When.
    pub(super) local_time: LocalTime,
}

impl Asking<'_> {
    /// Asks the rules, which may ask services until `deadline`. They always name a group; what went wrong
    /// in them is counted and told.
    pub(super) async fn decide(
        &self,
        head: &RequestHeader,
        statement: &Statement,
        deadline: Instant,
    ) -> Decision {
        let rules = self.gateway.rules.current();
        let statement = self.known(&rules, &head.headers, statement).await;
        let facts = Facts {
            headers: &head.headers,
            method: &head.method,
            path: head.uri.path(),
            user: None,
            remote_addr: self.client.address,
            listener: self.listener(),
            statement,
            standings: self.fleet.clone(),
            local_time: Some(self.local_time),
            unrecorded: None,
            heard: Vec::new(),
        };
        let decision = self.gateway.decide(&rules, facts, deadline).await;
        let decision = wish::checked(decision, &rules, self.fleet);
        let Gateway { metrics, rule_alarm, .. } = self.gateway;
        match &decision.error {
            Some(failure) => {
                metrics.rule_error(failure.kind.as_str());
                rule_alarm.failed(failure, &rules, self.fleet.config.rules.alarm_after);
            }
            None => rule_alarm.succeeded(),
        }
        decision
    }

    /// What the history keeps of the request, before the rules change its head.
    pub(super) fn recorded(&self, head: &RequestHeader, statement: &Statement) -> Request {
        let bytes = statement.text.len() + usize::from(!statement.whole);
        let mut request = Request {
            headers: BTreeMap::new(),
            left_out: BTreeSet::new(),
            path: head.uri.path().to_owned(),
            listener: self.listener().to_owned(),
            remote_addr: self.client.address,
            hour: self.local_time.hour,
            weekday: self.local_time.weekday,
            statement_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        for name in HEADERS {
            request.keep(name, head.headers.get_all(name).iter().map(|line| line.as_bytes()));
        }
        request
    }

    fn listener(&self) -> &str {
        self.fleet.config.listen.name_of(self.port)
    }

    /// The statement, and what it is and touches if that takes long to read and the rules may ask: it is
    /// read beside the data path.
    async fn known(
        &self,
        rules: &RuleSet,
        headers: &HeaderMap,
        statement: &Statement,
    ) -> facts::Statement {
        let text = statement.text.clone();
        let mut known = facts::Statement { text, is_cut: !statement.whole, analysis: None };
        if !rules.reads_query() || !is_long(&known, headers) {
            return known;
        }
        // The semaphore is never closed.
        let one_of_few = self.gateway.readings.clone().acquire_owned().await.ok();
        let (aside, headers, with_digest) = (known.clone(), headers.clone(), rules.reads_digest());
        let reading = move || {
            let analysis = Arc::new(analysed_ahead(&aside, &headers, with_digest));
            // Not before: a reading goes on when its client goes away.
            drop(one_of_few);
            analysis
        };
        match spawn_blocking(reading).await {
            Ok(analysis) => known.analysis = Some(analysis),
            // The runtime ends. Rules that ask read it where they are.
            Err(error) => error!(%error, "a statement was not read for the rules"),
        }
        known
    }
}
