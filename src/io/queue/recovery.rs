//! What is made of a directory at the start.
//!
//! Only the last segment is read through: nobody has said how far it was written. The records of the others
//! are checked when they are sent.

use std::fmt;
use std::io;

use crate::logic::queue::chain::Link;
use crate::logic::queue::plan::Plan;
use crate::logic::queue::setting::{Setting, Sync};
use crate::wire::queue::segment::{self, HEAD_BYTES, HeadError, SegmentHead};
use crate::wire::queue::sequence::{Salt, Sequence};

use super::disk::Disk;
use super::mark_file::{MarkFile, MarkSync};
use super::spares;
use super::walk::{Step, Walk};

/// Why a queue can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The disk does not do what it is told.
    Disk(io::Error),
    /// Another version has written there. Nothing was touched.
    Version(u32),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Disk(error) => error.fmt(f),
            OpenError::Version(version) => HeadError::Version(*version).fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Disk(error)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Recovered<F> {
    /// The segments, the last one cut at its last whole record.
    pub plan: Plan,
    /// The number of the next record.
    pub next: Sequence,
    /// The queue's.
    pub salt: Salt,
    /// The file that says how far it has been sent.
    pub mark: MarkFile<F>,
    /// And syncs it.
    pub mark_sync: MarkSync<F>,
    /// Bytes that were no record, cut off from the last segment.
    pub cut_bytes: u64,
    /// Segments are there, and nothing says how far they have been sent.
    pub is_mark_lost: bool,
}

/// Looks at a directory. `fresh` is the salt of a queue that begins.
pub fn recover<D: Disk>(
    disk: &mut D,
    setting: &Setting,
    fresh: Salt,
) -> Result<Recovered<D::File>, OpenError> {
    let files = disk.list()?;
    let mark = MarkFile::read(disk, &files)?;
    let mut plan = Plan::of(&files, mark);
    let heads = check_heads(disk, &plan)?;
    let salt = match mark.map(|mark| mark.salt).or(heads.salt) {
        Some(salt) => salt,
        None => find_salt(disk, &plan)?.unwrap_or(fresh),
    };
    let mut tail = read_last(disk, &plan, salt)?;
    // All that lies there was something else once.
    tail.is_damaged &= !heads.is_last_unbegun || tail.last.is_some();
    let next = plan.next(tail.last);
    spares::remove_left(disk, &files)?;
    let is_mark_lost = mark.is_none() && !plan.links.is_empty();
    // It syncs the directory, too.
    let mark = MarkFile::open(disk, &files, mark, salt)?;
    let mark_sync = MarkSync::open(disk, setting.sync)?;
    if setting.sync != Sync::Never {
        sync_newest(disk, &plan)?;
    }
    let cut_bytes = cut_last(disk, &mut plan, tail.end, setting.sync)?;
    let cut_bytes = if tail.is_damaged { cut_bytes } else { 0 };
    Ok(Recovered { plan, next, salt, mark, mark_sync, cut_bytes, is_mark_lost })
}

/// What the heads of the first and of the last segments say.
#[derive(Default)]
struct Heads {
    salt: Option<Salt>,
    /// The last segment has the head of what its file was before: nothing came to be written.
    is_last_unbegun: bool,
}

/// Reads them: a version that comes or goes is at one end.
fn check_heads<D: Disk>(disk: &mut D, plan: &Plan) -> Result<Heads, OpenError> {
    let mut heads = Heads::default();
    let ends = [plan.links.first(), plan.links.last()];
    for link in ends.into_iter().flatten().filter(|link| link.bytes >= HEAD_BYTES as u64) {
        match read_head(disk, link)? {
            Ok(head) => {
                heads.salt = heads.salt.or(Some(head.salt));
                heads.is_last_unbegun = head.number != link.number;
            }
            Err(HeadError::Version(version)) => return Err(OpenError::Version(version)),
            // The file's name says the number, and another file the salt.
            Err(HeadError::Damaged) => heads.is_last_unbegun = false,
        }
    }
    Ok(heads)
}

/// The salt, if a whole head says it: those at the ends may both not have been synced.
fn find_salt<D: Disk>(disk: &mut D, plan: &Plan) -> io::Result<Option<Salt>> {
    for link in plan.links.iter().filter(|link| link.bytes >= HEAD_BYTES as u64) {
        if let Ok(head) = read_head(disk, link)? {
            return Ok(Some(head.salt));
        }
    }
    Ok(None)
}

fn read_head<D: Disk>(disk: &mut D, link: &Link) -> io::Result<Result<SegmentHead, HeadError>> {
    let file = disk.open(&segment::name(link.number))?;
    let mut bytes = [0; HEAD_BYTES];
    disk.read(&file, 0, &mut bytes)?;
    Ok(SegmentHead::decode(&bytes))
}

/// What the last segment has in it.
struct Tail {
    /// The number of the last whole record.
    last: Option<Sequence>,
    /// Where that one ends.
    end: u64,
    /// What lies behind is neither a record nor empty.
    is_damaged: bool,
}

/// Reads the last segment through.
fn read_last<D: Disk>(disk: &mut D, plan: &Plan, salt: Salt) -> io::Result<Tail> {
    let Some(link) = plan.links.last() else {
        return Ok(Tail { last: None, end: 0, is_damaged: false });
    };
    let mut walk = Walk::of_open(disk.open(&segment::name(link.number))?, link.number, salt);
    let end = link.bytes.min(HEAD_BYTES as u64);
    let mut tail = Tail { last: None, end, is_damaged: false };
    loop {
        match walk.step(disk, link.bytes)? {
            Step::End => return Ok(tail),
            Step::Damage => tail.is_damaged = true,
            Step::Record(frame, at) => {
                if walk.load(disk, &frame, at)?.is_some() {
                    let last = Some(frame.label.sequence);
                    tail = Tail { last, end: walk.offset(), is_damaged: false };
                } else {
                    tail.is_damaged = true;
                }
            }
        }
    }
}

/// Syncs the segments that may not have been: the process before was perhaps killed before it did that, and
/// nobody appends to them any more.
fn sync_newest<D: Disk>(disk: &mut D, plan: &Plan) -> io::Result<()> {
    plan.unsynced().try_for_each(|link| {
        let file = disk.open(&segment::name(link.number))?;
        disk.sync(&file)
    })
}

/// Cuts the last segment at its last whole record; the bytes of others that were cut off.
///
/// That is the last of all that a start does: if one fails, the next must find the damage and say so.
fn cut_last<D: Disk>(disk: &mut D, plan: &mut Plan, end: u64, sync: Sync) -> io::Result<u64> {
    let Some(link) = plan.links.last_mut() else { return Ok(0) };
    let file = disk.open(&segment::name(link.number))?;
    if end < link.bytes {
        disk.cut(&file, end)?;
        if sync != Sync::Never {
            // Else a power cut may bring it back. That is no reason to fail: the damage is told of now.
            let _ = disk.sync(&file);
        }
    }
    let cut_bytes = link.bytes - end;
    link.bytes = end;
    Ok(cut_bytes)
}
