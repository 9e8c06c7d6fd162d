//! The end of a query, observed in its pages and never decoded from them. Pure.
//!
//! Trino writes `id` and `nextUri` before `data`. So the first few KiB of plain text tell: a page
//! without `nextUri` is the last one. Of a compressed page the beginning is inflated into a fixed
//! buffer and thrown away. What cannot be told is unknown; the coordinator's list will tell later.

use std::io::{Read, Write};

use serde::Deserialize;

use super::decode::Decoder;

/// How much plain text of a page is looked at.
const LOOK: usize = 4096;

/// A block of zstd gives nothing before it is whole: 128 KiB, and its header.
const ZSTD_BLOCK: usize = (128 << 10) + 64;

/// What a page says of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// More pages follow.
    GoesOn,
    /// It is the last one.
    Ended {
        /// The state that its statistics tell.
        state: Option<String>,
        /// The name of the error that it carries.
        error: Option<String>,
    },
    /// It does not say so early enough.
    Unknown,
}

/// Looks at a page while it passes.
pub struct PageObserver {
    decoder: Decoder<Plain>,
    told: Option<Told>,
}

impl std::fmt::Debug for PageObserver {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PageObserver").field("told", &self.told).finish_non_exhaustive()
    }
}

/// The beginning of the plain text; what comes after it is refused, which stops the inflating.
#[derive(Default)]
struct Plain {
    text: Vec<u8>,
}

impl Write for Plain {
    fn write(&mut self, chunk: &[u8]) -> std::io::Result<usize> {
        let room = LOOK - self.text.len();
        self.text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        // The rest is taken and forgotten: an error here would read as a broken page.
        Ok(chunk.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl PageObserver {
    /// For a page with this `Content-Encoding`.
    pub fn of_encoding(encoding: Option<&[u8]>) -> Self {
        let decoder = Decoder::of_encoding(encoding, Plain::default());
        Self { decoder, told: None }
    }

    /// Takes in what passes.
    pub fn see(&mut self, chunk: &[u8]) {
        if self.told.is_some() || chunk.is_empty() {
            return;
        }
        // A chunk may be megabytes; its beginning holds what is looked for.
        let enough = if matches!(self.decoder, Decoder::Zstd(_)) { ZSTD_BLOCK } else { 2 * LOOK };
        let beginning = &chunk[..chunk.len().min(enough)];
        self.decoder.see(beginning);
        if matches!(self.decoder, Decoder::Unreadable) {
            return;
        }
        let full = self.text().len() == LOOK || beginning.len() < chunk.len();
        self.told = match scan(self.text()) {
            Scan::NextUri => Some(Told::GoesOn),
            // The last page of a query with rows; its statistics come after them.
            Scan::Payload if full => Some(Told::Ended { state: None, error: None }),
            Scan::NotYet if full => Some(Told::Unknown),
            Scan::NoPage => Some(Told::Unknown),
            Scan::Payload | Scan::NotYet => None,
        };
    }

    /// What the page said, once it has passed to its end.
    pub fn finish(&mut self) -> Told {
        if let Some(told) = self.told.clone() {
            return told;
        }
        let text = self.text();
        let told = match scan(text) {
            Scan::NextUri => Told::GoesOn,
            Scan::NoPage => Told::Unknown,
            scan => match serde_json::from_slice::<LastPage>(text) {
                Ok(page) => Told::Ended {
                    state: page.stats.and_then(|stats| stats.state),
                    error: page.error.and_then(|error| error.error_name),
                },
                // Rows that the look cut off.
                Err(_) if scan == Scan::Payload => Told::Ended { state: None, error: None },
                Err(_) => Told::Unknown,
            },
        };
        self.told = Some(told.clone());
        told
    }

    fn text(&self) -> &[u8] {
        self.decoder.plain().map_or(&[], |plain| &plain.text)
    }
}

/// A small body in plain text, at most `limit` bytes of it; `None` if it cannot be read.
pub fn inflate<'a>(
    encoding: Option<&[u8]>,
    body: &'a [u8],
    limit: usize,
) -> Option<std::borrow::Cow<'a, [u8]>> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    match encoding {
        None | Some(b"identity") => return Some(body.into()),
        Some(b"gzip") => {
            flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut plain).ok()?;
        }
        Some(b"zstd") => {
            let decoder = zstd::stream::read::Decoder::new(body).ok()?;
            decoder.take(limit).read_to_end(&mut plain).ok()?;
        }
        Some(_) => return None,
    }
    Some(plain.into())
}

#[derive(Deserialize)]
struct LastPage {
    #[serde(rename = "id")]
    _id: String,
    stats: Option<Stats>,
    error: Option<TrinoError>,
}

