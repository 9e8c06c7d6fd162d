//! The handle of a stub: start, stop, restart, faults, what was seen.
//!
//! Cheap to clone; the last one dropped stops the stub. No method needs a runtime: the stub has
//! its own thread, so a test may use it from sync and async code, with its own time paused.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::random;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::clock::{self, SimClock};
use crate::coordinator::{Coordinator, Life, Moment, Query};
use crate::fault::{Fault, FaultRule, FaultTable, RequestKind};
use crate::locked;
use crate::names;
use crate::options::{Behaviour, StubOptions};
use crate::record::{Counters, Counts, CountsAt, RequestRecord};
use crate::server::{self, Command, Process, Shared};

/// Why a stub could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on `{address}`; is another program there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start the stub's thread")]
    Thread(#[source] io::Error),
    /// The mark is none.
    #[error("`{0}` is no coordinator id, expected five characters of a-z and 2-9 without l and o")]
    Mark(String),
}

/// A query as the coordinator sees it.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    /// Its id.
    pub id: String,
    /// Its text.
    pub sql: String,
    /// `X-Trino-User`.
    pub user: String,
    /// `X-Trino-Source`.
    pub source: Option<String>,
    /// `QUEUED`, `RUNNING`, `FINISHED` or `FAILED`.
    pub state: &'static str,
    /// Its first page was asked for, so it was submitted.
    pub executed: bool,
    /// Trino's name of the error it ended with.
    pub error: Option<String>,
    /// How often its pages were asked for, repeated requests too.
    pub pages_asked: u64,
}

/// A running (or killed) coordinator.
#[derive(Clone)]
pub struct Stub {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    address: SocketAddr,
    time_scale: f64,
    current: Mutex<Current>,
}

struct Current {
    process: Arc<Process>,
    alive: Option<Alive>,
}

struct Alive {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Stub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Stub({} at {})", self.coordinator_id(), self.inner.address)
    }
}

impl Stub {
    /// Starts a coordinator.
    ///
    /// # Panics
    /// When it cannot listen: a test has nothing else to do then. See `try_start`.
    pub fn start(options: StubOptions) -> Self {
        match Self::try_start(options) {
            Ok(stub) => stub,
            Err(StartError::Listen { address, source }) => panic!("stub on {address}: {source}"),
            Err(error) => panic!("stub: {error}"),
        }
    }

