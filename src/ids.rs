//! The names that Warren passes around, each a type that is the proof of its form.
//!
//! A Trino query id is `yyyyMMdd_HHmmss_index_coord`. The last part is drawn at random when a
//! coordinator process starts and is the same in all its ids, so one seen id names the owner of
//! every query of that process. Nothing here says who owns what: that is `sticky`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The alphabet of a coordinator's mark: letters and digits without the look-alikes `l o 0 1`.
const COORD_ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A text that is not the name it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadName {
    /// The text is not a Trino query id.
    #[error("`{0}` is no query id, expected `yyyyMMdd_HHmmss_index_coord`")]
    QueryId(String),
    /// The text is not the mark of a coordinator.
    #[error("`{0}` is no coordinator id, expected five characters of a-z and 2-9 without l and o")]
    CoordinatorId(String),
    /// The text cannot name a cluster or a group.
    #[error(
        "`{0}` is no name, expected 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_`, `.`, the first a letter or digit"
    )]
    Label(String),
}

/// The five characters that mark all query ids of one coordinator process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoordinatorId([u8; 5]);

impl CoordinatorId {
    /// Reads a mark such as `6b4yt`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        Self::from_bytes(text.as_bytes())
            .ok_or_else(|| BadName::CoordinatorId(shortened(text).to_owned()))
    }

    /// The mark that `lot` draws.
    pub fn drawn(lot: [u8; 5]) -> Self {
        Self(lot.map(|byte| COORD_ALPHABET[usize::from(byte) % COORD_ALPHABET.len()]))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mark: [u8; 5] = bytes.try_into().ok()?;
        mark.iter().all(|byte| COORD_ALPHABET.contains(byte)).then_some(Self(mark))
    }

    /// The mark as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for CoordinatorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for CoordinatorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The id of a query, as a coordinator gave it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(Arc<str>);

impl QueryId {
    /// Reads an id such as `20200416_160256_03078_6b4yt`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if has_query_id_form(text) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(BadName::QueryId(shortened(text).to_owned()))
        }
    }

    /// The id of a query that the gateway with this mark holds since `time`, in the form of
    /// [`crate::time::query_id_time`].
    ///
    /// Its index has nine digits of which the first is 0. Trino fills up to five digits with zeros, and
    /// never more, so no coordinator gives such an id.
    pub fn of_held(time: &str, index: u64, mark: CoordinatorId) -> Self {
        Self(format!("{time}_{:09}_{mark}", index % 100_000_000).into())
    }

    /// Whether a gateway gave it to a query that it held.
    pub fn is_held(&self) -> bool {
        let index = self.0.split('_').nth(2).unwrap_or_default();
        index.len() > 5 && index.starts_with('0')
    }

    /// The coordinator process that made this id.
    pub fn coordinator(&self) -> CoordinatorId {
        let bytes = self.0.as_bytes();
        CoordinatorId::from_bytes(&bytes[bytes.len() - 5..]).expect("checked by `parse`")
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for QueryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Tells whether `text` has the form of a query id: 8 digits, 6 digits, 5 or more digits, a mark.
///
/// The index has five digits at first and more after 99,999 queries of one day.
fn has_query_id_form(text: &str) -> bool {
    let mut parts = text.split('_');
    let (Some(day), Some(second), Some(index), Some(coord), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    day.len() == 8
        && digits(day)
        && second.len() == 6
        && digits(second)
        && (5..=10).contains(&index.len())
        && digits(index)
        && CoordinatorId::from_bytes(coord.as_bytes()).is_some()
}

/// At most 40 characters of a text that somebody sent, for an error message.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

fn is_label(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

macro_rules! label {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name of 1 to 64 letters, digits, `-`, `_` and `.`.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                if is_label(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(BadName::Label(shortened(text).to_owned()))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

label!(ClusterName, "The name of a cluster, as the file declares it.");
label!(GroupName, "The name of a routing group.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_id_names_its_coordinator() {
        let id = QueryId::parse("20200416_160256_03078_6b4yt").expect("a good id");
        assert_eq!(id.coordinator().as_str(), "6b4yt");
        assert!(QueryId::parse("20200416_160256_123456_6b4yt").is_ok());
    }

    #[test]
    fn the_id_of_a_held_query_is_told_from_those_of_coordinators() {
        let mark = CoordinatorId::drawn([0, 31, 32, 7, 255]);
        let held = QueryId::of_held("20260416_160256", 17, mark);
        assert_eq!(held.as_str(), "20260416_160256_000000017_a9ah9");
        assert_eq!(QueryId::parse(held.as_str()), Ok(held.clone()));
        assert!(held.is_held() && held.coordinator() == mark);
        for text in ["20200416_160256_03078_6b4yt", "20200416_160256_123456_6b4yt"] {
            assert!(!QueryId::parse(text).expect("a good id").is_held(), "{text}");
        }
    }

    #[test]
    fn what_is_no_query_id() {
        for text in [
            "",
            "20200416_160256_03078",
            "20200416_160256_03078_6b4yo",
            "20200416_160256_03078_6b4y",
            "20200416_160256_03078_6b4yt_x",
            "2020041x_160256_03078_6b4yt",
            "20200416_160256_0307_6b4yt",
            "20200416_160256_03078_6B4YT",
            "é0200416_160256_03078_6b4yt",
        ] {
            assert!(QueryId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for good in ["bi", "bi-blue", "A.1_x", &"a".repeat(64)] {
            assert!(ClusterName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(GroupName::parse(bad).is_err(), "{bad}");
        }
    }
}
