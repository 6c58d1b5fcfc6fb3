//! A disk with a cache in front of it, as a power cut sees it.
//!
//! What is written is in the cache. A sync brings it to the disk; a power cut leaves of the rest any
//! sectors, and any of the names that came or went. A sync that fails drops what it could not write and
//! takes it for written, as Linux does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::rc::Rc;

use highlander::io::queue::disk::Disk;
use highlander::wire::queue::mark::MARK_BYTES;
use highlander::wire::queue::record::{FRAME_BYTES, Frame, MARKER};

use crate::dice::Dice;
use crate::faults::{Act, Blow, EIO, Faults, full};
use crate::mutation::Mutation;
use crate::world::SALT;

/// Small, so that most records are torn.
const SECTOR: usize = 128;
const MARK_FILE: &str = "sent";

type Number = u64;

#[derive(Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    is_mark: bool,
    /// What can't be read of it, for good.
    bad: Range<usize>,
    /// Of each handle a clone.
    open: Rc<()>,
}

/// An open file: without a name, it takes its room until it is closed.
#[derive(Debug)]
pub struct Handle {
    number: Number,
    _open: Rc<()>,
}

#[derive(Debug)]
pub struct State {
    inodes: BTreeMap<Number, Inode>,
    cached_names: BTreeMap<String, Number>,
    durable_names: BTreeMap<String, Number>,
    /// Of each file that got other names since they were synced, all that it had.
    ways: BTreeMap<String, Vec<String>>,
    next: Number,
    pub renamed: u64,
    pub faults: Faults,
    pub capacity: u64,
    pub dice: Dice,
    mutation: Mutation,
    pub torn: u64,
    /// Syncs of any file but the mark.
    pub syncs: u64,
}

/// A handle of the disk; all are of the same one.
#[derive(Clone, Debug)]
pub struct SimDisk(pub Rc<RefCell<State>>);

impl SimDisk {
    pub fn new(seed: u64, mutation: Mutation) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(State {
            inodes: BTreeMap::new(),
            cached_names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            ways: BTreeMap::new(),
            next: 1,
            renamed: 0,
            faults: Faults::default(),
            capacity: u64::MAX,
            dice: Dice::new(seed ^ 0xd15c),
            mutation,
            torn: 0,
            syncs: 0,
        })))
    }
}

impl State {
    fn strike(&mut self, act: Act, about: Option<Number>) -> io::Result<()> {
        let is_mark = about.and_then(|it| self.inodes.get(&it)).is_some_and(|it| it.is_mark);
        match self.faults.strike(act, is_mark, &mut self.dice) {
            None => Ok(()),
            Some(Blow::Fault(error) | Blow::Crash(error)) => Err(error),
        }
    }

    fn seems_well(&self, file: Number) -> bool {
        self.mutation == Mutation::SeemWell && self.inodes[&file].is_mark && !self.faults.is_crashed
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<Number> = self.cached_names.values().copied().collect();
        let takes_room = |(number, inode): &(&Number, &Inode)| {
            named.contains(number) || Rc::strong_count(&inode.open) > 1
        };
        self.inodes.iter().filter(takes_room).map(|(_, inode)| inode.cached.len() as u64).sum()
    }

    fn handle(&self, number: Number) -> Handle {
        Handle { number, _open: self.inodes[&number].open.clone() }
    }

    fn grow(&mut self, file: Number, length: usize) -> io::Result<()> {
        let before = self.inodes[&file].cached.len();
        if length <= before {
            return Ok(());
        }
        if self.used() + (length - before) as u64 > self.capacity {
            return Err(full());
        }
        self.inodes.get_mut(&file).expect("it is open").cached.resize(length, 0);
        Ok(())
    }

    fn put(&mut self, file: Number, offset: usize, bytes: &[u8]) {
        let inode = self.inodes.get_mut(&file).expect("it is open");
        inode.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        if !bytes.is_empty() {
            inode.dirty.extend(offset / SECTOR..=(offset + bytes.len() - 1) / SECTOR);
        }
    }

