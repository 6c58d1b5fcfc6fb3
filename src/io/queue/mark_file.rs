//! The file that says how far a queue has been sent.

use std::io;

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
    commit: Commit,
    /// After it could not be written, not before then.
    not_before: Millis,
}

impl<F> MarkFile<F> {
    /// Reads the file. `None`: there is none, or nothing of it is whole.
    pub fn read<D: Disk<File = F>>(disk: &mut D, files: &[(String, u64)]) -> io::Result<Option<Mark>> {
        let Some((_, length)) = files.iter().find(|(name, _)| name == NAME) else {
            return Ok(None);
        };
        let mut bytes = vec![0; (*length).min(FILE_BYTES) as usize];
        let file = disk.open(NAME)?;
        disk.read(&file, 0, &mut bytes)?;
        Ok(Mark::newest(&bytes))
    }

    /// Opens it for writing, after `read`; where nothing was read, it is made anew.
    pub fn open<D: Disk<File = F>>(
        disk: &mut D,
        mark: Option<Mark>,
        salt: Salt,
        sync: Sync,
    ) -> io::Result<MarkFile<F>> {
        let commit = Commit::new(sync);
        let not_before = Millis(0);
        if let Some(written) = mark {
            return Ok(MarkFile { file: disk.open(NAME)?, written, commit, not_before });
        }
        let file = match disk.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(NAME)?,
            other => other?,
        };
        let written = Mark { turn: 0, sent: Sequence(0), salt };
        // All of it is written now: there is room for it from then on.
        let mut bytes = vec![0; FILE_BYTES as usize];
        bytes[..written.encode().len()].copy_from_slice(&written.encode());
        disk.write(&file, 0, &bytes)?;
        disk.sync(&file)?;
        disk.sync_directory()?;
        Ok(MarkFile { file, written, commit, not_before })
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
            // The slot whose sync is still waited for is written again: the other one is safe.
            let step = if self.commit.waits() { 2 } else { 1 };
            let mark = Mark { turn: self.written.turn + step, sent, ..self.written };
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
        }
        Ok(())
    }

    /// When it is to be synced.
    pub fn due(&self) -> Option<Millis> {
        self.commit.due()
    }
}
