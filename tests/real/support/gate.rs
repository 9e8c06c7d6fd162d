//! A proxy that passes whole messages between Warren and a coordinator, and that can be shut: then
//! its port refuses connections, as when a process is killed. A [`Trap`] shuts it at one moment of one
//! query; nothing else hits that moment surely.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::coordinator::json;
use super::wire::{Kind, Message, parse};

/// When a trap springs, in the life of the query that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The answer to its POST has passed.
    Posted,
    /// Its first GET was passed on and answered, and the answer is kept back.
    Begun,
}

/// Shuts the gate that the query with a mark in its text passes.
#[derive(Debug)]
pub(crate) struct Trap {
    mark: String,
    moment: Moment,
    /// The query's id, once its POST was answered.
    id: Mutex<Option<String>>,
    sprung: watch::Sender<bool>,
}

/// The proxy; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    address: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Mutex<String>,
    trap: Mutex<Option<Arc<Trap>>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    connections: Mutex<HashMap<u64, JoinHandle<()>>>,
}

impl Trap {
    /// A trap for the query whose text has `mark` in it.
    pub(crate) fn new(mark: &str, moment: Moment) -> Arc<Self> {
        let (mark, id) = (mark.to_owned(), Mutex::default());
        Arc::new(Self { mark, moment, id, sprung: watch::Sender::new(false) })
    }

    /// Waits until it has sprung, and gives the id of the query.
    pub(crate) async fn sprung(&self) -> String {
        self.sprung.subscribe().wait_for(|sprung| *sprung).await.expect("the sender is here");
        locked(&self.id).clone().expect("its query was posted")
    }

    /// Whether it springs at this exchange.
    fn springs(&self, request: &[u8], answer: &Message) -> bool {
        let has = |text: &str| request.windows(text.len()).any(|part| part == text.as_bytes());
        let mut id = locked(&self.id);
        let now = match &*id {
            None if request.starts_with(b"POST /v1/statement")
                && has(&self.mark)
                && answer.status() == 200 =>
            {
                *id = json(answer)["id"].as_str().map(str::to_owned);
                Moment::Posted
            }
            Some(id) if request.starts_with(b"GET /v1/statement/") && has(id) => Moment::Begun,
            _ => return false,
        };
        now == self.moment && !self.sprung.send_replace(true)
    }
}

impl Gate {
    /// Listens on a free port of loopback and passes all on to `server`.
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let inner = Arc::new(Inner {
            server: Mutex::new(server.to_owned()),
            trap: Mutex::default(),
            accepting: Mutex::default(),
            connections: Mutex::default(),
        });
        let gate = Self { address, inner };
        gate.accept(listener);
        gate
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Lays a trap in the place of the last one.
    pub(crate) fn lay(&self, trap: &Arc<Trap>) {
        *locked(&self.inner.trap) = Some(trap.clone());
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) async fn shut(&self) {
        self.inner.shut(None).await;
    }

    /// Whether it takes connections.
    pub(crate) fn is_open(&self) -> bool {
        locked(&self.inner.accepting).is_some()
    }

    /// Takes connections again.
    pub(crate) async fn open(&self) {
        let listener = TcpListener::bind(&self.address).await.expect("its own port");
        self.accept(listener);
    }

    /// Cuts all connections; behind its address is another server from now on.
    pub(crate) async fn lead_to(&self, server: &str) {
        self.shut().await;
        *locked(&self.inner.server) = server.to_owned();
        self.open().await;
    }

    fn accept(&self, listener: TcpListener) {
        let accepting = tokio::spawn(accept(listener, self.inner.clone()));
        let before = locked(&self.inner.accepting).replace(accepting);
        assert!(before.is_none(), "{} is open already", self.address);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let connections = std::mem::take(&mut *locked(&self.inner.connections));
        let tasks =
            locked(&self.inner.accepting).take().into_iter().chain(connections.into_values());
        tasks.for_each(|task| task.abort());
    }
}

impl Inner {
    /// When it is done, the port refuses and no connection is left but the one with number `but`.
    async fn shut(&self, but: Option<u64>) {
        let accepting = locked(&self.accepting).take();
        if let Some(task) = accepting {
            end(task).await;
        }
        let mut connections = std::mem::take(&mut *locked(&self.connections));
        if let Some(number) = but {
            connections.remove(&number);
        }
        for task in connections.into_values() {
            end(task).await;
        }
    }

    async fn pass(self: Arc<Self>, mut client: TcpStream, number: u64) -> Option<()> {
        let server = locked(&self.server).clone();
        let mut server = TcpStream::connect(server).await.ok()?;
        let mut peeked = [0];
        loop {
            let (head, request) = tokio::select! {
                request = message(&mut client, Kind::Request) => request?,
                // A server that ends an idle connection, or speaks without being asked.
                _ = server.peek(&mut peeked) => return None,
            };
            server.write_all(&request).await.ok()?;
            let method = head.start.split(' ').next().unwrap_or_default();
            let (told, answer) = message(&mut server, Kind::AnswerTo(method)).await?;
            let trap = locked(&self.trap).clone();
            let Some(trap) = trap.filter(|trap| trap.springs(&request, &told)) else {
                client.write_all(&answer).await.ok()?;
                continue;
            };
            self.shut(Some(number)).await;
            if trap.moment == Moment::Posted {
                client.write_all(&answer).await.ok()?;
            }
            return None;
        }
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut number = 0;
    while let Ok((client, _)) = listener.accept().await {
        number += 1;
        let passing = inner.clone().pass(client, number);
        let passing = tokio::spawn(async move {
            // Its end is the end of the connection, whichever side ended it.
            passing.await;
        });
        locked(&inner.connections).insert(number, passing);
    }
}

/// Ends a task; when it is done, all that the task had is dropped.
async fn end(task: JoinHandle<()>) {
    task.abort();
    // It was cancelled, or had ended before.
    let _ended = task.await;
}

/// Reads one message; gives it parsed, and its bytes as they came.
async fn message(stream: &mut TcpStream, kind: Kind<'_>) -> Option<(Message, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let ended = stream.read_buf(&mut bytes).await.ok()? == 0;
        if let Some((message, _)) = parse(&bytes, kind, ended) {
            return Some((message, bytes));
        }
        if ended {
            return None;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that passes each POST on to one server and all else to another: a client that meets both
/// gateways, as behind a balancer.
#[derive(Debug)]
pub(crate) struct Split {
    address: String,
    accepting: JoinHandle<()>,
}

impl Split {
    /// Listens on a free port of loopback.
    pub(crate) async fn start(posts: &str, others: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let servers = [posts.to_owned(), others.to_owned()];
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(split(client, servers.clone()));
            }
        });
        Self { address, accepting }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn split(mut client: TcpStream, servers: [String; 2]) -> Option<()> {
    loop {
        let (head, request) = message(&mut client, Kind::Request).await?;
        let method = head.start.split(' ').next().unwrap_or_default();
        let server = &servers[usize::from(method != "POST")];
        let mut server = TcpStream::connect(server).await.ok()?;
        server.write_all(&request).await.ok()?;
        let (_, answer) = message(&mut server, Kind::AnswerTo(method)).await?;
        client.write_all(&answer).await.ok()?;
    }
}
