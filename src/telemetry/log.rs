//! Log lines: text or JSON, one event a line, written by a thread of its own.
//!
//! Whoever logs never waits for whoever reads: a pipe that nobody empties costs lines, which are
//! counted, and no request.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Log;

/// Lines that may wait: a second of 8,000 requests.
const QUEUE: usize = 8192;

/// The longest line; what is longer is cut.
const LINE_MAX: usize = 16 << 10;

/// Lines that nobody took in time.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines were dropped so far.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Begins to log to standard output, once for the process.
pub fn start(settings: &Log) {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let (lines, queue) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("log".into()).spawn(move || write(&queue));
        let writer = writer.is_ok().then_some(Lines(lines));
        let filter = EnvFilter::try_new(&settings.level)
            .unwrap_or_else(|_| EnvFilter::new("info"))
            // Pingora tells each failed proxy try at `error`, with the path that holds the slug.
            .add_directive(static_directive("pingora_proxy=off"))
            .add_directive(static_directive("pingora_core=warn"))
            // It tells a race in its pool at `error` that costs one more connect.
            .add_directive(static_directive("pingora_core::connectors=off"))
            // It tells of synthetic addresses what we tell of clusters.
            .add_directive(static_directive("pingora_load_balancing=off"))
            .add_directive(static_directive("refinery_core=warn"));
        let Some(writer) = writer else { return };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        if settings.json {
            builder.json().flatten_event(true).init();
        } else {
            builder.with_ansi(false).init();
        }
    });
}

fn static_directive(text: &str) -> tracing_subscriber::filter::Directive {
    text.parse().expect("a directive of this file")
}

fn write(queue: &Receiver<Vec<u8>>) {
    let mut out = io::stdout();
    while let Ok(line) = queue.recv() {
        // Nobody is left to be told when standard output is gone.
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Clone)]
struct Lines(SyncSender<Vec<u8>>);

/// One event, gathered until it is whole.
struct Line {
    text: Vec<u8>,
    queue: SyncSender<Vec<u8>>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::with_capacity(256), queue: self.0.clone() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_MAX.saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        if !text.is_empty() && self.queue.try_send(text).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
