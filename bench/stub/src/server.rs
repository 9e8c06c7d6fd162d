//! The process of a coordinator: a listener, its connections, and the acts of faults on them.
//!
//! One thread with its own runtime. When it ends, all its sockets close at once and nothing is
//! said to anybody, as when a process is killed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::api::{self, Act};
use crate::clock::{self, SimClock};
use crate::coordinator::{Coordinator, Moment};
use crate::encode;
use crate::fault::{Asked, Fault, FaultTable};
use crate::forwarded;
use crate::http::{Framing, Request, Response, read_request};
use crate::lean;
use crate::locked;
use crate::names;
use crate::oauth;
use crate::options::Behaviour;
use crate::record::Recorder;

/// Connections that may wait for the stub to accept them.
const BACKLOG: u32 = 4096;

/// What outlives a process: the test's own view of it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The behaviour in force.
    pub behaviour: RwLock<Arc<Behaviour>>,
    /// The faults in force.
    pub faults: Mutex<FaultTable>,
    /// The requests seen.
    pub recorder: Mutex<Recorder>,
    /// Whether nothing is accepted, read or answered.
    pub frozen: watch::Sender<bool>,
    /// Constant answers only.
    pub lean: bool,
    /// Ids given out by lean answers.
    pub lean_ids: AtomicU64,
}

