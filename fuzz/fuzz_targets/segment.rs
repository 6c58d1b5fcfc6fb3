//! A walk through a segment of records and of anything else.
//!
//! Claims, for any segment:
//! * The walk ends, and has not stepped more often than there are bytes.
//! * Each record that is whole is found, in order, whatever lies before it; none that is damaged is, nor
//!   one that the file held when it was another segment.
//! * No more memory is asked for than the segment is long.

#![no_main]

use std::io;

use highlander::base::time::UnixMillis;
use highlander::io::queue::disk::Disk;
use highlander::io::queue::walk::{Step, Walk};
use highlander::wire::queue::record::{Label, append};
use highlander::wire::queue::segment::{HEAD_BYTES, SegmentHead};
use highlander::wire::queue::sequence::{Salt, Sequence, SourceKey};
use highlander::wire::remote_write::protocol::Protocol;
use highlander::wire::remote_write::push::Push;
use libfuzzer_sys::fuzz_target;

const SALT: Salt = Salt(0xfeed);

/// The one file.
struct Memory(Vec<u8>);

/// Lower ones are of earlier segments.
const FIRST: u64 = 1000;

fuzz_target!(|bytes: &[u8]| {
    let number = Sequence(FIRST);
    let mut disk = Memory(SegmentHead { number, salt: SALT }.encode().to_vec());
    let expected = build(bytes, &mut disk.0);
    let end = disk.0.len() as u64;
    let mut walk = Walk::new((), number, SALT);
    let mut found = Vec::new();
    for step in 0.. {
        assert!(step <= disk.0.len(), "the walk does not end");
        match walk.step(&mut disk, end).expect("memory can be read") {
            Step::End => break,
            Step::Damage => {}
            Step::Record(frame, at) => {
                assert!(at + frame.record_bytes() as u64 <= end);
                if walk.load(&mut disk, &frame, at).expect("memory can be read").is_some() {
                    found.push(frame.label.sequence);
                }
            }
        }
    }
    assert_eq!(found, expected);
});

/// Appends what the input says: records, some of them damaged, and bytes that are none. Those that are
/// whole.
fn build(bytes: &[u8], out: &mut Vec<u8>) -> Vec<Sequence> {
    let (mut whole, mut rest, mut number) = (Vec::new(), bytes, FIRST);
    while let Some(([kind, length], tail)) = rest.split_first_chunk() {
        let (part, tail) = tail.split_at(tail.len().min(usize::from(*length) * 4));
        rest = tail;
        if kind % 4 == 0 {
            out.extend_from_slice(part);
            continue;
        }
        let is_old = kind % 32 == 17;
        let sequence = Sequence(if is_old { number % FIRST } else { number });
        number += 1;
        let label = Label { sequence, time: UnixMillis(0), source: SourceKey(3) };
        let push = Push::new(part.to_vec(), part.len() / 3, Protocol::V1);
        let from = out.len();
        append(label, &push, SALT, out).expect("heads here are short");
        match kind % 4 {
            1 if is_old => {}
            1 => whole.push(sequence),
            // A byte of it is another.
            2 => {
                let at = from + usize::from(kind / 4) % (out.len() - from);
                out[at] ^= 0x41;
            }
            // Its end is missing; and what follows does not begin as that did.
            _ => {
                let at = out.len() - 1 - usize::from(kind / 4) % (out.len() - from);
                let other = !out[at];
                out.truncate(at);
                out.push(other);
            }
        }
    }
    assert!(out.len() >= HEAD_BYTES);
    whole
}

impl Disk for Memory {
    type File = ();

    fn read(&mut self, _: &(), offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        let part = self.0.get(from..from + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&mut self, _: &(), _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn write_all(&mut self, _: &(), _: u64, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn cut(&mut self, _: &(), _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&mut self, _: &()) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
