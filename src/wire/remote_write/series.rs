//! Which series a sample belongs to: a 128-bit hash over its labels.
//!
//! The hash is taken over one canonical text: the label pairs, sorted, written as a Prometheus
//! writes them into a version 1 request. So a version 1 body of a real sender is hashed where it
//! lies, and everything else (version 2, labels out of order, another encoder) is written out that
//! way first. The text names every length, so no two sets of labels share one.
//!
//! The hash is XXH3 in 128 bits with a secret of the process: the fastest that is this wide, and
//! wide enough that two series never meet by chance (among ten million with a chance of 10⁻²⁵).
//! The secret keeps a source from choosing labels that meet; XXH3 makes no cryptographic promise,
//! but what could be won is that samples of one's own group are taken for delivered.

use super::protobuf::{put_bytes, put_varint, take_bytes, take_varint};

/// Field numbers of prometheus.Label.
pub(super) const LABEL_NAME: u32 = 1;
pub(super) const LABEL_VALUE: u32 = 2;

/// These fields' tags, as one byte each: a message, a string, a string.
pub(super) const TAG_LABEL: u8 = 1 << 3 | 2;
pub(super) const TAG_NAME: u8 = 1 << 3 | 2;
pub(super) const TAG_VALUE: u8 = 2 << 3 | 2;

/// What XXH3 takes as a secret, in words.
const SECRET_WORDS: usize = 24;

/// The identity of a series: equal for equal sets of label pairs, in whatever order and version of
/// remote write they come. It holds within a process, whose secret is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u128);

/// Makes identities, with the secret of the process.
#[derive(Clone)]
pub struct SeriesHasher {
    secret: [u8; SECRET_WORDS * 8],
}

impl SeriesHasher {
    /// A hasher with a secret made of `seed`. Hashers of one seed give the same identities; the
    /// seed should be random, chosen once when the process starts.
    pub fn new(seed: u64) -> SeriesHasher {
        let mut secret = [0; SECRET_WORDS * 8];
        for (word, index) in secret.chunks_exact_mut(8).zip(1_u64..) {
            word.copy_from_slice(&scramble(seed, index).to_le_bytes());
        }
        SeriesHasher { secret }
    }

    /// The identity of the series whose labels were written as `canonical`.
    #[inline]
    pub(super) fn id(&self, canonical: &[u8]) -> SeriesId {
        let hash = twox_hash::XxHash3_128::oneshot_with_secret(&self.secret, canonical);
        SeriesId(hash.expect("the secret is longer than the 136 bytes it must have"))
    }

    /// The identity of the series with these label pairs, in any order.
    pub fn of(&self, labels: &mut [(&[u8], &[u8])]) -> SeriesId {
        labels.sort_unstable();
        let mut canonical = Vec::new();
        for (name, value) in labels {
            put_label(&mut canonical, name, value);
        }
        self.id(&canonical)
    }
}

/// Debug must not show the secret.
impl std::fmt::Debug for SeriesHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeriesHasher(***)")
    }
}

/// The `index`th number that SplitMix64 draws from `seed`.
fn scramble(seed: u64, index: u64) -> u64 {
    let mut state = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// Appends a label as canonical text: name before value, shortest lengths, nothing for what is
/// empty.
pub(super) fn put_label(canonical: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    canonical.push(TAG_LABEL);
    put_varint(canonical, (part_bytes(name) + part_bytes(value)) as u64);
    for (number, bytes) in [(LABEL_NAME, name), (LABEL_VALUE, value)] {
        if !bytes.is_empty() {
            put_bytes(canonical, number, bytes);
        }
    }
}

/// How many bytes the labels at the front of a series take, if they are canonical text as they
/// lie there: each written as [`put_label`] writes it, the names strictly rising.
#[inline]
pub(super) fn canonical_labels(series: &[u8]) -> Option<usize> {
    let mut last = Name::default();
    let mut at = 0;
    loop {
        let rest = series.get(at..)?;
        let (name, label_bytes) = match rest {
            [TAG_LABEL, ..] => canonical_label(rest).or_else(|| long_canonical_label(rest))?,
            _ => return Some(at),
        };
        if !last.is_before(&name) {
            return None;
        }
        last = name;
        at += label_bytes;
    }
}

/// A label's name, made for comparing it with the next one: its first bytes as a number decide
/// nearly always, where a comparison of byte strings costs a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Name<'b> {
    bytes: &'b [u8],
    first: u64,
}

