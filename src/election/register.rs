//! Quorum registers, and how a node keeps them.
//!
//! A leader's writes are numbered, and the set of all registers after its write (term, seq) is a *state*, named by
//! that stamp. A voter's registers are always exactly one such state: it takes writes without a gap, and the first it
//! takes of a term is the whole set. So what a voter has is told by one stamp, and the newest state among a majority
//! holds all that was ever in effect, and nothing that an earlier leader of a newer term had passed over. (Were
//! registers taken one by one, the newest of each, a write that never came into effect could rise again after a
//! leader has decided on the ground that it was not there.)

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::Term;

use super::wire;

/// How many bytes a register's key may have.
pub const MAX_KEY: usize = 256;
/// How many bytes a register's value may have.
pub const MAX_VALUE: usize = 64 * 1024;
/// How many bytes all registers may have together, counting [`OVERHEAD`] for each: they travel in one message.
pub const MAX_ALL: usize = 1024 * 1024;
/// What a register costs beside its key and value.
pub const OVERHEAD: usize = 64;

/// The register that a leader writes last when it takes over. Its stamp names the state even where there is no other.
const TAKE_OVER: &str = "";
/// Begins the names under which the disk has registers that are not known to be in effect.
const PENDING: &str = "~";

/// When a register was written: compares as (term, seq).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Stamp {
    /// The leader's term.
    #[cbor(n(0), with = "wire::term")]
    pub term: Term,
    /// Its number among the leader's writes, from 1.
    #[n(1)]
    pub seq: u64,
}

/// One quorum register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Register {
    /// When it was written.
    #[n(0)]
    pub stamp: Stamp,
    /// What it says; opaque here.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// Quorum registers by name, such as `member/<node id>`.
pub type Registers = BTreeMap<String, Register>;

/// Tells whether a proposal may have this key: 1 to [`MAX_KEY`] bytes, not beginning with `~`, which is the room's own.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY && !key.starts_with(PENDING)
}

/// Returns how much of [`MAX_ALL`] registers take.
pub(super) fn size(registers: &Registers) -> usize {
    registers.iter().map(|(key, register)| OVERHEAD + key.len() + register.value.len()).sum()
}

/// What a node holds: the newest state it has taken, and what of it is in effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    /// The state, in effect or not.
    all: Registers,
    /// Its name.
    stamp: Stamp,
    /// What is known to be in effect.
    committed: Registers,
    /// Up to which write that is applied.
    known: Stamp,
}

/// What a node has learnt to be in effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Learnt {
    /// What says something that was not in effect before; empty values for what is no more.
    pub new: Registers,
    /// Whether there is more in it than other values of registers that were in effect before.
    pub is_first: bool,
}

impl Holding {
    /// Reads what [`Holding::to_disk`] wrote, or what a founder or joiner was given: all of that is in effect.
    pub fn of_disk(disk: Registers) -> Self {
        let mut holding = Self::default();
        let mut pending = Registers::new();
        for (name, register) in disk {
            match name.strip_prefix(PENDING) {
                Some(key) => pending.insert(key.to_owned(), register),
                None => holding.committed.insert(name, register),
            };
        }
        holding.all = holding.committed.clone();
        holding.all.extend(pending);
        holding.stamp = newest(&holding.all);
        holding
    }

    /// Returns what the disk shall have: what is in effect under its own name, and what is not known to be, apart. So
    /// a node that starts again shows at once what was in effect, and nothing else.
    pub fn to_disk(&self) -> Registers {
        let mut disk = self.committed.clone();
        for (key, register) in &self.all {
            if self.committed.get(key) != Some(register) {
                disk.insert(format!("{PENDING}{key}"), register.clone());
            }
        }
        // What the new leader has forgotten must not be part of the state again after a restart.
        let stamp = self.all.get(TAKE_OVER).map(|register| register.stamp).unwrap_or_default();
        for key in self.committed.keys().filter(|key| !self.all.contains_key(*key)) {
            disk.insert(format!("{PENDING}{key}"), Register { stamp, value: Vec::new() });
        }
        disk
    }

