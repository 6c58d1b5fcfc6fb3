//! The files that a configuration names.

use std::io;
use std::path::{Path, PathBuf};

use super::faults::Faults;
use super::section::Section;
use crate::base::secret::Secret;
use crate::io::named_file;

/// Reads a text file.
pub type ReadText = fn(&Path) -> io::Result<String>;

/// Where files lie that are named without a folder, and how they are read.
pub struct Named {
    folder: PathBuf,
    read: ReadText,
}

impl Named {
    /// Files named in `file`: beside it, as Prometheus takes them.
    pub fn in_file(file: &Path, read: ReadText) -> Named {
        Named { folder: file.parent().map(Path::to_owned).unwrap_or_default(), read }
    }

    /// Where a file lies.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Its text. It is a fault if it can't be read.
    pub fn read(&self, path: &Path, flag: &str, faults: &mut Faults) -> Option<String> {
        (self.read)(path)
            .map_err(|error| faults.add(flag, format_args!("'{}': {error}", path.display())))
            .ok()
    }

    /// A secret that stands at `key`, or in the file that `key_file` names; then without the white
    /// space around it, as Prometheus reads it.
    pub fn secret(
        &self,
        section: &Section<'_>,
        [key, key_file]: [&str; 2],
        faults: &mut Faults,
    ) -> Option<Secret> {
        match (section.node(key), section.node(key_file)) {
            (Some(_), Some(_)) => {
                section.fault(key_file, format_args!("excludes {key}: give one of them"), faults);
                None
            }
            (Some(_), None) => section.text(key, faults).map(Secret),
            (None, Some(_)) => {
                let path = self.path(&section.text(key_file, faults)?);
                let text = self.read(&path, &section.path(key_file), faults)?;
                if text.trim().is_empty() {
                    let what = format_args!("'{}' is empty", path.display());
                    section.fault(key_file, what, faults);
                    return None;
                }
                Some(Secret(text.trim().to_owned()))
            }
            (None, None) => None,
        }
    }
}

/// Reads a file that should be a short text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "is no text in UTF-8");
    String::from_utf8(named_file::read(path)?).map_err(no_text)
}