#[derive(Deserialize)]
struct Stats {
    state: Option<String>,
}

#[derive(Deserialize)]
struct TrinoError {
    #[serde(rename = "errorName")]
    error_name: Option<String>,
}

/// What the beginning of a page shows.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// `nextUri` stands before everything else.
    NextUri,
    /// Something that Trino writes after `nextUri` came first.
    Payload,
    /// Neither came yet.
    NotYet,
    /// It is no JSON object.
    NoPage,
}

/// Reads the keys of the outermost object until one of them tells.
fn scan(text: &[u8]) -> Scan {
    let mut rest = text
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .map_or(&[][..], |start| &text[start..]);
    match rest.split_first() {
        None => return Scan::NotYet,
        Some((b'{', after)) => rest = after,
        Some(_) => return Scan::NoPage,
    }
    loop {
        rest = skip_filler(rest);
        let Some((key, after)) = string(rest) else {
            return if rest.is_empty() || rest[0] == b'"' || rest[0] == b'}' {
                Scan::NotYet
            } else {
                Scan::NoPage
            };
        };
        match key {
            b"nextUri" => return Scan::NextUri,
            b"id" | b"infoUri" | b"partialCancelUri" => {}
            _ => return Scan::Payload,
        }
        // These three are strings.
        let Some((_, after)) = string(skip_filler(after)) else { return Scan::NotYet };
        rest = after;
    }
}

fn skip_filler(text: &[u8]) -> &[u8] {
    let filler = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':');
    text.iter().position(|byte| !filler(byte)).map_or(&[], |start| &text[start..])
}

/// The string at the beginning of `text`, as it stands there, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    for (place, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((&inner[..place], &inner[place + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"id":"20260101_000000_00000_abcde","infoUri":"http://a/ui/query.html?\"x","partialCancelUri":"http://a/x","#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn told(encoding: Option<&[u8]>, body: &[u8], chunk: usize) -> Told {
        let mut observer = PageObserver::of_encoding(encoding);
        for part in body.chunks(chunk) {
            observer.see(part);
        }
        observer.finish()
    }

    /// Every encoding and every way of cutting a page tells the same.
    fn check(page: &str, expected: &Told) {
        for chunk in [1, 7, 100, 5000, 1 << 20] {
            let page = page.as_bytes();
            assert_eq!(&told(None, page, chunk), expected, "plain by {chunk}");
            assert_eq!(&told(Some(b"gzip"), &gzip(page), chunk), expected, "gzip by {chunk}");
            let packed = zstd::stream::encode_all(page, 3).expect("to memory");
            assert_eq!(&told(Some(b"zstd"), &packed, chunk), expected, "zstd by {chunk}");
        }
    }

    #[test]
    fn a_page_with_next_uri_goes_on() {
        check(
            &format!(r#"{HEAD}"nextUri":"http://a/1","data":[[1]],"stats":{{}}}}"#),
            &Told::GoesOn,
        );
        let rows = "[1],".repeat(100_000);
        check(&format!(r#"{HEAD}"nextUri":"http://a/1","data":[{rows}[1]]}}"#), &Told::GoesOn);
    }

    #[test]
    fn a_page_without_it_is_the_last() {
        let state = |state: &str, error: Option<&str>| Told::Ended {
            state: Some(state.into()),
            error: error.map(Into::into),
        };
        check(
            &format!(r#"{HEAD}"stats":{{"state":"FINISHED"}},"warnings":[]}}"#),
            &state("FINISHED", None),
        );
        check(
            &format!(
                r#"{HEAD}"stats":{{"state":"FAILED"}},"error":{{"message":"\"nextUri\":","errorName":"DIVISION_BY_ZERO"}}}}"#
            ),
            &state("FAILED", Some("DIVISION_BY_ZERO")),
        );
    }

    #[test]
    fn a_large_last_page_is_the_last() {
        let rows = "[1],".repeat(100_000);
        check(
            &format!(r#"{HEAD}"columns":[],"data":[{rows}[1]],"stats":{{"state":"FINISHED"}}}}"#),
            &Told::Ended { state: None, error: None },
        );
    }

    #[test]
    fn what_is_no_page_is_unknown() {
        for page in ["", "<html>", "[1]", "{\"id\":1}", "{\"id\":\"a\"", "nextUri"] {
            assert_eq!(told(None, page.as_bytes(), 3), Told::Unknown, "{page}");
        }
        assert_eq!(told(Some(b"gzip"), b"not gzip at all", 100), Told::Unknown);
        assert_eq!(told(Some(b"br"), b"{}", 100), Told::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            told(None, &body, 50);
            told(Some(b"gzip"), &body, 50);
            told(Some(b"zstd"), &body, 50);
        }
    }
}