    pub fn all(&self) -> &Registers {
        &self.all
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub fn committed(&self) -> &Registers {
        &self.committed
    }

    /// Returns up to which write of a term it has all, 0 if it has no state of that term.
    pub fn seq(&self, term: Term) -> u64 {
        if self.stamp.term == term { self.stamp.seq } else { 0 }
    }

    /// Takes a whole state in place of its own.
    pub fn replace(&mut self, registers: Registers) {
        self.stamp = newest(&registers);
        self.all = registers;
    }

    /// Makes what is in effect no state of any leader, in a cluster that begins anew.
    pub fn begin_anew(&mut self) {
        for register in self.committed.values_mut() {
            register.stamp = Stamp::default();
        }
        *self = Self { all: self.committed.clone(), committed: std::mem::take(&mut self.committed), ..Self::default() };
    }

    /// Keeps a register that no leader has written.
    pub fn note(&mut self, key: &str, value: Vec<u8>) {
        let register = Register { stamp: Stamp::default(), value };
        self.all.insert(key.to_owned(), register.clone());
        self.committed.insert(key.to_owned(), register);
    }

    /// Takes the writes that lead from its own state to a newer one of the same term.
    pub fn extend(&mut self, registers: Registers) {
        self.stamp = self.stamp.max(newest(&registers));
        self.all.extend(registers);
    }

    /// Returns up to which write all is in effect, as far as it knows.
    pub fn known(&self) -> Stamp {
        self.known
    }

    /// Re-stamps all registers in a new leader's term, the take-over register last, and returns the writes in order.
    /// An empty value says as much as no register, and is left out.
    pub fn restamp(&mut self, term: Term) -> Vec<(String, Register)> {
        let all = std::mem::take(&mut self.all);
        let values = all
            .into_iter()
            .filter(|(_, register)| !register.value.is_empty())
            .map(|(key, register)| (key, register.value));
        let last = (TAKE_OVER.to_owned(), Vec::new());
        let writes: Vec<_> = values
            .chain([last])
            .zip(1..)
            .map(|((key, value), seq)| (key, Register { stamp: Stamp { term, seq }, value }))
            .collect();
        self.replace(writes.iter().cloned().collect());
        writes
    }

    /// Returns the writes of its state after `seq`.
    pub fn after(&self, seq: u64) -> Registers {
        let newer = self.all.iter().filter(|(_, register)| register.stamp.seq > seq);
        newer.map(|(key, register)| (key.clone(), register.clone())).collect()
    }

    /// Puts a write of its state in effect, as [`Learnt`] tells.
    fn commit(&mut self, key: &str, register: &Register, learnt: &mut Learnt) {
        if key == TAKE_OVER {
            return self.forget(register.stamp, learnt);
        }
        let before = self.committed.insert(key.to_owned(), register.clone());
        learnt.is_first |= before.is_none();
        if before.is_none_or(|before| before.value != register.value) || learnt.new.contains_key(key) {
            learnt.new.insert(key.to_owned(), register.clone());
        }
    }

    /// The leader has taken over: what it has left out is no more.
    fn forget(&mut self, stamp: Stamp, learnt: &mut Learnt) {
        let all = &self.all;
        for (key, register) in self.committed.extract_if(.., |key, _| !all.contains_key(key)) {
            learnt.is_first = true;
            if !register.value.is_empty() {
                learnt.new.insert(key, Register { stamp, value: Vec::new() });
            }
        }
    }

    /// Puts the leader's own writes in effect, in order.
    pub fn put_in_effect<'a>(
        &mut self,
        known: Stamp,
        writes: impl IntoIterator<Item = (&'a str, &'a Register)>,
    ) -> Learnt {
        let mut learnt = Learnt::default();
        for (key, register) in writes {
            self.commit(key, register, &mut learnt);
        }
        self.known = self.known.max(known);
        learnt
    }

    /// Learns that all writes of its own state's term up to `seq` are in effect, as far as it has them. Returns what
    /// says something that was not in effect before, or nothing if it knew already.
    pub fn learn(&mut self, seq: u64) -> Option<Learnt> {
        let known = Stamp { term: self.stamp.term, seq: seq.min(self.stamp.seq) };
        if known <= self.known || known.seq == 0 {
            return None;
        }
        self.known = known;
        let covered = |register: &Register| register.stamp.term == known.term && register.stamp <= known;
        let covered: Registers = self
            .all
            .iter()
            .filter(|(key, register)| covered(register) && self.committed.get(*key) != Some(*register))
            .map(|(key, register)| (key.clone(), register.clone()))
            .collect();
        let mut learnt = Learnt::default();
        for (key, register) in &covered {
            self.commit(key, register, &mut learnt);
        }
        Some(learnt)
    }
}

/// Moves what a disk has as not known to be in effect to where what is in effect is, up to a write: so that a journal
/// can say it in a word. `disk`: registers as [`super::Output::Save`] has them.
pub fn settle(disk: &mut Registers, known: Stamp) {
    // The take-over register says nothing, and stays where it is.
    let is_settled = |key: &str, register: &Register| {
        key.strip_prefix(PENDING).is_some_and(|key| key != TAKE_OVER) && register.stamp <= known
    };
    let settled = disk.extract_if(PENDING.to_owned().., |key, register| is_settled(key, register));
    let settled: Vec<_> = settled.map(|(key, register)| (key[PENDING.len()..].to_owned(), register)).collect();
    disk.extend(settled);
}

/// Returns the name that a register on disk has once it is known to be in effect, if it is not yet.
pub fn settled_name(name: &str) -> Option<&str> {
    name.strip_prefix(PENDING)
}

/// Returns up to which write what the disk had as not known to be in effect (`before`) is known to be (`now`).
pub fn settled(before: &Registers, now: &Registers) -> Option<Stamp> {
    let pending =
        before.range(PENDING.to_owned()..).filter_map(|(key, register)| Some((key.strip_prefix(PENDING)?, register)));
    pending.filter(|(key, register)| now.get(*key) == Some(register)).map(|(_, register)| register.stamp).max()
}

/// Returns the stamp of the newest register.
pub(super) fn newest(registers: &Registers) -> Stamp {
    registers.values().map(|register| register.stamp).max().unwrap_or_default()
}
