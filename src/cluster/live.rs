//! A query that Warren carries pages of. What each page needs to note is atomic: no page takes a
//! lock to say that its query lives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::ids::QueryId;
use crate::time::Instant;

/// A query, from the answer to its submit to its end.
#[derive(Debug)]
pub struct LiveQuery {
    id: QueryId,
    posted: Instant,
    /// Whether it was submitted through this gateway.
    own: bool,
    /// Microseconds from `posted` to the first GET, plus one; 0 until then.
    first_get: AtomicU64,
    /// Microseconds from `posted` to the last request.
    last_seen: AtomicU64,
    over: AtomicBool,
    /// Whether it can live nowhere else.
    bound: AtomicBool,
    /// The query that took its place before it had begun.
    moved: OnceLock<Moved>,
}

/// The query that took another one's place, and the answer that told it to the client.
#[derive(Debug)]
pub struct Moved {
    /// The query that runs.
    pub query: Arc<LiveQuery>,
    /// That cluster's first answer.
    pub answer: FirstAnswer,
}

/// The answer to a submit, for a client that asks again.
#[derive(Debug, Clone)]
pub struct FirstAnswer {
    /// How the body is compressed.
    pub encoding: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

impl LiveQuery {
    /// A query whose submit was answered at `now`.
    pub fn posted_at(id: QueryId, now: Instant) -> Self {
        Self::new(id, now, 0)
    }

    /// A query that was met on its way, when its owner answered a page of it at `now`.
    pub fn met_at(id: QueryId, now: Instant) -> Self {
        Self::new(id, now, 1)
    }

    fn new(id: QueryId, posted: Instant, first_get: u64) -> Self {
        Self {
            id,
            posted,
            own: first_get == 0,
            first_get: AtomicU64::new(first_get),
            last_seen: AtomicU64::new(0),
            over: AtomicBool::new(false),
            bound: AtomicBool::new(first_get > 0),
            moved: OnceLock::new(),
        }
    }

    /// Notes whether it is held for ended.
    pub fn set_over(&self, over: bool) {
        self.over.store(over, Ordering::Relaxed);
    }

    /// Whether it is held for ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Its first page was sent to its cluster, or may have been: it can live nowhere else.
    pub fn bind(&self) {
        self.bound.store(true, Ordering::Relaxed);
    }

    /// Whether it can live nowhere else.
    pub fn is_bound(&self) -> bool {
        self.bound.load(Ordering::Relaxed)
    }

    /// Another query took its place.
    pub fn move_to(&self, moved: Moved) {
        self.bind();
        // It is moved once: only who took its statement can do it.
        let _first = self.moved.set(moved);
    }

    /// The query that took its place.
    pub fn moved(&self) -> Option<&Moved> {
        self.moved.get()
    }

    /// Whether it was submitted through this gateway.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Its id.
    pub fn id(&self) -> &QueryId {
        &self.id
    }

    /// When its submit was answered, or when it was met.
    pub fn posted(&self) -> Instant {
        self.posted
    }

    /// Notes that a client asked for a page at `now`. Tells whether it was the first time.
    pub fn asked(&self, now: Instant) -> bool {
        let since = self.since_posted(now);
        self.last_seen.fetch_max(since, Ordering::Relaxed);
        self.first_get.load(Ordering::Relaxed) == 0
            && self
                .first_get
                .compare_exchange(0, since.saturating_add(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// When its first page was asked for, which is when Trino starts it.
    pub fn first_get(&self) -> Option<Instant> {
        let noted = self.first_get.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.posted + Duration::from_micros(noted))
    }

    /// When a client asked for it last.
    pub fn last_seen(&self) -> Instant {
        self.posted + Duration::from_micros(self.last_seen.load(Ordering::Relaxed))
    }

    fn since_posted(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.posted).as_micros()).unwrap_or(u64::MAX)
    }
}
