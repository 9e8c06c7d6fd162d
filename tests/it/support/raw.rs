//! Requests that no decent client sends, byte by byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// What came back, until the other side closed or fell silent.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // It may be refused before it was read to its end.
    let _ = stream.write_all(bytes);
    read(&mut stream)
}

/// A connection with a time limit on reads.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads one answer with its body, or what there is of it, and sends nothing more.
pub(crate) fn read(stream: &mut TcpStream) -> String {
    let answer = read_message(stream);
    let _ = stream.shutdown(Shutdown::Write);
    answer
}

/// Reads one answer with its body, or what there is of it.
pub(crate) fn read_message(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    while !is_whole(&bytes) {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `end` was seen, and not beyond the next bytes that came with it.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0; 1];
    while !text.ends_with(end) && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(char::from(byte[0]));
    }
    text
}

/// Whether an answer has come to its end.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let body = bytes.len() - head.len() - 4;
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body >= length,
        None if lower.contains("transfer-encoding: chunked") => text.ends_with("0\r\n\r\n"),
        None => lower.starts_with("http/1.1 204"),
    }
}

/// The status of an answer; 0: there was none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
