//! The files of the journal: which there are, how long they are, how far the store has them.
//!
//! A segment is a file of frames, named by the sequence of its first one. Promises that a reader
//! never sees bytes that are still being written (`bytes` grows after the write), that the newest
//! segment always stays (its name keeps the sequence from falling), and that a lost or damaged
//! note of what the store has costs nothing but sending again.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::history::frame::{Found, decode, next_mark};
use crate::history::journal::JournalError;
use crate::history::stats::JournalStats;
use crate::state::sync_folder_of;

/// The longest a segment grows, so that room comes back in steps of this size.
const SEGMENT_BYTES: u64 = 8 << 20;
/// The name of the note that says up to which sequence the store has everything.
const ACKNOWLEDGED: &str = "acknowledged";

/// One file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    /// The sequence of its first frame, which is its name.
    pub(super) first: u64,
    /// How many of its bytes are whole frames.
    pub(super) bytes: u64,
}

/// What a reader needs to know to go on from a segment.
#[derive(Debug)]
pub(super) struct View {
    /// The segment, or the next one when that is gone.
    pub(super) segment: Segment,
    /// The segment after it.
    pub(super) next: Option<u64>,
    /// The sequence that was written last when `segment` had these bytes.
    pub(super) written: u64,
}

#[derive(Debug)]
struct State {
    /// Never empty.
    segments: VecDeque<Segment>,
    written: u64,
    acknowledged: u64,
}

/// The journal on disk, shared by its writer and its reader.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    limit: u64,
    state: Mutex<State>,
    stats: Arc<JournalStats>,
    /// Held as long as the journal is open.
    _lock: File,
}

