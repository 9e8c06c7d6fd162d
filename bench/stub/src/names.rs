//! The names a coordinator makes: its mark, query ids, slugs.
//!
//! A slug here is a keyed mix, not Trino's HMAC: it has the same form and, as there, is new for
//! every token and says nothing about the next one. It is not safe against an attacker.

/// The alphabet of a coordinator's mark: letters and digits without the look-alikes `l o 0 1`.
pub(crate) const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Which of the two sets of pages of a query a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// `/v1/statement/queued/…`
    Queued,
    /// `/v1/statement/executing/…`
    Executing,
}

impl Stage {
    /// The stage as it stands in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Executing => "executing",
        }
    }
}

/// Makes a mark of five characters from a random number.
pub(crate) fn mark(random: u64) -> String {
    (0..5).map(|place| char::from(ALPHABET[(random >> (place * 5)) as usize % 32])).collect()
}

/// Tells whether a text has the form of a mark.
pub(crate) fn is_mark(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// The mark of a query id, if the text is one.
pub(crate) fn mark_of(id: &str) -> Option<&str> {
    let mut parts = id.split('_');
    let (day, second, index, mark) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let formed = parts.next().is_none()
        && (day.len(), second.len()) == (8, 6)
        && (5..=10).contains(&index.len())
        && [day, second, index].into_iter().all(digits)
        && is_mark(mark);
    formed.then_some(mark)
}

/// The slug of one token: `y` and 40 hex digits.
pub(crate) fn slug(key: u64, stage: Stage, token: u64) -> String {
    let salt = match stage {
        Stage::Queued => 0x51,
        Stage::Executing => 0xe8,
    };
    let mut state = mix(key ^ mix(token ^ (salt << 56)));
    let mut words = [0u64; 3];
    for word in &mut words {
        state = mix(state);
        *word = state;
    }
    format!("y{:016x}{:016x}{:08x}", words[0], words[1], words[2] >> 32)
}

/// `SplitMix64`: spreads a number over 64 bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_new_for_each_token_and_stage() {
        let first = slug(7, Stage::Queued, 1);
        assert_eq!(first.len(), 41);
        assert!(first.starts_with('y') && first[1..].bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(first, slug(7, Stage::Queued, 1));
        for other in
            [slug(7, Stage::Queued, 2), slug(7, Stage::Executing, 1), slug(8, Stage::Queued, 1)]
        {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_mark_is_read_from_an_id() {
        assert_eq!(mark_of("20200416_160256_03078_6b4yt"), Some("6b4yt"));
        assert_eq!(mark_of("20200416_160256_123456_6b4yt"), Some("6b4yt"));
        for bad in ["", "x", "20200416_160256_03078_6b4yl", "2020_160256_03078_6b4yt"] {
            assert_eq!(mark_of(bad), None, "{bad}");
        }
        assert!(is_mark(&mark(mix(3))));
    }
}
