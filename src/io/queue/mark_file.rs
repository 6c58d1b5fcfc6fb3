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

/// The file, as it is written.
#[derive(Debug)]
pub struct MarkFile<F> {
    file: F,
    written: Mark,
    /// The last one that was synced.
    synced: Mark,
    /// And one that somebody is syncing.
    syncing: Option<Mark>,
    /// After it could not be written, until [`MarkFile::try_again`].
    is_failing: bool,
    /// After its sync has failed: the kernel may have dropped it and takes it for written. Another sync would
    /// say so and lie, so it is written once more.
    is_doubtful: bool,
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
        Ok(MarkFile {
            file,
            written,
            synced: written,
            syncing: None,
            is_failing: false,
            is_doubtful: false,
        })
    }

    /// Writes down that all up to `sent` have been sent. After an error nothing is written before
    /// [`MarkFile::try_again`]; what that costs is records that are sent twice.
    pub fn write<D: Disk<File = F>>(&mut self, disk: &mut D, sent: Sequence) -> io::Result<()> {
        if (sent > self.written.sent || self.is_doubtful) && !self.is_failing {
            let kept = [self.synced, self.syncing.unwrap_or(self.synced)];
            let mark = self.written.following(sent, kept.map(|mark| mark.turn));
            let written = disk.write(&self.file, mark.offset(), &mark.encode());
            self.is_failing = written.is_err();
            written?;
            self.written = mark;
            self.is_doubtful = false;
        }
        Ok(())
    }

    /// What could not be written may be now.
    pub fn try_again(&mut self) {
        self.is_failing = false;
    }

    /// It is to be written once more, whatever it says.
    pub fn doubt(&mut self) {
        (self.is_doubtful, self.is_failing) = (true, false);
    }

    /// Whether it still is.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether something has been written that was not synced.
    pub fn is_unsynced(&self) -> bool {
        self.written.turn != self.synced.turn
    }

    /// All up to this one have been sent, as it says.
    pub fn written(&self) -> Sequence {
        self.written.sent
    }

    /// The same, as it will say after a power cut.
    pub fn synced(&self) -> Sequence {
        self.synced.sent
    }

    /// What has been written is going to be synced: until that has ended, its slot is left alone.
    pub fn on_syncing(&mut self) {
        self.syncing = Some(self.written);
    }

    /// It has been synced, or that has failed.
    pub fn on_synced(&mut self, is_done: bool) {
        match self.syncing.take() {
            Some(mark) if is_done => self.synced = mark,
            _ => self.is_doubtful = true,
        }
    }
}

/// Syncs the file, by a handle of its own: whoever writes the next mark need not wait for it.
#[derive(Debug)]
pub struct MarkSync<F> {
    file: F,
    commit: Commit,
    /// After something has failed, not before then.
    not_before: Millis,
}

impl<F> MarkSync<F> {
    /// Of the file that [`MarkFile::open`] has opened.
    pub fn open<D: Disk<File = F>>(disk: &mut D, sync: Sync) -> io::Result<MarkSync<F>> {
        let commit = Commit::new(often_enough(sync));
        Ok(MarkSync { file: disk.open(NAME)?, commit, not_before: Millis(0) })
    }

    /// Whether something may be tried now.
    pub fn may_try(&self, now: Millis) -> bool {
        now >= self.not_before
    }

    /// Something has been written that is not synced.
    pub fn on_written(&mut self, now: Millis) {
        self.commit.on_written(now);
    }

    /// Whether it is time to sync it.
    pub fn is_due(&self, now: Millis) -> bool {
        self.commit.is_due(now)
    }

    /// Whether anything waits for a sync.
    pub fn waits(&self) -> bool {
        self.commit.waits()
    }

    /// Syncs it.
    pub fn sync<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        disk.sync(&self.file)?;
        self.commit.on_synced();
        Ok(())
    }

    /// Something has failed; it is tried again, but not at once.
    pub fn on_failed(&mut self, now: Millis) {
        self.commit.on_failed(now);
        self.not_before = self.commit.due().unwrap_or(now);
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
