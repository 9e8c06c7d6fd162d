//! Submits that are to outlast this worker: its supervisor holds their connections and what was
//! read from them for as long as they wait for an answer, and gives them to another worker when this
//! one ends meanwhile. Trino only registers a posted statement, so one whose answer nobody has seen
//! may be posted again.
//!
//! Promises that a submit is said to be done before the first byte of its answer goes out: whoever
//! holds a [`Kept`] drops it first. So no client ever gets two answers; one whose worker is killed
//! within the microseconds between gets none. Without a supervisor nothing is done at all.

use std::borrow::Cow;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};
use thiserror::Error;
use tracing::error;

use crate::outlast::{self, BYTES_MAX, PIPE_MIN, REQUEST_MAX, SUBMITS_MAX};
use crate::telemetry::metrics::Metrics;

/// Why submits do not outlast this process.
#[derive(Debug, Error)]
pub enum OutlastError {
    /// The pipe.
    #[error("make a pipe to the supervisor")]
    Pipe(#[source] io::Error),
    /// The pipe is small, as the kernel makes them for users who have very many.
    #[error("have {PIPE_MIN} bytes in a pipe to the supervisor, and not {0}; see `pipe(7)`")]
    Small(i32),
    /// The supervisor.
    #[error("greet the supervisor")]
    Greet(#[source] io::Error),
}

/// The way to the supervisor.
#[derive(Debug)]
pub struct Outlast {
    line: Arc<OwnedFd>,
    done: OwnedFd,
    metrics: Arc<Metrics>,
    ids: AtomicU64,
    submits: AtomicUsize,
    bytes: AtomicUsize,
}

/// A submit that the supervisor keeps; dropped before its answer goes out.
#[derive(Debug)]
#[must_use = "it is kept for as long as this lives"]
pub struct Kept<'a> {
    outlast: &'a Outlast,
    id: u64,
    bytes: usize,
}

impl Outlast {
    /// Greets the supervisor at the other end of `line`.
    pub fn new(line: Arc<OwnedFd>, metrics: Arc<Metrics>) -> Result<Self, OutlastError> {
        let pipe = |error: Errno| OutlastError::Pipe(error.into());
        let (told, done) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(pipe)?;
        let room = fcntl(&done, FcntlArg::F_GETPIPE_SZ).map_err(pipe)?;
        if usize::try_from(room).unwrap_or(0) < PIPE_MIN {
            return Err(OutlastError::Small(room));
        }
        outlast::hello(&line, &told).map_err(OutlastError::Greet)?;
        Ok(Self {
            line,
            done,
            metrics,
            ids: AtomicU64::new(1),
            submits: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        })
    }

    /// Has a submit kept that was read whole from `client`, an open connection without TLS: its
    /// head as it came, and its statement. `None`: it ends with this process, and is counted.
    pub fn keep(&self, client: RawFd, head: &[u8], statement: &[u8]) -> Option<Kept<'_>> {
        let head = framed(head, statement.len());
        let bytes = head.len() + statement.len();
        let kept = match bytes > REQUEST_MAX {
            true => Err("too_long"),
            false => self.room(bytes).ok_or("too_many"),
        };
        let told = kept.and_then(|kept| {
            match outlast::keep(&self.line, kept.id, client, [&head, statement]) {
                Ok(()) => Ok(kept),
                Err(error) => {
                    kept.forget();
                    Err(if error.kind() == io::ErrorKind::WouldBlock { "busy" } else { "failed" })
                }
            }
        });
        self.metrics.outlast(told.as_ref().map_or_else(|why| *why, |_| "kept"));
        told.ok()
    }

    fn room(&self, bytes: usize) -> Option<Kept<'_>> {
        let more = |added: usize, max: usize| {
            move |now: usize| Some(now + added).filter(|sum| *sum <= max)
        };
        let (at, orders) = (Ordering::Relaxed, Ordering::Relaxed);
        self.submits.fetch_update(at, orders, more(1, SUBMITS_MAX)).ok()?;
        if self.bytes.fetch_update(at, orders, more(bytes, BYTES_MAX)).is_err() {
            self.submits.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Kept { outlast: self, id: self.ids.fetch_add(1, Ordering::Relaxed), bytes })
    }
}

impl Kept<'_> {
    /// The supervisor was not told of it.
    fn forget(self) {
        self.give_back();
        std::mem::forget(self);
    }

    fn give_back(&self) {
        self.outlast.submits.fetch_sub(1, Ordering::Relaxed);
        self.outlast.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let told = loop {
            match write(&self.outlast.done, &self.id.to_le_bytes()) {
                Err(Errno::EINTR) => {}
                told => break told,
            }
        };
        match told {
            Ok(_) => {}
            // It has ended, and what it kept with it.
            Err(Errno::EPIPE) => {}
            Err(error) => error!(%error, "the supervisor was not told that a submit is done"),
        }
        // Only now: there is room in the pipe for so many.
        self.give_back();
    }
}

