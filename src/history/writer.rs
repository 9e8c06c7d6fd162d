//! The one thread that writes the journal.
//!
//! It sleeps until an event comes, gathers for 10 ms, and writes all in one piece; a second thread
//! asks the disk to keep it, once a second, so that a slow disk does not delay the next piece.
//! A piece that the disk refuses is dropped and counted, and the next one is written in its place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::history::frame::{HEAD, encode};
use crate::history::journal::JournalError;
use crate::history::record::Event;
use crate::history::segment::Segments;
use crate::history::stats::JournalStats;
use crate::time::{Instant, now};

/// How long to gather events for one write: far below the 50 ms that are promised.
const GATHER: Duration = Duration::from_millis(10);
/// How often the disk is asked to keep what was written.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The most bytes of one write.
const PIECE_BYTES: usize = 256 << 10;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Write this.
    Record(Box<Event>),
    /// Write what is there, and end.
    Stop,
}

/// How far the writer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Events of this process that were written or dropped.
    pub(super) taken: u64,
    /// The sequence that was written last.
    pub(super) written: u64,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Writer {
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        segments: &Arc<Segments>,
        commands: Receiver<Command>,
        progress: watch::Sender<Progress>,
        stats: Arc<JournalStats>,
    ) -> Result<Self, JournalError> {
        let pen = Pen::new(Arc::clone(segments), progress, stats);
        let thread = thread::Builder::new().name("warren-journal".to_owned());
        let thread = thread.spawn(move || pen.run(&commands)).map_err(|source| {
            JournalError::Io { act: "start the thread for", path: "journal".into(), source }
        })?;
        Ok(Self { thread: Some(thread) })
    }

    /// Writes what is in the queue, waits for the disk, ends the thread. Blocks.
    pub(super) fn stop(mut self, queue: &SyncSender<Command>) {
        // An error means that the thread has ended already.
        let _ = queue.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by its own hook.
            let _ = thread.join();
        }
    }
}

/// A piece that is being gathered.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    events: u64,
}

struct Pen {
    segments: Arc<Segments>,
    stats: Arc<JournalStats>,
    progress: watch::Sender<Progress>,
    taken: u64,
    /// The sequence of the next event.
    next: u64,
    /// The newest segment and its length; `None` after it could not be opened.
    file: Option<(File, u64)>,
    piece: Piece,
    refused: bool,
    sync: Sync,
}

