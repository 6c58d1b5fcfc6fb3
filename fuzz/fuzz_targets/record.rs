//! Frames and records of a queue, whatever a disk gives back.
//!
//! Claims, for any bytes:
//! * What is read as a frame is written as the same bytes again.
//! * A record is read as it was written; with anything changed in it, it is not read at all.
//! * The search for the next record passes none, wherever the bytes before it are cut.
//! * A head of a segment and a mark are read as written, or not at all.

#![no_main]

use highlander::base::time::UnixMillis;
use highlander::wire::queue::mark::Mark;
use highlander::wire::queue::record::{FRAME_BYTES, Frame, Label, append, find};
use highlander::wire::queue::segment::SegmentHead;
use highlander::wire::queue::sequence::{Salt, Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;
use highlander_fuzz::choices::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::of(bytes);
    let salt = Salt(choices.byte().into());
    check_any(bytes, salt);
    let head_bytes = usize::from(choices.byte()).min(bytes.len());
    let push = Push::new(bytes.to_vec(), head_bytes, Protocol::V2);
    let number = u64::from(choices.byte());
    let label =
        Label { sequence: Sequence(number), time: UnixMillis(-1), source: SourceKey(number << 40) };
    let mut record = Vec::new();
    append(label, &push, salt, &mut record).expect("heads here are short");
    let read = read(&record, salt).expect("it is whole");
    assert_eq!(read.0, label);
    assert_eq!(&read.1.bytes().0[..], bytes);
    check_changed(&record, salt, &mut choices);
    check_found(bytes, &record, salt, &mut choices);
});

fn read(record: &[u8], salt: Salt) -> Option<(Label, Push)> {
    let frame = Frame::decode(record, salt)?;
    let payload = record.get(FRAME_BYTES..frame.record_bytes())?;
    Some((frame.label, frame.push(payload.to_vec(), salt)?))
}

fn check_any(bytes: &[u8], salt: Salt) {
    if let Some(frame) = Frame::decode(bytes, salt) {
        assert_eq!(frame.encode(salt), bytes[..FRAME_BYTES]);
    }
    if let Ok(head) = SegmentHead::decode(bytes) {
        // Of a version before it is written as of now.
        assert_eq!(SegmentHead::decode(&head.encode()), Ok(head));
    }
    if let Some(mark) = Mark::decode(bytes) {
        assert_eq!(mark.encode(), bytes[..mark.encode().len()]);
    }
    let _ = Mark::newest(bytes);
}

fn check_changed(record: &[u8], salt: Salt, choices: &mut Choices) {
    let at = usize::from(choices.byte()) * 256 + usize::from(choices.byte());
    let change = choices.byte();
    let mut changed = record.to_vec();
    let at = at % changed.len();
    changed[at] ^= change;
    assert_eq!(read(&changed, salt).is_some(), change == 0, "byte {at}");
    assert!(read(&record[..record.len() - 1], salt).is_none(), "it is cut");
}

fn check_found(before: &[u8], record: &[u8], salt: Salt, choices: &mut Choices) {
    let all = [before, record].concat();
    let cut = before.len() + usize::from(choices.byte()) % record.len();
    for part in [&all[..], &all[..cut]] {
        match find(part, salt) {
            Ok(at) => assert!(at <= before.len() && Frame::decode(&part[at..], salt).is_some()),
            Err(at) => assert!(at <= before.len() && part.len() < all.len()),
        }
    }
}
