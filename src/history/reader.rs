//! Reads the journal after what the store has.
//!
//! Promises to go on after any damage: what cannot be read is counted and stepped over. Blocks on
//! the disk, so async callers run it on a blocking thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use crate::history::frame::{Found, HEAD, PAYLOAD_MAX, decode, next_mark};
use crate::history::record::Recorded;
use crate::history::segment::{Segments, View};
use crate::history::stats::JournalStats;

/// The most bytes read at once: more than the longest frame, so that a read always makes progress.
const WINDOW: u64 = 2 * (PAYLOAD_MAX + HEAD) as u64;

/// Some events in the order of their sequence.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The events; none when the end is reached.
    pub(super) events: Vec<Recorded>,
    /// The sequence up to which all that can be read was read, when these are counted as read.
    pub(super) upto: u64,
}

/// A place in the journal.
#[derive(Debug)]
pub(super) struct Reader {
    segments: Arc<Segments>,
    stats: Arc<JournalStats>,
    /// The segment, by its first sequence.
    segment: u64,
    offset: u64,
    /// The highest sequence that was read.
    last: u64,
}

impl Reader {
    /// Begins after what the store has.
    pub(super) fn new(segments: Arc<Segments>, stats: Arc<JournalStats>) -> Self {
        let last = segments.acknowledged();
        let segment = segments.segment_after(last);
        Self { segments, stats, segment, offset: 0, last }
    }

    /// Reads at most `most` events.
    pub(super) fn next(&mut self, most: usize) -> io::Result<Chunk> {
        loop {
            let view = self.segments.view(self.segment);
            if view.segment.first != self.segment {
                self.segment = view.segment.first;
                self.offset = 0;
            }
            if self.offset < view.segment.bytes {
                let events = self.read(&view, most)?;
                let at_end = self.offset >= view.segment.bytes && view.next.is_none();
                let upto = if at_end { view.written.max(self.last) } else { self.last };
                if !events.is_empty() {
                    return Ok(Chunk { events, upto });
                }
            } else if let Some(next) = view.next {
                self.segment = next;
                self.offset = 0;
            } else {
                return Ok(Chunk { events: Vec::new(), upto: view.written.max(self.last) });
            }
        }
    }

    /// Reads one window of a segment and moves on.
    fn read(&mut self, view: &View, most: usize) -> io::Result<Vec<Recorded>> {
        let file = match self.segments.open_segment(self.segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damaged("a segment is missing");
                self.offset = view.segment.bytes;
                return Ok(Vec::new());
            }
            other => other?,
        };
        let wanted = (view.segment.bytes - self.offset).min(WINDOW);
        let bytes = read_at(&file, self.offset, wanted)?;
        // No more bytes will come when the file is shorter than it should be, or at its end.
        let whole = (bytes.len() as u64) < wanted || self.offset + wanted >= view.segment.bytes;
        let (events, used) = self.decode(&bytes, whole, most);
        self.offset += used as u64;
        if (bytes.len() as u64) < wanted && used == bytes.len() {
            self.damaged("a segment is shorter than it was");
            self.offset = view.segment.bytes;
        }
        Ok(events)
    }

    /// Decodes at most `most` events. Returns them and how many bytes they took.
    fn decode(&mut self, bytes: &[u8], whole: bool, most: usize) -> (Vec<Recorded>, usize) {
        let (mut events, mut at, mut in_damage) = (Vec::new(), 0, false);
        while at < bytes.len() && events.len() < most {
            let skip = match decode(&bytes[at..]) {
                Found::Frame { sequence, payload, length } => {
                    in_damage = false;
                    at += length;
                    events.extend(self.event(sequence, payload));
                    continue;
                }
                Found::Garbage(skip) => skip,
                Found::Short if whole => next_mark(&bytes[at..]),
                Found::Short => break,
            };
            if !in_damage {
                self.damaged("bytes that are no event");
            }
            in_damage = true;
            at += skip;
        }
        (events, at)
    }

    fn event(&mut self, sequence: u64, payload: &[u8]) -> Option<Recorded> {
        if sequence <= self.last {
            return None;
        }
        self.last = sequence;
        match serde_json::from_slice(payload) {
            Ok(event) => Some(Recorded { sequence, event }),
            Err(_) => {
                self.damaged("an event of an unknown kind");
                None
            }
        }
    }

    fn damaged(&self, what: &'static str) {
        self.stats.corrupt.fetch_add(1, Relaxed);
        warn!(
            segment = self.segment,
            after = self.last,
            what,
            "stepping over damage in the journal"
        );
    }
}

/// Reads so many bytes, or fewer when the file ends before.
fn read_at(file: &File, offset: u64, wanted: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
