//! The folders and files that the program will write: whether the start could, looked at without making
//! anything.

use std::path::{Component, Path, PathBuf};

use super::endpoint::Endpoint;
use super::faults::Faults;
use super::queue::Delivery;
use crate::io::state_file::StateFile;

/// Refuses folders of queues of the file that can't be made, or are one in two spellings.
pub fn refuse_folders(endpoints: &[Endpoint], faults: &mut Faults) {
    let mut before: Vec<(PathBuf, &Path)> = Vec::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let Delivery::Queued(queue) = &endpoint.delivery else { continue };
        let (dir, path) = (queue.dir.as_path(), format!("remote_write[{index}].queue.dir"));
        let there = dir.ancestors().find(|part| part.exists());
        if let Some(part) = there.filter(|part| !part.is_dir()) {
            faults.add(&path, format_args!("'{}' is no folder", part.display()));
        }
        let real = real(dir);
        // The same spelling was told where it was read.
        if before.iter().any(|(other, written)| *other == real && *written != dir) {
            let what = format_args!("'{}' is the folder of another queue too", dir.display());
            faults.add(&path, what);
        }
        before.push((real, dir));
    }
}

/// Where a path leads: what is not there yet will be no link.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = PathBuf::new();
    for part in whole.components() {
        if part == Component::ParentDir {
            found.pop();
            continue;
        }
        found.push(part);
        found = found.canonicalize().unwrap_or(found);
    }
    found
}

/// The file that keeps who is promoted. It may be still to come; its folder must be there.
pub fn state(text: Option<&str>, faults: &mut Faults) -> Option<PathBuf> {
    let path = PathBuf::from(text?);
    if let Err(why) = judge_state(&path) {
        faults.add("--state", why);
    }
    Some(path)
}

fn judge_state(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let shown = path.display();
    match path.metadata() {
        _ if path.as_os_str().is_empty() => Err("names no file".to_owned()),
        _ if folder.is_some_and(|folder| !folder.is_dir()) => {
            let folder = folder.unwrap_or(path).display();
            Err(format!("'{folder}': there is no such folder"))
        }
        Ok(found) if found.is_dir() => Err(format!("'{shown}' is a folder")),
        // A device may have no end.
        Ok(found) if !found.is_file() => Err(format!("'{shown}' is no file")),
        Ok(_) => StateFile::open(path).map(|_| ()).map_err(|error| format!("'{shown}': {error}")),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_same_however_it_is_written() {
        let base = std::env::temp_dir().join(format!("highlander-places-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a/b")).expect("a new folder");
        std::os::unix::fs::symlink(base.join("a/b"), base.join("link")).expect("a new link");
        let wanted = real(&base.join("a/b/q"));
        for same in ["a/b/./q", "a/new/../b/q", "link/q", "link/../b/q", "a//b/q/"] {
            assert_eq!(real(&base.join(same)), wanted, "{same}");
        }
        for other in ["a/q", "link/../q", "b/q"] {
            assert_ne!(real(&base.join(other)), wanted, "{other}");
        }
        let _ = std::fs::remove_dir_all(&base);
    }
}
