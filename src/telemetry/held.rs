//! Requests that wait inside Warren: each is counted for as long as it waits, and there is a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::{IntGauge, IntGaugeVec};

/// All requests that wait.
#[derive(Debug)]
pub struct Waiting {
    all: Arc<AtomicUsize>,
    kinds: IntGaugeVec,
}

/// One request that waits, until it is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<AtomicUsize>,
    kind: IntGauge,
}

impl Waiting {
    /// Nobody waits. `kinds` is the figure of those who do, by kind.
    pub(super) fn new(kinds: IntGaugeVec) -> Self {
        Self { all: Arc::default(), kinds }
    }

    /// One more request waits; `None`: `limit` of them do already.
    pub fn hold(&self, kind: &'static str, limit: usize) -> Option<Held> {
        let more = |waiting| (waiting < limit).then_some(waiting + 1);
        self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let kind = self.kinds.with_label_values(&[kind]);
        kind.inc();
        Some(Held { all: self.all.clone(), kind })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.kind.dec();
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn all_kinds_together_have_one_bound() {
        let metrics = Metrics::default();
        let page = metrics.waiting.hold("page", 2).expect("the first");
        let _submit = metrics.waiting.hold("submit", 2).expect("the second");
        assert!(metrics.waiting.hold("page", 2).is_none());
        drop(page);
        assert!(metrics.waiting.hold("page", 2).is_some());
    }
}
