//! Who may reach the admin listener, and how: read again when the files have changed, so that a new
//! certificate or password needs no restart.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::io::admin::users::Users;
use crate::io::log::Log;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was read.
#[derive(Debug)]
pub struct Rules {
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Arc<ServerConfig>>,
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
    read: ReadRules,
    rules: ArcSwap<Rules>,
    look: Mutex<Look>,
    log: Log,
}

/// What was seen of the files at the last look.
struct Look {
    at: Instant,
    /// When each had changed; `None`: what was read is not from them, so that they are read once more.
    changed: Option<Vec<Option<SystemTime>>>,
    /// It is only made sure of what was read a moment ago: nobody need be told.
    is_check: bool,
    faults: Vec<String>,
}

impl Access {
    /// Reads them for the first time.
    pub fn new(read: ReadRules, log: &Log) -> Result<Access, Vec<String>> {
        let rules = read()?;
        // Which files there are was not known before: they are read once more.
        let (at, faults) = (Instant::now(), Vec::new());
        let look = Mutex::new(Look { at, changed: None, is_check: true, faults });
        Ok(Access { read, rules: ArcSwap::from_pointee(rules), look, log: log.clone() })
    }

    /// The rules for a request that comes now. What can't be read leaves those before, and is tried again.
    pub fn rules(&self) -> Arc<Rules> {
        // A file that is read slowly holds up the one who looks, and nobody else.
        if let Ok(mut look) = self.look.try_lock()
            && look.at.elapsed() >= LOOK_EVERY
        {
            self.look(&mut look);
            look.at = Instant::now();
        }
        self.rules.load_full()
    }

    fn look(&self, look: &mut Look) {
        let before = self.rules.load_full();
        // Before they are read: what changes meanwhile is seen the next time.
        let changed = changes(&before.files);
        if look.changed.as_ref() == Some(&changed) {
            return;
        }
        match (self.read)() {
            Ok(rules) => {
                let rules = Rules { users: rules.users.knowing(&before.users), ..rules };
                if !std::mem::take(&mut look.is_check) {
                    self.log.info("who may reach the admin listener was read again");
                }
                if before.asks && !rules.asks {
                    self.log.warn("whoever reaches the admin listener may steer now");
                }
                // Of those that are named anew it is not known yet.
                look.is_check = rules.files != before.files;
                look.changed = (!look.is_check).then_some(changed);
                look.faults.clear();
                self.rules.store(Arc::new(rules));
            }
            Err(faults) => {
                // What they name may come, or be given to us, without any that is watched changing.
                (look.changed, look.is_check) = (None, false);
                for fault in faults.iter().filter(|fault| !look.faults.contains(fault)) {
                    self.log.error(&format!("admin listener: {fault}; it goes on as before"));
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
