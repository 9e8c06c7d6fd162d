//! The sockets that clients connect to: bound by this process, or inherited from whoever keeps them
//! while processes come and go (`warren supervise`, systemd). And when they stop to be accepted from.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use listenfd::ListenFd;
use nix::sys::socket::{SockaddrStorage, getsockname};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tracing::{info, warn};

use super::adopt::Orphans;
use crate::proxy::service::Service;

/// Where the supervisor says which file descriptors are sockets: `7,9`.
pub const SOCKETS: &str = "WARREN_SOCKETS";

/// How long idle connections may live on once another process accepts: their next request is
/// answered, and with it told that the connection ends. One that is closed instead could cross it.
const SETTLE: Duration = Duration::from_secs(3);

/// A connection is not counted between two of its requests, for less than this.
const BETWEEN: Duration = Duration::from_millis(100);

/// How long the accepting tasks may take to end.
const CLOSING: Duration = Duration::from_secs(1);

/// A socket that this process did not bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// Where it listens.
    pub address: SocketAddr,
    fd: RawFd,
}

/// The sockets that were handed to this process, by the supervisor or by systemd.
pub fn inherited(environment: impl Fn(&str) -> Option<String>) -> Vec<Inherited> {
    match environment(SOCKETS) {
        Some(list) => list.split(',').filter_map(of_supervisor).collect(),
        None => of_systemd(),
    }
}

/// A socket of the supervisor's, which does not block already.
fn of_supervisor(number: &str) -> Option<Inherited> {
    let fd = number.trim().parse().ok()?;
    let told: Result<SockaddrStorage, _> = getsockname(fd);
    let address = told.ok().and_then(|told| {
        let v4 = told.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
        v4.or_else(|| told.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
    });
    if address.is_none() {
        warn!(fd, "an inherited file descriptor is no TCP socket; it is left alone");
    }
    Some(Inherited { address: address?, fd })
}

/// What systemd tells with `LISTEN_FDS` and `LISTEN_PID`. Whether these block depends on the unit.
fn of_systemd() -> Vec<Inherited> {
    let mut handed = ListenFd::from_env();
    let count = handed.len();
    let take = |index| {
        let socket = handed.take_tcp_listener(index).transpose()?;
        let taken = socket.and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(Inherited { address: socket.local_addr()?, fd: socket.into_raw_fd() })
        });
        taken
            .map_err(|error| warn!(index, %error, "an inherited file descriptor is no TCP socket"))
            .ok()
    };
    (0..count).filter_map(take).collect()
}

/// The state of the doors, shared by who accepts and who ends.
#[derive(Debug)]
pub struct Doors {
    closing: watch::Sender<bool>,
    over: watch::Sender<bool>,
    closed: watch::Sender<bool>,
    /// Connections that are open, idle ones too. An HTTP/2 connection counts by its requests.
    connections: watch::Sender<u64>,
}

impl Doors {
    /// Doors that are open.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            closing: watch::Sender::new(false),
            over: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            connections: watch::Sender::new(0),
        })
    }

    /// No connection is accepted from now on.
    pub fn stop_accepting(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until no connection is left, or only such as were idle for a while.
    pub async fn emptied(&self, none_in_flight: impl Future<Output = ()>) {
        let mut connections = self.connections.subscribe();
        let settled = async {
            tokio::time::sleep(SETTLE).await;
            none_in_flight.await;
        };
        let none = async {
            while connections.wait_for(|open| *open == 0).await.is_ok() {
                tokio::time::sleep(BETWEEN).await;
                if *connections.borrow() == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            () = none => {}
            () = settled => {}
        }
    }

    /// Closes what is left. Who accepts must have ended before its runtime does: it would meet the
    /// closed runtime in a loop.
    pub async fn close(&self) {
        self.stop_accepting();
        self.over.send_replace(true);
        let mut closed = self.closed.subscribe();
        let _late = tokio::time::timeout(CLOSING, closed.wait_for(|closed| *closed)).await;
    }
}

/// The proxy, with its connections counted.
#[derive(Clone)]
pub struct Front {
    proxy: Arc<HttpProxy<Service>>,
    doors: Arc<Doors>,
}

struct Open<'a>(&'a watch::Sender<u64>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[async_trait]
impl HttpServerApp for Front {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.doors.connections.send_modify(|open| *open += 1);
        let _open = Open(&self.doors.connections);
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    /// Pingora calls this when nothing is accepted any more; it would close idle connections.
    async fn http_cleanup(&self) {
        let mut over = self.doors.over.subscribe();
        drop(over.wait_for(|over| *over).await);
        self.proxy.http_cleanup().await;
        self.doors.closed.send_replace(true);
    }
}

/// The service that accepts.
pub struct Accepting {
    inner: listening::Service<Front>,
    front: Arc<Front>,
    sockets: Vec<Inherited>,
    orphans: Option<Orphans>,
}

impl Accepting {
    /// Accepts for `proxy` at what `listen` adds, from inherited sockets where there are some, and
    /// goes on with connections of workers that ended.
    pub fn new(
        proxy: HttpProxy<Service>,
        doors: &Arc<Doors>,
        (sockets, orphans): (Vec<Inherited>, Option<Orphans>),
        listen: impl FnOnce(&mut listening::Service<Front>),
    ) -> Self {
        let front = Front { proxy: Arc::new(proxy), doors: doors.clone() };
        let mut inner = listening::Service::new("clients".to_owned(), front.clone());
        listen(&mut inner);
        Self { inner, front: Arc::new(front), sockets, orphans }
    }
}

#[async_trait]
impl PingoraService for Accepting {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let Some(fds) = &fds {
            let mut table = fds.lock();
            for Inherited { address, fd } in &self.sockets {
                info!(%address, "the socket was inherited");
                table.add(address.to_string(), *fd);
            }
        }
        let closing = self.front.doors.closing.subscribe();
        if let Some(orphans) = self.orphans.take() {
            tokio::spawn(orphans.adopt(self.front.clone(), closing.clone()));
        }
        self.inner.start_service(fds, closing, listeners_per_fd).await;
    }

    fn name(&self) -> &'static str {
        "clients"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_socket_tells_its_address() {
        use std::os::fd::AsRawFd;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let list = format!("{},9999,,x", socket.as_raw_fd());
        let found = inherited(|name| (name == SOCKETS).then(|| list.clone()));
        let address = socket.local_addr().expect("a bound address");
        assert_eq!(found, [Inherited { address, fd: socket.as_raw_fd() }]);
    }
    #[tokio::test(start_paused = true)]
    async fn a_connection_between_two_requests_is_still_there() {
        let doors = Doors::new();
        doors.connections.send_replace(1);
        let emptied = doors.emptied(std::future::pending());
        tokio::pin!(emptied);
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, &mut emptied).await.is_err());
        doors.connections.send_replace(0);
        assert!(tokio::time::timeout(soon, &mut emptied).await.is_err());
        doors.connections.send_replace(1);
        assert!(tokio::time::timeout(10 * SETTLE, &mut emptied).await.is_err());
        doors.connections.send_replace(0);
        assert!(tokio::time::timeout(SETTLE, &mut emptied).await.is_ok());
    }
}