    /// Starts a coordinator, or says why not.
    pub fn try_start(options: StubOptions) -> Result<Self, StartError> {
        let mark = match options.coordinator_id {
            Some(mark) if names::is_mark(&mark) => mark,
            Some(bad) => return Err(StartError::Mark(bad)),
            None => names::mark(random()),
        };
        let shared = Arc::new(Shared {
            behaviour: RwLock::new(Arc::new(options.behaviour)),
            faults: Mutex::new(FaultTable::new(options.seed)),
            recorder: Mutex::default(),
            frozen: watch::Sender::new(false),
            lean: options.lean,
            lean_ids: AtomicU64::new(0),
        });
        let process = new_process(&shared, mark, options.time_scale, Counters::default());
        let (alive, address) = launch(Arc::clone(&process), options.listen)?;
        let current = Mutex::new(Current { process, alive: Some(alive) });
        let time_scale = options.time_scale;
        Ok(Self { inner: Arc::new(Inner { shared, address, time_scale, current }) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.inner.address
    }

    /// The same as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// The mark in its query ids; another after a restart.
    pub fn coordinator_id(&self) -> String {
        self.process().mark.clone()
    }

    /// Ends it as SIGKILL does: listener and connections close, queries are lost.
    pub fn stop(&self) {
        let alive = locked(&self.inner.current).alive.take();
        end(alive);
    }

    /// Ends it if it lives and starts an empty coordinator with a new mark on the same address.
    ///
    /// # Panics
    /// When the address was taken by somebody else meanwhile.
    pub fn restart(&self) {
        self.restart_as(&names::mark(random()));
    }

    /// The same with a mark of the caller's choice.
    ///
    /// # Panics
    /// When the address was taken by somebody else meanwhile.
    pub fn restart_as(&self, mark: &str) {
        self.stop();
        let mut current = locked(&self.inner.current);
        let counters = locked(&current.process.coordinator).counters;
        let shared = &self.inner.shared;
        let process = new_process(shared, mark.to_owned(), self.inner.time_scale, counters);
        match launch(Arc::clone(&process), self.inner.address) {
            Ok((alive, _)) => *current = Current { process, alive: Some(alive) },
            Err(error) => panic!("restart of the stub on {}: {error}", self.inner.address),
        }
    }

    /// Stops listening: new connections are refused, open ones live on.
    pub fn refuse(&self) {
        self.command(Command::Refuse);
    }

    /// Listens again.
    pub fn accept(&self) {
        self.command(Command::Accept);
    }

    /// Closes all open connections.
    pub fn disconnect(&self) {
        self.command(Command::Disconnect);
    }

    /// Holds everything, as SIGSTOP does: the system takes connections, nobody answers.
    pub fn freeze(&self) {
        self.inner.shared.frozen.send_replace(true);
    }

    /// Goes on after a freeze.
    pub fn thaw(&self) {
        self.inner.shared.frozen.send_replace(false);
    }

    /// Adds a rule of faults behind those in force.
    pub fn fault(&self, rule: FaultRule) {
        locked(&self.inner.shared.faults).add(rule);
    }

    /// Takes all rules of faults away.
    pub fn clear_faults(&self) {
        locked(&self.inner.shared.faults).clear();
    }

    /// How many requests were hit by a rule since the start.
    pub fn faults_met(&self) -> u64 {
        locked(&self.inner.shared.faults).hits()
    }

    /// Answers each `GET /v1/query` late by up to this time, with the list of its arrival.
    pub fn delay_lists(&self, up_to: Duration) {
        let millis = u64::try_from(up_to.as_millis()).unwrap_or(u64::MAX);
        self.fault(FaultRule::every(RequestKind::QueryList, Fault::SlowUpToMs(millis)));
    }

    /// The behaviour in force.
    pub fn behaviour(&self) -> Behaviour {
        (*self.inner.shared.behaviour()).clone()
    }

    /// Changes the behaviour; requests from now on follow it.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        {
            let lock = &self.inner.shared.behaviour;
            let mut behaviour = lock.write().unwrap_or_else(PoisonError::into_inner);
            change(Arc::make_mut(&mut behaviour));
        }
        let process = self.process();
        let behaviour = self.inner.shared.behaviour();
        let now = process.clock.at(clock::now());
        let moment = Moment { now, behaviour: &behaviour, base: "" };
        locked(&process.coordinator).rewake(moment);
    }

    /// How many queries stand where at this moment.
    pub fn counts(&self) -> Counts {
        self.settled(|coordinator| coordinator.counts())
    }

    /// How the counts of this process went, with the instant of each change.
    pub fn history(&self) -> Vec<(Instant, Counts)> {
        let clock = self.process().clock;
        let told = |entry: &CountsAt| (clock.real(entry.at), entry.counts);
        self.settled(|coordinator| coordinator.history().iter().map(told).collect())
    }

    /// What happened since the start, restarts included.
    pub fn counters(&self) -> Counters {
        self.settled(|coordinator| coordinator.counters)
    }

    /// Spooled segments that nobody acknowledged.
    pub fn segments(&self) -> usize {
        self.settled(|coordinator| coordinator.segments())
    }

    /// A query of this process.
    pub fn query(&self, id: &str) -> Option<QueryRecord> {
        self.settled(|coordinator| coordinator.query(id).map(query_record))
    }

    /// All kept queries of this process, by id.
    pub fn queries(&self) -> Vec<QueryRecord> {
        let mut told: Vec<QueryRecord> =
            self.settled(|coordinator| coordinator.queries().map(query_record).collect());
        told.sort_by(|left, right| left.id.cmp(&right.id));
        told
    }

