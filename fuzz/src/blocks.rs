//! Snappy blocks made element by element, and what they must decode to.
//!
//! No encoder writes most of what the format allows: long literals of few bytes, copies with offsets
//! in more bytes than they need, copies that run into themselves at any distance.

use crate::choices::Choices;

/// A well-formed block.
#[derive(Debug)]
pub struct Block {
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub message: Vec<u8>,
}

/// Elements of a block at most: sixty times as many bytes decoded is enough to meet every bound.
const ELEMENTS_MAX: usize = 400;

/// A block of one element after the other.
pub fn make(choices: &mut Choices<'_>) -> Block {
    let (mut elements, mut message) = (Vec::new(), Vec::new());
    for _ in 0..ELEMENTS_MAX {
        if choices.is_over() {
            break;
        }
        match choices.below(4) {
            0 => literal(choices, &mut elements, &mut message),
            kind => copy(choices, kind, &mut elements, &mut message),
        }
    }
    let mut bytes = declared(choices, message.len());
    bytes.extend_from_slice(&elements);
    Block { bytes, message }
}

/// The length in front; up to five bytes, more than it needs once in a while.
fn declared(choices: &mut Choices<'_>, length: usize) -> Vec<u8> {
    let bytes_least = if choices.once_in(8) { 5 } else { 1 };
    let mut written = Vec::new();
    let mut left = length;
    while left >= 0x80 || written.len() + 1 < bytes_least {
        written.push(left as u8 | 0x80);
        left >>= 7;
    }
    written.push(left as u8);
    written
}

fn literal(choices: &mut Choices<'_>, elements: &mut Vec<u8>, message: &mut Vec<u8>) {
    let wanted = choices.one_of(&[1, 2, 7, 15, 16, 17, 59, 60, 61, 100, 255, 256, 257, 300]);
    let mut text = choices.text(wanted).to_vec();
    // Repeated where the bytes are over: a literal is never empty.
    text.resize(wanted, b'.');
    let length = wanted - 1;
    let bytes_least = if length < 60 { 0 } else { 1 + usize::from(length > 255) };
    match bytes_least.max(choices.one_of(&[0, 0, 0, 1, 2, 3, 4])) {
        0 => elements.push((length << 2) as u8),
        bytes => {
            elements.push((59 + bytes as u8) << 2);
            elements.extend_from_slice(&(length as u32).to_le_bytes()[..bytes]);
        }
    }
    elements.extend_from_slice(&text);
    message.extend_from_slice(&text);
}

fn copy(choices: &mut Choices<'_>, kind: usize, elements: &mut Vec<u8>, message: &mut Vec<u8>) {
    let offset_max = message.len().min(if kind == 1 { 0x7ff } else { 0xffff });
    if offset_max == 0 {
        return;
    }
    let far = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
    let offset = 1 + far % offset_max;
    let length = match kind {
        1 => 4 + choices.below(8),
        _ => 1 + choices.below(64),
    };
    match kind {
        1 => {
            elements.push((offset >> 8 << 5 | (length - 4) << 2 | 1) as u8);
            elements.push(offset as u8);
        }
        2 => {
            elements.push(((length - 1) << 2 | 2) as u8);
            elements.extend_from_slice(&(offset as u16).to_le_bytes());
        }
        _ => {
            elements.push(((length - 1) << 2 | 3) as u8);
            elements.extend_from_slice(&(offset as u32).to_le_bytes());
        }
    }
    for _ in 0..length {
        message.push(message[message.len() - offset]);
    }
}
