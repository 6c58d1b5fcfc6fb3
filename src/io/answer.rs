//! The endpoint's answer on its way to the source.
//!
//! An answer that is there whole and says nothing about its connection is one write of the bytes
//! as they came. Longer ones are passed on piece by piece, never gathered.

use crate::base::limits::{ANSWER_DEADLINE, BUFFER_BYTES};
use crate::io::channel::Channel;
use crate::io::core::Core;
use crate::io::deadline::{Patience, Slot};
use crate::io::link::Link;
use crate::io::upstream;
use crate::shared::metrics::{Counter, Counters};
use crate::shared::presence::Answered;
use crate::wire::http::answer::{Answer, AnswerFraming};
use crate::wire::http::body::Chunks;
use crate::wire::http::head::{Persistence, Version};

/// An answer could not be passed on whole: the source's connection can only be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// How the source is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The version it speaks.
    pub version: Version,
    /// Whether its connection stays open.
    pub persistence: Persistence,
}

/// Counts a request, which counts as that, by what it was answered. What another node answers is counted
/// there.
pub fn count(counters: &Counters, as_what: Counter, answer: &Answer) {
    if as_what == Counter::Forwarded && Answered::with(answer.status) == Answered::Refused {
        counters.add(Counter::EndpointRefused, 1);
    }
}

/// Passes `answer`, which stands at the start of `link.reader.bytes`, on to the source, and gives `link`
/// back to its pool when it may be used again. Returned is whether the source's connection stays.
pub async fn pass_on(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    mut link: Link,
    answer: Answer,
    manner: Manner,
) -> Result<Persistence, Broken> {
    let framing = framing_for(&answer, manner.version);
    let persistence = match framing {
        AnswerFraming::UntilClose => Persistence::Close,
        AnswerFraming::Chunked | AnswerFraming::Length(_) => manner.persistence,
    };
    let manner = Manner { persistence, ..manner };
    let as_it_is = answer.verbatim
        && framing == answer.framing
        && persistence == Persistence::KeepAlive
        && manner.version == Version::Http11;
    if as_it_is {
        return pass_whole(core, slot, channel, link, answer, manner).await;
    }
    let raw = std::mem::take(&mut link.reader.bytes);
    let mut rewritten = Vec::with_capacity(raw.len() + 64);
    answer.append_head(&raw, framing, manner.version, manner.persistence, &mut rewritten);
    let head_bytes = rewritten.len();
    rewritten.extend_from_slice(&raw[answer.bytes..]);
    link.reader.bytes = rewritten;
    let answer = Answer { bytes: head_bytes, ..answer };
    pass_whole(core, slot, channel, link, answer, manner).await
}

/// How the body goes on. An answer that ends with the endpoint's connection goes on in chunks, so
/// that the source keeps its own; and chunks are taken apart for HTTP/1.0, where only a close is left
/// to tell the end.
fn framing_for(answer: &Answer, version: Version) -> AnswerFraming {
    match (answer.framing, version) {
        (AnswerFraming::UntilClose, Version::Http11) => AnswerFraming::Chunked,
        (AnswerFraming::Chunked, Version::Http10) => AnswerFraming::UntilClose,
        (framing, _) => framing,
    }
}

async fn pass_whole(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    mut link: Link,
    answer: Answer,
    manner: Manner,
) -> Result<Persistence, Broken> {
    let surplus = match answer.framing {
        AnswerFraming::Length(length) => {
            pass_length(core, slot, channel, &mut link, answer.bytes, length).await?
        }
        AnswerFraming::Chunked => {
            pass_chunks(core, slot, channel, &mut link, answer.bytes, manner).await?
        }
        AnswerFraming::UntilClose => {
            pass_until_close(core, slot, channel, &mut link, answer.bytes, manner).await?;
            return Ok(manner.persistence);
        }
    };
    // A byte behind the answer belongs to no request: what comes next could be taken for an answer.
    if surplus == 0 && answer.persistence == Persistence::KeepAlive {
        core.links.give(link, core.now());
    }
    Ok(manner.persistence)
}

