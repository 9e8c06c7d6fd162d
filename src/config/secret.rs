//! A value that is used and never shown.
//!
//! The file names where a secret is, `{ env = "NAME" }` or `{ file = "PATH" }`. No message holds
//! the content of one, not even of one that was refused.

use std::fmt;
use std::io::Read;
use std::path::Path;

use toml::de::DeValue;

use super::problem::{Wrong, quoted};
use super::raw::{Found, Section};

/// The largest file that is read as a secret, in bytes; more is surely the wrong file.
const FILE_MAX: u64 = 64 << 10;

/// A secret. Its `Debug` shows nothing; whoever needs the text asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// Reads a secret that must be told as a table; one written in the file itself is refused.
pub(super) fn read(section: &Section<'_>, name: &str) -> Option<Secret> {
    let found = section.find(name)?;
    if found.value.is_table() {
        return follow(section, &found);
    }
    section.refuse_hidden(
        &found,
        Wrong::new(
            "a secret must not stand in this file",
            "write where it is, `{ env = \"NAME\" }` or `{ file = \"PATH\" }`",
        ),
    );
    None
}

/// Fetches the secret that a table points to.
pub(super) fn follow(section: &Section<'_>, found: &Found<'_>) -> Option<Secret> {
    fetch(section, found).map_err(|wrong| section.refuse_hidden(found, wrong)).ok()
}

fn fetch(section: &Section<'_>, found: &Found<'_>) -> Result<Secret, Wrong> {
    let right = "write `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";
    let entries: Vec<(&str, &DeValue<'_>)> = found
        .value
        .as_table()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.get_ref().as_ref(), value.get_ref()))
        .collect();
    let text = match entries.as_slice() {
        [("env", DeValue::String(name))] => section.reader.variable(name).ok_or_else(|| {
            Wrong::new(
                format!("the environment variable `{name}` is not set"),
                "set it for Warren's process, or name another",
            )
        })?,
        [("file", DeValue::String(path))] => read_file(&section.reader.resolve(path))?,
        [("env" | "file", _)] => return Err(Wrong::new("a source that is no text", right)),
        [] => return Err(Wrong::new("a secret without a source", right)),
        _ => {
            let keys = quoted(entries.iter().map(|(key, _)| key));
            return Err(Wrong::new(format!("a secret with {keys}"), right));
        }
    };
    if text.is_empty() {
        return Err(Wrong::new("the secret is empty", "put a text where it is read from"));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new("the secret has control characters in it", "use one line of text"));
    }
    Ok(Secret(text))
}

fn read_file(path: &Path) -> Result<String, Wrong> {
    let name = path.display();
    let wrong = |error: std::io::Error| {
        Wrong::new(
            format!("cannot read the secret file `{name}`: {error}"),
            "name a file of one line of UTF-8 that Warren may read",
        )
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(wrong)?;
    if text.len() as u64 > FILE_MAX {
        return Err(Wrong::new(
            format!("the secret file `{name}` is larger than 64 KiB"),
            "name a file that holds the secret alone",
        ));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
