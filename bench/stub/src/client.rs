//! A plain, blocking HTTP client: what the stub's own tests speak.
//!
//! One connection for each request, nothing is retried, answers are read to their end.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header lines.
    pub headers: Vec<(String, String)>,
    /// The body; unchunked, still compressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header line of this name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::http::header(&self.headers, name)
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Where the next page is: path and query of `nextUri`.
    pub fn next(&self) -> Option<String> {
        let uri = self.json()["nextUri"].as_str()?.to_owned();
        let after_scheme = uri.split_once("://")?.1;
        Some(after_scheme[after_scheme.find('/')?..].to_owned())
    }
}

/// Speaks to one address.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client that sends `X-Trino-User: stub`.
    pub fn new(address: SocketAddr) -> Self {
        Self::named(address, "stub")
    }

    /// A client that sends this as `X-Trino-User`.
    pub fn named(address: SocketAddr, user: &str) -> Self {
        Self { address, headers: Vec::new() }.with("X-Trino-User", user)
    }

    /// The same with one more header line on each request.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a request and reads the answer.
    pub fn send(&self, method: &str, target: &str, body: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in &self.headers {
            head.push_str(&[name, ": ", value, "\r\n"].concat());
        }
        head.push_str("Connection: close\r\n");
        if method == "POST" || method == "PUT" {
            head.push_str(&["Content-Length: ", &body.len().to_string(), "\r\n"].concat());
        }
        head.push_str("\r\n");
        head.push_str(body);
        stream.write_all(head.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&bytes, method)
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "cut answer"))
    }

    /// `GET`.
    pub fn get(&self, target: &str) -> io::Result<Answer> {
        self.send("GET", target, "")
    }

    /// `POST /v1/statement`.
    pub fn submit(&self, sql: &str) -> io::Result<Answer> {
        self.send("POST", "/v1/statement", sql)
    }

    /// Runs a statement to its end; all answers, the submit's first.
    pub fn run(&self, sql: &str) -> io::Result<Vec<Answer>> {
        let mut answers = vec![self.submit(sql)?];
        while let Some(next) = answers.last().and_then(Answer::next) {
            answers.push(self.get(&next)?);
        }
        Ok(answers)
    }
}

fn parse(bytes: &[u8], method: &str) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding").is_some() {
        answer.body = unchunked(&answer.body)?;
    } else if let Some(length) = answer.header("content-length")
        && method != "HEAD"
        && length.parse() != Ok(answer.body.len())
    {
        return None;
    }
    Some(answer)
}

fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
