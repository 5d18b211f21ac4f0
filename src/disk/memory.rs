//! A file layer in memory that loses what was not synced: for tests and the simulator.
//!
//! The model is as hard as POSIX allows: contents count from [`Files::sync`] on, names from [`Files::sync_folder`] on;
//! before that any of the changes to names may be there after a crash and any other may not, and of a file's unsynced tail any
//! piece. A sync that fails loses the tail for good, whatever later ones say.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::Files;

/// A folder in memory. Clones share it, as two processes would share a disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    /// What names mean to a running process.
    live: BTreeMap<String, u64>,
    /// What names mean after a crash.
    durable: BTreeMap<String, u64>,
    /// Changes to names since the folder was synced.
    renames: Vec<Renamed>,
    /// Every file ever made.
    files: BTreeMap<u64, Contents>,
    next: u64,
    /// Writes until the disk fails; `None` for never.
    budget: Option<u64>,
    /// The one operation that fails.
    failing: Option<u64>,
    /// How many operations succeed at all; what comes later changes nothing.
    life: Option<u64>,
    /// How many operations there were.
    done: u64,
    /// How many bytes were appended.
    written: u64,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// What a running process reads.
    live: Vec<u8>,
    /// What is there after a crash.
    synced: Vec<u8>,
}

/// One change to a name: it means this file from now on, or none.
#[derive(Clone, Debug)]
enum Renamed {
    Made(String, u64),
    Moved(String, String, u64),
    Removed(String),
}

/// What is there after a crash of a file's unsynced tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Its first so many bytes.
    Kept(usize),
    /// All of it but its first so many bytes, which are nought: later blocks reached the disk before earlier ones.
    Hole(usize),
}

impl MemoryFiles {
    /// Lets `writes` more operations succeed; every one after that fails, the first of them half done.
    pub fn fail_after(&self, writes: u64) {
        self.disk().budget = Some(writes);
    }

    /// Lets only the operation of this number fail, counted from 0.
    pub fn fail_at(&self, number: u64) {
        self.disk().failing = Some(number);
    }

    /// Ends the process after so many operations: none that comes later changes anything.
    pub fn die_at(&self, number: u64) {
        self.disk().life = Some(number);
    }

    /// Lets all operations succeed again.
    pub fn repair(&self) {
        let mut disk = self.disk();
        (disk.budget, disk.failing, disk.life) = (None, None, None);
    }

    /// Returns how many operations there were.
    pub fn operations(&self) -> u64 {
        self.disk().done
    }

    /// Returns how many bytes were ever appended.
    pub fn written(&self) -> u64 {
        self.disk().written
    }

    /// Copies the folder as it is: changes to one are not seen in the other.
    pub fn copy(&self) -> Self {
        Self { disk: Arc::new(Mutex::new(self.disk().clone())) }
    }

    /// Returns how many changes to names are not durable.
    pub fn unsynced_names(&self) -> usize {
        self.disk().renames.len()
    }

    /// Returns the length of the longest tail that is not durable.
    pub fn longest_tail(&self) -> usize {
        self.disk().files.values().map(|c| c.live.len().saturating_sub(c.synced.len())).max().unwrap_or_default()
    }

    /// Pulls the plug: what was not synced is gone, but for `torn` bytes of each file's unsynced tail.
    pub fn crash(&self, torn: usize) {
        self.crash_with(0, |_| Tail::Kept(torn));
    }

    /// Pulls the plug. Of the changes to names that were not durable those are there whose bit is set in `names`, in order;
    /// of each file's unsynced tail, `tail` of its name.
    pub fn crash_with(&self, names: u64, tail: impl Fn(&str) -> Tail) {
        let mut disk = self.disk();
        let renames = std::mem::take(&mut disk.renames);
        for (number, change) in renames.into_iter().enumerate() {
            if number < 64 && names >> number & 1 == 1 {
                change.apply(&mut disk.durable);
            }
        }
        let after = disk.durable.clone();
        let mut files = std::mem::take(&mut disk.files);
        files.retain(|inode, _| after.values().any(|named| named == inode));
        for (name, inode) in &after {
            let Some(contents) = files.get_mut(inode) else { continue };
            contents.crash(tail(name));
        }
        disk.files = files;
        disk.live = after;
        (disk.budget, disk.failing, disk.life) = (None, None, None);
    }

