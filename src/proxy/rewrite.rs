//! Addresses in a page, for coordinators that build them of their own name. Pure.
//!
//! A compatibility mode: the beginning of a page, up to the first key that Trino writes after its
//! addresses, is held back and the origin that the page itself shows is replaced by ours.

use bytes::{Bytes, BytesMut};

/// How much of a page is held back at most. Four addresses of Trino's take less than 2 KiB.
const HOLD: usize = 8192;

/// Keys that Trino writes after its addresses.
const AFTER: [&[u8]; 3] = [b"\"columns\":", b"\"data\":", b"\"stats\":"];

/// Replaces the origin of addresses while a page passes.
#[derive(Debug)]
pub struct Rewriter {
    origin: String,
    held: BytesMut,
    done: bool,
}

impl Rewriter {
    /// Replaces by `origin`, such as `https://trino.example`.
    pub fn to(origin: String) -> Self {
        Self { origin, held: BytesMut::new(), done: false }
    }

    /// Takes what comes and gives what may go on.
    pub fn pass(&mut self, chunk: Option<Bytes>, end: bool) -> Option<Bytes> {
        if self.done {
            return chunk;
        }
        if let Some(chunk) = &chunk {
            self.held.extend_from_slice(chunk);
        }
        let seen = AFTER.iter().filter_map(|key| find(&self.held, key)).min();
        if seen.is_none() && self.held.len() < HOLD && !end {
            return None;
        }
        self.done = true;
        let head = seen.unwrap_or(self.held.len());
        let text = self.held.split();
        Some(replaced(&text[..head], &text[head..], &self.origin))
    }
}

/// Replaces in a whole answer that is in memory.
pub fn whole(body: Bytes, origin: &str) -> Bytes {
    Rewriter::to(origin.to_owned()).pass(Some(body), true).unwrap_or_default()
}

fn replaced(head: &[u8], tail: &[u8], to: &str) -> Bytes {
    let Some(from) = own_origin(head) else {
        return [head, tail].concat().into();
    };
    // Only at the beginning of a string, so that no address inside another one is touched.
    let from = [b"\"", from, b"/"].concat();
    let to = [b"\"", to.as_bytes(), b"/"].concat();
    let mut out = BytesMut::with_capacity(head.len() + tail.len() + 256);
    let mut rest = head;
    while let Some(place) = find(rest, &from) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(&to);
        rest = &rest[place + from.len()..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(tail);
    out.freeze()
}

/// The origin of the first address in `head`.
fn own_origin(head: &[u8]) -> Option<&[u8]> {
    let key = b"\"infoUri\":\"";
    let address = &head[find(head, key)? + key.len()..];
    let authority = find(address, b"://")? + 3;
    let path = address[authority..].iter().position(|byte| matches!(byte, b'/' | b'"'))?;
    Some(&address[..authority + path])
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"id":"a","infoUri":"http://c:1/ui/query.html?a","nextUri":"http://c:1/v1/x","data":[["http://c:1/"]],"stats":{}}"#;
    const WANTED: &str = r#"{"id":"a","infoUri":"https://t/ui/query.html?a","nextUri":"https://t/v1/x","data":[["http://c:1/"]],"stats":{}}"#;

    fn rewritten(page: &str, chunk: usize) -> String {
        let mut rewriter = Rewriter::to("https://t".into());
        let mut out = Vec::new();
        for part in page.as_bytes().chunks(chunk) {
            out.extend(
                rewriter.pass(Some(Bytes::copy_from_slice(part)), false).unwrap_or_default(),
            );
        }
        out.extend(rewriter.pass(None, true).unwrap_or_default());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn addresses_change_and_data_does_not() {
        for chunk in [1, 10, 1000] {
            assert_eq!(rewritten(PAGE, chunk), WANTED, "by {chunk}");
        }
        assert_eq!(whole(Bytes::from(PAGE), "https://t"), WANTED);
    }

    #[test]
    fn what_shows_no_address_passes_as_it_is() {
        for text in ["", "{}", "<html>http://c:1/</html>", &"x".repeat(20_000)] {
            assert_eq!(rewritten(text, 1000), text);
        }
    }
}
