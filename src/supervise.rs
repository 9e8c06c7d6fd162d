//! `warren supervise`: a tiny parent that keeps the clients' sockets while processes of Warren come
//! and go, so that no connection is refused: not by a crash, not by an upgrade.
//!
//! Promises: the sockets live as long as it does; a worker that ends is started again; a new worker
//! is ready before the old one is told to hand over; workers end when it does; a submit that waits
//! for its answer when its worker ends is given to another one (`outlast`). It takes part in no
//! request, but to say why nobody answers when a worker cannot be started (`stand_in`).

mod control;
mod outlast;
mod restart;
mod sockets;
mod stand_in;
mod worker;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::store::{self, StoreError};
use crate::time::{self, Instant};
pub use control::{UpgradeError, upgrade};
use outlast::{Left, Waiting};
use restart::{Next, Starts};
use stand_in::StandIn;
use worker::Worker;

/// The most that a new worker may take to be ready for an upgrade.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What workers may take to end beyond `timeouts.shutdown`, for the store and the journal.
const END_GRACE: Duration = Duration::from_secs(10);

/// Why a supervisor does not start.
#[derive(Debug, Error)]
pub enum SuperviseError {
    /// Its runtime.
    #[error("start the supervisor")]
    Runtime(#[source] std::io::Error),
    /// The state folder.
    #[error("make the state folder `{}`", .0.display())]
    StateFolder(PathBuf, #[source] std::io::Error),
    /// Its own socket.
    #[error("listen at `{}` for `warren upgrade`; is its path longer than 100 characters?", .0.display())]
    Control(PathBuf, #[source] std::io::Error),
    /// Another supervisor has the state folder.
    #[error("use the state folder `{}`: another supervisor uses it, give each its own", .0.display())]
    Taken(PathBuf),
    /// The store's file.
    #[error("keep the store")]
    Store(#[source] StoreError),
    /// A port.
    #[error("listen on {0}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// This program's own file.
    #[error("find this program's own file")]
    Program(#[source] std::io::Error),
    /// Signals.
    #[error("receive signals")]
    Signals(#[source] std::io::Error),
}

/// What happens to a supervisor.
enum Event {
    /// A worker said that it is ready.
    Ready(u32),
    /// A worker can take submits of others.
    Greeted(u32),
    /// A worker takes no submits any more; it, or another one, left these.
    Left(u32, Vec<Left>),
    /// A worker ended.
    Ended(u32, String),
    /// Somebody wants a new worker in the place of the old one.
    Upgrade(Option<oneshot::Sender<Result<u32, String>>>),
    /// Settings are to be read again.
    Reload,
    /// It is to end.
    End,
}

/// Keeps workers running until a signal ends it. `file` is the settings file.
pub fn run(config: &Config, file: &Path) -> Result<(), SuperviseError> {
    let program = std::env::current_exe().map_err(SuperviseError::Program)?;
    let folder = &config.state_folder;
    std::fs::create_dir_all(folder)
        .map_err(|error| SuperviseError::StateFolder(folder.clone(), error))?;
    let alone = control::alone(folder)?;
    let store = store::hold(&config.store).map_err(SuperviseError::Store)?;
    let listeners = config.listen.listeners();
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.address).collect();
    let sockets = sockets::bind(&addresses)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SuperviseError::Runtime)?;
    let (events, told) = mpsc::channel(64);
    let supervisor = Supervisor {
        program,
        file: file.to_owned(),
        control: control::path(folder),
        sockets,
        current: None,
        next: None,
        old: Vec::new(),
        starts: Starts::default(),
        start_at: Some(time::now()),
        stand_in: None,
        announced: false,
        waiting: Waiting::default(),
        events,
        _kept: (alone, store),
    };
    runtime.block_on(supervisor.run(told, config.timeouts.shutdown + END_GRACE))
}

struct Supervisor {
    program: PathBuf,
    file: PathBuf,
    control: PathBuf,
    sockets: Vec<TcpListener>,
    /// Who serves.
    current: Option<Worker>,
    /// Who will serve once it is ready, until when it may take, and who waits for that.
    next: Option<Upgrade>,
    /// Who was told to end.
    old: Vec<Worker>,
    starts: Starts,
    /// When a worker is to be started, if none runs.
    start_at: Option<Instant>,
    stand_in: Option<StandIn>,
    /// Whether systemd was told that we are ready.
    announced: bool,
    /// Submits that have outlasted their workers.
    waiting: Waiting,
    events: mpsc::Sender<Event>,
    /// Locks that keep other gateways away.
    _kept: (File, Option<File>),
}

struct Upgrade {
    worker: Worker,
    until: Instant,
    asked: Vec<oneshot::Sender<Result<u32, String>>>,
}

impl Supervisor {
    async fn run(
        mut self,
        mut told: mpsc::Receiver<Event>,
        end_within: Duration,
    ) -> Result<(), SuperviseError> {
        watch_signals(&self.events).map_err(SuperviseError::Signals)?;
        control::serve(&self.control, self.events.clone())
            .map_err(|error| SuperviseError::Control(self.control.clone(), error))?;
        info!(sockets = ?sockets::addresses(&self.sockets), "warren supervises");
        loop {
            let start_at = self.start_at;
            let give_up = self.next.as_ref().map(|next| next.until);
            let forget = self.waiting.until();
            tokio::select! {
                Some(event) = told.recv() => match event {
                    Event::End => break,
                    event => self.take(event),
                },
                () = until(start_at) => self.start(),
                () = until(give_up) => self.abandon("it was not ready in time"),
                () = until(forget) => self.waiting.forget(time::now()),
            }
        }
        self.end(&mut told, end_within).await;
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready(id) => self.ready(id),
            Event::Greeted(id) => self.greeted(id),
            Event::Left(id, left) => self.left(id, left),
            Event::Ended(id, how) => self.ended(id, &how),
            Event::Upgrade(asked) => self.upgrade(asked),
            Event::Reload => {
                let next = self.next.as_ref().map(|next| &next.worker);
                self.current.iter().chain(next).for_each(|worker| worker.signal(Signal::SIGHUP));
            }
            Event::End => {}
        }
    }

    /// Starts a worker in the place of one that ended.
    fn start(&mut self) {
        self.start_at = None;
        self.stand_in = None;
        match self.spawn() {
            Ok(worker) => self.current = Some(worker),
            Err(why) => {
                error!(why, "a worker cannot be started");
                self.failed(why);
            }
        }
    }

    fn spawn(&self) -> Result<Worker, String> {
        let (worker, child) =
            Worker::spawn(&self.program, &self.file, &self.sockets, &self.control)?;
        let (id, line, events) = (worker.id(), worker.line.clone(), self.events.clone());
        tokio::spawn(outlast::listen(id, line, self.waiting.passed.clone(), events));
        tokio::spawn(report_end(id, child, self.events.clone()));
        Ok(worker)
    }

    fn ready(&mut self, id: u32) {
        if self.next.as_ref().is_some_and(|next| next.worker.id() == id)
            && let Some(Upgrade { worker, asked, .. }) = self.next.take()
        {
            info!(worker = id, "the new worker is ready; the old one hands over");
            if let Some(old) = self.current.replace(worker) {
                old.signal(Signal::SIGUSR1);
                self.old.push(old);
            }
            asked.into_iter().for_each(|asked| drop(asked.send(Ok(id))));
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.id() == id) {
            current.ready = true;
            self.starts = Starts::default();
            self.announce();
            self.pass_on();
        }
    }

    fn greeted(&mut self, id: u32) {
        let next = self.next.as_mut().map(|next| &mut next.worker);
        if let Some(worker) = self.current.iter_mut().chain(next).find(|one| one.id() == id) {
            worker.takes = true;
            self.pass_on();
        }
    }

    fn left(&mut self, id: u32, left: Vec<Left>) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id() == id) {
            // It has ended, or is about to.
            current.takes = false;
        }
        self.waiting.add(left);
        self.pass_on();
    }

    /// Gives submits that have outlasted their worker to the one that serves, if it can take them.
    fn pass_on(&mut self) {
        self.waiting.forget(time::now());
        let Some(heir) = self.current.as_ref().filter(|one| one.ready && one.takes) else { return };
        let left = self.waiting.take();
        if !left.is_empty() {
            let (line, passed) = (heir.line.clone(), self.waiting.passed.clone());
            tokio::spawn(outlast::pass(heir.id(), line, left, passed, self.events.clone()));
        }
    }

    fn announce(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        if let Ok(path) = std::env::var("NOTIFY_SOCKET")
            && let Err(error) = crate::app::notify::tell_systemd(&path)
        {
            warn!(%error, "systemd was not told that warren is ready");
        }
    }

    fn ended(&mut self, id: u32, how: &str) {
        self.old.retain(|old| old.id() != id);
        if self.next.as_ref().is_some_and(|next| next.worker.id() == id) {
            self.abandon(&format!("it ended, {how}"));
        } else if let Some(worker) = self.current.take_if(|current| current.id() == id) {
            if worker.ready {
                error!(worker = id, how, "the worker ended; another one is started");
                self.start_at = Some(time::now());
            } else {
                error!(worker = id, how, "the worker ended before it was ready");
                self.failed(format!("the last one ended, {how}"));
            }
        }
    }

    /// A worker could not be started.
    fn failed(&mut self, why: String) {
        let now = time::now();
        match self.starts.failed(now) {
            Next::At(at) => self.start_at = Some(at),
            Next::StandInUntil(at) => {
                self.start_at = Some(at);
                self.stand_in = Some(StandIn::start(&self.sockets, why));
            }
        }
    }

    fn upgrade(&mut self, asked: Option<oneshot::Sender<Result<u32, String>>>) {
        if let Some(next) = &mut self.next {
            next.asked.extend(asked);
            return;
        }
        info!(program = %self.program.display(), "upgrade: a new worker is started");
        match self.spawn() {
            Ok(worker) => {
                let asked = asked.into_iter().collect();
                self.next = Some(Upgrade { worker, until: time::now() + READY_WITHIN, asked });
            }
            Err(why) => {
                error!(why, "upgrade: a worker cannot be started; the old one goes on");
                if let Some(asked) = asked {
                    drop(asked.send(Err(why)));
                }
            }
        }
    }

    /// The new worker is given up; the old one goes on.
    fn abandon(&mut self, why: &str) {
        let Some(Upgrade { worker, asked, .. }) = self.next.take() else { return };
        error!(worker = worker.id(), why, "upgrade: the old worker goes on");
        asked.into_iter().for_each(|asked| drop(asked.send(Err(why.to_owned()))));
        worker.signal(Signal::SIGTERM);
        self.old.push(worker);
    }

    /// Ends all workers, and waits for them.
    async fn end(mut self, told: &mut mpsc::Receiver<Event>, within: Duration) {
        info!("ending");
        self.stand_in = None;
        if let Some(Upgrade { worker, asked, .. }) = self.next.take() {
            asked.into_iter().for_each(|asked| drop(asked.send(Err("ending".to_owned()))));
            self.old.push(worker);
        }
        self.old.extend(self.current.take());
        self.old.iter().for_each(|worker| worker.signal(Signal::SIGTERM));
        let cap = time::now() + within;
        while !self.old.is_empty() {
            tokio::select! {
                Some(event) = told.recv() => match event {
                    Event::Ended(id, _) => self.old.retain(|old| old.id() != id),
                    Event::End => self.old.iter().for_each(|old| old.signal(Signal::SIGTERM)),
                    _ => {}
                },
                () = tokio::time::sleep_until(cap) => {
                    warn!(workers = self.old.len(), "workers did not end in time; they are killed");
                    self.old.iter().for_each(|worker| worker.signal(Signal::SIGKILL));
                    break;
                }
            }
        }
        // Nobody can be told any more if this fails; the next start removes it.
        let _left = std::fs::remove_file(&self.control);
        info!("warren has ended");
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn report_end(id: u32, mut child: Child, events: mpsc::Sender<Event>) {
    let how = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // Nobody listens once the supervisor itself has ended.
    let _told = events.send(Event::Ended(id, how)).await;
}

fn watch_signals(events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let meanings: [(SignalKind, fn() -> Event); 4] = [
        (SignalKind::terminate(), || Event::End),
        (SignalKind::interrupt(), || Event::End),
        (SignalKind::hangup(), || Event::Reload),
        (SignalKind::user_defined2(), || Event::Upgrade(None)),
    ];
    for (kind, meaning) in meanings {
        let mut signals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if events.send(meaning()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