impl Segments {
    /// Opens the journal in `folder`, cuts what a crash tore, and finds where to go on.
    pub(super) fn open(
        folder: &Path,
        limit: u64,
        stats: Arc<JournalStats>,
    ) -> Result<Self, JournalError> {
        let failed = |act| move |source| JournalError::Io { act, path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed("create the folder"))?;
        let lock = lock(folder)?;
        let mut segments = list(folder).map_err(failed("list the folder"))?;
        let noted = read_note(folder, &stats);
        let last = match segments.back_mut() {
            Some(newest) => recover(folder, newest, &stats)?,
            None => noted,
        };
        let written = last.max(noted);
        if segments.is_empty() {
            let first = written + 1;
            create(folder, first).map_err(failed("create a segment in"))?;
            segments.push_back(Segment { first, bytes: 0 });
        }
        let oldest = segments.front().map_or(1, |segment| segment.first);
        let acknowledged = noted.max(oldest.saturating_sub(1)).min(written);
        stats.written.store(written, Relaxed);
        stats.acknowledged.store(acknowledged, Relaxed);
        stats.bytes.store(segments.iter().map(|segment| segment.bytes).sum(), Relaxed);
        let state = Mutex::new(State { segments, written, acknowledged });
        Ok(Self { folder: folder.to_owned(), limit, state, stats, _lock: lock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes of one segment.
    pub(super) fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min(self.limit / 8).max(1)
    }

    /// Tells whether so many more bytes fit.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.stats.bytes.load(Relaxed).saturating_add(bytes) <= self.limit
    }

    /// The sequence that was written last, in this life or before.
    pub(super) fn written(&self) -> u64 {
        self.state().written
    }

    /// The sequence up to which the store has everything.
    pub(super) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// The newest segment, opened for writing.
    pub(super) fn open_newest(&self) -> io::Result<(File, u64)> {
        let newest = *self.state().segments.back().expect("a segment always stays");
        let path = path_of(&self.folder, newest.first);
        Ok((File::options().write(true).create(true).truncate(false).open(path)?, newest.bytes))
    }

    /// Begins a new segment with the sequence `first`.
    pub(super) fn begin(&self, first: u64) -> io::Result<File> {
        let file = create(&self.folder, first)?;
        self.state().segments.push_back(Segment { first, bytes: 0 });
        Ok(file)
    }

    /// Notes that the newest segment holds `bytes` now and ends with `sequence`.
    pub(super) fn grew(&self, bytes: u64, sequence: u64) {
        let mut state = self.state();
        state.written = sequence;
        if let Some(newest) = state.segments.back_mut() {
            newest.bytes = bytes;
        }
        self.measure(&state);
    }

    fn measure(&self, state: &State) {
        self.stats.written.store(state.written, Relaxed);
        self.stats.acknowledged.store(state.acknowledged, Relaxed);
        let bytes = state.segments.iter().map(|segment| segment.bytes).sum();
        self.stats.bytes.store(bytes, Relaxed);
    }

    /// What to read at the segment that begins with `first`.
    pub(super) fn view(&self, first: u64) -> View {
        let state = self.state();
        let newest = *state.segments.back().expect("a segment always stays");
        let at = state.segments.iter().position(|segment| segment.first >= first);
        let segment = at.map_or(newest, |at| state.segments[at]);
        let next = at.and_then(|at| state.segments.get(at + 1)).map(|next| next.first);
        View { segment, next, written: state.written }
    }

    /// The segment in which the frame after `sequence` stands.
    pub(super) fn segment_after(&self, sequence: u64) -> u64 {
        let state = self.state();
        let after = state.segments.partition_point(|segment| segment.first <= sequence + 1);
        state.segments[after.saturating_sub(1)].first
    }

    /// Opens a segment for reading.
    pub(super) fn open_segment(&self, first: u64) -> io::Result<File> {
        File::open(path_of(&self.folder, first))
    }

    /// Notes that the store has everything up to `sequence`, and deletes what is not needed more.
    ///
    /// The note is not synced: a lost one means that some events are sent again.
    pub(super) fn acknowledge(&self, sequence: u64) -> io::Result<()> {
        if sequence <= self.acknowledged() {
            return Ok(());
        }
        let beside = self.folder.join("acknowledged.new");
        fs::write(&beside, format!("{sequence}\n"))?;
        fs::rename(&beside, self.folder.join(ACKNOWLEDGED))?;
        let done = {
            let mut state = self.state();
            state.acknowledged = sequence;
            let mut done = Vec::new();
            while state.segments.get(1).is_some_and(|next| next.first <= sequence + 1) {
                done.extend(state.segments.pop_front());
            }
            self.measure(&state);
            done
        };
        for segment in done {
            fs::remove_file(path_of(&self.folder, segment.first))?;
        }
        Ok(())
    }
}

fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

fn create(folder: &Path, first: u64) -> io::Result<File> {
    let path = path_of(folder, first);
    let file = File::options().write(true).create(true).truncate(true).open(&path)?;
    sync_folder_of(&path)?;
    Ok(file)
}

fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join("lock");
    let failed = |source| JournalError::Io { act: "lock", path: path.clone(), source };
    let file =
        File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Taken { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn list(folder: &Path) -> io::Result<VecDeque<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(first) = first.and_then(|first| first.parse().ok()) {
            segments.push(Segment { first, bytes: entry.metadata()?.len() });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

/// Reads the note of what the store has. A damaged one is counted and taken for none.
fn read_note(folder: &Path, stats: &JournalStats) -> u64 {
    let path = folder.join(ACKNOWLEDGED);
    let Ok(text) = fs::read_to_string(&path) else {
        return 0;
    };
    text.trim_end().parse().unwrap_or_else(|_| {
        stats.corrupt.fetch_add(1, Relaxed);
        warn!(path = %path.display(), "note of what the store has is damaged, sending all again");
        0
    })
}

/// Cuts the newest segment after its last whole frame. Returns the sequence of that frame, or the
/// one before the segment's first.
fn recover(folder: &Path, newest: &mut Segment, stats: &JournalStats) -> Result<u64, JournalError> {
    let path = path_of(folder, newest.first);
    let failed = |act| {
        let path = path.clone();
        move |source| JournalError::Io { act, path, source }
    };
    let bytes = fs::read(&path).map_err(failed("read"))?;
    let (end, last) = last_frame(&bytes);
    if end < bytes.len() {
        let file = File::options().write(true).open(&path).map_err(failed("open"))?;
        file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(failed("cut"))?;
        stats.torn.fetch_add(1, Relaxed);
        warn!(path = %path.display(), bytes = bytes.len() - end, "cut the torn end of the journal");
    }
    newest.bytes = end as u64;
    Ok(last.unwrap_or(0).max(newest.first.saturating_sub(1)))
}

/// Where the last whole frame ends, and the highest sequence of all.
fn last_frame(bytes: &[u8]) -> (usize, Option<u64>) {
    let (mut at, mut end, mut last) = (0, 0, None);
    while at < bytes.len() {
        match decode(&bytes[at..]) {
            Found::Frame { sequence, length, .. } => {
                at += length;
                end = at;
                last = last.max(Some(sequence));
            }
            Found::Garbage(skip) => at += skip,
            Found::Short => at += next_mark(&bytes[at..]),
        }
    }
    (end, last)
}
