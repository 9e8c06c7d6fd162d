//! Which segments of a spooled result a page lists: found while its bytes pass, and told before they
//! are passed on. Pure.

use std::io::{self, Write};

use super::decode::Decoder;

/// What stands before the identifier of a segment, after `download` or `ack` too.
const NEEDLE: &[u8] = b"/v1/spooled/";

/// The longest identifier; Trino's have about 200 characters.
const LONGEST: usize = 4096;

/// The most plain text of one page that is looked through. A page that lists segments holds no
/// rows but a few inlined ones.
const LOOK: usize = 64 << 20;

/// Looks for segments in a page.
pub struct Segments {
    decoder: Decoder<Finder>,
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Segments").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Finder {
    /// What was not looked through to its end yet.
    rest: Vec<u8>,
    found: Vec<String>,
    seen: usize,
}

impl Segments {
    /// For a page with this `Content-Encoding`.
    pub fn of_encoding(encoding: Option<&[u8]>) -> Self {
        Self { decoder: Decoder::of_encoding(encoding, Finder::default()) }
    }

    /// Takes in what passes; gives the identifiers that it completes.
    pub fn see(&mut self, chunk: &[u8]) -> Vec<String> {
        self.decoder.see(chunk);
        self.decoder.plain_mut().map(|finder| std::mem::take(&mut finder.found)).unwrap_or_default()
    }
}

impl Write for Finder {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.seen += text.len();
        if self.seen <= LOOK {
            self.rest.extend_from_slice(text);
            self.look();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Finder {
    fn look(&mut self) {
        let mut from = 0;
        while let Some(at) = find(&self.rest[from..], NEEDLE) {
            let start = from + at;
            let after = &self.rest[start + NEEDLE.len()..];
            let Some(end) = after.iter().position(|byte| matches!(byte, b'"' | b'?' | b'#')) else {
                // It goes on in the next chunk, or is none.
                from = if after.len() > LONGEST { self.rest.len() } else { start };
                break;
            };
            self.found.extend(identifier(&after[..end]).map(str::to_owned));
            from = start + NEEDLE.len() + end;
        }
        let waits = find(&self.rest[from..], NEEDLE).is_some();
        let keep =
            if waits { from } else { from.max(self.rest.len().saturating_sub(NEEDLE.len())) };
        self.rest.drain(..keep);
    }
}

/// The identifier in `download/IDENTIFIER` or `ack/IDENTIFIER`.
pub fn identifier(path: &[u8]) -> Option<&str> {
    let path = str::from_utf8(path).ok()?;
    let (verb, identifier) = path.split_once('/')?;
    (matches!(verb, "download" | "ack") && !identifier.is_empty()).then_some(identifier)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PAGE: &str = r#"{"id":"a","data":{"segments":[{"type":"spooled","uri":"http://t/v1/spooled/download/abc=","ackUri":"http://t/v1/spooled/ack/abc="},{"type":"inline","data":"xx"},{"uri":"https://s3/x","ackUri":"http://t/v1/spooled/ack/def"}]}}"#;

    fn found(bytes: &[u8], encoding: Option<&[u8]>, size: usize) -> Vec<String> {
        let mut segments = Segments::of_encoding(encoding);
        bytes.chunks(size).flat_map(|chunk| segments.see(chunk)).collect()
    }

    #[test]
    fn segments_are_found_however_the_page_is_cut_and_compressed() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(PAGE.as_bytes()).expect("to memory");
        let gzip = gzip.finish().expect("to memory");
        let zstd = zstd::stream::encode_all(PAGE.as_bytes(), 1).expect("to memory");
        for size in [1, 7, 64, 10_000] {
            assert_eq!(found(PAGE.as_bytes(), None, size), ["abc=", "abc=", "def"], "{size}");
            assert_eq!(found(&gzip, Some(b"gzip"), size), ["abc=", "abc=", "def"], "{size}");
            assert_eq!(found(&zstd, Some(b"zstd"), size), ["abc=", "abc=", "def"], "{size}");
        }
    }

    #[test]
    fn what_is_none_takes_no_memory() {
        for text in
            ["/v1/spooled/".repeat(3000), "/v1/spooled/download/".to_owned() + &"x".repeat(20_000)]
        {
            let mut segments = Segments::of_encoding(None);
            for chunk in text.as_bytes().chunks(1000) {
                segments.see(chunk);
            }
            let kept = segments.decoder.plain_mut().expect("plain").rest.len();
            assert!(kept <= 2 * LONGEST + 40_000, "{kept}");
        }
        assert_eq!(found(b"\"/v1/spooled/\xff/x\"\"/v1/spooled/drop/x\"", None, 9), [""; 0]);
        assert_eq!(found(b"junk", Some(b"gzip"), 2), [""; 0]);
    }
}
