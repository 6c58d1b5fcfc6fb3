//! What goes wrong with a disk, and how often it has.

use std::io;

use crate::dice::Dice;

pub const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    List,
    Create,
    Open,
    Allocate,
    Read,
    Write,
    Cut,
    Sync,
    SyncDirectory,
    Remove,
    Rename,
}

/// What happens instead.
pub enum Blow {
    /// An error; of a write, a part may have been done.
    Fault(io::Error),
    /// The process is gone.
    Crash(io::Error),
}

#[derive(Debug, Default)]
pub struct Faults {
    /// How many in a thousand acts fail.
    pub per_mille: u64,
    /// Only those about the mark do, for which there always is room.
    pub only_of_mark: bool,
    /// So many acts until the process is gone.
    pub acts_left: Option<u64>,
    pub is_crashed: bool,
    /// Faults so far: all, those of syncs, those about the mark.
    pub all: u64,
    pub of_syncs: u64,
    pub of_mark: u64,
}

impl Faults {
    pub fn strike(&mut self, act: Act, about_mark: bool, dice: &mut Dice) -> Option<Blow> {
        let crash = || Blow::Crash(io::Error::other("the process is gone"));
        if self.is_crashed {
            return Some(crash());
        }
        if let Some(left) = &mut self.acts_left {
            if *left == 0 {
                self.is_crashed = true;
                return Some(crash());
            }
            *left -= 1;
        }
        if self.only_of_mark && !about_mark {
            return None;
        }
        if dice.next() % 1000 >= self.per_mille {
            return None;
        }
        self.all += 1;
        self.of_syncs += u64::from(matches!(act, Act::Sync | Act::SyncDirectory));
        self.of_mark += u64::from(about_mark);
        let may_be_full = matches!(act, Act::Create | Act::Allocate | Act::Write);
        let is_full = may_be_full && !self.only_of_mark && dice.chance(50);
        let code = if is_full { ENOSPC } else { EIO };
        Some(Blow::Fault(io::Error::from_raw_os_error(code)))
    }
}

pub fn full() -> io::Error {
    io::Error::from_raw_os_error(ENOSPC)
}
