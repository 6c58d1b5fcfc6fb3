//! How far a queue has been sent, in three slots.
//!
//! ```text
//! magic "HLSENT1\n" 8 | turn 8 | sequence 8 | salt 8 | checksum of all that 8
//! ```
//! Little-endian. Each slot lies in a page of its own. One holds what was synced last, and the two others
//! are written in turn: whatever a power cut tears or a crash leaves half written, the slot that was right
//! before is still there. What follows an older one is sent once more, which loses nothing.

use super::segment::u64_at;
use super::sequence::{Salt, Sequence};

const MAGIC: [u8; 8] = *b"HLSENT1\n";
/// A slot's bytes.
pub const MARK_BYTES: usize = 40;
/// From one slot to the next: sectors have 512 or 4096 bytes.
pub const SLOT_BYTES: u64 = 4096;
const SLOTS: u64 = 3;
/// The file's length.
pub const FILE_BYTES: u64 = SLOTS * SLOT_BYTES;

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// It is written for the how-many-eth time: the greater one is the newer.
    pub turn: u64,
    /// All up to this one has been sent.
    pub sent: Sequence,
    /// The queue's.
    pub salt: Salt,
}

impl Mark {
    /// The bytes.
    pub fn encode(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.turn.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sent.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.0.to_le_bytes());
        let check = Salt(0).checksum(1, &bytes[..32]);
        bytes[32..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads them. `None`: they are damaged, or were never written.
    pub fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; MARK_BYTES] = bytes.first_chunk()?;
        let number = |at| u64_at(bytes, at);
        let whole = bytes[..8] == MAGIC && number(32) == Salt(0).checksum(1, &bytes[..32]);
        let mark = Mark { turn: number(8), sent: Sequence(number(16)), salt: Salt(number(24)) };
        whole.then_some(mark)
    }

    /// Where in the file it stands.
    pub fn offset(&self) -> u64 {
        self.turn % SLOTS * SLOT_BYTES
    }

    /// The one to be written after it, in the slot of none of the turns `kept`, two at most: of the one
    /// that was synced last, and of one that is being synced. Then it may be in this one's own.
    pub fn following(&self, sent: Sequence, kept: [u64; 2]) -> Mark {
        let is_free = |turn: &u64| kept.iter().all(|kept| kept % SLOTS != turn % SLOTS);
        let turn = (self.turn + 1..=self.turn + SLOTS).find(is_free);
        Mark { turn: turn.unwrap_or(self.turn + 1), sent, ..*self }
    }

    /// The newest in a file.
    pub fn newest(file: &[u8]) -> Option<Mark> {
        let slot = |at: u64| file.get(at as usize..).and_then(Mark::decode);
        (0..SLOTS).filter_map(|number| slot(number * SLOT_BYTES)).max_by_key(|mark| mark.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_last_nor_the_synced_slot_is_written() {
        let synced = Mark { turn: 5, sent: Sequence(50), salt: Salt(5) };
        let mut last = synced;
        for sent in 51..60 {
            let next = last.following(Sequence(sent), [synced.turn; 2]);
            assert!(next.turn > last.turn && next.sent == Sequence(sent));
            assert!(![last.offset(), synced.offset()].contains(&next.offset()), "{next:?}");
            last = next;
        }
    }

    #[test]
    fn what_is_being_synced_is_not_written_either() {
        let synced = Mark { turn: 5, sent: Sequence(50), salt: Salt(5) };
        let syncing = synced.following(Sequence(51), [5; 2]);
        let mut last = syncing;
        for sent in 52..60 {
            let next = last.following(Sequence(sent), [synced.turn, syncing.turn]);
            assert!(next.turn > last.turn, "it is the newest");
            assert!(![syncing.offset(), synced.offset()].contains(&next.offset()), "{next:?}");
            last = next;
        }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let mark = |turn, sent| Mark { turn, sent: Sequence(sent), salt: Salt(5) };
        let mut file = vec![0; FILE_BYTES as usize];
        assert_eq!(Mark::newest(&file), None);
        let put = |file: &mut Vec<u8>, mark: Mark| {
            let at = mark.offset() as usize;
            file[at..at + MARK_BYTES].copy_from_slice(&mark.encode());
        };
        put(&mut file, mark(8, 80));
        put(&mut file, mark(9, 90));
        assert_eq!(Mark::newest(&file), Some(mark(9, 90)));
        for byte in 0..MARK_BYTES {
            let mut file = file.clone();
            file[byte] ^= 0x10;
            assert_eq!(Mark::newest(&file), Some(mark(8, 80)), "byte {byte}");
        }
        assert_eq!(Mark::newest(&file[..MARK_BYTES]), Some(mark(9, 90)));
        assert_eq!(Mark::newest(&file[..MARK_BYTES - 1]), None);
    }
}
