//! Reads what has arrived: of which series, at which time, with which value.
//!
//! It shares no code with the proxy, which must not be its own witness. Labels are compared byte by
//! byte, by their hash: of a million series no two share one, which is checked.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use crate::fault::{During, Fault};
use crate::scrape;

/// Wire type 2 in the low bits of a field's key.
const BYTES: u8 = 2;

/// A sample that has arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrived {
    /// The number of its series.
    pub series: usize,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Its value.
    pub value: f64,
}

/// Knows the series by their labels.
pub struct Reader {
    series: HashMap<u64, usize>,
}

impl Reader {
    /// For the series below this number.
    pub fn new(series: usize) -> Self {
        let series_of: HashMap<_, _> =
            (0..series).map(|number| (hash(&scrape::labels(number)), number)).collect();
        assert_eq!(series_of.len(), series, "no two series share a hash");
        Self { series: series_of }
    }

    /// Shows each sample of a body to `visit`, in its order.
    pub fn read(&self, body: &[u8], mut visit: impl FnMut(Arrived)) -> Result<(), Fault> {
        let message = snap::raw::Decoder::new().decompress_vec(body).during("arrived body")?;
        let mut rest: &[u8] = &message;
        while !rest.is_empty() {
            let content = take_field(&mut rest, 1)?;
            self.read_series(content, &mut visit)?;
        }
        Ok(())
    }

    fn read_series(&self, content: &[u8], visit: &mut impl FnMut(Arrived)) -> Result<(), Fault> {
        let mut rest = content;
        while rest.first() == Some(&(1 << 3 | BYTES)) {
            take_field(&mut rest, 1)?;
        }
        let labels = &content[..content.len() - rest.len()];
        let series = self.series.get(&hash(labels)).copied();
        let series = series.ok_or_else(|| Fault(String::from("an unknown series has arrived")))?;
        while !rest.is_empty() {
            let sample = take_field(&mut rest, 2)?;
            let (value, time) = sample.split_at_checked(10).ok_or_else(malformed)?;
            let [9, bits @ .., 16] = value else { return Err(malformed()) };
            let bits: [u8; 8] = bits.try_into().during("a value")?;
            let mut time = time;
            let time_ms = take_varint(&mut time)?.cast_signed();
            visit(Arrived { series, time_ms, value: f64::from_le_bytes(bits) });
        }
        Ok(())
    }
}

fn hash(labels: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(labels);
    hasher.finish()
}

fn take_field<'a>(rest: &mut &'a [u8], number: u8) -> Result<&'a [u8], Fault> {
    let (key, after) = rest.split_first().ok_or_else(malformed)?;
    if *key != number << 3 | BYTES {
        return Err(malformed());
    }
    *rest = after;
    let length = usize::try_from(take_varint(rest)?).during("a length")?;
    let (content, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = after;
    Ok(content)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or_else(malformed)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(malformed())
}

fn malformed() -> Fault {
    Fault(String::from("a body has arrived that nobody has sent like this"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::{Sheet, value};

    #[test]
    fn what_was_laid_out_is_read_back_scrape_after_scrape() {
        let times = [1_770_000_000_000, 1_770_000_000_500];
        let body = Sheet::new(3..6, 2).body(&times).expect("a body");
        let mut seen = Vec::new();
        Reader::new(6).read(&body, |arrived| seen.push(arrived)).expect("well-formed");
        let expected: Vec<_> = times
            .into_iter()
            .flat_map(|time_ms| (3..6).map(move |series| (series, time_ms)))
            .map(|(series, time_ms)| Arrived { series, time_ms, value: value(series, time_ms) })
            .collect();
        assert_eq!(seen, expected);
        assert!(Reader::new(3).read(&body, |_| {}).is_err(), "it knows none of these series");
    }

    #[test]
    fn what_is_cut_or_no_write_request_is_a_fault() {
        let reader = Reader::new(2);
        let body = Sheet::new(0..2, 1).body(&[1_770_000_000_000]).expect("a body");
        let message = snap::raw::Decoder::new().decompress_vec(&body).expect("a block");
        assert!(reader.read(&body, |_| {}).is_ok());
        let first = Sheet::new(0..1, 1).body(&[1_770_000_000_000]).expect("a body");
        let border = snap::raw::decompress_len(&first).expect("a block");
        for end in (1..message.len()).filter(|end| *end != border) {
            let cut = snap::raw::Encoder::new().compress_vec(&message[..end]).expect("a block");
            assert!(reader.read(&cut, |_| {}).is_err(), "cut at {end}");
        }
        assert!(reader.read(b"no block", |_| {}).is_err());
    }
}
