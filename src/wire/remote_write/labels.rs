//! From the labels of a series to its identity, for labels as they come.
//!
//! The fast ways are those of every real sender: version 1 with canonical labels is hashed where it
//! lies ([`canonical_labels`]), version 2 with sorted labels is written out in one go. All others
//! take the slow way: collect the pairs, sort them, write them out.

use super::error::BodyError;
use super::protobuf::{Fields, ProtobufError, Value, take_varint};
use super::series::{LABEL_NAME, LABEL_VALUE, TAG_LABEL, TAG_NAME, TAG_VALUE};
use super::series::{Name, SeriesHasher, SeriesId, canonical_labels, put_label};
use super::symbols::{Symbol, Symbols};

/// The field of a series that holds a label, or its references in version 2.
pub(super) const SERIES_LABELS: u32 = 1;

/// Labels of one series on the slow way; a Prometheus with a hundred of them would be a strange
/// one.
const LABELS_MAX: usize = 4096;

/// What a label takes as canonical text beyond its name and its value, at most.
const LABEL_OVERHEAD_BYTES: usize = 18;

/// What is kept of the memory for written-out labels from one request to the next.
const BYTES_KEPT_MAX: usize = 64 << 10;

/// Names up to this size, and values up to twice of it, are the usual ones.
const SHORT_NAME: usize = 32;

/// What is needed to write a label of usual size with copies of fixed size.
const SHORT_LABEL_BYTES: usize = 4 + SHORT_NAME + 2 + 2 * SHORT_NAME;

/// The labels of a series as far as they are together at its front, and what follows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<'b> {
    /// The labels: as they are hashed in version 1, the packed references in version 2.
    labels: &'b [u8],
    /// The rest of the series, with all of its points.
    pub rest: &'b [u8],
    /// Whether that is all the labels, if the rest has none.
    pub is_whole: bool,
}

