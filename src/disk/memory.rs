//! A file layer in memory that loses what was not synced: for tests and the simulator.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::Files;

/// A folder in memory. Clones share it, as two processes would share a disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// What a running process sees.
    live: BTreeMap<String, Contents>,
    /// What names mean after a crash.
    durable: BTreeMap<String, u64>,
    /// What every file ever made holds after a crash.
    synced: BTreeMap<u64, Vec<u8>>,
    next: u64,
    /// Writes until the disk fails; `None` for never.
    budget: Option<u64>,
}

#[derive(Clone, Debug)]
struct Contents {
    inode: u64,
    bytes: Vec<u8>,
}

impl MemoryFiles {
    /// Lets `writes` more operations succeed; every one after that fails, the first of them half done.
    pub fn fail_after(&self, writes: u64) {
        self.disk().budget = Some(writes);
    }

    /// Lets all operations succeed again.
    pub fn repair(&self) {
        self.disk().budget = None;
    }

    /// Pulls the plug: what was not synced is gone, but for `torn` bytes of each file's unsynced tail.
    pub fn crash(&self, torn: usize) {
        let mut disk = self.disk();
        let mut after = BTreeMap::new();
        for (name, inode) in &disk.durable {
            let mut bytes = disk.synced.get(inode).cloned().unwrap_or_default();
            if let Some(live) = disk.live.values().find(|c| c.inode == *inode) {
                let tail = live.bytes.get(bytes.len()..).unwrap_or_default();
                bytes.extend_from_slice(&tail[..torn.min(tail.len())]);
            }
            after.insert(name.clone(), Contents { inode: *inode, bytes });
        }
        disk.synced = after.values().map(|c| (c.inode, c.bytes.clone())).collect();
        disk.live = after;
        disk.budget = None;
    }

    /// Flips all bits of one byte of a file, durably. Returns whether there was such a byte.
    pub fn damage(&self, name: &str, offset: usize) -> bool {
        let mut disk = self.disk();
        let Some(contents) = disk.live.get_mut(name) else { return false };
        let Some(byte) = contents.bytes.get_mut(offset) else { return false };
        *byte = !*byte;
        let (inode, bytes) = (contents.inode, contents.bytes.clone());
        disk.synced.insert(inode, bytes);
        true
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Takes one operation from the budget. `Err` when it is used up.
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.budget {
            Some(0) => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn contents(&mut self, name: &str) -> io::Result<&mut Contents> {
        self.live.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().live.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.disk().contents(name)?.bytes.clone())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let spent = disk.spend();
        if !disk.live.contains_key(name) {
            let inode = disk.next;
            disk.next += 1;
            disk.live.insert(name.to_owned(), Contents { inode, bytes: Vec::new() });
        }
        let written = if spent.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        disk.contents(name)?.bytes.extend_from_slice(written);
        spent
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        let Contents { inode, bytes } = disk.contents(name)?.clone();
        disk.synced.insert(inode, bytes);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        let contents = disk.contents(from)?.clone();
        disk.live.remove(from);
        disk.live.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        // Removing works on a full disk too.
        let _ = disk.spend();
        disk.contents(name)?;
        disk.live.remove(name);
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        disk.durable = disk.live.iter().map(|(name, c)| (name.clone(), c.inode)).collect();
        Ok(())
    }
}
