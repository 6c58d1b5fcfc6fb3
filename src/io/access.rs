//! Who may reach a listener, and how: read again when the files have changed, so that a new certificate or
//! password needs no restart.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use arc_swap::{ArcSwap, Guard};

use crate::io::log::Log;
use crate::io::tls::server::ServerTls;
use crate::io::users::Users;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was read.
#[derive(Debug)]
pub struct Rules {
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<ServerTls>,
    /// Who may ask.
    pub users: Users,
    /// Whether everybody has to say who he is.
    pub asks: bool,
    /// All files that it was read from.
    pub files: Vec<PathBuf>,
}

impl Rules {
    /// Everybody may reach it, without TLS.
    pub fn for_all() -> Result<Rules, ring::error::Unspecified> {
        let users = Users::new(HashMap::new())?;
        Ok(Rules { tls: None, users, asks: false, files: Vec::new() })
    }
}

/// Reads the rules; an error is all that is wrong.
pub type ReadRules = Box<dyn Fn() -> Result<Rules, Vec<String>> + Send + Sync>;

/// The rules as they are now.
pub struct Access {
    /// Which listener it is, in the log.
    what: &'static str,
    read: ReadRules,
    rules: ArcSwap<Rules>,
    look: Mutex<Look>,
    log: Log,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("what", &self.what).finish_non_exhaustive()
    }
}

/// What was seen of the files at the last look.
struct Look {
    at: Instant,
    /// When each had changed; `None`: what was read is not from them, so that they are read once more.
    changed: Option<Vec<Option<SystemTime>>>,
    /// It is only made sure of what was read a moment ago: nobody need be told.
    is_check: bool,
    /// What was read would ask nobody any more: it may be the begin of a file that is being written.
    is_doubted: bool,
    faults: Vec<String>,
}

impl Access {
    /// Reads them for the first time.
    pub fn new(what: &'static str, read: ReadRules, log: &Log) -> Result<Access, Vec<String>> {
        let rules = read()?;
        // Which files there are was not known before: they are read once more.
        let (at, faults) = (Instant::now(), Vec::new());
        let look =
            Mutex::new(Look { at, changed: None, is_check: true, is_doubted: false, faults });
        Ok(Access { what, read, rules: ArcSwap::from_pointee(rules), look, log: log.clone() })
    }

    /// The rules for a request that comes now. What can't be read leaves those before, and is tried again.
    pub fn rules(&self) -> Arc<Rules> {
        self.look_if_due();
        self.rules.load_full()
    }

    /// The rules as they were read last: for whoever may not wait for a file.
    pub fn last(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Reads them again if it is time to look, and files have changed.
    pub fn look_if_due(&self) {
        // A file that is read slowly holds up the one who looks, and nobody else.
        if let Ok(mut look) = self.look.try_lock()
            && look.at.elapsed() >= LOOK_EVERY
        {
            self.look(&mut look);
            look.at = Instant::now();
        }
    }

    fn look(&self, look: &mut Look) {
        let before = self.rules.load_full();
        // Before they are read: what changes meanwhile is seen the next time.
        let changed = changes(&before.files);
        if look.changed.as_ref() == Some(&changed) {
            return;
        }
        match (self.read)() {
            Ok(rules) if before.asks && !rules.asks && !look.is_doubted => {
                (look.changed, look.is_doubted) = (None, true);
            }
            Ok(rules) => {
                look.is_doubted = false;
                let rules = Rules { users: rules.users.knowing(&before.users), ..rules };
                if !std::mem::take(&mut look.is_check) {
                    self.log.info(&format!("who may reach the {} was read again", self.what));
                }
                if before.asks && !rules.asks {
                    let all = format!("the {} asks nobody any more who he is", self.what);
                    self.log.warn(&all);
                }
                // Of those that are named anew it is not known yet.
                look.is_check = rules.files != before.files;
                look.changed = (!look.is_check).then_some(changed);
                look.faults.clear();
                self.rules.store(Arc::new(rules));
            }
            Err(faults) => {
                // What they name may come, or be given to us, without any that is watched changing.
                (look.changed, look.is_check, look.is_doubted) = (None, false, false);
                for fault in faults.iter().filter(|fault| !look.faults.contains(fault)) {
                    self.log.error(&format!("{}: {fault}; it goes on as before", self.what));
                }
                look.faults = faults;
            }
        }
    }
}

fn changes(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let changed = |file: &PathBuf| fs::metadata(file).and_then(|about| about.modified()).ok();
    files.iter().map(changed).collect()
}
