//! A remote write request as it is kept: the bytes that go to the endpoint, in one piece.
//!
//! One allocation of the exact size, counted by reference: what is being sent may be kept, replayed
//! and read by another thread at the same time, and is never copied for it.

use std::ops::Range;
use std::sync::Arc;

use twox_hash::XxHash3_128;

use super::protocol::Protocol;
use crate::wire::http::form::Form;

/// A request for the endpoint: head and body, one behind the other in one buffer.
#[derive(Clone, Debug)]
pub struct Push {
    bytes: Arc<Vec<u8>>,
    // Bodies are bounded far below 4 GiB, and each kept request costs what this takes.
    start: u32,
    head_bytes: u32,
    protocol: Protocol,
    form: Form,
}

/// See [`Push::digest`].
pub fn digest_of(body: &[u8]) -> u128 {
    XxHash3_128::oneshot(body)
}

/// What the reference counts take beside the bytes: the two counts and the vector's three words.
const OVERHEAD_BYTES: usize = 2 * size_of::<usize>() + size_of::<Vec<u8>>();

/// Blocks of more than this lie in pages of [`PAGE_BYTES`], as many as fit.
const SMALL_BLOCK_BYTES_MAX: usize = 64 * 1024;
const PAGE_BYTES: usize = 512 * 1024;

impl Push {
    /// The request whose head are the first `head_bytes` of `bytes` and whose body is the rest. The head
    /// is the common one, unless [`Push::in_form`] says otherwise.
    pub fn new(bytes: Vec<u8>, head_bytes: usize, protocol: Protocol) -> Push {
        Push::behind(0, bytes, head_bytes, protocol)
    }

    /// The same with `start` bytes before it that are not the request's.
    pub fn behind(start: usize, bytes: Vec<u8>, head_bytes: usize, protocol: Protocol) -> Push {
        assert!(start + head_bytes <= bytes.len(), "a head is a part of its request");
        let short = |bytes| u32::try_from(bytes).expect("a head is bounded");
        let (start, head_bytes) = (short(start), short(head_bytes));
        Push { bytes: Arc::new(bytes), start, head_bytes, protocol, form: Form::Common }
    }

    /// The same, whose head is of this form.
    pub fn in_form(self, form: Form) -> Push {
        Push { form, ..self }
    }

    /// The form of its head.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Its head.
    pub fn head(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.body_start()]
    }

    /// The same body behind the common head.
    pub fn behind_common(&self, head: &[u8]) -> Push {
        Push::new([head, self.body()].concat(), head.len(), self.protocol)
    }

    /// A digest of its body: of two bodies that are not the same it is not the same.
    pub fn digest(&self) -> u128 {
        digest_of(self.body())
    }

    fn body_start(&self) -> usize {
        (self.start + self.head_bytes) as usize
    }

    /// The same request with another body, already compressed.
    pub fn with_body(&self, body: &[u8]) -> Push {
        let head = self.head();
        // The length may be written with more digits than before.
        let mut bytes = Vec::with_capacity(head.len() + 8 + body.len());
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if name.eq_ignore_ascii_case(b"content-length") {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            } else {
                bytes.extend_from_slice(line);
            }
        }
        let head_bytes = bytes.len();
        bytes.extend_from_slice(body);
        Push::new(bytes, head_bytes, self.protocol).in_form(self.form)
    }

    /// Which remote write it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The compressed body.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_start()..]
    }

    /// Head and body, in one piece, for a write.
    pub fn bytes(&self) -> (Arc<Vec<u8>>, Range<usize>) {
        (self.bytes.clone(), self.start as usize..self.bytes.len())
    }

    /// Head and body, in one piece.
    pub fn whole(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }

    /// Its memory, unless somebody else keeps it too.
    pub fn into_piece(self) -> Option<Vec<u8>> {
        Arc::into_inner(self.bytes)
    }

    /// Whether the two carry the same body: a source that is told to try again sends it again.
    pub fn is_same(&self, other: &Push) -> bool {
        self.body() == other.body()
    }

    /// What it takes, as the allocator gives it out.
    pub fn bytes_allocated(&self) -> usize {
        block_bytes(self.bytes.capacity()) + OVERHEAD_BYTES
    }
}

/// The capacity that a piece for so many bytes is to have: all that the allocator gives for it.
pub fn piece_bytes(bytes: usize) -> usize {
    let step = (bytes.max(8).next_power_of_two() / 8).max(8);
    bytes.next_multiple_of(step)
}

/// What mimalloc takes for an allocation: four sizes of blocks from one power of two to the next,
/// and the larger ones share pages of which a rest stays empty. Bodies of 70 KB take a quarter more
/// than their bytes, and a budget that does not know of it is a quarter short.
pub fn block_bytes(bytes: usize) -> usize {
    let block = piece_bytes(bytes);
    match block {
        0..=SMALL_BLOCK_BYTES_MAX => block,
        _ if block <= PAGE_BYTES => PAGE_BYTES / (PAGE_BYTES / block),
        _ => block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_body_gets_its_own_length_and_all_else_stays() {
        let head = "POST /w HTTP/1.1\r\ncontent-length: 3\r\nX: y\r\n\r\n";
        let push = Push::new(format!("{head}abc").into_bytes(), head.len(), Protocol::V2);
        assert_eq!(push.body(), b"abc");
        let other = push.with_body(b"longer than before");
        let behind = Push::behind(4, [b"rest", &push.bytes[..]].concat(), head.len(), Protocol::V2);
        assert!(behind.is_same(&push) && behind.bytes().0[behind.bytes().1] == push.bytes[..]);
        assert_eq!(behind.with_body(b"0").bytes, push.with_body(b"0").bytes);
        let (bytes, range) = other.bytes();
        let expected = head.replace("content-length: 3", "Content-Length: 18");
        assert_eq!(&bytes[range], format!("{expected}longer than before").as_bytes());
        assert_eq!(other.protocol(), Protocol::V2);
        assert!(!push.is_same(&other) && push.is_same(&push.clone()));
    }

    #[test]
    fn a_block_is_as_large_as_the_allocator_makes_it() {
        let cases = [(100, 112), (1000, 1024), (33_000, 40_960), (65_536, 65_536)];
        for (bytes, block) in cases.into_iter().chain([(70_000, 87_381), (100_000, 131_072)]) {
            assert_eq!(block_bytes(bytes), block, "{bytes}");
        }
        assert_eq!(block_bytes(40 << 20), 40 << 20);
    }
}
