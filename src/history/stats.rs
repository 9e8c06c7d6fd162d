//! The numbers of the journal and the shipper, for metrics and the operators' API.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters since the start of the process, and gauges. Each may be read at any time; two read
/// together need not belong to the same instant.
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Events that `record` took into the queue.
    pub(super) recorded: AtomicU64,
    /// Events dropped because the queue was full.
    pub(super) dropped_queue: AtomicU64,
    /// Events dropped because the journal had no room.
    pub(super) dropped_room: AtomicU64,
    /// Events dropped because the disk refused them.
    pub(super) dropped_disk: AtomicU64,
    /// Places where frames could not be read; how many events stood there is not known.
    pub(super) corrupt: AtomicU64,
    /// Tails cut because a crash tore their last write.
    pub(super) torn: AtomicU64,
    /// Bytes of all segments.
    pub(super) bytes: AtomicU64,
    /// The sequence that was written last.
    pub(super) written: AtomicU64,
    /// The sequence up to which the store has everything.
    pub(super) acknowledged: AtomicU64,
    /// Events that the store took.
    pub(super) shipped: AtomicU64,
    /// Events that the store can never take.
    pub(super) rejected: AtomicU64,
    /// Whether the last contact with the store succeeded.
    pub(super) store_up: AtomicBool,
    /// Whether the store was asked at all, so that the first failure is told too.
    pub(super) store_asked: AtomicBool,
    /// When the store last took something, in milliseconds since 1970; 0 before the first time.
    pub(super) last_ship_ms: AtomicU64,
}

impl JournalStats {
    /// Events that were taken for the journal.
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Relaxed)
    }

    /// Events dropped because the queue before the journal was full.
    pub fn dropped_queue_full(&self) -> u64 {
        self.dropped_queue.load(Relaxed)
    }

    /// Events dropped because the journal was at its limit.
    pub fn dropped_no_room(&self) -> u64 {
        self.dropped_room.load(Relaxed)
    }

    /// Events dropped because they could not be written.
    pub fn dropped_disk_error(&self) -> u64 {
        self.dropped_disk.load(Relaxed)
    }

    /// Events dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_queue_full() + self.dropped_no_room() + self.dropped_disk_error()
    }

    /// Damaged places in the journal; how many events stood there is not known.
    pub fn corrupt(&self) -> u64 {
        self.corrupt.load(Relaxed)
    }

    /// Tails that were cut at the start because a crash tore the last write.
    pub fn torn(&self) -> u64 {
        self.torn.load(Relaxed)
    }

    /// Events in the journal that the store has not taken yet.
    pub fn pending(&self) -> u64 {
        let acknowledged = self.acknowledged.load(Relaxed);
        self.written.load(Relaxed).saturating_sub(acknowledged)
    }

    /// Bytes that the journal takes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Events that the store took. One that was sent twice counts twice.
    pub fn shipped(&self) -> u64 {
        self.shipped.load(Relaxed)
    }

    /// Events that the store can never take.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Whether the last contact of the shipper with the store succeeded; false before the first.
    pub fn store_up(&self) -> bool {
        self.store_up.load(Relaxed)
    }

    /// When the store last took something, in milliseconds since 1970; 0 before the first time.
    pub fn last_ship_ms(&self) -> u64 {
        self.last_ship_ms.load(Relaxed)
    }
}
