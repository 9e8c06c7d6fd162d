//! HTTP/1.1 as it stands on the wire: a parser that keeps every header line as it was sent, and a
//! client that sends exactly what it is told. Neither decompresses, follows or repairs anything.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Lines that belong to one connection and not to the message, and those that frame the body.
const OF_ONE_LEG: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    /// The header lines in their order, names in the case in which they came.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its chunk framing, compressed as it came.
    pub(crate) body: Vec<u8>,
}

/// What a message is, on which the end of its body depends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// A request.
    Request,
    /// The answer to a request of this method.
    AnswerTo(&'a str),
}

impl Message {
    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.unwrap_or_else(|| panic!("`{}` is no status line", self.start))
    }

    /// The method and the path of a request.
    pub(crate) fn method_and_path(&self) -> &str {
        self.start.rsplit_once(' ').map_or(&*self.start, |(head, _version)| head)
    }

    /// The value of the first header line of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// The header lines that a gateway must pass as they are.
    pub(crate) fn end_to_end_lines(&self) -> Vec<String> {
        let lines = self.headers.iter();
        lines
            .filter(|(name, _)| !OF_ONE_LEG.contains(&&*name.to_ascii_lowercase()))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }
}

/// Takes one message from the front of `bytes`; returns it and its length, or `None` if it is not
/// whole. `ended` says that nothing more will come.
pub(crate) fn parse(bytes: &[u8], kind: Kind<'_>, ended: bool) -> Option<(Message, usize)> {
    let head_length = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_length]).expect("heads are ASCII here");
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("`{line}` has no colon")))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut message = Message { start, headers, body: Vec::new() };
    let rest = &bytes[head_length + 4..];
    let (body, length) = body_of(&message, kind, rest, ended)?;
    message.body = body;
    Some((message, head_length + 4 + length))
}

/// The body of a message and how many bytes it took on the wire.
fn body_of(
    message: &Message,
    kind: Kind<'_>,
    rest: &[u8],
    ended: bool,
) -> Option<(Vec<u8>, usize)> {
    if let Kind::AnswerTo(method) = kind {
        let status = message.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Some((Vec::new(), 0));
        }
    }
    if message.header("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        return unchunk(rest);
    }
    if let Some(length) = message.header("content-length") {
        let length = length.parse().expect("Content-Length is a number");
        return (rest.len() >= length).then(|| (rest[..length].to_vec(), length));
    }
    match kind {
        Kind::Request => Some((Vec::new(), 0)),
        Kind::AnswerTo(_) => ended.then(|| (rest.to_vec(), rest.len())),
    }
}

/// Joins chunks until the last one; trailers are not expected.
fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).expect("a chunk size is ASCII");
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).expect("a chunk size is hexadecimal");
        let start = at + line + 2;
        let end = start + size;
        if bytes.len() < end + 2 {
            return None;
        }
        assert_eq!(&bytes[end..end + 2], b"\r\n", "a chunk ends where its size says");
        if size == 0 {
            return Some((body, end + 2));
        }
        body.extend_from_slice(&bytes[start..end]);
        at = end + 2;
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// A request as it goes over the wire.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() && method != "POST" && method != "PUT" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{lines}{length}\r\n{body}")
}

/// Sends one request on a connection of its own and returns the answer.
pub(crate) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Message> {
    let mut connection = TcpStream::connect(address).await?;
    let request = request(address, method, path, headers, body);
    connection.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        let ended = connection.read_buf(&mut bytes).await? == 0;
        if let Some((message, _)) = parse(&bytes, Kind::AnswerTo(method), ended) {
            return Ok(message);
        }
        if ended {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[test]
fn chunks_are_joined_and_partial_messages_wait() {
    let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for cut in 0..whole.len() {
        assert!(parse(&whole[..cut], Kind::AnswerTo("GET"), false).is_none(), "cut at {cut}");
    }
    let (message, length) = parse(whole, Kind::AnswerTo("GET"), false).expect("it is whole");
    assert_eq!((message.body.as_slice(), length), (&b"abcde"[..], whole.len()));
    assert_eq!(message.end_to_end_lines(), ["X-A: b"]);
}
