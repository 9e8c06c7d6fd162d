//! The supervisor, as its worker meets it: its end is noticed, and submits are taken from it whose
//! worker was killed before it answered them. Each is put back before its connection, which then is
//! one like any other: the submit is served by the rules of now, and the next request follows.

use std::error::Error;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use pingora::protocols::l4::stream::Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest};
use pingora::server::ShutdownWatch;
use pingora::services::listening;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::doors::Front;
use crate::gateway::outlast::Outlast;
use crate::outlast::{self, Ear, Heard, Word};
use crate::telemetry::metrics::Metrics;

/// How many of them may wait until the clients' ports are open. The supervisor has no more.
const WAITING_MAX: usize = 2 * outlast::SUBMITS_MAX;

/// A connection whose worker has ended, and the request that was read from it.
#[derive(Debug)]
struct Orphan {
    client: OwnedFd,
    request: Vec<u8>,
}

/// Those that come.
#[derive(Debug)]
pub struct Orphans {
    coming: mpsc::Receiver<Orphan>,
    metrics: Arc<Metrics>,
}

/// What comes from a supervisor.
pub(super) struct Supervisor {
    /// Where it is told of submits; `None`: there is none, or one that keeps nothing.
    line: Option<Arc<OwnedFd>>,
    /// Says true once it is gone.
    pub(super) gone: watch::Receiver<bool>,
    /// What it gives on.
    pub(super) orphans: Option<Orphans>,
}

impl Supervisor {
    /// Listens to it, if this process has one.
    pub(super) fn meet(supervised: bool, metrics: &Arc<Metrics>) -> Self {
        let (telling, gone) = watch::channel(false);
        if !supervised {
            return Self { line: None, gone, orphans: None };
        }
        let line = outlast::of_stdin().map(Arc::new);
        let (giving, coming) = mpsc::channel(WAITING_MAX);
        let heard = line.clone();
        let listening = std::thread::Builder::new().name("supervisor".to_owned());
        let listened = listening.spawn(move || {
            match heard {
                Some(line) => listen(&line, &giving),
                // A supervisor of an older program: it writes nothing there, and closes it at its end.
                None => drop(io::copy(&mut io::stdin().lock(), &mut io::sink())),
            }
            telling.send_replace(true);
        });
        if let Err(error) = listened {
            warn!(%error, "the end of the supervisor will not be noticed");
            return Self { line: None, gone, orphans: None };
        }
        let orphans = Orphans { coming, metrics: metrics.clone() };
        Self { orphans: line.is_some().then_some(orphans), line, gone }
    }

    /// Where submits are told to it that are to outlast this process.
    pub(super) fn outlast(&self, metrics: &Arc<Metrics>) -> Option<Outlast> {
        let outlast = Outlast::new(self.line.clone()?, metrics.clone());
        outlast
            .inspect_err(|error| {
                let cause = error.source().map(tracing::field::display);
                warn!(%error, cause, "submits that wait will not outlast this process");
            })
            .ok()
    }
}

/// Hears what the supervisor says until it ends.
fn listen(line: &OwnedFd, giving: &mpsc::Sender<Orphan>) {
    let mut ear = Ear::default();
    loop {
        match ear.wait(line) {
            Ok(Heard::Word(Word::Take { client, request })) => {
                if giving.try_send(Orphan { client, request }).is_err() {
                    warn!("a submit that outlasted its worker is not taken: this one ends too");
                }
            }
            Ok(Heard::Word(word)) => debug!(?word, "the supervisor is not understood"),
            Ok(Heard::Nothing) => {}
            Ok(Heard::End) => return,
            Err(error) => {
                warn!(%error, "the supervisor cannot be heard any more");
                return;
            }
        }
    }
}

impl Orphans {
    /// Goes on with them for as long as some come, each on one of the data path's threads.
    pub(super) async fn adopt(mut self, front: Arc<Front>, closing: ShutdownWatch) {
        while let Some(Orphan { client, request }) = self.coming.recv().await {
            self.metrics.outlast("taken");
            let (front, closing) = (front.clone(), closing.clone());
            pingora_runtime::current_handle().spawn(async move {
                match stream(client, &request) {
                    Ok(stream) => {
                        listening::Service::handle_event(Box::new(stream), front, closing).await;
                    }
                    Err(error) => debug!(%error, "a client left while its worker was exchanged"),
                }
            });
        }
    }
}

/// The connection as if `request` was still to be read. Unlike others it has no buffers of its own,
/// which costs some system calls: Pingora lets only its listeners set them.
fn stream(client: OwnedFd, request: &[u8]) -> io::Result<Stream> {
    let socket = TcpStream::from(client);
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // Fails if its client is gone.
    let peer = socket.peer_addr()?;
    // It was just made, so it is empty.
    let _set = digest.peer_addr.set(Some(peer.into()));
    let mut stream = Stream::from(tokio::net::TcpStream::from_std(socket)?);
    stream.set_socket_digest(digest);
    stream.rewind(request);
    Ok(stream)
}
