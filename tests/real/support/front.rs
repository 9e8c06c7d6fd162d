//! What stands between clients and Warren and keeps the harness's own byte log: a TCP proxy that
//! counts the connections that Warren refused, the answers whose body was in transfer when their
//! connection ended, and the submits that waited for theirs. It changes nothing and hands every end
//! on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::wire::{Kind, parse};

/// The proxy; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Front {
    address: String,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Log {
    refused: AtomicU64,
    cut: AtomicU64,
    awaited: AtomicU64,
}

impl Front {
    /// Listens on a free port of loopback and passes all on to `server`.
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let log = Arc::<Log>::default();
        let accepting = tokio::spawn(accept(listener, server, log.clone()));
        Self { address, log, accepting }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many connections were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.log.refused.load(Ordering::Relaxed)
    }

    /// How many answers broke off within their body.
    pub(crate) fn cut(&self) -> u64 {
        self.log.cut.load(Ordering::Relaxed)
    }

    /// How many submits whose connection ended without a byte of an answer.
    pub(crate) fn awaited(&self) -> u64 {
        self.log.awaited.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, log: Arc<Log>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, log) = (server.clone(), log.clone());
        tokio::spawn(async move {
            match TcpStream::connect(&server).await {
                Ok(upstream) => pass(client, upstream, &log).await,
                Err(_refused) => {
                    log.refused.fetch_add(1, Ordering::Relaxed);
                    // The client is to see what it would have seen: no connection.
                    drop(client.set_zero_linger());
                }
            }
        });
    }
}

/// What is not yet a whole message on one connection.
#[derive(Default)]
struct Open {
    up: Vec<u8>,
    down: Vec<u8>,
    /// Of the requests whose answers have not ended.
    methods: VecDeque<String>,
}

impl Open {
    fn sent(&mut self, bytes: &[u8]) {
        self.up.extend_from_slice(bytes);
        while let Some((request, length)) = parse(&self.up, Kind::Request, false) {
            self.up.drain(..length);
            let method = request.method_and_path().split(' ').next().unwrap_or_default();
            self.methods.push_back(method.to_owned());
        }
    }

    fn answered(&mut self, bytes: &[u8]) {
        self.down.extend_from_slice(bytes);
        while let Some(method) = self.methods.front() {
            let Some((answer, length)) = parse(&self.down, Kind::AnswerTo(method), false) else {
                return;
            };
            self.down.drain(..length);
            if answer.status() >= 200 {
                self.methods.pop_front();
            }
        }
    }

    /// Whether a head has come and its body has not ended.
    fn is_within_body(&self) -> bool {
        self.down.windows(4).any(|bytes| bytes == b"\r\n\r\n")
    }

    /// Whether a submit was sent and no byte of its answer has come.
    fn awaits_submit(&self) -> bool {
        self.down.is_empty() && self.methods.front().is_some_and(|method| method == "POST")
    }
}

async fn pass(mut client: TcpStream, mut upstream: TcpStream, log: &Log) {
    let mut open = Open::default();
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            sent = client.read(&mut up) => match sent {
                Ok(count @ 1..) => {
                    open.sent(&up[..count]);
                    // Warren's end shows when its answer is read.
                    let _broken = upstream.write_all(&up[..count]).await;
                }
                Ok(0) | Err(_) => return,
            },
            answered = upstream.read(&mut down) => match answered {
                Ok(count @ 1..) => {
                    open.answered(&down[..count]);
                    if client.write_all(&down[..count]).await.is_err() {
                        return;
                    }
                }
                ended => {
                    if open.is_within_body() {
                        log.cut.fetch_add(1, Ordering::Relaxed);
                    }
                    if open.awaits_submit() {
                        log.awaited.fetch_add(1, Ordering::Relaxed);
                    }
                    if ended.is_err() {
                        // It was reset, and so is the client's.
                        drop(client.set_zero_linger());
                    }
                    return;
                }
            },
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_told_from_one_that_ended() {
    let mut open = Open::default();
    open.sent(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    open.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    assert!(!open.is_within_body(), "the first has ended, the second has not begun");
    open.answered(b"HTTP/1.1 200 OK\r\nContent-Le");
    assert!(!open.is_within_body(), "only a part of its head came");
    open.answered(b"ngth: 3\r\n\r\nab");
    assert!(open.is_within_body());
    open.answered(b"c");
    assert!(!open.is_within_body());
    open.sent(b"POST /c HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
    assert!(!open.awaits_submit(), "its body has not ended");
    open.sent(b"d");
    assert!(open.awaits_submit());
    open.answered(b"H");
    assert!(!open.awaits_submit());
}
