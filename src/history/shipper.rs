//! Brings events from the journal into the store.
//!
//! One task, one batch at a time, in the order of the journal. Promises that an event leaves the
//! journal only when the store has it, or when the store said of that very event that it can never
//! take it: such a one is counted and logged, and does not stop the others. While the store is
//! away it is asked again after 100 ms … 5 s. Delivery is at least once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::history::reader::{Chunk, Reader};
use crate::history::record::Recorded;
use crate::history::segment::Segments;
use crate::history::stats::JournalStats;
use crate::history::writer::Progress;
use crate::store::{Store, StoreError, chain};
use crate::time::unix_ms;

/// The most events of one batch.
const BATCH: usize = 500;
/// How long to gather events after a batch that was not full, so that a quiet gateway makes ten
/// small transactions a second and not a hundred.
const GATHER: Duration = Duration::from_millis(100);
/// The first and the longest wait before a store that was away is asked again.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest that one call may take; a store has shorter deadlines of its own.
const CALL: Duration = Duration::from_secs(60);

/// The task's state.
pub(super) struct Shipper {
    pub(super) gateway: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) reader: Reader,
    pub(super) segments: Arc<Segments>,
    pub(super) stats: Arc<JournalStats>,
    /// What the writer wrote.
    pub(super) progress: watch::Receiver<Progress>,
    /// Tells the sequence up to which the store has everything.
    pub(super) shipped: watch::Sender<u64>,
}

impl Shipper {
    /// Runs until `stop` says true, or its sender is gone. A read of the journal is never left in
    /// the middle, so that the journal is free when this returns.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut trouble = Backoff::default();
        loop {
            self.progress.borrow_and_update();
            let Some((reader, chunk)) = read(self.reader).await else { return };
            self.reader = reader;
            let step = match chunk {
                Ok(chunk) => {
                    trouble = Backoff::default();
                    unless(&mut stop, self.step(&chunk)).await
                }
                Err(error) => {
                    warn!(error = %error, "read the journal");
                    unless(&mut stop, sleep(trouble.next(rand::random()))).await
                }
            };
            if step.is_none() {
                return;
            }
        }
    }

    /// Brings a chunk into the store, then waits for more.
    async fn step(&mut self, chunk: &Chunk) {
        self.deliver(&chunk.events).await;
        if let Err(error) = self.segments.acknowledge(chunk.upto) {
            // The store has the events; without the note some will be sent again.
            warn!(error = %error, "note what the store has");
        }
        self.shipped.send_replace(chunk.upto);
        if chunk.events.is_empty() {
            // An error means that the writer has ended: then only `stop` can come.
            if self.progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        } else if chunk.events.len() < BATCH {
            sleep(GATHER).await;
        }
    }

    /// Returns when the store has every event that it can take.
    async fn deliver(&self, events: &[Recorded]) {
        let mut parts = Vec::new();
        if !events.is_empty() {
            parts.push(events);
        }
        let mut away = Backoff::default();
        while let Some(part) = parts.pop() {
            match self.apply(part).await {
                Ok(()) => {
                    self.is_up();
                    away = Backoff::default();
                    self.stats.shipped.fetch_add(part.len() as u64, Relaxed);
                }
                Err(Failure::Away(cause)) => {
                    self.is_away(&cause);
                    parts.push(part);
                    sleep(away.next(rand::random())).await;
                }
                Err(Failure::Refused(what)) => {
                    self.is_up();
                    match part {
                        [one] => self.reject(one, &what),
                        many => {
                            let (first, second) = many.split_at(many.len() / 2);
                            parts.push(second);
                            parts.push(first);
                        }
                    }
                }
            }
        }
    }

    async fn apply(&self, part: &[Recorded]) -> Result<(), Failure> {
        match timeout(CALL, self.store.apply(&self.gateway, part)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(StoreError::Unusable { what, .. })) => Err(Failure::Refused(what)),
            Ok(Err(away @ StoreError::Unavailable { .. })) => Err(Failure::Away(chain(&away))),
            Err(_) => Err(Failure::Away("no answer in time".to_owned())),
        }
    }

    fn is_up(&self) {
        self.stats.last_ship_ms.store(unix_ms(), Relaxed);
        self.stats.store_asked.store(true, Relaxed);
        if !self.stats.store_up.swap(true, Relaxed) {
            info!(store = self.store.place(), "the store takes the history");
        }
    }

    fn is_away(&self, cause: &str) {
        let was_up = self.stats.store_up.swap(false, Relaxed);
        let was_asked = self.stats.store_asked.swap(true, Relaxed);
        if was_up || !was_asked {
            warn!(
                store = self.store.place(),
                cause, "the store is away, keeping the history in the journal"
            );
        }
    }

    fn reject(&self, recorded: &Recorded, what: &str) {
        self.stats.rejected.fetch_add(1, Relaxed);
        error!(
            sequence = recorded.sequence,
            what, "the store cannot take an event, leaving it out"
        );
    }
}

enum Failure {
    Away(String),
    Refused(String),
}

/// Waits for `work`, or gives it up when `stop` says true or its sender is gone.
async fn unless<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}

/// Reads on a blocking thread, and gives the reader back; `None` when the runtime ends.
async fn read(mut reader: Reader) -> Option<(Reader, io::Result<Chunk>)> {
    let read = tokio::task::spawn_blocking(move || {
        let chunk = reader.next(BATCH);
        (reader, chunk)
    });
    match read.await {
        Ok(back) => Some(back),
        Err(error) => {
            if error.is_panic() {
                error!("the reader of the journal has failed, the journal keeps the history");
            }
            None
        }
    }
}

/// How long to wait for a store that is away: doubled each time, and a random part of it, so that
/// gateways that lost the same store do not come back together.
#[derive(Debug, Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait, for a random number of 0 … 1.
    fn next(&mut self, random: f64) -> Duration {
        let (first, longest) = WAIT;
        let wait = first.saturating_mul(1 << self.tries.min(10)).min(longest);
        self.tries = self.tries.saturating_add(1);
        wait.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
