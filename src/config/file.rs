//! A configuration file: read, and laid under the command line.

use std::io::Read as _;
use std::path::Path;

use super::endpoint::{Endpoint, TIMEOUT};
use super::faults::Faults;
use super::keys::{self, REMOTE_WRITE, SOURCES};
use super::named::{Named, ReadText, read_text};
use super::section::Section;
use super::sources;
use super::stanza;
use super::yaml::{self, Node};
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::time::Millis;
use crate::cli::Cli;
use crate::logic::roster::Roster;

/// A file whose keys and values are known.
pub struct File {
    root: Node,
    named: Named,
}

impl File {
    /// Reads the file at `path`. `None`: it is none that can be read further, which is a fault.
    pub fn open(path: &str, faults: &mut Faults) -> Option<File> {
        let mut bytes = Vec::new();
        // One byte more than it may have: then it is told that it is too long.
        let most = CONFIG_BYTES_MAX as u64 + 1;
        let read = std::fs::File::open(path).and_then(|it| it.take(most).read_to_end(&mut bytes));
        match read {
            Ok(_) => File::of_bytes(&bytes, Named::in_file(Path::new(path), read_text), faults),
            Err(error) => {
                faults.add_of_file(None, error);
                None
            }
        }
    }

    fn of_bytes(bytes: &[u8], named: Named, faults: &mut Faults) -> Option<File> {
        match yaml::read(bytes) {
            Ok(root) => Some(File { root, named }),
            Err(fault) => {
                faults.add_of_file(fault.line, fault.what);
                None
            }
        }
    }

    /// Gives `cli` what no flag gave it.
    pub fn fill(&self, cli: &mut Cli, faults: &mut Faults) {
        if let Some(root) = Section::open(&self.root, String::new(), faults) {
            keys::fill(cli, &root, &self.named, faults);
        }
    }

    /// All that stands in it, and where what it names lies.
    pub fn parts(&self) -> (&Node, &Named) {
        (&self.root, &self.named)
    }

    /// Whether it speaks of endpoints.
    pub fn has_endpoints(&self) -> bool {
        self.node(REMOTE_WRITE).is_some()
    }

    /// The endpoints; `None` if the file does not speak of any.
    pub fn endpoints(&self, timeout: Millis, faults: &mut Faults) -> Option<Vec<Endpoint>> {
        let node = self.node(REMOTE_WRITE)?;
        Some(stanza::endpoints(node, timeout, &self.named, faults))
    }

    /// The rules about sources; none if the file does not speak of any.
    pub fn roster(&self, faults: &mut Faults) -> Roster {
        self.node(SOURCES).map(|node| sources::roster(node, faults)).unwrap_or_default()
    }

    fn node(&self, key: &str) -> Option<&Node> {
        let yaml::Value::Map(pairs) = &self.root.value else { return None };
        pairs.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
    }
}

/// Reads the bytes of a file for what is in them alone: nothing is looked up, and what they name is
/// read by `read`. Gives the endpoints, or every fault.
pub fn parse(bytes: &[u8], read: ReadText) -> Result<Vec<Endpoint>, Vec<String>> {
    let mut faults = Faults::of_file("highlander.yml");
    let named = Named::in_file(Path::new("highlander.yml"), read);
    let endpoints = File::of_bytes(bytes, named, &mut faults).and_then(|file| {
        file.fill(&mut Cli::default(), &mut faults);
        file.roster(&mut faults);
        file.endpoints(TIMEOUT, &mut faults)
    });
    if faults.are_none() { Ok(endpoints.unwrap_or_default()) } else { Err(faults.into_all()) }
}
