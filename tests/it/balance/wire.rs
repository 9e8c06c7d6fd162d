//! One connection of a Trino client: a request, its whole answer, the next one. It understands
//! `Content-Length` alone, which is all that the stub sends, and undoes gzip and zstd.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a client sends beside method, path and body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// `X-Trino-Source`.
    pub(crate) source: &'a str,
    /// `Accept-Encoding`; empty: none.
    pub(crate) accepts: &'a str,
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// A status and a body, plain.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let told = || format!("{}: {}", self.status, String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {}", told()))
    }

    /// Path and query of the next page; `None`: this was the last.
    pub(crate) fn next(&self) -> Option<String> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let page = self.json();
        assert!(page["error"].is_null(), "{page}");
        let (_, rest) = page["nextUri"].as_str()?.split_once("://").expect("a whole URI");
        Some(rest[rest.find('/').expect("a path")..].to_owned())
    }
}

impl Line {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        manner: Manner<'_>,
        body: &str,
    ) -> std::io::Result<Answer> {
        let Manner { source, accepts } = manner;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-Trino-User: u\r\nX-Trino-Source: {source}\r\n",
            self.address
        );
        if !accepts.is_empty() {
            head += &["Accept-Encoding: ", accepts, "\r\n"].concat();
        }
        if method == "POST" {
            head += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
        }
        let request = [&head, "\r\n", body].concat();
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            if let Some((answer, length)) = whole(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The answer at the front of `bytes` and its length, once it is there as a whole.
fn whole(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let value = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    };
    let length: usize = match value("content-length") {
        Some(length) => length.parse().expect("a number"),
        None if status == 204 => 0,
        None => panic!("an answer without Content-Length: {head}"),
    };
    let body = bytes.get(end..end + length)?;
    let body = match value("content-encoding") {
        None => body.to_vec(),
        Some("zstd") => zstd::stream::decode_all(body).expect("zstd"),
        Some("gzip") => {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(body);
            std::io::Read::read_to_end(&mut decoder, &mut plain).expect("gzip");
            plain
        }
        Some(other) => panic!("the encoding {other} was not asked for"),
    };
    Some((Answer { status, body }, end + length))
}