    /// The power is gone: what was not synced is there or not, sector by sector.
    pub fn cut_power(&mut self) {
        let State { inodes, cached_names, durable_names, ways, dice, torn, .. } = self;
        for inode in inodes.values_mut() {
            let length = if dice.chance(50) { inode.cached.len() } else { inode.durable.len() };
            inode.durable.resize(length, 0);
            for sector in std::mem::take(&mut inode.dirty) {
                let from = sector * SECTOR;
                let to = (from + SECTOR).min(length).min(inode.cached.len());
                if from >= to || dice.chance(50) {
                    *torn += 1;
                    continue;
                }
                // A sector itself may be torn.
                let to = if dice.chance(15) { from + (to - from) / 3 } else { to };
                inode.durable[from..to].copy_from_slice(&inode.cached[from..to]);
            }
            inode.cached = inode.durable.clone();
        }
        // A file has one of its names, or none if it had none that was synced.
        for (last, names) in std::mem::take(ways) {
            let Some(number) = cached_names.remove(&last) else {
                // It was removed since.
                names.iter().for_each(|name| _ = cached_names.remove(name));
                continue;
            };
            let was_durable = names.first().is_some_and(|name| durable_names.contains_key(name));
            names.iter().for_each(|name| _ = durable_names.remove(name));
            let name = names[dice.next() as usize % names.len()].clone();
            if was_durable || dice.chance(50) {
                durable_names.insert(name.clone(), number);
                cached_names.insert(name, number);
            }
        }
        let names: BTreeSet<String> =
            cached_names.keys().chain(durable_names.keys()).cloned().collect();
        for name in names {
            let (cached, durable) = (cached_names.get(&name), durable_names.get(&name));
            if cached != durable && dice.chance(50) {
                match cached.copied() {
                    Some(number) => drop(durable_names.insert(name, number)),
                    None => drop(durable_names.remove(&name)),
                }
            }
        }
        *cached_names = durable_names.clone();
    }

    /// Some bit of some file is not what it was.
    pub fn rot(&mut self) -> bool {
        let names: Vec<Number> = self.cached_names.values().copied().collect();
        if names.is_empty() {
            return false;
        }
        let number = self.dice.one_of(&names);
        let inode = self.inodes.get_mut(&number).expect("it has a name");
        if inode.cached.is_empty() {
            return false;
        }
        let bit = (self.dice.next() % (inode.cached.len() as u64 * 8)) as usize;
        inode.cached[bit / 8] ^= 1 << (bit % 8);
        if let Some(byte) = inode.durable.get_mut(bit / 8) {
            *byte = inode.cached[bit / 8];
        }
        true
    }

    /// This part of a file can't be read any more.
    pub fn spoil(&mut self, name: &str, bad: Range<usize>) {
        let number = self.cached_names[name];
        self.inodes.get_mut(&number).expect("it has a name").bad = bad;
    }

    pub fn oldest_segment(&self) -> Option<String> {
        self.cached_names.keys().find(|name| name.ends_with(".segment")).cloned()
    }

    pub fn segments(&self) -> usize {
        self.cached_names.keys().filter(|name| name.ends_with(".segment")).count()
    }
}

/// A frame that is right about whatever it says.
fn believe_frame(bytes: &mut [u8]) {
    if bytes.len() == FRAME_BYTES && bytes[..4] == MARKER {
        let check = SALT.checksum(0, &bytes[8..]).to_le_bytes();
        bytes[4..8].copy_from_slice(&check[..4]);
    }
}

/// A whole frame that is right about the body behind it, whatever that is.
fn believe_body(bytes: &mut [u8], file: &[u8]) {
    if bytes.len() != FRAME_BYTES {
        return;
    }
    let Some(frame) = Frame::decode(bytes, SALT) else { return };
    if let Some(payload) = file.get(FRAME_BYTES..frame.record_bytes()) {
        let check = SALT.checksum(frame.label.sequence.0, payload);
        bytes[40..48].copy_from_slice(&check.to_le_bytes());
        believe_frame(bytes);
    }
}