impl<'b> Name<'b> {
    /// The name of `length` bytes at the front of `text`.
    #[inline]
    pub fn front(text: &'b [u8], length: usize) -> Option<Name<'b>> {
        let bytes = text.get(..length)?;
        let first = match text.first_chunk::<8>() {
            Some(chunk) if length >= 8 => u64::from_be_bytes(*chunk),
            // What follows the name is shifted out, so that zeros follow it.
            Some(chunk) if length > 0 => u64::from_be_bytes(*chunk) & u64::MAX << (64 - 8 * length),
            _ => {
                bytes
                    .iter()
                    .take(8)
                    .fold((0, 64), |(first, shift), byte| {
                        (first | u64::from(*byte) << (shift - 8), shift - 8)
                    })
                    .0
            }
        };
        Some(Name { bytes, first })
    }

    /// Whether the order of byte strings puts this strictly before `next`.
    #[inline]
    pub fn is_before(&self, next: &Name<'_>) -> bool {
        self.first < next.first || (self.first == next.first && self.bytes < next.bytes)
    }
}

/// The name and the size of the label at the front of `rest`, if it is canonical and short, with
/// neither part empty.
#[inline]
fn canonical_label(rest: &[u8]) -> Option<(Name<'_>, usize)> {
    let [TAG_LABEL, both @ ..0x80, TAG_NAME, name_bytes, after @ ..] = rest else { return None };
    let (both, name_bytes) = (usize::from(*both), usize::from(*name_bytes));
    let [TAG_VALUE, value_bytes, ..] = after.get(name_bytes..)? else { return None };
    let value_bytes = usize::from(*value_bytes);
    // All lengths are below 128 if their sum is, so that each took one byte.
    if both != name_bytes + value_bytes + 4 || name_bytes == 0 || value_bytes == 0 {
        return None;
    }
    Some((Name::front(after, name_bytes)?, both + 2))
}

/// As [`canonical_label`], for labels that are long or have an empty part.
#[cold]
fn long_canonical_label(rest: &[u8]) -> Option<(Name<'_>, usize)> {
    let mut after = rest.strip_prefix(&[TAG_LABEL])?;
    let length = take_varint(&mut after).ok()?;
    let mut label = take_bytes(&mut after, length).ok()?;
    let label_bytes = rest.len() - after.len();
    let mut part = |tag: u8| -> Option<&[u8]> {
        let Some(after) = label.strip_prefix(&[tag]) else { return Some(&[]) };
        label = after;
        let length = take_varint(&mut label).ok()?;
        take_bytes(&mut label, length).ok().filter(|bytes| !bytes.is_empty())
    };
    let (name, value) = (part(TAG_NAME)?, part(TAG_VALUE)?);
    // A length may still be written in more bytes than it needs.
    let parts = part_bytes(name) + part_bytes(value);
    let shortest = 1 + varint_bytes(parts) + parts;
    let canonical = label.is_empty() && shortest == label_bytes;
    canonical.then_some((Name::front(name, name.len())?, label_bytes))
}

/// How many bytes a name or a value takes within a label.
fn part_bytes(part: &[u8]) -> usize {
    match part.len() {
        0 => 0,
        length => 1 + varint_bytes(length) + length,
    }
}

/// How many bytes a length takes as a varint.
fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut canonical = Vec::new();
        labels.iter().for_each(|(name, value)| {
            put_label(&mut canonical, name.as_bytes(), value.as_bytes());
        });
        canonical
    }

    fn is_canonical(series: &[u8]) -> bool {
        canonical_labels(series) == Some(series.len())
    }

    #[test]
    fn the_canonical_text_is_how_a_prometheus_writes_labels() {
        let expected = b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x05\x0a\x03job\x0a\x03\x12\x01v";
        assert_eq!(text(&[("__name__", "up"), ("job", ""), ("", "v")]), expected);
    }

    #[test]
    fn labels_of_any_length_that_rise_are_canonical_as_they_lie_there() {
        for length in (1..300).chain([16_380, 16_384, 70_000]) {
            let (name, value) = ("n".repeat(length), "v".repeat(length));
            for labels in [[("a", "b"), (&name, "b")], [("a", &value), ("b", "")]] {
                let mut series = text(&labels);
                assert!(is_canonical(&series), "{length}");
                let bytes = series.len();
                series.extend_from_slice(&[2 << 3 | 2, 0]);
                assert_eq!(canonical_labels(&series), Some(bytes), "{length}");
            }
        }
        assert_eq!(canonical_labels(&[]), Some(0));
    }

    #[test]
    fn labels_that_do_not_rise_are_not_canonical() {
        let names = ["a", "a\0", "ab", "abcdefgh", "abcdefgh\0", "abcdefghi", "b", "\u{7f}", "é"];
        for (at, one) in names.iter().enumerate() {
            for (place, other) in names.iter().enumerate() {
                let series = text(&[(one, "x"), (other, "y")]);
                assert_eq!(is_canonical(&series), at < place, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn labels_written_in_another_way_are_not_canonical() {
        let cases: [&[u8]; 9] = [
            // The value first; the name twice; an empty value; a field more; another type.
            b"\x0a\x06\x12\x01v\x0a\x01n",
            b"\x0a\x09\x0a\x01n\x0a\x01n\x12\x01v",
            b"\x0a\x05\x0a\x01n\x12\x00",
            b"\x0a\x08\x0a\x01n\x12\x01v\x18\x01",
            b"\x0a\x04\x08\x01\x10\x01",
            // Lengths in more bytes than they need, and one that does not add up.
            b"\x0a\x86\x00\x0a\x01n\x12\x01v",
            b"\x0a\x07\x0a\x81\x00n\x12\x01v",
            b"\x0a\x07\x0a\x01n\x12\x81\x00v",
            b"\x0a\x07\x0a\x01n\x12\x01v",
        ];
        for series in cases {
            assert!(!is_canonical(series), "{series:?}");
        }
        let series = text(&[("name", "value"), ("other", &"v".repeat(200))]);
        for end in 1..series.len() {
            assert_eq!(is_canonical(&series[..end]), end == 15, "cut at {end}");
        }
    }

    #[test]
    fn labels_that_read_the_same_in_a_row_are_not_the_same_series() {
        let hasher = SeriesHasher::new(3);
        let sets: [&[(&[u8], &[u8])]; 7] = [
            &[],
            &[(b"", b"")],
            &[(b"ab", b"c")],
            &[(b"a", b"bc")],
            &[(b"a", b"b"), (b"c", b"")],
            &[(b"a", b""), (b"b", b"c")],
            &[(b"a", b""), (b"a", b""), (b"b", b"c")],
        ];
        let mut ids: Vec<SeriesId> = sets.iter().map(|set| hasher.of(&mut set.to_vec())).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), sets.len());
    }

    #[test]
    fn another_secret_gives_other_identities() {
        let labels: &mut [(&[u8], &[u8])] = &mut [(b"__name__", b"up")];
        let ids = [0, 1, u64::MAX].map(|seed| SeriesHasher::new(seed).of(labels));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(SeriesHasher::new(1).of(labels), ids[1]);
        assert_eq!(format!("{:?}", SeriesHasher::new(1)), "SeriesHasher(***)");
    }
}