    /// Flips all bits of one byte of a file, durably. Returns whether there was such a byte.
    pub fn damage(&self, name: &str, offset: usize) -> bool {
        self.change(name, |bytes| bytes.get_mut(offset).map(|byte| *byte = !*byte).is_some())
    }

    /// Cuts a file off, durably. Returns whether it was longer.
    pub fn truncate(&self, name: &str, length: usize) -> bool {
        self.change(name, |bytes| {
            let longer = bytes.len() > length;
            bytes.truncate(length);
            longer
        })
    }

    fn change(&self, name: &str, how: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let mut disk = self.disk();
        let Some(inode) = disk.live.get(name).copied() else { return false };
        let Some(contents) = disk.files.get_mut(&inode) else { return false };
        let changed = how(&mut contents.live);
        contents.synced = contents.live.clone();
        changed
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn crash(&mut self, tail: Tail) {
        let unsynced = self.live.get(self.synced.len()..).unwrap_or_default();
        match tail {
            Tail::Kept(torn) => self.synced.extend_from_slice(&unsynced[..torn.min(unsynced.len())]),
            Tail::Hole(hole) => {
                let hole = hole.min(unsynced.len());
                self.synced.resize(self.synced.len() + hole, 0);
                self.synced.extend_from_slice(&unsynced[hole..]);
            }
        }
        self.live = self.synced.clone();
    }
}

impl Renamed {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Made(name, inode) => drop(names.insert(name, inode)),
            Self::Moved(from, to, inode) => {
                if names.get(&from) == Some(&inode) {
                    names.remove(&from);
                }
                names.insert(to, inode);
            }
            Self::Removed(name) => drop(names.remove(&name)),
        }
    }
}

impl Disk {
    /// Takes one operation from the budget. `Err` when it is to fail; the second says whether it changes anything.
    fn spend(&mut self) -> (io::Result<()>, bool) {
        let number = self.done;
        self.done += 1;
        let full = || Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        if self.life.is_some_and(|life| number >= life) {
            return (full(), false);
        }
        if self.failing == Some(number) {
            return (full(), true);
        }
        match &mut self.budget {
            Some(0) => (full(), true),
            Some(left) => {
                *left -= 1;
                (Ok(()), true)
            }
            None => (Ok(()), true),
        }
    }

    fn named(&mut self, name: &str) -> io::Result<&mut Contents> {
        let inode = self.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.get_mut(inode).expect("every name has its file"))
    }

    fn rename(&mut self, change: Renamed) {
        change.clone().apply(&mut self.live);
        self.renames.push(change);
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().live.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.disk().named(name)?.live.clone())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let (spent, counts) = disk.spend();
        if !counts {
            return spent;
        }
        if !disk.live.contains_key(name) {
            let inode = disk.next;
            disk.next += 1;
            disk.files.insert(inode, Contents::default());
            disk.rename(Renamed::Made(name.to_owned(), inode));
        }
        let written = if spent.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        disk.written += written.len() as u64;
        disk.named(name)?.live.extend_from_slice(written);
        spent
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let (spent, counts) = disk.spend();
        let contents = disk.named(name)?;
        match (&spent, counts) {
            (_, false) => {}
            (Ok(()), true) => {
                let from = contents.synced.len();
                contents.synced.extend_from_slice(&contents.live[from..]);
            }
            // The kernel takes the pages for clean from now on: they never reach the disk.
            (Err(_), true) => contents.synced.resize(contents.live.len(), 0),
        }
        spent
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend().0?;
        let inode = *disk.live.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.rename(Renamed::Moved(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        // Removing works on a full disk too.
        if !disk.spend().1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.named(name)?;
        disk.rename(Renamed::Removed(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend().0?;
        disk.durable = disk.live.clone();
        disk.renames.clear();
        Ok(())
    }
}
