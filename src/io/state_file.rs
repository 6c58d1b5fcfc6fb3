//! The file that remembers who is promoted, `--state`.
//!
//! What a proxy holds is gone with it, and so is what it knew of the promoted source. After a restart
//! the only one who can go on without a hole or an overlap is the source that was promoted before:
//! its unanswered requests begin where the delivered ones end. So the seat waits for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::base::limits::STATE_PATIENCE;
use crate::io::log::Log;
use crate::logic::source::{GroupName, SourceName, Weight};
use crate::shared::state::Seats;

/// Who sits in which seat.
pub type Sitting = BTreeMap<GroupName, SourceName>;

/// The first line: what follows, and in which version.
const TITLE: &str = "highlander promoted sources 1";

/// The file, and what stands in it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Sitting,
}

impl StateFile {
    /// Reads the file at `path`; one that is not there yet is empty. An error: it can't be read, or
    /// is not such a file.
    pub fn open(path: &Path) -> io::Result<StateFile> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let written = parse(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "is not a file of promoted sources")
        })?;
        Ok(StateFile { path: path.to_owned(), written })
    }

    /// What stands in it.
    pub fn written(&self) -> &Sitting {
        &self.written
    }

    /// Starts the thread that keeps it: a disk that hangs is to hold up nobody else.
    pub fn start(mut self, seats: Arc<Seats>, log: Log) -> io::Result<Keeper> {
        // One that has not begun is enough.
        let (ask, asked) = bounded(1);
        let (end, ended) = bounded(0);
        let own_log = log.clone();
        thread::Builder::new().name("state".into()).spawn(move || {
            let _end: Sender<()> = end;
            // It is tried at every tick, and what is still so is not said again.
            let mut told = None;
            while asked.recv().is_ok() {
                let fault = self.keep(&seats).err().map(|error| error.to_string());
                match &fault {
                    _ if fault == told => {}
                    Some(fault) => {
                        log.error(&format!("who is promoted can't be written down: {fault}"))
                    }
                    None => log.info("who is promoted is written down again"),
                }
                told = fault;
            }
        })?;
        Ok(Keeper { ask, ended, is_late: false, log: own_log })
    }

    /// Writes down who sits where, if that is not what stands there already.
    fn keep(&mut self, seats: &Seats) -> io::Result<()> {
        let mut sitting = Sitting::new();
        for (group, seat) in seats.all().iter() {
            let promoted = seat.view().promoted;
            let name = promoted.and_then(|promoted| seat.name(promoted.source));
            // A seat that is empty is still that of whoever sat in it last: the rest of its data
            // may come.
            let name = name.or_else(|| self.written.get(group).cloned());
            if let Some(name) = name {
                sitting.insert(group.clone(), name);
            }
        }
        if sitting == self.written {
            return Ok(());
        }
        self.write(&sitting)?;
        self.written = sitting;
        Ok(())
    }

    /// A file beside it, then a rename: whoever reads it reads the old one or the new one.
    fn write(&self, sitting: &Sitting) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file = File::create(&beside)?;
        file.write_all(written(sitting).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }
}

/// Has who is promoted written down, and waits for that only at the end.
#[derive(Debug)]
pub struct Keeper {
    ask: Sender<()>,
    ended: Receiver<()>,
    is_late: bool,
    log: Log,
}

impl Keeper {
    /// Has it look who sits where.
    pub fn look(&mut self) {
        let is_late = matches!(self.ask.try_send(()), Err(TrySendError::Full(())));
        if is_late && !self.is_late {
            self.log.warn("who is promoted is not written down yet: the disk takes its time");
        }
        self.is_late = is_late;
    }

    /// Looks once more, and ends. A disk that hangs is not waited for.
    pub fn stop(mut self) {
        self.look();
        drop(self.ask);
        let _ = self.ended.recv_timeout(STATE_PATIENCE.into());
    }
}

fn written(sitting: &Sitting) -> String {
    let mut text = format!("{TITLE}\n");
    for (group, name) in sitting {
        let escape = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
        let (tenant, group) = (escape(&group.tenant), escape(&group.group));
        let source = match name {
            SourceName::Named(name) => format!("named\t{}\t", escape(name)),
            SourceName::Address(ip, weight) => format!("address\t{ip}\t{weight}"),
            // A connection does not outlive us.
            SourceName::Connection(..) => continue,
        };
        text.push_str(&format!("{tenant}\t{group}\t{source}\n"));
    }
    text
}

fn parse(text: &str) -> Option<Sitting> {
    let mut lines = text.lines();
    match lines.next() {
        None => return Some(Sitting::new()),
        Some(TITLE) => {}
        Some(_) => return None,
    }
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(GroupName, SourceName)> {
    let bytes = |text: &str| -> Box<[u8]> { percent_decode_str(text).collect() };
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let group = GroupName { tenant: bytes(next()?), group: bytes(next()?) };
    let (kind, name, weight) = (next()?, next()?, next()?);
    let source = match kind {
        "named" => SourceName::Named(bytes(name)),
        "address" => {
            let ip: IpAddr = name.parse().ok()?;
            SourceName::Address(ip, Weight::parse(weight.as_bytes())?)
        }
        _ => return None,
    };
    Some((group, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_whatever_the_names() {
        let mut sitting = Sitting::new();
        let group = |text: &[u8]| GroupName { tenant: text.into(), group: Box::default() };
        sitting.insert(group(b""), SourceName::Named((*b"a\tb\n\xff%").into()));
        let ip = IpAddr::from([10, 0, 0, 7]);
        sitting.insert(group(b"t\n"), SourceName::Address(ip, Weight(50)));
        assert_eq!(parse(&written(&sitting)), Some(sitting));
        assert_eq!(parse(""), Some(Sitting::new()));
        for text in ["other", "highlander promoted sources 1\nx", "highlander promoted sources 2\n"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
