//! A directory of the real disk, locked.
//!
//! Whatever becomes of its name, it is the one that was locked: all names are looked up in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, fallocate, flock, openat,
    renameat, statat, unlinkat,
};
use rustix::io::{Errno, pwritev};

use super::disk::Disk;

/// The file that is locked as long as a process has the directory.
const LOCK: &str = "lock";

/// The kernel takes no more in one call.
const PARTS_MAX: usize = 1024;

/// The directory of one queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    directory: File,
    /// Closed with us, and by that unlocked, whatever ends the process.
    _lock: File,
}

impl Files {
    /// Opens the directory, makes it if it is not there, and locks it. An error of the kind
    /// `WouldBlock`: another process has it.
    pub fn open(path: &Path) -> io::Result<Files> {
        fs::create_dir_all(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let directory = File::open(path)?;
        Ok(Files(Arc::new(Inside { directory, _lock: lock })))
    }
}

impl Inside {
    fn open(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.directory, name, flags, mode)?))
    }
}

impl Disk for Files {
    type File = File;

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let directory = &self.0.directory;
        let mut files = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            let about = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile {
                files.push((name.to_owned(), about.st_size as u64));
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        // A source's credentials may be in the heads.
        self.0.open(name, OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        self.0.open(name, OFlags::empty(), Mode::empty())
    }

    fn allocate(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn read(&mut self, file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(bytes, offset)
    }

    fn write_all(&mut self, file: &File, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut parts: Vec<IoSlice> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let (mut left, mut offset) = (&mut parts[..], offset);
        // Those that are empty would look like a disk that takes nothing.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let few = left.len().min(PARTS_MAX);
            match pwritev(file, &left[..few], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    IoSlice::advance_slices(&mut left, count);
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn cut(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.0.directory.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0.directory, from, &self.0.directory, to)?)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0.directory, name, AtFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_is_in_use_is_refused() {
        let path = std::env::temp_dir().join(format!("highlander-lock-{}", std::process::id()));
        let first = Files::open(&path).expect("nobody has it");
        let second = Files::open(&path).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(second, Err(io::ErrorKind::WouldBlock));
        drop(first);
        assert!(Files::open(&path).is_ok(), "it was let go");
        fs::remove_dir_all(&path).expect("it is ours");
    }

    #[test]
    fn a_directory_that_is_moved_is_the_same_one() {
        let path = std::env::temp_dir().join(format!("highlander-moved-{}", std::process::id()));
        let away = path.with_extension("away");
        let mut files = Files::open(&path).expect("nobody has it");
        let file = files.create("a").expect("it is not there");
        files.write(&file, 0, b"abc").expect("there is room");
        fs::rename(&path, &away).expect("it is ours");
        files.rename("a", "b").expect("it is there");
        files.create("c").expect("it is not there");
        files.remove("c").expect("it is there");
        let mut listed = files.list().expect("it is there");
        listed.sort();
        assert_eq!(listed, [("b".to_owned(), 3), (LOCK.to_owned(), 0)]);
        assert!(files.open("a").is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        assert!(files.open("b").is_ok() && !path.exists());
        fs::remove_dir_all(&away).expect("it is ours");
    }

    #[test]
    fn many_parts_are_written_one_behind_the_other() {
        let path = std::env::temp_dir().join(format!("highlander-parts-{}", std::process::id()));
        let mut files = Files::open(&path).expect("nobody has it");
        let file = files.create("segment").expect("it is not there");
        let all: Vec<u8> = (0..9000_u32).map(|it| it as u8).collect();
        let mut parts: Vec<&[u8]> = all.chunks(3).collect();
        parts.insert(0, b"");
        parts.push(b"");
        files.write_all(&file, 5, &parts).expect("there is room");
        files.write_all(&file, 7000, &[]).expect("there is nothing to do");
        let mut read = vec![0; all.len()];
        files.read(&file, 5, &mut read).expect("it is there");
        assert_eq!(read, all);
        fs::remove_dir_all(&path).expect("it is ours");
    }

    #[test]
    fn nobody_else_can_read_what_is_stored() {
        let path = std::env::temp_dir().join(format!("highlander-mode-{}", std::process::id()));
        let mut files = Files::open(&path).expect("nobody has it");
        let file = files.create("segment").expect("it is not there");
        let mode = file.metadata().expect("it is open").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        fs::remove_dir_all(&path).expect("it is ours");
    }
}