    /// How often pages of a query were asked for in this process.
    pub fn pages_asked(&self, id: &str) -> u64 {
        self.query(id).map_or(0, |query| query.pages_asked)
    }

    /// The latest requests (100,000 at most), oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        locked(&self.inner.shared.recorder).requests()
    }

    /// The latest requests of one kind, oldest first.
    pub fn requests_of(&self, kind: RequestKind) -> Vec<RequestRecord> {
        self.requests().into_iter().filter(|request| request.kind == kind).collect()
    }

    /// How many requests of a kind came since the start.
    pub fn request_count(&self, kind: RequestKind) -> u64 {
        locked(&self.inner.shared.recorder).count(kind)
    }

    /// How many requests named a query or a hand-shake of another coordinator, and the latest of
    /// those ids and hashes.
    pub fn foreign_ids(&self) -> (u64, Vec<String>) {
        locked(&self.inner.shared.recorder).foreign_ids()
    }

    /// Forgets requests and foreign ids; counts by kind stay.
    pub fn clear_records(&self) {
        locked(&self.inner.shared.recorder).clear();
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&locked(&self.inner.current).process)
    }

    /// Looks at the coordinator after what is due has happened.
    fn settled<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> T {
        let process = self.process();
        let behaviour = self.inner.shared.behaviour();
        let now = process.clock.at(clock::now());
        let mut coordinator = locked(&process.coordinator);
        coordinator.advance(Moment { now, behaviour: &behaviour, base: "" });
        look(&coordinator)
    }

    /// Tells the process something and waits until it is done; a killed one hears nothing.
    fn command(&self, command: impl FnOnce(server::Done) -> Command) {
        let commands = locked(&self.inner.current).alive.as_ref().map(|a| a.commands.clone());
        let (done, answer) = std_mpsc::sync_channel(1);
        if commands.is_some_and(|commands| commands.try_send(command(done)).is_ok()) {
            let _ = answer.recv();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        end(locked(&self.current).alive.take());
    }
}

fn end(alive: Option<Alive>) {
    if let Some(alive) = alive {
        drop(alive.commands);
        let _ = alive.thread.join();
    }
}

fn new_process(
    shared: &Arc<Shared>,
    mark: String,
    time_scale: f64,
    counters: Counters,
) -> Arc<Process> {
    let mut coordinator = Coordinator::new(mark.clone(), random(), clock::unix_seconds());
    coordinator.counters = counters;
    Arc::new(Process {
        shared: Arc::clone(shared),
        coordinator: Mutex::new(coordinator),
        clock: SimClock::new(clock::now(), time_scale),
        mark,
    })
}

/// Starts the thread of a process and waits until it listens.
fn launch(process: Arc<Process>, listen: SocketAddr) -> Result<(Alive, SocketAddr), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let bound = {
        let _inside = runtime.enter();
        server::bind(listen).and_then(|listener| Ok((listener.local_addr()?, listener)))
    };
    let (address, listener) =
        bound.map_err(|source| StartError::Listen { address: listen, source })?;
    let (commands, orders) = mpsc::channel(16);
    let serve = move || runtime.block_on(server::run(process, listener, address, orders));
    let thread = std::thread::Builder::new()
        .name(format!("stub-{}", address.port()))
        .spawn(serve)
        .map_err(StartError::Thread)?;
    Ok((Alive { commands, thread }, address))
}

fn query_record(query: &Query) -> QueryRecord {
    let error = match &query.life {
        Life::Ended { failure: Some(failure), .. } => Some(failure.name.clone()),
        _ => None,
    };
    QueryRecord {
        id: query.id.clone(),
        sql: query.posted.sql.clone(),
        user: query.posted.user.clone(),
        source: query.posted.source.clone(),
        state: query.life.state(),
        executed: query.queued.next > 1 || query.life != Life::Registered,
        error,
        pages_asked: query.pages_asked,
    }
}