impl Pen {
    fn new(
        segments: Arc<Segments>,
        progress: watch::Sender<Progress>,
        stats: Arc<JournalStats>,
    ) -> Self {
        let next = segments.written() + 1;
        progress.send_replace(Progress { taken: 0, written: next - 1 });
        Self {
            segments,
            stats,
            progress,
            taken: 0,
            next,
            file: None,
            piece: Piece::default(),
            refused: false,
            sync: Sync::start(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let command = match self.sync.due_in() {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => commands.recv_timeout(wait),
            };
            let ends = match command {
                Ok(Command::Record(event)) => {
                    thread::sleep(GATHER);
                    self.take(&event);
                    self.drain(commands)
                }
                Ok(Command::Stop) => {
                    self.drain(commands);
                    true
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.sync.tick(self.file.as_ref().map(|(file, _)| file));
            if ends {
                break;
            }
        }
        self.sync.finish(self.file.as_ref().map(|(file, _)| file));
    }

    /// Writes what is in the queue now. Returns whether it held a `Stop`.
    fn drain(&mut self, commands: &Receiver<Command>) -> bool {
        let mut stop = false;
        // Ends: after so many the outer loop comes round, so that syncs are not starved.
        for command in commands.try_iter().take(65_536) {
            match command {
                Command::Record(event) => self.take(&event),
                Command::Stop => stop = true,
            }
        }
        self.write();
        stop
    }

    fn take(&mut self, event: &Event) {
        self.taken += 1;
        let Ok(payload) = serde_json::to_vec(event) else {
            // Cannot happen for these types; if it does, it is counted like a refusal of the disk.
            self.stats.dropped_disk.fetch_add(1, Relaxed);
            return;
        };
        let frame = payload.len() + HEAD;
        if !self.segments.has_room((self.piece.bytes.len() + frame) as u64) {
            self.stats.dropped_room.fetch_add(1, Relaxed);
            return;
        }
        let sequence = self.next + self.piece.events;
        if !encode(sequence, &payload, &mut self.piece.bytes) {
            self.stats.dropped_disk.fetch_add(1, Relaxed);
            return;
        }
        self.piece.events += 1;
        if self.piece.bytes.len() >= PIECE_BYTES.min(self.most()) {
            self.write();
        }
    }

    fn most(&self) -> usize {
        usize::try_from(self.segments.segment_bytes()).unwrap_or(usize::MAX)
    }

    /// Writes the piece, or drops and counts it, and tells how far it got.
    fn write(&mut self) {
        if self.piece.events > 0 {
            match self.write_piece() {
                Ok(()) => self.next += self.piece.events,
                Err(error) => self.refuse(&error),
            }
            self.piece.bytes.clear();
            self.piece.events = 0;
        }
        self.progress.send_replace(Progress { taken: self.taken, written: self.next - 1 });
    }

    fn write_piece(&mut self) -> io::Result<()> {
        let (file, length) = match self.file.take() {
            Some((file, length)) if length < self.segments.segment_bytes() => (file, length),
            Some((full, length)) => match self.segments.begin(self.next) {
                Ok(new) => {
                    self.sync.keep(full);
                    (new, 0)
                }
                Err(error) => {
                    self.file = Some((full, length));
                    return Err(error);
                }
            },
            None => self.segments.open_newest()?,
        };
        let (file, _) = self.file.insert((file, length));
        file.write_all_at(&self.piece.bytes, length)?;
        let length = length + self.piece.bytes.len() as u64;
        self.segments.grew(length, self.next + self.piece.events - 1);
        if let Some(open) = &mut self.file {
            open.1 = length;
        }
        self.sync.dirty();
        if self.refused {
            self.refused = false;
            info!("the disk takes the journal again");
        }
        Ok(())
    }

    fn refuse(&mut self, error: &io::Error) {
        self.stats.dropped_disk.fetch_add(self.piece.events, Relaxed);
        if !self.refused {
            self.refused = true;
            warn!(error = %error, "the disk refuses the journal, dropping events");
        }
    }
}

/// Has files synced by a second thread.
struct Sync {
    /// Files that are full and not handed over yet: at most one a segment.
    full: Vec<File>,
    /// When the newest file was first written to since its last sync.
    dirty_since: Option<Instant>,
    /// `None` when there is no second thread: then syncs happen here.
    hand: Option<SyncSender<File>>,
    thread: Option<JoinHandle<()>>,
}

impl Sync {
    fn start() -> Self {
        let (hand, files) = sync_channel::<File>(1);
        let thread = thread::Builder::new().name("warren-journal-sync".to_owned());
        let thread = thread.spawn(move || files.iter().for_each(|file| sync(&file))).ok();
        let hand = thread.is_some().then_some(hand);
        Self { full: Vec::new(), dirty_since: None, hand, thread }
    }

    fn dirty(&mut self) {
        self.dirty_since.get_or_insert_with(now);
    }

    fn keep(&mut self, full: File) {
        self.full.push(full);
        self.dirty_since = None;
    }

    /// How long until something is to be synced; `None` while nothing is.
    fn due_in(&self) -> Option<Duration> {
        if !self.full.is_empty() {
            return Some(GATHER);
        }
        self.dirty_since.map(|since| (since + SYNC_EVERY).saturating_duration_since(now()))
    }

    fn tick(&mut self, newest: Option<&File>) {
        if let Some(file) = self.full.pop()
            && let Some(file) = self.hand_over(file)
        {
            self.full.push(file);
        }
        if self.dirty_since.is_some_and(|since| now() >= since + SYNC_EVERY)
            && let Some(Ok(file)) = newest.map(File::try_clone)
        {
            // When the thread is still busy with the file before, the next second's sync does both.
            let _ = self.hand_over(file);
            self.dirty_since = None;
        }
    }

    /// Gives the file back when the other thread is busy.
    fn hand_over(&self, file: File) -> Option<File> {
        match &self.hand {
            Some(hand) => hand.try_send(file).err().map(|error| match error {
                std::sync::mpsc::TrySendError::Full(file)
                | std::sync::mpsc::TrySendError::Disconnected(file) => file,
            }),
            None => {
                sync(&file);
                None
            }
        }
    }

    fn finish(mut self, newest: Option<&File>) {
        self.full.iter().chain(newest).for_each(sync);
        self.hand = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sync(file: &File) {
    if let Err(error) = file.sync_data() {
        warn!(error = %error, "sync the journal");
    }
}