impl Shared {
    /// The behaviour in force.
    pub(crate) fn behaviour(&self) -> Arc<Behaviour> {
        Arc::clone(&self.behaviour.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// One process: what is lost when it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    /// What outlives it.
    pub shared: Arc<Shared>,
    /// Its queries.
    pub coordinator: Mutex<Coordinator>,
    /// Its time.
    pub clock: SimClock,
    /// The mark in its query ids.
    pub mark: String,
}

/// What its owner tells a process; each is answered when it is done.
pub(crate) enum Command {
    /// Close the listener; connections stay.
    Refuse(Done),
    /// Listen again.
    Accept(Done),
    /// Close all connections; the listener stays.
    Disconnect(Done),
}

/// Says that a command was carried out.
pub(crate) type Done = std::sync::mpsc::SyncSender<io::Result<()>>;

/// Binds an address; must be called in a runtime.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the sender of commands is dropped.
pub(crate) async fn run(
    process: Arc<Process>,
    listener: TcpListener,
    address: SocketAddr,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut door = Some(listener);
    let mut connections = JoinSet::new();
    let mut frozen = process.shared.frozen.subscribe();
    loop {
        let open = !*frozen.borrow_and_update();
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Refuse(done)) => {
                    door = None;
                    let _ = done.send(Ok(()));
                }
                Some(Command::Accept(done)) => {
                    let _ = done.send(reopen(&mut door, address));
                }
                Some(Command::Disconnect(done)) => {
                    connections.shutdown().await;
                    let _ = done.send(Ok(()));
                }
            },
            _ = frozen.changed() => {}
            accepted = accept(door.as_ref()), if open && door.is_some() => {
                if let Ok(stream) = accepted {
                    connections.spawn(connection(Arc::clone(&process), stream));
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn reopen(door: &mut Option<TcpListener>, address: SocketAddr) -> io::Result<()> {
    if door.is_none() {
        *door = Some(bind(address)?);
    }
    Ok(())
}

async fn accept(door: Option<&TcpListener>) -> io::Result<TcpStream> {
    match door {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Serves one connection to its end. Errors are the peer's affair.
async fn connection(process: Arc<Process>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    let mut frozen = process.shared.frozen.subscribe();
    loop {
        let request = match read_request(&mut stream, &mut buffer).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                if let Some(status) = refusal_of(&error) {
                    let framing = Framing { close: true, chunked: false };
                    let (bytes, _) = Response::empty(status).encoded("GET", framing);
                    let _ = stream.write_all(&bytes).await;
                }
                return;
            }
        };
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let keep = if process.shared.lean {
            let bytes = lean::answer(&request, &process.shared.lean_ids, &process.mark);
            stream.write_all(&bytes).await.is_ok()
        } else {
            let exchange = Exchange { process: &process, request: &request };
            exchange.run(&mut stream, &mut frozen).await.is_ok_and(|keep| keep)
        };
        if !keep || !request.keep_alive {
            return;
        }
    }
}

/// The answer to what could not be read as a request; broken chunks get Trino's odd 204.
fn refusal_of(error: &io::Error) -> Option<u16> {
    match error.kind() {
        io::ErrorKind::InvalidData => Some(400),
        io::ErrorKind::InvalidInput => Some(204),
        _ => None,
    }
}

/// One request and its answer.
struct Exchange<'a> {
    process: &'a Process,
    request: &'a Request,
}

impl Exchange<'_> {
    /// Carries it out; tells whether the connection may be kept.
    async fn run(
        &self,
        stream: &mut TcpStream,
        frozen: &mut watch::Receiver<bool>,
    ) -> io::Result<bool> {
        let arrived = clock::now();
        let kind = api::kind(&self.request.method, self.request.path());
        self.record(arrived, kind);
        let user = self.user();
        let asked = Asked { kind, path: self.request.path(), user: user.as_deref() };
        let fault = locked(&self.process.shared.faults).pick(asked);
        let response = match &fault {
            Some(Fault::Status { code, retry_after }) => refusal(*code, *retry_after),
            Some(Fault::Html) => Response::html(200, "<html><body>Please log in</body></html>"),
            Some(Fault::ResetBefore) => {
                stream.set_zero_linger()?;
                return Ok(false);
            }
            Some(Fault::CloseBefore) => return Ok(false),
            Some(Fault::Hang) => {
                hang(stream).await?;
                return Ok(false);
            }
            _ => self.answer(arrived).await,
        };
        self.pause(fault.as_ref()).await;
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return Ok(false);
        }
        self.send(stream, response, fault).await
    }

    /// Who sent it, or whose query it is about.
    fn user(&self) -> Option<String> {
        if let Some(user) = self.request.header("x-trino-user") {
            return Some(user.to_owned());
        }
        let id = api::query_id(self.request.path())?;
        Some(locked(&self.process.coordinator).query(id)?.posted.user.clone())
    }

    fn record(&self, arrived: Instant, kind: crate::fault::RequestKind) {
        let handshake = oauth::hash_of(self.request)
            .filter(|hash| !locked(&self.process.coordinator).handshakes.knows(hash));
        let mut recorder = locked(&self.process.shared.recorder);
        recorder.request(arrived, kind, self.request);
        if let Some(id) = api::query_id(self.request.path())
            && names::mark_of(id) != Some(self.process.mark.as_str())
        {
            recorder.foreign(id);
        }
        if let Some(hash) = handshake {
            recorder.foreign(&hash);
        }
    }

    /// What the coordinator answers.
    async fn answer(&self, arrived: Instant) -> Response {
        let behaviour = self.process.shared.behaviour();
        let base = match forwarded::base(self.request, behaviour.process_forwarded) {
            Ok(base) => base,
            Err(header) => {
                let text = format!(
                    "Server configuration does not allow processing of the {header} header"
                );
                return Response::text(406, &text);
            }
        };
        let moment =
            Moment { now: self.process.clock.at(arrived), behaviour: &behaviour, base: &base };
        let act = api::act(&mut locked(&self.process.coordinator), self.request, moment);
        let mut response = match act {
            Act::Answer(response) => response,
            Act::Page(wanted) => {
                self.wait(&base, |coordinator, moment| api::try_page(coordinator, &wanted, moment))
                    .await
            }
            Act::Token(awaited) => {
                self.wait(&base, |coordinator, moment| {
                    oauth::try_token(coordinator, &awaited, moment)
                })
                .await
            }
        };
        if behaviour.compression {
            encode::compress(&mut response, self.request.header("accept-encoding"));
        }
        response
    }

    /// Tries to answer whenever a bell rings, and at the end of the wait.
    async fn wait(
        &self,
        base: &str,
        mut attempt: impl FnMut(
            &mut Coordinator,
            Moment<'_>,
        ) -> Result<Response, (Duration, Arc<Notify>)>,
    ) -> Response {
        loop {
            let behaviour = self.process.shared.behaviour();
            let now = self.process.clock.at(clock::now());
            let moment = Moment { now, behaviour: &behaviour, base };
            let (until, ringing) = {
                let mut coordinator = locked(&self.process.coordinator);
                match attempt(&mut coordinator, moment) {
                    Ok(response) => return response,
                    // Taken under the lock, so that no ring is missed.
                    Err((until, bell)) => (until, bell.notified_owned()),
                }
            };
            let real = tokio::time::Instant::from_std(self.process.clock.real(until));
            tokio::select! {
                () = tokio::time::sleep_until(real) => {}
                () = ringing => {}
            }
        }
    }

    /// Waits before the answer, if the fault is that.
    async fn pause(&self, fault: Option<&Fault>) {
        let pause = match fault {
            Some(Fault::SlowMs(millis)) => Duration::from_millis(*millis),
            Some(Fault::SlowUpToMs(millis)) => {
                let limit = Duration::from_millis(*millis);
                locked(&self.process.shared.faults).up_to(limit)
            }
            _ => return,
        };
        tokio::time::sleep(pause).await;
    }

    async fn send(
        &self,
        stream: &mut TcpStream,
        response: Response,
        fault: Option<Fault>,
    ) -> io::Result<bool> {
        let keep = self.request.keep_alive;
        let framing = Framing { chunked: self.process.shared.behaviour().chunked, close: !keep };
        let (bytes, body) = response.encoded(&self.request.method, framing);
        match fault {
            Some(Fault::ResetAfter) => {
                stream.set_zero_linger()?;
                return Ok(false);
            }
            Some(Fault::CloseAfter) => return Ok(false),
            Some(Fault::CutBody) => {
                stream.write_all(&bytes[..body + (bytes.len() - body) / 2]).await?;
                return Ok(false);
            }
            Some(Fault::Drip(size)) => {
                stream.write_all(&bytes[..body]).await?;
                for piece in bytes[body..].chunks(size.max(1)) {
                    stream.write_all(piece).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return Ok(keep);
            }
            _ => {}
        }
        stream.write_all(&bytes).await?;
        Ok(keep)
    }
}

fn refusal(code: u16, retry_after: Option<u32>) -> Response {
    let mut response = Response::text(code, "stub fault");
    response.headers.extend(retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
    response
}

/// Takes what comes and never answers, until the peer goes.
async fn hang(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}
