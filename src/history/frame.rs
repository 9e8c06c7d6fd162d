//! One event as bytes in the journal. Pure.
//!
//! A frame is `mark (4) | length (4) | checksum (4) | sequence (8) | payload`, numbers little
//! endian, the checksum over length, sequence and payload. The mark lets a reader find the next
//! frame after bytes that are none; the checksum tells whether what it found is one. Nothing that
//! bytes say can make a reader panic or take more than [`PAYLOAD_MAX`] bytes for one event.

/// Bytes before the payload.
pub(super) const HEAD: usize = 20;
/// The longest payload. An event that went through `fit` is shorter, also when JSON writes each of
/// its characters as six.
pub(super) const PAYLOAD_MAX: usize = 1 << 20;
/// The first byte is never part of UTF-8 text, so a payload does not hold a mark.
const MARK: [u8; 4] = [0xFF, b'W', b'J', 1];

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// A frame.
    Frame {
        /// The sequence of its event.
        sequence: u64,
        /// The event as JSON.
        payload: &'a [u8],
        /// The length of the whole frame.
        length: usize,
    },
    /// Nothing that can be read: the next frame may begin after so many bytes.
    Garbage(usize),
    /// The beginning of a frame, perhaps: there are too few bytes to tell.
    Short,
}

/// Appends a frame. Returns false, and appends nothing, when the payload is too long.
pub(super) fn encode(sequence: u64, payload: &[u8], into: &mut Vec<u8>) -> bool {
    let Some(length) = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX)
    else {
        return false;
    };
    into.extend_from_slice(&MARK);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&checksum(length, sequence, payload).to_le_bytes());
    into.extend_from_slice(&sequence.to_le_bytes());
    into.extend_from_slice(payload);
    true
}

/// Reads what stands at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Found<'_> {
    let known = bytes.len().min(MARK.len());
    if bytes[..known] != MARK[..known] {
        return Found::Garbage(next_mark(bytes));
    }
    let (Some(length), Some(sum), Some(sequence)) =
        (number::<4>(bytes, 4), number::<4>(bytes, 8), number::<8>(bytes, 12))
    else {
        return Found::Short;
    };
    let length = u32::from_le_bytes(length);
    let payload_length = usize::try_from(length).unwrap_or(usize::MAX);
    if payload_length > PAYLOAD_MAX {
        return Found::Garbage(next_mark(bytes));
    }
    let Some(payload) = bytes.get(HEAD..HEAD + payload_length) else {
        return Found::Short;
    };
    let sequence = u64::from_le_bytes(sequence);
    if checksum(length, sequence, payload) != u32::from_le_bytes(sum) {
        return Found::Garbage(next_mark(bytes));
    }
    Found::Frame { sequence, payload, length: HEAD + payload_length }
}

/// Where the next mark, or what may become one, stands after the first byte. For a reader that
/// found [`Found::Short`] where no more bytes will come.
pub(super) fn next_mark(bytes: &[u8]) -> usize {
    (1..bytes.len())
        .find(|&at| {
            let known = (bytes.len() - at).min(MARK.len());
            bytes[at..at + known] == MARK[..known]
        })
        .unwrap_or(bytes.len())
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn checksum(length: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length.to_le_bytes());
    sum.update(&sequence.to_le_bytes());
    sum.update(payload);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(encode(sequence, payload, &mut bytes));
        bytes
    }

    /// Reads as the journal does: frames, and over garbage to the next one.
    fn sequences(mut bytes: &[u8]) -> Vec<u64> {
        let mut found = Vec::new();
        loop {
            match decode(bytes) {
                Found::Frame { sequence, length, .. } => {
                    found.push(sequence);
                    bytes = &bytes[length..];
                }
                Found::Garbage(skip) => bytes = &bytes[skip..],
                Found::Short if bytes.is_empty() => return found,
                Found::Short => bytes = &bytes[next_mark(bytes)..],
            }
        }
    }

    #[test]
    fn a_frame_comes_back_and_a_long_one_is_refused() {
        let bytes = frame(7, b"{}");
        assert_eq!(
            decode(&bytes),
            Found::Frame { sequence: 7, payload: b"{}", length: bytes.len() }
        );
        assert!(!encode(1, &vec![0; PAYLOAD_MAX + 1], &mut Vec::new()));
    }

    #[test]
    fn every_cut_of_a_frame_is_short() {
        let bytes = frame(7, b"abc");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Found::Short, "{end}");
        }
    }

    #[test]
    fn a_damaged_frame_costs_only_itself() {
        let parts = [frame(1, b"one"), frame(2, b"two"), frame(3, b"three")];
        let whole = parts.concat();
        for at in parts[0].len()..parts[0].len() + parts[1].len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert_eq!(sequences(&damaged), [1, 3], "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            sequences(&bytes);
        }

        #[test]
        fn frames_between_garbage_are_found(
            parts in proptest::collection::vec((any::<u64>(), "[ -~]{0,40}", "[ -~]{0,9}"), 0..8)
        ) {
            let mut bytes = Vec::new();
            for (sequence, payload, garbage) in &parts {
                encode(*sequence, payload.as_bytes(), &mut bytes);
                bytes.extend_from_slice(garbage.as_bytes());
            }
            let expected: Vec<u64> = parts.iter().map(|part| part.0).collect();
            prop_assert_eq!(sequences(&bytes), expected);
        }
    }
}
