//! What a queue asks of a directory. There are two: the real one, and the one of the simulation, which
//! tears writes, forgets what was not synced, rots, fills up and fails.

use std::fmt;
use std::io;

/// A directory of files, for one process.
pub trait Disk {
    /// An open file.
    type File: fmt::Debug;

    /// The names and lengths of all files.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;
    /// Makes a file that is not there yet, for reading and writing.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Opens one that is there, for reading and writing.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// Gives a file so many bytes at least, for which there is room from now on; those that it had not are
    /// zero. Where a file system knows no such thing, nothing.
    fn allocate(&mut self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Reads all of `bytes`, from `offset` on.
    fn read(&mut self, file: &Self::File, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes all of `parts`, one behind the other, from `offset` on.
    fn write_all(&mut self, file: &Self::File, offset: u64, parts: &[&[u8]]) -> io::Result<()>;
    /// Writes all of `bytes`, from `offset` on.
    fn write(&mut self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all(file, offset, &[bytes])
    }
    /// Cuts it to so many bytes.
    fn cut(&mut self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Comes back when a power cut can't take what was written any more.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// The same for which files there are.
    fn sync_directory(&mut self) -> io::Result<()>;
    /// Gives a file another name, which none has; or if one has, that file is gone.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Removes a file that is not needed. Somebody may have done so already, or a file system that is far
    /// away has, and its answer was lost: what is gone takes no room.
    fn remove_if_there(&mut self, name: &str) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
