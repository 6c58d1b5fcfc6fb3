//! Who may reach the admin listener, and how: read again when the files have changed, so that a new
//! certificate or password needs no restart.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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
    /// All files that it was read from.
    pub files: Vec<PathBuf>,
}

impl Rules {
    /// Everybody may reach it, without TLS.
    pub fn for_all() -> Result<Rules, ring::error::Unspecified> {
        Ok(Rules { tls: None, users: Users::new(HashMap::new())?, files: Vec::new() })
    }
}

/// Reads the rules; an error is all that is wrong.
pub type ReadRules = Box<dyn Fn() -> Result<Rules, Vec<String>> + Send + Sync>;

/// The rules as they are now.
pub struct Access {
    read: ReadRules,
    state: Mutex<State>,
    log: Log,
}

struct State {
    rules: Arc<Rules>,
    changed: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Access {
    /// Reads them for the first time.
    pub fn new(read: ReadRules, log: &Log) -> Result<Access, Vec<String>> {
        let rules = Arc::new(read()?);
        // A file that changes between the two is read once more.
        let (changed, looked) = (Vec::new(), Instant::now());
        let state = Mutex::new(State { rules, changed, looked });
        Ok(Access { read, state, log: log.clone() })
    }

    /// The rules for a connection that comes now. What can't be read leaves those before.
    pub fn rules(&self) -> Arc<Rules> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.changed.is_empty() || state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let changed = changes(&state.rules.files);
            if changed != state.changed {
                let is_first = state.changed.is_empty();
                state.changed = changed;
                self.read_again(&mut state, is_first);
            }
        }
        state.rules.clone()
    }

    fn read_again(&self, state: &mut State, is_first: bool) {
        match (self.read)() {
            Ok(rules) => {
                if !is_first {
                    self.log.info("who may reach the admin listener was read again");
                }
                state.changed = changes(&rules.files);
                state.rules = Arc::new(rules);
            }
            Err(faults) => {
                for fault in faults {
                    self.log.error(&format!("admin listener: {fault}; it goes on as before"));
                }
            }
        }
    }
}

fn changes(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let changed = |file: &PathBuf| fs::metadata(file).and_then(|about| about.modified()).ok();
    files.iter().map(changed).collect()
}
