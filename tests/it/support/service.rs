//! A service that rules ask. It answers each POST as it is told to, after a while if it is told so, and
//! keeps what it was asked.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warren_stub::free_address;

use super::PATIENCE;
use super::raw::read_message;

/// A service that runs until the tests end.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug)]
struct Told {
    /// Status line and headers behind `HTTP/1.1 `, without a length, and the body.
    answer: (String, String),
    after: Duration,
    seen: Vec<String>,
}

impl Service {
    /// One that answers with this JSON.
    pub(crate) fn start(json: &str) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).unwrap();
        let told = Told { answer: Default::default(), after: Duration::ZERO, seen: Vec::new() };
        let service = Self { address, told: Arc::new(Mutex::new(told)) };
        service.answers("200 OK", json);
        let told = service.told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told) = (stream.unwrap(), told.clone());
                std::thread::spawn(move || serve(stream, &told));
            }
        });
        service
    }

    /// From now on it answers with this status and this JSON.
    pub(crate) fn answers(&self, status: &str, json: &str) {
        self.answers_with(&format!("{status}\r\nContent-Type: application/json"), json);
    }

    /// The same with whole header lines behind the status.
    pub(crate) fn answers_with(&self, head: &str, body: &str) {
        self.told.lock().unwrap().answer = (head.to_owned(), body.to_owned());
    }

    /// From now on it answers after this time.
    pub(crate) fn takes(&self, time: Duration) {
        self.told.lock().unwrap().after = time;
    }

    /// What it was asked, each with its head.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.told.lock().unwrap().seen.clone()
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/route", self.address)
    }
}

fn serve(mut stream: TcpStream, told: &Mutex<Told>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let question = read_message(&mut stream);
        if question.is_empty() {
            return;
        }
        let (head, body, after) = {
            let mut told = told.lock().unwrap();
            told.seen.push(question);
            let (head, body) = told.answer.clone();
            (head, body, told.after)
        };
        std::thread::sleep(after);
        let length = body.len();
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
        // Who asked may be gone.
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
