//! The file of the quorum registers, and the journal of what changed since it was written: a Lease that is renewed every
//! two seconds must not have all registers written each time.
//!
//! The file, sealed, holds all; it has a copy. Behind it comes a journal, which has a copy too: it begins with the
//! checksum of the file that it goes on from, then a frame a save. A frame's checksum goes over the one before, so that
//! frames count only in their order; reading ends at the first that is not whole, which is one that nobody was told
//! of, and of the two journals the longer one counts. Of a value that was there before a frame holds only what differs.
//!
//! A journal that has grown as large as the file, or in which a write has failed, is followed by a new file. An older
//! journal beside it goes on from another file, and is not read.

use std::borrow::Cow;

use minicbor::{Decode, Encode};

use crate::election::{self, Register, Registers, Stamp};

use super::files::{Files, remove_if_there};
use super::identity::{REGISTERS, REGISTERS_COPY, REGISTERS_LOG, REGISTERS_LOG_COPY, Registry};
use super::sealed::{self, SealError};

/// A journal of fewer bytes is gone on with, however small the file is.
const SMALL: usize = 64 << 10;
/// What goes before a frame's payload: its length and checksum.
const HEADER: usize = 8;

/// A register that has changed.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Edit {
    #[n(0)]
    key: String,
    #[n(1)]
    stamp: Stamp,
    /// How many bytes at the beginning and at the end of the value are as they were, or as they are of the register that
    /// is known to be in effect.
    #[n(2)]
    head: u64,
    #[n(3)]
    tail: u64,
    #[cbor(n(4), with = "minicbor::bytes")]
    middle: Vec<u8>,
}

/// One save.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
struct Save {
    #[n(0)]
    edits: Vec<Edit>,
    /// Up to which write what was not known to be in effect is known to be, before the edits.
    #[n(1)]
    known: Option<Stamp>,
}

/// What is on disk, and how to go on from there.
#[derive(Debug, Default)]
pub struct Ledger {
    durable: Registry,
    /// `None`: the file is to be written anew.
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    /// The checksum of its last frame, or of the file.
    last: u32,
    bytes: usize,
    most: usize,
}

impl Ledger {
    /// Takes up what the files hold; a new journal begins with the first save.
    pub fn new(durable: Registry) -> Self {
        Self { durable, journal: None }
    }

    /// Makes a registry durable.
    ///
    /// # Errors
    /// [`SealError::Io`]; call it again then.
    pub fn save(&mut self, files: &mut dyn Files, registry: &Registry) -> Result<(), SealError> {
        // Should anything fail, all is written anew.
        let journal = self.journal.take();
        let save = difference(&self.durable, registry);
        self.journal = Some(match (journal, save) {
            (Some(journal), Some(save)) if journal.bytes < journal.most => journal.append(files, &save)?,
            _ => begin(files, registry)?,
        });
        self.durable = registry.clone();
        Ok(())
    }
}

fn begin(files: &mut dyn Files, registry: &Registry) -> Result<Journal, SealError> {
    sealed::write(files, REGISTERS, registry)?;
    sealed::write(files, REGISTERS_COPY, registry)?;
    for name in [REGISTERS_LOG, REGISTERS_LOG_COPY] {
        remove_if_there(files, name).map_err(|error| SealError::Io { name: name.to_owned(), error })?;
    }
    let (last, size) = sealed::sum(files, REGISTERS)?.unwrap_or_default();
    Ok(Journal { last, bytes: 0, most: SMALL.max(size) })
}

impl Journal {
    fn append(self, files: &mut dyn Files, save: &Save) -> Result<Self, SealError> {
        let payload = minicbor::to_vec(save).expect("a vector takes any number of bytes");
        let sum = checksum(self.last, &payload);
        let mut bytes = if self.bytes == 0 { self.last.to_le_bytes().to_vec() } else { Vec::new() };
        bytes.extend(u32::try_from(payload.len()).expect("registers are bounded").to_le_bytes());
        bytes.extend(sum.to_le_bytes());
        bytes.extend(payload);
        for name in [REGISTERS_LOG, REGISTERS_LOG_COPY] {
            let mut written = files.append(name, &bytes).and_then(|()| files.sync(name));
            if self.bytes == 0 {
                written = written.and_then(|()| files.sync_folder());
            }
            written.map_err(|error| SealError::Io { name: name.to_owned(), error })?;
        }
        Ok(Self { last: sum, bytes: self.bytes + bytes.len(), ..self })
    }
}