impl Disk for SimDisk {
    type File = Handle;

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::List, None)?;
        let length = |number| state.inodes[number].cached.len() as u64;
        Ok(state.cached_names.iter().map(|(name, it)| (name.clone(), length(it))).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<Handle> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Create, None)?;
        assert!(!state.cached_names.contains_key(name), "{name} is there already");
        let number = state.next;
        state.next += 1;
        let is_mark = name == MARK_FILE;
        state.inodes.insert(number, Inode { is_mark, ..Inode::default() });
        state.cached_names.insert(name.to_owned(), number);
        Ok(state.handle(number))
    }

    fn open(&mut self, name: &str) -> io::Result<Handle> {
        let mut state = self.0.borrow_mut();
        let number = state.cached_names.get(name).copied();
        state.strike(Act::Open, number)?;
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        Ok(state.handle(number))
    }

    fn allocate(&mut self, file: &Handle, bytes: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Allocate, Some(file.number))?;
        state.grow(file.number, bytes as usize)
    }

    fn read(&mut self, file: &Handle, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Read, Some(file.number))?;
        let offset = offset as usize;
        let inode = &state.inodes[&file.number];
        if offset < inode.bad.end && inode.bad.start < offset + bytes.len() {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let part = inode.cached.get(offset..offset + bytes.len());
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        match state.mutation {
            Mutation::TrustLength => believe_frame(bytes),
            Mutation::TrustBody => {
                believe_body(bytes, &state.inodes[&file.number].cached[offset..])
            }
            _ => {}
        }
        Ok(())
    }

    fn write_all(&mut self, file: &Handle, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = &parts.concat()[..];
        let mut state = self.0.borrow_mut();
        let is_mark = state.inodes[&file.number].is_mark;
        let offset = match state.mutation {
            Mutation::OneSlot if is_mark && bytes.len() == MARK_BYTES => 0,
            _ => offset as usize,
        };
        if state.mutation == Mutation::ForgetMark && is_mark && bytes.len() == MARK_BYTES {
            return Ok(());
        }
        if let Err(error) = state.strike(Act::Write, Some(file.number)) {
            let done = (state.dice.next() % (bytes.len() as u64 + 1)) as usize;
            if state.grow(file.number, offset + done).is_ok() {
                state.put(file.number, offset, &bytes[..done]);
            }
            let hidden = state.mutation == Mutation::HideWriteFault && !state.faults.is_crashed;
            return if hidden || state.seems_well(file.number) { Ok(()) } else { Err(error) };
        }
        state.grow(file.number, offset + bytes.len())?;
        state.put(file.number, offset, bytes);
        Ok(())
    }

    fn cut(&mut self, file: &Handle, bytes: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Cut, Some(file.number))?;
        let inode = state.inodes.get_mut(&file.number).expect("it is open");
        inode.cached.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self, file: &Handle) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.syncs += u64::from(!state.inodes[&file.number].is_mark);
        if let Err(error) = state.strike(Act::Sync, Some(file.number)) {
            if !state.faults.is_crashed {
                // It is taken for written, and is not.
                state.inodes.get_mut(&file.number).expect("it is open").dirty.clear();
                if state.mutation == Mutation::HideSyncFault || state.seems_well(file.number) {
                    return Ok(());
                }
            }
            return Err(error);
        }
        if state.mutation == Mutation::SkipSync {
            return Ok(());
        }
        let inode = state.inodes.get_mut(&file.number).expect("it is open");
        inode.durable.resize(inode.cached.len(), 0);
        for sector in std::mem::take(&mut inode.dirty) {
            let to = (sector * SECTOR + SECTOR).min(inode.cached.len());
            let from = (sector * SECTOR).min(to);
            inode.durable[from..to].copy_from_slice(&inode.cached[from..to]);
        }
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::SyncDirectory, None)?;
        if state.mutation != Mutation::SkipDirectorySync {
            state.durable_names = state.cached_names.clone();
            state.ways.clear();
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Rename, None)?;
        let number = state.cached_names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.cached_names.insert(to.to_owned(), number);
        state.renamed += 1;
        let before = state.ways.remove(from).unwrap_or_else(|| vec![from.to_owned()]);
        state.ways.insert(to.to_owned(), [before, vec![to.to_owned()]].concat());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.strike(Act::Remove, None)?;
        match state.cached_names.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