async fn pass_length(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    link: &mut Link,
    head_bytes: usize,
    length: u64,
) -> Result<usize, Broken> {
    let mut left = (head_bytes as u64).saturating_add(length);
    loop {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(link.reader.bytes.len());
        write_front(core, slot, channel, &mut link.reader.bytes, piece).await?;
        left -= piece as u64;
        if left == 0 {
            return Ok(link.reader.bytes.len());
        }
        read_more(core, slot, link).await?;
    }
}

async fn pass_chunks(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    link: &mut Link,
    head_bytes: usize,
    manner: Manner,
) -> Result<usize, Broken> {
    let mut chunks = Chunks::default();
    let mut body_start = head_bytes;
    loop {
        let mut data = Vec::new();
        let taken = chunks.feed(&link.reader.bytes[body_start..], |piece| {
            if manner.version == Version::Http10 {
                data.extend_from_slice(piece);
            }
        });
        let mut piece = body_start + taken.map_err(|_| Broken)?;
        if manner.version == Version::Http10 {
            link.reader.bytes.splice(body_start..piece, data.iter().copied());
            piece = body_start + data.len();
        }
        write_front(core, slot, channel, &mut link.reader.bytes, piece).await?;
        if chunks.is_done() {
            return Ok(link.reader.bytes.len());
        }
        body_start = 0;
        read_more(core, slot, link).await?;
    }
}

async fn pass_until_close(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    link: &mut Link,
    head_bytes: usize,
    manner: Manner,
) -> Result<(), Broken> {
    let in_chunks = manner.version == Version::Http11;
    let mut data_start = head_bytes;
    loop {
        if in_chunks {
            frame(&mut link.reader.bytes, data_start);
        }
        let piece = link.reader.bytes.len();
        write_front(core, slot, channel, &mut link.reader.bytes, piece).await?;
        data_start = 0;
        let due = core.now().after(core.outlet(&core.terms()).remote_timeout(link.to));
        match upstream::read_more(link, slot, due).await {
            Ok(0) if in_chunks => {
                let mut last = b"0\r\n\r\n".to_vec();
                let piece = last.len();
                return write_front(core, slot, channel, &mut last, piece).await;
            }
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(Broken),
        }
    }
}

/// Makes one chunk of what stands from `data_start` on, unless there is nothing: an empty chunk
/// would be the last.
fn frame(bytes: &mut Vec<u8>, data_start: usize) {
    let data_bytes = bytes.len() - data_start;
    if data_bytes > 0 {
        let size = format!("{data_bytes:x}\r\n");
        bytes.splice(data_start..data_start, size.bytes());
        bytes.extend_from_slice(b"\r\n");
    }
}

async fn read_more(core: &Core, slot: &Slot, link: &mut Link) -> Result<(), Broken> {
    if link.reader.bytes.is_empty() && link.reader.bytes.capacity() < BUFFER_BYTES {
        // The answer is long: take larger pieces.
        link.reader.bytes.reserve(BUFFER_BYTES);
    }
    let due = core.now().after(core.outlet(&core.terms()).remote_timeout(link.to));
    match upstream::read_more(link, slot, due).await {
        Ok(0) | Err(_) => Err(Broken),
        Ok(_) => Ok(()),
    }
}

/// Writes the first `piece` bytes of `bytes` to the source; the rest moves to the front.
async fn write_front(
    core: &Core,
    slot: &Slot,
    channel: &mut Channel,
    bytes: &mut Vec<u8>,
    piece: usize,
) -> Result<(), Broken> {
    let buffer = std::mem::take(bytes);
    let work = channel.write_front(buffer, piece);
    let due = core.now().after(ANSWER_DEADLINE);
    let (written, back) = slot.within(due, Patience::Busy, work).await.map_err(|_| Broken)?;
    *bytes = back;
    bytes.drain(..piece);
    written.map_err(|_| Broken)
}
