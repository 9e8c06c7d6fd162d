//! Answers on the clients' sockets while no worker can be started: 503, which clients repeat, with
//! the reason for whoever looks.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

/// How many connections are answered at once.
const AT_ONCE: usize = 256;

/// What one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of a request before it is answered.
const READ_MAX: u64 = 64 << 10;

/// Answers until it is dropped.
#[derive(Debug)]
pub(super) struct StandIn {
    accepting: Vec<AbortHandle>,
}

impl StandIn {
    /// Begins to answer. `why` is part of each answer.
    pub(super) fn start(sockets: &[TcpListener], why: String) -> Self {
        warn!(why, "no worker can be started; clients hear 503 meanwhile");
        let text =
            format!("Warren cannot be started now: {why}. It is tried again each 5 seconds.\n");
        let answer: Arc<str> = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nRetry-After: 1\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n{text}",
            text.len()
        )
        .into();
        let accept = |socket: &TcpListener| {
            let socket = socket.try_clone().and_then(tokio::net::TcpListener::from_std);
            match socket {
                Ok(socket) => Some(tokio::spawn(accept(socket, answer.clone())).abort_handle()),
                Err(error) => {
                    warn!(%error, "nobody can stand in at a socket");
                    None
                }
            }
        };
        Self { accepting: sockets.iter().filter_map(accept).collect() }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(socket: tokio::net::TcpListener, answer: Arc<str>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    // They end with this task.
    let mut answering = JoinSet::new();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((client, _)) => {
                let answer = answer.clone();
                answering.spawn(async move {
                    // A client that is gone cannot be told.
                    let _told = tokio::time::timeout(PATIENCE, tell(client, &answer)).await;
                    drop(place);
                });
            }
            // Too many open files, as a rule: others must close some first.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        while answering.try_join_next().is_some() {}
    }
}

async fn tell(mut client: TcpStream, answer: &str) -> std::io::Result<()> {
    let (read, mut write) = client.split();
    let mut read = read.take(READ_MAX);
    let mut head = Vec::new();
    // What was not read when the connection closes would reset it, and the answer with it.
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && read.read_buf(&mut head).await? > 0 {}
    write.write_all(answer.as_bytes()).await?;
    write.shutdown().await?;
    let mut rest = [0; 4096];
    while read.read(&mut rest).await? > 0 {}
    Ok(())
}