/// The head for a statement that lies in memory: its length is told, and no go-ahead asked for.
fn framed(head: &[u8], length: usize) -> Cow<'_, [u8]> {
    const OTHERWISE: [&[u8]; 4] = [b"transfer-encoding", b"trailer", b"expect", b"content-length"];
    let name = |line: &[u8]| {
        let end = line.iter().position(|byte| *byte == b':')?;
        OTHERWISE.iter().position(|other| other.eq_ignore_ascii_case(&line[..end]))
    };
    // All but the last one, whose value stays right.
    if !head.split(|byte| *byte == b'\n').any(|line| name(line).is_some_and(|other| other < 3)) {
        return Cow::Borrowed(head);
    }
    let mut lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == b'\n').collect();
    let empty = lines.pop().unwrap_or_default();
    let mut framed = Vec::with_capacity(head.len() + 32);
    lines
        .iter()
        .filter(|line| name(line).is_none())
        .for_each(|line| framed.extend_from_slice(line));
    framed.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
    framed.extend_from_slice(empty);
    Cow::Owned(framed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outlast::{Ear, Heard, Word};
    use rustix::net::sockopt::set_socket_send_buffer_size;
    use std::os::fd::AsRawFd;

    fn outlast() -> (Outlast, OwnedFd, OwnedFd) {
        let (supervisor, worker) = outlast::pair().expect("a pair");
        let outlast = Outlast::new(Arc::new(worker), Arc::default()).expect("it is greeted");
        let Ok(Heard::Word(Word::Hello(done))) = Ear::default().look(&supervisor) else {
            panic!("no greeting")
        };
        (outlast, supervisor, done)
    }

    fn done(pipe: &OwnedFd) -> Option<u64> {
        let mut id = [0; 8];
        nix::unistd::read(pipe, &mut id).ok().map(|_| u64::from_le_bytes(id))
    }

    #[test]
    fn a_head_is_framed_for_a_statement_in_memory() {
        let as_is = b"POST /v1/statement HTTP/1.1\r\nHost: a\r\ncontent-length: 8\r\n\r\n";
        assert_eq!(*framed(as_is, 8), *as_is);
        let chunked = b"POST /v1/statement HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\
                        Expect: 100-continue\r\nTrailer: x\r\n\r\n";
        let text = b"POST /v1/statement HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n";
        assert_eq!(*framed(chunked, 8), *text);
        let bare = b"POST /v1/statement HTTP/1.1\nexpect: 100-continue\ncontent-length: 8\n\n";
        assert_eq!(*framed(bare, 8), *b"POST /v1/statement HTTP/1.1\nContent-Length: 8\r\n\n");
    }

    #[test]
    fn a_submit_is_kept_until_it_is_dropped() {
        let (outlast, supervisor, pipe) = outlast();
        let client = outlast.line.as_raw_fd();
        let kept = outlast.keep(client, b"\r\n", b"SELECT 1").expect("room");
        assert_eq!(done(&pipe), None);
        let heard = Ear::default().look(&supervisor).expect("heard");
        let Heard::Word(Word::Keep { id, request, .. }) = heard else { panic!("{heard:?}") };
        assert_eq!(request, b"\r\nSELECT 1");
        drop(kept);
        assert_eq!(done(&pipe), Some(id));
    }

    #[test]
    fn what_is_not_kept_is_never_said_to_be_done() {
        let (outlast, supervisor, pipe) = outlast();
        let client = outlast.line.as_raw_fd();
        assert!(outlast.keep(client, b"", &vec![0; REQUEST_MAX + 1]).is_none());
        assert!(outlast.keep(-1, b"", b"a").is_none(), "a descriptor that is not open");
        // Nobody reads, and the socket takes few words: it is full before the bound is reached.
        set_socket_send_buffer_size(&*outlast.line, 32 << 10).expect("a smaller buffer");
        let kept: Vec<_> =
            (0..SUBMITS_MAX).filter_map(|_| outlast.keep(client, b"", b"a")).collect();
        assert!(kept.len() < SUBMITS_MAX, "{}", kept.len());
        assert_eq!(done(&pipe), None);
        assert_eq!(outlast.submits.load(Ordering::Relaxed), kept.len());
        // Once read, there is room again, up to the bound.
        let mut ear = Ear::default();
        let mut all = kept;
        while all.len() < SUBMITS_MAX {
            while matches!(ear.look(&supervisor), Ok(Heard::Word(_))) {}
            all.extend(outlast.keep(client, b"", b"a"));
        }
        while matches!(ear.look(&supervisor), Ok(Heard::Word(_))) {}
        assert!(outlast.keep(client, b"", b"a").is_none());
        let count = all.len();
        drop(all);
        assert_eq!(std::iter::from_fn(|| done(&pipe)).count(), count, "the pipe has room for all");
        assert_eq!(outlast.bytes.load(Ordering::Relaxed), 0);
    }
}
