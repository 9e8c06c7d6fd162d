//! Requests that have begun and not ended, so that a shutdown waits for them and for nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The count, shared by everybody who begins a request.
#[derive(Debug, Clone)]
pub struct InFlight {
    count: Arc<watch::Sender<u64>>,
    draining: Arc<AtomicBool>,
    drained: Arc<watch::Sender<bool>>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
            draining: Arc::default(),
            drained: Arc::new(watch::Sender::new(false)),
        }
    }
}

/// One request, counted until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<watch::Sender<u64>>);

impl InFlight {
    /// A request begins.
    pub fn begin(&self) -> Counted {
        self.count.send_modify(|count| *count += 1);
        Counted(self.count.clone())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// From now on connections end with their next answer, and readiness fails.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.drained.send_replace(true);
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits for [`Self::drain`].
    pub async fn until_draining(&self) {
        let mut draining = self.drained.subscribe();
        drop(draining.wait_for(|draining| *draining).await);
    }

    /// Waits until none is left.
    pub async fn none(&self) {
        // The sender lives as long as `self`, so this ends by the count alone.
        let mut count = self.count.subscribe();
        let _none = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
