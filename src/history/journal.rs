//! The local journal: takes events without waiting, keeps them until the store has them.
//!
//! [`Recorder::record`] puts an event into a bounded queue; a thread of its own writes the queue
//! to the newest segment (`writer`), the shipper reads it from there (`reader`).
//! Promises: `record` never waits; what it took is with the operating system within 50 ms, so a
//! SIGKILL loses at most that, and with the disk a second later; the sequence rises over restarts;
//! the journal never takes more than its limit. At a limit the *new* event is dropped and counted:
//! what is kept is a whole story up to some moment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use thiserror::Error;
use tokio::sync::watch;

use crate::history::fit::fit;
use crate::history::reader::Reader;
use crate::history::record::Event;
use crate::history::segment::Segments;
use crate::history::stats::JournalStats;
use crate::history::writer::{Command, Progress, Writer};
use crate::state;

/// Events that wait for the writer; it takes them all each 10 ms, so this is room for a stall of
/// the disk of a second at 65,000 events a second. Each slot is one pointer.
const QUEUE: usize = 65_536;
/// The least a limit can be: room for the two longest frames.
const LIMIT_MIN: u64 = 4 << 20;

/// Why the journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A file or folder of it cannot be used.
    #[error("{act} `{}` of the journal", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("use the journal in `{}`: another gateway uses it, give each its own state folder", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// The file with the gateway's id holds something else.
    #[error("read the gateway id in `{}`: expected 16 hexadecimal digits; remove the file to get a new id", path.display())]
    GatewayId {
        /// The file.
        path: PathBuf,
    },
    /// The writer has ended.
    #[error("write to the journal: it is closed")]
    Closed,
}

/// An open journal, in parts for those who use them.
pub(super) struct Journal {
    pub(super) recorder: Recorder,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) segments: Arc<Segments>,
    pub(super) gateway: String,
}

/// Opens the journal of the gateway whose state folder this is. Waits for the disk.
pub(super) fn open(state_folder: &Path, limit: u64) -> Result<Journal, JournalError> {
    let stats = Arc::new(JournalStats::default());
    let folder = state_folder.join("journal");
    let segments = Arc::new(Segments::open(&folder, limit.max(LIMIT_MIN), Arc::clone(&stats))?);
    let gateway = gateway_id(&state_folder.join("gateway-id"))?;
    let (queue, commands) = sync_channel(QUEUE);
    let (progress, seen) = watch::channel(Progress::default());
    let recorder = Recorder { queue, progress: seen, stats: Arc::clone(&stats) };
    let writer = Writer::start(&segments, commands, progress, Arc::clone(&stats))?;
    let reader = Reader::new(Arc::clone(&segments), stats);
    Ok(Journal { recorder, writer, reader, segments, gateway })
}

/// The way into the journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: SyncSender<Command>,
    progress: watch::Receiver<Progress>,
    stats: Arc<JournalStats>,
}

impl Recorder {
    /// Takes an event. Never waits: when the queue is full the event is dropped and counted.
    pub fn record(&self, mut event: Event) {
        fit(&mut event);
        match self.queue.try_send(Command::Record(Box::new(event))) {
            Ok(()) => self.stats.recorded.fetch_add(1, Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.stats.dropped_queue.fetch_add(1, Relaxed)
            }
        };
    }

    /// Waits until everything that this task recorded so far is in the journal's file.
    pub async fn flush(&self) -> Result<(), JournalError> {
        let target = self.stats.recorded.load(Relaxed);
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.taken >= target).await;
        reached.map(|_| ()).map_err(|_| JournalError::Closed)
    }

    /// The numbers of the journal.
    pub fn stats(&self) -> &Arc<JournalStats> {
        &self.stats
    }

    /// Tells the sequence that was written last, whenever it rises.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The end of the queue that can ask the writer to stop.
    pub(super) fn queue(&self) -> SyncSender<Command> {
        self.queue.clone()
    }
}

/// The id of this gateway: drawn once, kept in its state folder.
fn gateway_id(path: &Path) -> Result<String, JournalError> {
    let failed = |act| move |source| JournalError::Io { act, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => {
            let id = text.trim_end();
            if id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                Ok(id.to_owned())
            } else {
                Err(JournalError::GatewayId { path: path.to_owned() })
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = format!("{:016x}", rand::random::<u64>());
            state::replace(path, format!("{id}\n").as_bytes()).map_err(failed("write"))?;
            Ok(id)
        }
        Err(source) => Err(failed("read")(source)),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
