//! The file that says how far a queue has been sent.

use std::io;

use crate::base::limits::QUEUE_SYNC_EVERY;
use crate::base::time::Millis;
use crate::logic::queue::commit::Commit;
use crate::logic::queue::setting::Sync;
use crate::wire::queue::mark::{FILE_BYTES, Mark};
use crate::wire::queue::sequence::{Salt, Sequence};

use super::disk::Disk;

/// Its name.
pub const NAME: &str = "sent";

/// The file.
#[derive(Debug)]
pub struct MarkFile<F> {
    file: F,
    written: Mark,
    /// The turn of the last one that was synced.
    synced: u64,
    commit: Commit,
    /// After it could not be written, not before then.
    not_before: Millis,
}

impl<F> MarkFile<F> {
    /// Reads the file, of which `files` says the length. `None`: there is none, or nothing of it is
    /// whole.
    pub fn read<D: Disk<File = F>>(
        disk: &mut D,
        files: &[(String, u64)],
    ) -> io::Result<Option<Mark>> {
        let length = length(files);
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; length.min(FILE_BYTES) as usize];
        let file = disk.open(NAME)?;
        disk.read(&file, 0, &mut bytes)?;
        Ok(Mark::newest(&bytes))
    }

    /// Opens it for writing, after `read`; where nothing was read, it is made anew.
    pub fn open<D: Disk<File = F>>(
        disk: &mut D,
        files: &[(String, u64)],
        mark: Option<Mark>,
        salt: Salt,
        sync: Sync,
    ) -> io::Result<MarkFile<F>> {
        let file = match disk.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(NAME)?,
            other => other?,
        };
        // All of it is written now: there is room for it from then on.
        let missing = length(files).min(FILE_BYTES);
        disk.write(&file, missing, &vec![0; (FILE_BYTES - missing) as usize])?;
        let written = mark.unwrap_or(Mark { turn: 0, sent: Sequence(0), salt });
        if mark.is_none() {
            disk.write(&file, written.offset(), &written.encode())?;
        }
        // The process before was perhaps killed before its sync.
        disk.sync(&file)?;
        disk.sync_directory()?;
        let (commit, synced) = (Commit::new(often_enough(sync)), written.turn);
        Ok(MarkFile { file, written, synced, commit, not_before: Millis(0) })
    }

    /// Writes down that all up to `sent` have been sent, and syncs it if that is due. After an error it
    /// is tried again later; what that costs is records that are sent twice.
    pub fn keep<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        sent: Sequence,
        now: Millis,
    ) -> io::Result<()> {
        if now < self.not_before {
            return Ok(());
        }
        let kept = self.write(disk, sent, now).and_then(|()| match self.commit.is_due(now) {
            true => self.sync(disk),
            false => Ok(()),
        });
        if kept.is_err() {
            self.commit.on_failed(now);
            self.not_before = self.commit.due().unwrap_or(now);
        }
        kept
    }

    fn write<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        sent: Sequence,
        now: Millis,
    ) -> io::Result<()> {
        if sent > self.written.sent {
            let mark = self.written.following(sent, self.synced);
            disk.write(&self.file, mark.offset(), &mark.encode())?;
            self.written = mark;
            self.commit.on_written(now);
        }
        Ok(())
    }

    /// Syncs it, if anything waits for that.
    pub fn sync<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        if self.commit.waits() {
            disk.sync(&self.file)?;
            self.commit.on_synced();
            self.synced = self.written.turn;
        }
        Ok(())
    }

    /// When it is to be synced.
    pub fn due(&self) -> Option<Millis> {
        self.commit.due()
    }
}

/// A mark that a power cut takes loses nothing: what was sent since the one before is sent once more. So
/// none is synced for each request, also not where each request is: an endpoint takes them faster than a
/// disk syncs them one by one. What `kill -9` leaves is what was written, and that is always the newest.
fn often_enough(sync: Sync) -> Sync {
    match sync {
        Sync::Always => Sync::Every(QUEUE_SYNC_EVERY),
        Sync::Every(_) | Sync::Never => sync,
    }
}

fn length(files: &[(String, u64)]) -> u64 {
    files.iter().find(|(name, _)| name == NAME).map_or(0, |(_, length)| *length)
}
