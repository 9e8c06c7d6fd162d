//! What a stub remembers for its tests: requests, counts, counters.
//!
//! All of it is bounded; the oldest goes first. It outlives a restart of the stub.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::fault::RequestKind;
use crate::http::Request;

/// How many requests are remembered.
const REQUESTS_MAX: usize = 100_000;
/// How much of a body is remembered.
const BODY_KEPT: usize = 4096;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// When its last byte was read.
    pub at: Instant,
    /// What it was for.
    pub kind: RequestKind,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header lines in their order and spelling.
    pub headers: Vec<(String, String)>,
    /// The length of the body.
    pub body_len: usize,
    /// The first 4 KiB of the body.
    pub body: Vec<u8>,
}

impl RequestRecord {
    /// The first header line of this name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::http::header(&self.headers, name)
    }

    /// All header lines of this name, in any spelling.
    pub fn header_lines(&self, name: &str) -> Vec<&str> {
        let same = |key: &String| key.eq_ignore_ascii_case(name);
        self.headers.iter().filter(|(key, _)| same(key)).map(|(_, value)| value.as_str()).collect()
    }
}

/// How many queries stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Posted, first page not asked for: Trino itself does not count these.
    pub registered: usize,
    /// Wait for their resource group.
    pub queued: usize,
    /// Run.
    pub running: usize,
}

impl Counts {
    /// Queued and running: the load of the coordinator.
    pub fn live(self) -> usize {
        self.queued + self.running
    }
}

/// The counts from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountsAt {
    /// Simulated time since the start of the process.
    pub at: Duration,
    /// The counts.
    pub counts: Counts,
}

/// What happened since the stub was started, restarts included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Statements registered.
    pub submitted: u64,
    /// Statements whose first page was asked for.
    pub executed: u64,
    /// Ended well.
    pub finished: u64,
    /// Ended with an error of their own.
    pub failed: u64,
    /// Ended by their client.
    pub cancelled: u64,
    /// Ended by `kill_query` or `PUT …/killed`.
    pub killed: u64,
    /// Ended because nobody asked for them.
    pub abandoned: u64,
    /// Registered and never asked for.
    pub dropped: u64,
}

impl Counters {
    /// Counts an end.
    pub(crate) fn ended(&mut self, error: Option<&str>) {
        match error {
            None => self.finished += 1,
            Some("USER_CANCELED") => self.cancelled += 1,
            Some("ADMINISTRATIVELY_KILLED") => self.killed += 1,
            Some("ABANDONED_QUERY") => self.abandoned += 1,
            Some(_) => self.failed += 1,
        }
    }
}

/// The requests seen.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    requests: VecDeque<RequestRecord>,
    by_kind: HashMap<RequestKind, u64>,
    foreign: VecDeque<String>,
    foreign_total: u64,
}

impl Recorder {
    /// Remembers a request.
    pub(crate) fn request(&mut self, at: Instant, kind: RequestKind, request: &Request) {
        *self.by_kind.entry(kind).or_default() += 1;
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(RequestRecord {
            at,
            kind,
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body_len: request.body.len(),
            body: request.body[..request.body.len().min(BODY_KEPT)].to_vec(),
        });
    }

    /// Remembers that somebody asked for a query or a hand-shake of another coordinator.
    pub(crate) fn foreign(&mut self, id: &str) {
        self.foreign_total += 1;
        if self.foreign.len() == REQUESTS_MAX {
            self.foreign.pop_front();
        }
        self.foreign.push_back(id.to_owned());
    }

    /// The requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        self.requests.iter().cloned().collect()
    }

    /// How many requests of a kind came.
    pub(crate) fn count(&self, kind: RequestKind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or_default()
    }

    /// How many requests named another coordinator's query or hand-shake, and those ids.
    pub(crate) fn foreign_ids(&self) -> (u64, Vec<String>) {
        (self.foreign_total, self.foreign.iter().cloned().collect())
    }

    /// Forgets the requests and foreign ids, not the counts by kind.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.foreign.clear();
        self.foreign_total = 0;
    }
}