impl<'b> Front<'b> {
    /// Of a series of version 1.
    #[inline]
    pub fn of_v1(series: &'b [u8]) -> Front<'b> {
        let whole = canonical_labels(series);
        let (labels, rest) = series.split_at(whole.unwrap_or(0));
        Front { labels, rest, is_whole: whole.is_some() }
    }

    /// Of a series of version 2.
    #[inline]
    pub fn of_v2(series: &'b [u8]) -> Front<'b> {
        let mut fields = Fields::of(series);
        match fields.next() {
            Some(Ok((SERIES_LABELS, Value::Bytes(labels)))) => {
                Front { labels, rest: fields.rest(), is_whole: true }
            }
            _ => Front { labels: &[], rest: series, is_whole: true },
        }
    }

    /// The identity of a series of version 1 that has these labels and no others.
    #[inline]
    pub fn id_v1(&self, hasher: &SeriesHasher) -> SeriesId {
        hasher.id(self.labels)
    }
}

/// The labels of one series of version 2 at a time, written out; lent by the caller.
#[derive(Debug, Default)]
pub(super) struct LabelText {
    /// The text, and behind it whatever there was.
    buffer: Vec<u8>,
    /// A label that is not of usual size, on its way into the text.
    label: Vec<u8>,
    /// What may still be written for this request.
    bytes_left: usize,
}

impl LabelText {
    /// Before the first series of a request, of which no more than `bytes_max` will be written out.
    pub fn begin(&mut self, bytes_max: usize) {
        self.bytes_left = bytes_max;
        for memory in [&mut self.buffer, &mut self.label] {
            memory.truncate(BYTES_KEPT_MAX);
            memory.shrink_to(BYTES_KEPT_MAX);
        }
    }

    /// The identity of a series of version 2, of which `front` is given if it has all the labels.
    #[inline]
    pub fn id_v2(
        &mut self,
        front: Option<Front<'_>>,
        series: &[u8],
        body: &[u8],
        symbols: &Symbols,
        hasher: &SeriesHasher,
    ) -> Result<SeriesId, BodyError> {
        if let Some(front) = front
            && let Some(bytes) = self.write_sorted(front.labels, body, symbols)?
        {
            return Ok(hasher.id(self.buffer.get(..bytes).unwrap_or_default()));
        }
        self.sorted_v2(series, body, symbols, hasher)
    }

    /// Writes out the labels that are referred to, and gives how many bytes that took; `None` if
    /// they are not sorted.
    #[inline]
    fn write_sorted(
        &mut self,
        mut references: &[u8],
        body: &[u8],
        symbols: &Symbols,
    ) -> Result<Option<usize>, BodyError> {
        let mut last = Name::default();
        let mut at = 0;
        while !references.is_empty() {
            let name = symbols.symbol(body, take_reference(&mut references)?)?;
            if references.is_empty() {
                return Err(BodyError::OddReferences);
            }
            let value = symbols.symbol(body, take_reference(&mut references)?)?;
            let Some(order) = Name::front(name.text, name.length) else { return Ok(None) };
            if !last.is_before(&order) {
                return Ok(None);
            }
            last = order;
            at += match self.put_short(at, name, value) {
                Some(label_bytes) => label_bytes,
                None => self.put_long(at, name, value)?,
            };
        }
        self.bytes_left = self.bytes_left.checked_sub(at).ok_or(BodyError::LabelsTooLong)?;
        Ok(Some(at))
    }

    /// Writes a label of usual size with copies of fixed size, which take no call each, and gives
    /// how many bytes it took.
    #[inline]
    fn put_short(&mut self, at: usize, name: Symbol<'_>, value: Symbol<'_>) -> Option<usize> {
        let usual =
            (1..=SHORT_NAME).contains(&name.length) && (1..=2 * SHORT_NAME).contains(&value.length);
        let out = self.buffer.get_mut(at..)?.first_chunk_mut::<SHORT_LABEL_BYTES>()?;
        if !usual {
            return None;
        }
        let both = name.length + value.length + 4;
        out[..4].copy_from_slice(&[TAG_LABEL, both as u8, TAG_NAME, name.length as u8]);
        out[4..4 + SHORT_NAME].copy_from_slice(name.text.first_chunk::<SHORT_NAME>()?);
        let out = &mut out[4 + name.length..][..2 + 2 * SHORT_NAME];
        out[..2].copy_from_slice(&[TAG_VALUE, value.length as u8]);
        let value_text = value.text.first_chunk::<{ 2 * SHORT_NAME }>()?;
        let (first, second) = value_text.split_at(SHORT_NAME);
        out[2..2 + SHORT_NAME].copy_from_slice(first);
        if value.length > SHORT_NAME {
            out[2 + SHORT_NAME..].copy_from_slice(second);
        }
        Some(both + 2)
    }

    /// Writes any label, and makes room for the next one. All growth is here, and so is the bound.
    fn put_long(
        &mut self,
        at: usize,
        name: Symbol<'_>,
        value: Symbol<'_>,
    ) -> Result<usize, BodyError> {
        let bytes = at + name.length + value.length + LABEL_OVERHEAD_BYTES;
        if bytes > self.bytes_left {
            return Err(BodyError::LabelsTooLong);
        }
        if self.buffer.len() < bytes + SHORT_LABEL_BYTES {
            self.buffer.resize(bytes + SHORT_LABEL_BYTES, 0);
        }
        self.label.clear();
        self.label.reserve_exact(bytes - at);
        put_label(&mut self.label, name.bytes(), value.bytes());
        let label_bytes = self.label.len();
        if let Some(out) = self.buffer.get_mut(at..at + label_bytes) {
            out.copy_from_slice(&self.label);
        }
        Ok(label_bytes)
    }

    /// The identity of a series of version 2, whatever the order of its labels.
    #[cold]
    fn sorted_v2(
        &mut self,
        series: &[u8],
        body: &[u8],
        symbols: &Symbols,
        hasher: &SeriesHasher,
    ) -> Result<SeriesId, BodyError> {
        let mut labels = Vec::new();
        let mut name = None;
        let mut take = |reference: u64| {
            let symbol = symbols.symbol(body, reference)?;
            match name.take() {
                None => name = Some(symbol),
                Some(name) => {
                    self.spend(name, symbol)?;
                    push(&mut labels, name.bytes(), symbol.bytes())?;
                }
            }
            Ok::<(), BodyError>(())
        };
        for field in Fields::of(series) {
            match field? {
                // The format lets a list come one by one, or in pieces.
                (SERIES_LABELS, Value::Varint(reference)) => take(reference)?,
                (SERIES_LABELS, value) => {
                    let mut references = value.bytes()?;
                    while !references.is_empty() {
                        take(take_reference(&mut references)?)?;
                    }
                }
                _ => {}
            }
        }
        match name {
            None => Ok(hasher.of(&mut labels)),
            Some(_) => Err(BodyError::OddReferences),
        }
    }

    #[inline]
    fn spend(&mut self, name: Symbol<'_>, value: Symbol<'_>) -> Result<(), BodyError> {
        let bytes = name.length + value.length + LABEL_OVERHEAD_BYTES;
        let left = self.bytes_left.checked_sub(bytes).ok_or(BodyError::LabelsTooLong)?;
        self.bytes_left = left;
        Ok(())
    }

    /// The bytes allocated.
    pub fn bytes(&self) -> usize {
        self.buffer.capacity() + self.label.capacity()
    }
}

/// The identity of a series of version 1, whatever the order of its labels.
#[cold]
pub(super) fn sorted_v1(series: &[u8], hasher: &SeriesHasher) -> Result<SeriesId, BodyError> {
    let mut labels = Vec::new();
    for field in Fields::of(series) {
        if let (SERIES_LABELS, value) = field? {
            let (name, value) = pair(value.bytes()?)?;
            push(&mut labels, name, value)?;
        }
    }
    Ok(hasher.of(&mut labels))
}

fn pair(label: &[u8]) -> Result<(&[u8], &[u8]), BodyError> {
    let (mut name, mut content): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::of(label) {
        match field? {
            (LABEL_NAME, value) => name = value.bytes()?,
            (LABEL_VALUE, value) => content = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, content))
}

fn push<'b>(
    labels: &mut Vec<(&'b [u8], &'b [u8])>,
    name: &'b [u8],
    value: &'b [u8],
) -> Result<(), BodyError> {
    if labels.len() == LABELS_MAX {
        return Err(BodyError::TooManyLabels);
    }
    labels.push((name, value));
    Ok(())
}

/// Takes a reference to a symbol. Few requests have so many symbols that one takes three bytes;
/// whether it takes one or two cannot be predicted, and so is no branch.
#[inline]
fn take_reference(references: &mut &[u8]) -> Result<u64, ProtobufError> {
    if let [first, second, ..] = **references {
        let more = first >> 7;
        if more & second >> 7 == 0 {
            *references = &references[1 + usize::from(more)..];
            let high = u64::from(second) & u64::from(more).wrapping_neg();
            return Ok(u64::from(first & 0x7f) | high << 7);
        }
    }
    take_varint(references)
}
