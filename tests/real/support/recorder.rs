//! A TCP proxy that passes bytes on and remembers them: the leg between Warren and a coordinator.
//! It never looks into what it passes while it passes it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::wire::{Kind, Message, parse};

/// One connection: what went to the server, what came from it.
#[derive(Debug, Default)]
struct Recording {
    up: Vec<u8>,
    down: Vec<u8>,
}

type Tape = Arc<Mutex<Recording>>;

/// A request as the coordinator got it, and its answer as the coordinator sent it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// What Warren sent.
    pub(crate) request: Message,
    /// What the coordinator answered.
    pub(crate) answer: Message,
}

/// The proxy; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    address: String,
    tapes: Arc<Mutex<Vec<Tape>>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Listens on a free port of loopback and passes all on to `server`.
    pub(crate) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let tapes = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, server, tapes.clone()));
        Self { address, tapes, accepting }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// All exchanges that are whole by now, connection by connection.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let tapes = self.tapes.lock().expect("no one panics with the lock").clone();
        let recorded = |tape: &Tape| exchanges(&tape.lock().expect("no one panics with the lock"));
        tapes.iter().flat_map(recorded).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: String, tapes: Arc<Mutex<Vec<Tape>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(&server).await else { continue };
        let tape = Tape::default();
        tapes.lock().expect("no one panics with the lock").push(tape.clone());
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = upstream.into_split();
        tokio::spawn(pass(from_client, to_server, tape.clone(), |recording| &mut recording.up));
        tokio::spawn(pass(from_server, to_client, tape, |recording| &mut recording.down));
    }
}

/// Passes one direction until its end, and hands the end on.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    tape: Tape,
    side: fn(&mut Recording) -> &mut Vec<u8>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..count];
        side(&mut tape.lock().expect("no one panics with the lock")).extend_from_slice(bytes);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Pairs the requests of a connection with their answers.
fn exchanges(recording: &Recording) -> Vec<Exchange> {
    let mut pairs = Vec::new();
    let (mut up, mut down) = (&recording.up[..], &recording.down[..]);
    while let Some((request, length)) = parse(up, Kind::Request, false) {
        up = &up[length..];
        let method = request.method_and_path().split(' ').next().unwrap_or_default().to_owned();
        let Some((answer, length)) = final_answer(down, &method) else { break };
        down = &down[length..];
        pairs.push(Exchange { request, answer });
    }
    pairs
}

/// The answer that is not an interim one (100 Continue), and the length up to its end.
fn final_answer(bytes: &[u8], method: &str) -> Option<(Message, usize)> {
    let mut passed = 0;
    loop {
        let (answer, length) = parse(&bytes[passed..], Kind::AnswerTo(method), false)?;
        passed += length;
        if answer.status() >= 200 {
            return Some((answer, passed));
        }
    }
}

#[test]
fn exchanges_of_one_connection_are_paired_in_order() {
    let recording = Recording {
        up: b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiHEAD /b HTTP/1.1\r\n\r\n".to_vec(),
        down: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
    };
    let pairs = exchanges(&recording);
    let seen: Vec<_> =
        pairs.iter().map(|pair| (pair.request.method_and_path(), &*pair.answer.body)).collect();
    assert_eq!(seen, [("POST /a", &b"x"[..]), ("HEAD /b", &b""[..])]);
}
