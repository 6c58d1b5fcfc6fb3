//! The fuzzer's bytes as a row of decisions.
//!
//! What is made up follows from the bytes one decision at a time, so that a changed byte changes
//! one thing and the fuzzer learns what its changes do.

/// Bytes that have not been decided with yet; zeros follow the last.
#[derive(Clone, Debug)]
pub struct Choices<'b> {
    rest: &'b [u8],
}

impl<'b> Choices<'b> {
    /// Of an input.
    pub fn of(bytes: &'b [u8]) -> Choices<'b> {
        Choices { rest: bytes }
    }

    /// Whether nothing but zeros follows.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// The next eight bytes as a number.
    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u8) -> usize {
        usize::from(self.byte() % end)
    }

    /// True once in `times`; not where the bytes are over.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// The next bytes as they are, up to `bytes_max` of them.
    pub fn text(&mut self, bytes_max: usize) -> &'b [u8] {
        let (text, rest) = self.rest.split_at(bytes_max.min(self.rest.len()));
        self.rest = rest;
        text
    }
}
