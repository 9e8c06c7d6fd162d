//! Amounts of bytes as people write them: `512`, `64KiB`, `16MiB`, `1GiB`.
//!
//! Only the binary units: `16MB` means two different numbers to two readers, so it is refused with
//! the one that is meant.

use super::problem::Wrong;

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads an amount of bytes.
pub(super) fn parse(text: &str) -> Result<u64, Wrong> {
    let right = "write bytes as `\"16MiB\"` (units: B, KiB, MiB, GiB, TiB)";
    let wrong = || Wrong::new("not a size", right);
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| Wrong::new("too large a size", right))?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
        return Err(match UNITS.iter().find(|(name, _)| name.chars().next() == letter) {
            Some((name, _)) => {
                Wrong::new("unknown unit of size", format!("did you mean `\"{number}{name}\"`?"))
            }
            None => wrong(),
        });
    };
    number.checked_mul(*factor).ok_or_else(|| Wrong::new("too large a size", right))
}

/// Writes an amount of bytes in the largest unit that divides it.
pub(super) fn show(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("4KiB", 4096), ("16 MiB", 16 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        assert_eq!(show(16 << 20), "16MiB");
        assert_eq!(show(1025), "1025B");
    }

    #[test]
    fn what_is_no_size() {
        for text in ["", "MiB", "-1", "1.5MiB", "16MB", "9999999999999999999999", "99999999TiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("16mb").unwrap_err().right, "did you mean `\"16MiB\"`?");
    }
}
