//! What happened to queries, on its way from the request path into the store.
//!
//! A request records an [`record::Event`] without waiting. It goes through a bounded queue into a
//! local journal within 50 ms, and from there in batches into the store, which may be slow or away.
//! Delivery is at least once; the effect is once, because an event moves its row only forwards.

pub mod fit;
mod frame;
pub mod journal;
mod reader;
pub mod record;
mod segment;
mod shipper;
mod stats;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

pub use journal::{JournalError, Recorder};
pub use stats::JournalStats;

use crate::store::Store;
use shipper::Shipper;
use writer::{Command, Writer};

/// How many processes of one supervisor may live at once: one serves, the others end.
const SLOTS: usize = 16;

/// Between two looks for journals that were left.
const LEFTOVER_PERIOD: Duration = Duration::from_secs(20);

/// What the store may take for one of them.
const LEFTOVER_GRACE: Duration = Duration::from_secs(60);

/// The running way of events into the store.
pub struct History {
    recorder: Recorder,
    gateway: String,
    writer: Option<Writer>,
    queue: SyncSender<Command>,
    shipper: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    shipped: watch::Receiver<u64>,
}

/// Opens the journal in the state folder and begins to ship it into the store.
///
/// Waits for the disk, not for the store. To be called within a tokio runtime, which then runs the
/// shipper.
pub fn start(
    state_folder: &Path,
    limit: u64,
    store: Arc<dyn Store>,
) -> Result<History, JournalError> {
    let parts = journal::open(state_folder, limit)?;
    let (stop, stopped) = watch::channel(false);
    let (sender, shipped) = watch::channel(parts.segments.acknowledged());
    let shipper = Shipper {
        gateway: parts.gateway.clone(),
        store,
        reader: parts.reader,
        segments: parts.segments,
        stats: Arc::clone(parts.recorder.stats()),
        progress: parts.recorder.progress(),
        shipped: sender,
    };
    Ok(History {
        queue: parts.recorder.queue(),
        recorder: parts.recorder,
        gateway: parts.gateway,
        writer: Some(parts.writer),
        shipper: Some(tokio::spawn(shipper.run(stopped))),
        stop,
        shipped,
    })
}

/// As [`start`], in the first folder that no other process uses, if there may be several: during
/// an upgrade two of one supervisor live side by side. Tells the folder.
pub fn start_beside(
    state_folder: &Path,
    several: bool,
    limit: u64,
    store: &Arc<dyn Store>,
) -> Result<(History, PathBuf), JournalError> {
    let mut folders = slots(state_folder).take(if several { SLOTS } else { 1 });
    loop {
        let folder = folders.next().unwrap_or_else(|| state_folder.to_owned());
        match start(&folder, limit, store.clone()) {
            Err(JournalError::Taken { .. }) if folders.len() > 0 => {}
            started => return started.map(|history| (history, folder)),
        }
    }
}

/// The state folder itself, then folders in it.
fn slots(state_folder: &Path) -> impl ExactSizeIterator<Item = PathBuf> {
    let state_folder = state_folder.to_owned();
    (0..SLOTS).map(move |slot| match slot {
        0 => state_folder.clone(),
        slot => state_folder.join(format!("beside-{slot}")),
    })
}

/// Brings into the store what processes that are gone have left in their journals.
pub async fn ship_leftovers(
    state_folder: PathBuf,
    own: PathBuf,
    limit: u64,
    store: Arc<dyn Store>,
) {
    // Who used another folder came before us, so one that is empty once stays so.
    let mut left: Vec<PathBuf> = slots(&state_folder).filter(|folder| *folder != own).collect();
    while !left.is_empty() {
        let mut still = Vec::new();
        for folder in left {
            if !folder.is_dir() {
                continue;
            }
            // One that is in use is not left over yet.
            let Ok(history) = start(&folder, limit, store.clone()) else {
                still.push(folder);
                continue;
            };
            let stats = Arc::clone(history.stats());
            history.stop(LEFTOVER_GRACE).await;
            if stats.pending() > 0 {
                still.push(folder);
            }
        }
        left = still;
        tokio::time::sleep(LEFTOVER_PERIOD).await;
    }
}

impl History {
    /// The way in, for everybody who sees something happen.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The numbers, for metrics.
    pub fn stats(&self) -> &Arc<JournalStats> {
        self.recorder.stats()
    }

    /// The id of this gateway, kept in its state folder.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Waits until the store has everything that was recorded before the call. Waits as long as
    /// the store is away.
    pub async fn shipped(&self) -> Result<(), JournalError> {
        self.recorder.flush().await?;
        let target = self.recorder.progress().borrow().written;
        let mut shipped = self.shipped.clone();
        let reached = shipped.wait_for(|shipped| *shipped >= target).await;
        reached.map(|_| ()).map_err(|_| JournalError::Closed)
    }

    /// Writes and syncs what was recorded, gives the store `grace` to take it, and ends. What the
    /// store did not take stays in the journal for the next start.
    pub async fn stop(mut self, grace: Duration) {
        if timeout(grace, self.shipped()).await.is_err() {
            warn!(
                pending = self.stats().pending(),
                "the store did not take all, the journal keeps it"
            );
        }
        self.stop.send_replace(true);
        if let Some(shipper) = self.shipper.take() {
            // A panic of the task was reported by its own hook.
            let _ = shipper.await;
        }
        let (writer, queue) = (self.writer.take(), self.queue.clone());
        let stopped = tokio::task::spawn_blocking(move || {
            if let Some(writer) = writer {
                writer.stop(&queue);
            }
        });
        let _ = stopped.await;
    }
}
