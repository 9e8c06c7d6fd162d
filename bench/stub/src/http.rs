//! HTTP/1.1 as the stub speaks it: heads kept as sent, answers written in one piece.
//!
//! Own code rather than a library, because a test of a proxy wants to see header lines in their
//! order and case, and because faults (a reset, half a body) are acts on the socket. It is as
//! lenient as a coordinator is and no example of how to parse what strangers send.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest request head, as in Trino.
const HEAD_MAX: usize = 2 << 20;
/// The longest request body.
const BODY_MAX: usize = 256 << 20;

/// One request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header lines in their order and spelling.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
}

impl Request {
    /// The first header line of this name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// A parameter of the query, as written.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }
}

/// The first line of this name among `headers`, in any spelling.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header lines but `Content-Length` and `Connection`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A JSON answer.
    pub(crate) fn json(body: Vec<u8>) -> Self {
        Self { status: 200, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    /// A plain text.
    pub(crate) fn text(status: u16, body: &str) -> Self {
        let headers = vec![("Content-Type", "text/plain".to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec() }
    }

    /// A page for browsers.
    pub(crate) fn html(status: u16, body: &str) -> Self {
        let headers = vec![("Content-Type", "text/html;charset=utf-8".to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec() }
    }

    /// The bytes on the wire and where the body starts in them.
    pub(crate) fn encoded(&self, method: &str, framing: Framing) -> (Vec<u8>, usize) {
        let mut head = String::with_capacity(256);
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if framing.close {
            head.push_str("Connection: close\r\n");
        }
        let chunked = framing.chunked && !self.body.is_empty();
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        } else if self.status == 204 {
            head.push_str("\r\n");
        } else {
            let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        }
        let mut bytes = head.into_bytes();
        let start = bytes.len();
        if method != "HEAD" && self.status != 204 {
            if chunked {
                bytes.extend_from_slice(format!("{:x}\r\n", self.body.len()).as_bytes());
            }
            bytes.extend_from_slice(&self.body);
            if chunked {
                bytes.extend_from_slice(b"\r\n0\r\n\r\n");
            }
        }
        (bytes, start)
    }
}

/// How an answer is framed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Framing {
    /// Chunked rather than with a length.
    pub chunked: bool,
    /// The last answer of its connection.
    pub close: bool,
}

/// Reads the next request; `None` when the peer closed in between.
pub(crate) async fn read_request<S>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut searched = 0;
    let end = loop {
        if let Some(at) = find(&buffer[searched..], b"\r\n\r\n") {
            break searched + at;
        }
        searched = buffer.len().saturating_sub(3);
        if buffer.len() > HEAD_MAX {
            return Err(malformed("head too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(malformed("cut head")) };
        }
    };
    let mut request = parse_head(&buffer[..end])?;
    buffer.drain(..end + 4);
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if request.header("transfer-encoding").is_some() {
        request.body = read_chunks(stream, buffer).await?;
    } else if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().map_err(|_| malformed("bad Content-Length"))?;
        if length > BODY_MAX {
            return Err(malformed("body too long"));
        }
        fill(stream, buffer, length).await?;
        request.body = buffer.drain(..length).collect();
    }
    Ok(Some(request))
}

fn parse_head(bytes: &[u8]) -> io::Result<Request> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut start = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (start.next(), start.next(), start.next(), start.next())
    else {
        return Err(malformed("bad request line"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(malformed("bad version"));
    }
    let mut headers = Vec::with_capacity(24);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("bad header line"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let told = header(&headers, "connection").unwrap_or_default().to_ascii_lowercase();
    let keep_alive =
        if version == "HTTP/1.0" { told.contains("keep-alive") } else { !told.contains("close") };
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        keep_alive,
    })
}

async fn read_chunks<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>>
where
    S: AsyncRead + Unpin,
{
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, buffer).await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| bad_chunk())?;
        if size > BODY_MAX || body.len() + size > BODY_MAX {
            return Err(malformed("body too long"));
        }
        if size == 0 {
            break;
        }
        fill(stream, buffer, size + 2).await?;
        body.extend_from_slice(&buffer[..size]);
        buffer.drain(..size + 2);
    }
    while !read_line(stream, buffer).await?.is_empty() {}
    Ok(body)
}

async fn read_line<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<String> {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 2);
            return Ok(line);
        }
        if buffer.len() > HEAD_MAX {
            return Err(malformed("line too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(malformed("cut body"));
        }
    }
}

async fn fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(malformed("cut body"));
        }
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Of its own kind, because a coordinator answers it in a way of its own.
fn bad_chunk() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "bad chunk size")
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The text with all but unreserved characters percent-encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Stub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &[u8]) -> Result<Vec<Request>, String> {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(input).await.unwrap();
        far.shutdown().await.unwrap();
        let (mut buffer, mut requests) = (Vec::new(), Vec::new());
        loop {
            match read_request(&mut near, &mut buffer).await {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return Ok(requests),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[tokio::test]
    async fn lines_keep_their_order_and_spelling() {
        let requests = read(
            b"POST /v1/statement?a=b HTTP/1.1\r\nX-trino-USER: u\r\nX-T: 1\r\nX-T:2\r\nContent-Length: 3\r\n\r\nabc\
              GET / HTTP/1.1\r\nConnection: Close\r\n\r\n\
              POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nT: t\r\n\r\n",
        )
        .await
        .unwrap();
        let lines: Vec<_> = requests[0].headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(lines, ["X-trino-USER=u", "X-T=1", "X-T=2", "Content-Length=3"]);
        assert_eq!(requests[0].body, b"abc");
        assert_eq!(requests[0].path(), "/v1/statement");
        assert_eq!(requests[0].parameter("a"), Some("b"));
        assert!(requests[0].keep_alive && !requests[1].keep_alive && !requests[2].keep_alive);
        assert_eq!(requests[2].body, b"abc");
    }

    #[tokio::test]
    async fn what_is_refused() {
        for bad in [
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\nnocolon\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "GET / HT",
        ] {
            assert!(read(bad.as_bytes()).await.is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_one_piece() {
        let plain = Framing::default();
        let (bytes, start) = Response::text(503, "busy").encoded("GET", plain);
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbusy"
        );
        assert_eq!(&bytes[start..], b"busy");
        let chunked = Framing { chunked: true, close: true };
        let (bytes, _) = Response::text(200, "0123456789").encoded("GET", chunked);
        assert!(bytes.ends_with(b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"));
        let (bytes, start) = Response::text(200, "x").encoded("HEAD", plain);
        assert_eq!(bytes.len(), start);
    }
}
