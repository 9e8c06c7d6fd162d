//! Prepared statements as clients send them back with each request: `name=text`, both URL-encoded,
//! several to a line with commas or a line each. Trino packs long ones: `$zstd:` and Base64.

use std::borrow::Cow;
use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

/// The largest text that is unpacked: Trino itself takes a million characters
/// (`query.max-length`). What is larger stays packed, and the statement unknown.
pub const PREPARED_MAX: usize = 1 << 20;

/// How the coordinator marks a text that it packed.
const PACKED: &str = "$zstd:";

/// What Trino packs needs no larger window than its text.
const WINDOW_LOG_MAX: u32 = 21;

/// Trino writes the padding, others may leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where the texts of prepared statements are.
#[derive(Clone, Copy, Debug, Default)]
pub enum Prepared<'a> {
    /// The client sent none.
    #[default]
    None,
    /// The values of `X-Trino-Prepared-Statement`, line by line. Nothing is decoded before a
    /// statement asks for it.
    Headers(&'a [&'a str]),
    /// Names and texts, as the JSON body of some clients has them.
    Named(&'a [(String, String)]),
}

/// Why the text of a prepared statement is not known.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum PreparedError {
    /// No header has it.
    #[error("no prepared statement `{0}` came with the request")]
    Unknown(String),
    /// It is no Base64, or nothing that zstd made, or too large.
    #[error(
        "prepared statement `{0}` cannot be unpacked; it may have at most {PREPARED_MAX} bytes"
    )]
    Packed(String),
}

impl Prepared<'_> {
    /// The text of the statement of this name. Case counts, as in Trino.
    pub(super) fn text(&self, name: &str) -> Result<String, PreparedError> {
        let unknown = || PreparedError::Unknown(name.to_owned());
        match self {
            Self::None => Err(unknown()),
            Self::Named(statements) => {
                let found = statements.iter().find(|(other, _)| other == name);
                found.map(|(_, text)| text.clone()).ok_or_else(unknown)
            }
            Self::Headers(lines) => {
                let statements = lines.iter().flat_map(|line| line.split(','));
                let mut pairs = statements.filter_map(|pair| pair.trim().split_once('='));
                let (_, value) =
                    pairs.find(|(other, _)| url_decoded(other) == name).ok_or_else(unknown)?;
                let value = url_decoded(value);
                match value.strip_prefix(PACKED) {
                    Some(packed) => {
                        unpacked(packed).ok_or_else(|| PreparedError::Packed(name.to_owned()))
                    }
                    None => Ok(value.into_owned()),
                }
            }
        }
    }
}

fn unpacked(packed: &str) -> Option<String> {
    let packed = BASE64.decode(packed).ok()?;
    let mut decoder = zstd::stream::read::Decoder::new(packed.as_slice()).ok()?;
    decoder.window_log_max(WINDOW_LOG_MAX).ok()?;
    let mut text = Vec::new();
    decoder.take(PREPARED_MAX as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= PREPARED_MAX).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Whether a line of `X-Trino-Prepared-Statement` may have a text that is packed, and so longer than it.
pub fn may_be_packed(line: &str) -> bool {
    url_decoded(line).contains(PACKED)
}

/// The text behind `%20` and `+`. What is no such code stays as it is.
pub fn url_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = code.and_then(|code| str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        at += if code.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> String {
        let packed = zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
        format!("{PACKED}{}", base64::engine::general_purpose::URL_SAFE.encode(packed))
    }

    #[test]
    fn statements_in_lines_and_lists() {
        let long = format!("SELECT '{}'", "x+%".repeat(1000));
        let line = packed(&long);
        // As JDBC and the CLI send what `X-Trino-Added-Prepare` gave them.
        let encoded = line.replace('$', "%24").replace(':', "%3A").replace('=', "%3D");
        let bare = line.trim_end_matches('=').to_owned();
        let lines = [
            "a=SELECT+%27s1%27%0A, b =",
            "c%20d=SELECT%2B1,broken,e=100%",
            &format!("p={encoded}"),
            &format!("q={line}"),
            &format!("r={bare}"),
        ];
        let prepared = Prepared::Headers(&lines);
        for (name, text) in [
            ("a", "SELECT 's1'\n"),
            ("c d", "SELECT+1"),
            ("e", "100%"),
            ("p", &long),
            ("q", &long),
            ("r", &long),
        ] {
            assert_eq!(prepared.text(name).as_deref(), Ok(text), "{name}");
        }
        assert_eq!(lines.map(may_be_packed), [false, false, true, true, true]);
        assert!(may_be_packed("a=1,p=%24%7a%73td%3aKLUv"));
        for other in ["A", "broken", "", "z"] {
            assert_eq!(prepared.text(other), Err(PreparedError::Unknown(other.to_owned())));
        }
        let named = [("a".to_owned(), "SELECT 1".to_owned())];
        assert_eq!(Prepared::Named(&named).text("a").as_deref(), Ok("SELECT 1"));
        assert!(Prepared::Named(&named).text("b").is_err() && Prepared::None.text("a").is_err());
    }

    #[test]
    fn what_unpacks_to_too_much_is_left() {
        for (size, fits) in [(PREPARED_MAX, true), (PREPARED_MAX + 1, false), (64 << 20, false)] {
            let line = format!("a={}", packed(&"x".repeat(size)));
            let text = Prepared::Headers(&[&line]).text("a");
            assert_eq!(text.is_ok(), fits, "{size}");
        }
        for broken in ["a=$zstd:", "a=$zstd:AAAA", "a=$zstd:!", "a=$zstd:KLUv_Q=="] {
            let text = Prepared::Headers(&[broken]).text("a");
            assert_eq!(text, Err(PreparedError::Packed("a".to_owned())), "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(line in "[a=,%$+zstd:KLUv_ü0-9]{0,60}") {
            let _ = Prepared::Headers(&[&line]).text("a");
        }
    }
}