fn checksum(before: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Says what has changed; `None` if a journal cannot: registers are gone, or the voters are others.
fn difference(before: &Registry, now: &Registry) -> Option<Save> {
    if before.voters != now.voters {
        return None;
    }
    let known = election::settled(&before.registers, &now.registers);
    let mut base = Cow::Borrowed(&before.registers);
    if let Some(known) = known {
        election::settle(base.to_mut(), known);
    }
    if base.keys().any(|key| !now.registers.contains_key(key)) {
        return None;
    }
    let changed = now.registers.iter().filter(|(key, register)| base.get(*key) != Some(register));
    let edits = changed.map(|(key, register)| edit(key, before_of(&base, key), register)).collect();
    Some(Save { edits, known })
}

/// Returns what a register said; one that is not known to be in effect goes on from what is.
fn before_of<'a>(registers: &'a Registers, key: &str) -> &'a [u8] {
    let settled = || registers.get(election::settled_name(key)?);
    registers.get(key).or_else(settled).map_or(&[][..], |register| &register.value)
}

fn edit(key: &str, old: &[u8], now: &Register) -> Edit {
    let new = &now.value;
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = new[head..new.len() - tail].to_vec();
    Edit { key: key.to_owned(), stamp: now.stamp, head: head as u64, tail: tail as u64, middle }
}

/// Reads the registers as they are with the journal; `None` if there is no file of that name.
///
/// # Errors
/// [`SealError`] if the file cannot be read or is damaged.
pub fn read(files: &(impl Files + ?Sized), name: &str) -> Result<Option<Registry>, SealError> {
    let Some(mut registry) = sealed::read::<Registry>(files, name)? else { return Ok(None) };
    let Some((sum, _)) = sealed::sum(files, name)? else { return Ok(None) };
    let journals = [REGISTERS_LOG, REGISTERS_LOG_COPY].map(|name| files.read(name).unwrap_or_default());
    let saves = journals.iter().map(|journal| saves(journal, sum)).max_by_key(Vec::len).unwrap_or_default();
    for Save { edits, known } in saves {
        if let Some(known) = known {
            election::settle(&mut registry.registers, known);
        }
        if !edits.into_iter().all(|edit| apply(&mut registry.registers, edit)) {
            break;
        }
    }
    Ok(Some(registry))
}

/// Reads a journal as one that goes on from an empty file, each of its checksums made right, so that a fuzzer gets behind
/// them. Returns how many saves it has.
#[doc(hidden)]
pub fn fuzz(payloads: &[u8]) -> usize {
    let mut files = super::memory::MemoryFiles::default();
    let mut ledger = Ledger::new(Registry::default());
    ledger.save(&mut files, &Registry::default()).expect("memory can be written");
    let Ok(Some((sum, _))) = sealed::sum(&files, REGISTERS) else { return 0 };
    let (mut journal, mut last, mut rest) = (sum.to_le_bytes().to_vec(), sum, payloads);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (payload, behind) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
        last = checksum(last, payload);
        journal.extend(u32::try_from(payload.len()).expect("two bytes").to_le_bytes());
        journal.extend(last.to_le_bytes());
        journal.extend(payload);
        rest = behind;
    }
    files.append(REGISTERS_LOG, &journal).expect("memory can be written");
    files.append(REGISTERS_LOG_COPY, payloads).expect("memory can be written");
    assert!(matches!(read(&files, REGISTERS), Ok(Some(_))), "a journal never costs the file");
    saves(&journal, sum).len()
}

