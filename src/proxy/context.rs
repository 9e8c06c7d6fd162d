//! What a request carries from phase to phase: the snapshot that it keeps to its end, the stage
//! that it is in, and, apart from that, what is learned for logs and figures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora::http::ResponseHeader;

use crate::classify::RequestKind;
use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::cluster::registry::Fleet;
use crate::cluster::traffic::Sender;
use crate::gateway::in_flight::Counted;
use crate::gateway::traffic::sender;
use crate::ids::QueryId;
use crate::listener::Client;
use crate::proxy::observe::PageObserver;
use crate::proxy::rewrite::Rewriter;
use crate::proxy::segments::Segments;
use crate::time::Instant;

/// A request on its way.
#[derive(Debug)]
pub struct Context {
    /// The clusters and settings that it goes by.
    pub fleet: Arc<Fleet>,
    /// What it asks for; `None` until its head was read.
    pub kind: Option<RequestKind>,
    /// Who sent it.
    pub client: Option<Client>,
    /// Where it goes.
    pub stage: Stage,
    /// What the access event tells.
    pub facts: Facts,
    _counted: Counted,
}

/// Where a request is.
#[derive(Debug)]
pub enum Stage {
    /// Warren answers it.
    Local,
    /// It streams to a cluster and back.
    Streaming(Box<Streaming>),
}

/// A request that streams.
#[derive(Debug)]
pub struct Streaming {
    /// Its cluster. It goes nowhere else.
    pub cluster: Arc<Cluster>,
    /// The query that it is about.
    pub id: Option<QueryId>,
    /// That query's life, once Warren knows that it lives there.
    pub query: Option<Arc<LiveQuery>>,
    /// How often a connect has failed.
    pub failures: u32,
    /// When connects to the owner are given up.
    pub give_up: Instant,
    /// When who answers there said first that it does not know the query.
    pub denied: Option<Instant>,
    /// What the client gets instead of what its cluster would say.
    pub answer: Option<(Box<ResponseHeader>, Bytes)>,
    /// Looks at the page that passes.
    pub observer: Option<PageObserver>,
    /// Looks for spooled segments in it.
    pub segments: Option<Segments>,
    /// Replaces addresses in it.
    pub rewriter: Option<Rewriter>,
}

/// What is learned of a request for logs and figures. Nothing is decided by it.
#[derive(Debug)]
pub struct Facts {
    /// When its head was read.
    pub began: Instant,
    /// When a cluster was asked last.
    pub asked: Option<Instant>,
    /// How long clusters took, up to the head of their answer.
    pub upstream: Duration,
    /// When the body of the answer began to pass.
    pub body_began: Option<Instant>,
    /// The query that it made or is about.
    pub query_id: Option<QueryId>,
    /// The group that the rules named.
    pub group: Option<String>,
    /// The rule that named it.
    pub rule: Option<String>,
    /// The cluster that answered.
    pub cluster: Option<Arc<Cluster>>,
    /// Why Warren answered by itself.
    pub own_answer: Option<&'static str>,
}

impl Context {
    /// A request whose head was just read.
    pub fn new(fleet: Arc<Fleet>, counted: Counted, now: Instant) -> Self {
        Self {
            fleet,
            kind: None,
            client: None,
            stage: Stage::Local,
            facts: Facts {
                began: now,
                asked: None,
                upstream: Duration::ZERO,
                body_began: None,
                query_id: None,
                group: None,
                rule: None,
                cluster: None,
                own_answer: None,
            },
            _counted: counted,
        }
    }

    /// Who sent it, as far as telling two senders apart needs it.
    pub fn sender(&self, headers: &HeaderMap) -> Option<Sender> {
        self.client.as_ref().map(|client| sender(headers, client.address))
    }

    /// The streaming part, if it streams.
    pub fn streaming(&mut self) -> Option<&mut Streaming> {
        match &mut self.stage {
            Stage::Streaming(streaming) => Some(streaming),
            Stage::Local => None,
        }
    }
}

impl Streaming {
    /// A request that is about to be sent to `cluster`.
    pub fn to(cluster: Arc<Cluster>, id: Option<QueryId>, give_up: Instant) -> Self {
        Self {
            cluster,
            id,
            query: None,
            failures: 0,
            give_up,
            denied: None,
            answer: None,
            observer: None,
            segments: None,
            rewriter: None,
        }
    }

    /// How often all of `addresses` have failed, and which one's turn it is.
    pub fn turn(&self, addresses: usize) -> (u32, usize) {
        let addresses = u32::try_from(addresses).unwrap_or(1).max(1);
        let turn = self.failures % addresses;
        (self.failures / addresses, usize::try_from(turn).unwrap_or(0))
    }
}

impl Facts {
    /// A cluster is asked now.
    pub fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Its answer's head came.
    pub fn answered(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            self.upstream += now.saturating_duration_since(asked);
        }
    }
}