/// Reads the saves of a journal that goes on from the file of that checksum.
fn saves(journal: &[u8], sum: u32) -> Vec<Save> {
    let (mut saves, mut last) = (Vec::new(), sum);
    let Some(mut rest) = journal.strip_prefix(&sum.to_le_bytes()[..]) else { return saves };
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    while let Some((header, behind)) = rest.split_at_checked(HEADER) {
        let length = usize::try_from(word(&header[..4])).unwrap_or(usize::MAX);
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        let found = word(&header[4..]);
        let save = (checksum(last, payload) == found).then(|| minicbor::decode::<Save>(payload).ok()).flatten();
        let Some(save) = save else { break };
        saves.push(save);
        (last, rest) = (found, behind);
    }
    saves
}

fn apply(registers: &mut Registers, edit: Edit) -> bool {
    let old = before_of(registers, &edit.key);
    let (Ok(head), Ok(tail)) = (usize::try_from(edit.head), usize::try_from(edit.tail)) else { return false };
    if head.checked_add(tail).is_none_or(|kept| kept > old.len()) {
        return false;
    }
    let value = [&old[..head], &edit.middle, &old[old.len() - tail..]].concat();
    registers.insert(edit.key, Register { stamp: edit.stamp, value });
    true
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFiles;
    use super::*;
    use crate::election::Voters;
    use crate::ids::{NodeId, Term};

    fn register(seq: u64, value: &str) -> Register {
        Register { stamp: Stamp { term: Term(3), seq }, value: value.into() }
    }

    fn lease(n: u64) -> Register {
        let time = format!("2027-01-15T{:02}:{:02}:{:02}.{:06}Z", n / 1_800 % 24, n / 30 % 60, n * 2 % 60, n);
        let text = format!(
            r#"{{"metadata":{{"name":"operator","namespace":"default","uid":"7c5e0f0e-6a53-4a3c-9a39-1d0a3a7f9c11"}},"spec":{{"holderIdentity":"operator-7d4b9c6f5-x2x4v","leaseDurationSeconds":15,"renewTime":"{time}"}}}}"#
        );
        register(n, &text)
    }

    /// Three members, and a Lease renewed for the `n`th time.
    fn registry(n: u64) -> Registry {
        let members = (0..3).map(|m| (format!("member/{}", "ab".repeat(32 - m)), register(0, &"r".repeat(400))));
        let voters = Voters { term: Term(3), version: 1, members: [NodeId([1; 32])].into(), ..Voters::default() };
        let lease = [("lease/default/operator".to_owned(), lease(n))];
        Registry { voters, registers: members.chain(lease).collect() }
    }

    fn found(files: &MemoryFiles) -> Option<Registry> {
        read(files, REGISTERS).expect("is whole")
    }

    #[test]
    fn what_the_fuzz_target_is_given_is_read() {
        let save = Save { edits: vec![edit("a", &[], &register(1, "abc"))], known: Some(Stamp::default()) };
        let payload = minicbor::to_vec(save).expect("a vector takes it");
        let frame = [&u16::try_from(payload.len()).expect("short").to_le_bytes()[..], &payload].concat();
        assert_eq!(fuzz(&[&frame[..], &frame, b"\x05\x00nodes"].concat()), 2);
        assert_eq!((fuzz(b""), fuzz(b"\xff\xffx")), (0, 0));
    }

    #[test]
    fn a_lease_renewed_every_two_seconds_for_a_day_writes_under_10_mb() {
        let mut files = MemoryFiles::default();
        let mut ledger = Ledger::new(Registry::default());
        ledger.save(&mut files, &registry(0)).expect("writes");
        let before = files.written();
        for n in 1..=43_200 {
            ledger.save(&mut files, &registry(n)).expect("writes");
        }
        let written = files.written() - before;
        println!("a Lease renewed for a day: {written} bytes, {} each", written / 43_200);
        assert!(written < 10_000_000, "{written} bytes");
        assert_eq!(found(&files), Some(registry(43_200)));
    }

    #[test]
    fn what_was_saved_survives_a_crash_at_any_operation() {
        let run = |files: &mut MemoryFiles| -> Option<u64> {
            let mut ledger = Ledger::new(Registry::default());
            let mut last = None;
            for n in 0..6 {
                let mut registry = registry(n);
                // Once the voters change, and once a register goes.
                registry.voters.version += u64::from(n >= 3);
                if n >= 4 {
                    registry.registers.pop_last();
                }
                if ledger.save(files, &registry).is_err() {
                    break;
                }
                last = Some(n);
            }
            last
        };
        let mut whole = MemoryFiles::default();
        run(&mut whole);
        for torn in [0, 1, 40, 1_000] {
            for at in 0..whole.operations() {
                let mut files = MemoryFiles::default();
                files.die_at(at);
                let last = run(&mut files);
                for names in [0, u64::MAX] {
                    let files = files.copy();
                    files.crash_with(names, |_| super::super::memory::Tail::Kept(torn));
                    let both = [REGISTERS, REGISTERS_COPY].map(|name| read(&files, name).ok().flatten());
                    let seen = both.into_iter().flatten().next();
                    let stamp = |registry: &Registry| registry.registers["lease/default/operator"].stamp.seq;
                    let seen = seen.as_ref().map(stamp);
                    assert!(seen >= last && seen <= last.map_or(Some(0), |n| Some(n + 1)), "{at}: {seen:?}, {last:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_pending_and_what_is_known_survive_a_crash_at_any_operation() {
        // As a voter saves renewals: the newest pending, those before it known.
        let voter = |n: u64| -> Registry {
            let mut registry = registry(n.saturating_sub(1));
            registry.registers.insert("~".into(), Register { stamp: Stamp::default(), value: Vec::new() });
            if !n.is_multiple_of(4) {
                registry.registers.insert("~lease/default/operator".into(), lease(n));
            }
            registry
        };
        let run = |files: &mut MemoryFiles| -> Option<u64> {
            let mut ledger = Ledger::default();
            (0..9).take_while(|n| ledger.save(files, &voter(*n)).is_ok()).last()
        };
        let mut whole = MemoryFiles::default();
        assert_eq!(run(&mut whole), Some(8));
        assert_eq!(found(&whole), Some(voter(8)));
        for at in 0..whole.operations() {
            let mut files = MemoryFiles::default();
            files.die_at(at);
            let last = run(&mut files);
            files.crash(0);
            let both = [REGISTERS, REGISTERS_COPY].map(|name| read(&files, name).ok().flatten());
            let seen = both.into_iter().flatten().next();
            let next = last.map_or(0, |n| n + 1);
            let wanted = [last.map(voter), Some(voter(next))];
            assert!(wanted.contains(&seen), "{at}: {seen:?} after {last:?}");
        }
    }

    #[test]
    fn a_flipped_byte_of_either_journal_loses_nothing_and_neither_does_a_lost_file() {
        let mut files = MemoryFiles::default();
        let mut ledger = Ledger::new(Registry::default());
        for n in 0..4 {
            ledger.save(&mut files, &registry(n)).expect("writes");
        }
        for name in [REGISTERS_LOG, REGISTERS_LOG_COPY] {
            for offset in 0..files.read(name).expect("is there").len() {
                files.damage(name, offset);
                assert_eq!(found(&files), Some(registry(3)), "{name} at {offset}");
                files.damage(name, offset);
            }
        }
        files.remove(REGISTERS_LOG).expect("is there");
        assert_eq!(found(&files), Some(registry(3)));
        files.damage(REGISTERS, 100);
        assert_eq!(read(&files, REGISTERS_COPY).expect("is whole"), Some(registry(3)));
    }

    #[test]
    fn after_a_write_that_failed_all_is_written_anew() {
        let mut files = MemoryFiles::default();
        let mut ledger = Ledger::new(Registry::default());
        ledger.save(&mut files, &registry(0)).expect("writes");
        for failing in 0..8 {
            files.fail_at(files.operations() + failing);
            let n = failing + 1;
            while ledger.save(&mut files, &registry(n)).is_err() {}
            files.repair();
            let after = files.copy();
            after.crash(0);
            assert_eq!(found(&after), Some(registry(n)), "the {failing}th operation fails");
        }
    }
}
