//! What a Lease's quorum register says, and what is asked of the leader about it.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::election::{MAX_KEY, OVERHEAD, Registers, Stamp};
use crate::ids::{Term, Uid};
use crate::object::{Key, json, kinds};

/// Begins the names of the registers that are Leases.
pub const REGISTERS: &str = "lease/";
/// How many bytes a Lease may have, as JSON.
pub const MAX_LEASE: usize = 16 * 1024;
/// How many bytes all Leases may take of what registers may have together: membership never wants for room.
pub const MAX_LEASES: usize = crate::election::MAX_ALL / 2;
/// What a record may have beside the object.
const FRAME: usize = 128;

/// One Lease, as its register says it. What changes at a renewal is side by side, for the journal's sake.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// The object without a resourceVersion: JSON.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub object: Vec<u8>,
    /// Counts this object's writes from 1. With the uid it tells what a node has shown: a register's own stamp would
    /// be another after each take-over.
    #[n(1)]
    pub version: u64,
    /// The uid of its namespace.
    #[n(2)]
    pub home: Option<ByteVec>,
}

/// Names one state of one Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub uid: Uid,
    /// Which of its writes.
    pub number: u64,
}

/// What the leader is asked to decide of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// The register's name.
    pub register: String,
    /// What it must say as yet; `None`: nothing.
    pub expected: Option<Version>,
    /// What it shall say: a record; `None`: nothing any more.
    pub record: Option<Vec<u8>>,
}

/// Why the leader has not decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The register says something else.
    Stale,
    /// Who was asked does not lead, or has too much to do. Nothing was done.
    NotLeader,
    /// There is no room for it.
    NoRoom,
    /// It may have been decided or not.
    Unknown,
    /// It makes no sense.
    Malformed,
}

impl Record {
    /// Makes the record of an object.
    pub fn new(object: &Value, version: u64, home: Option<Uid>) -> Self {
        Self { object: json::write(object), version, home: home.map(|uid| uid.0.to_vec().into()) }
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes any number of bytes")
    }

    /// Reads a record and the object in it; `None` if it is none.
    pub fn read(bytes: &[u8]) -> Option<(Self, Value)> {
        let record: Self = minicbor::decode(bytes).ok()?;
        let object: Value = serde_json::from_slice(&record.object).ok()?;
        uid_of(&object)?;
        key_of(&object)?;
        Some((record, object))
    }

    /// Returns the namespace's uid.
    pub fn home(&self) -> Option<Uid> {
        Some(Uid(self.home.as_ref()?.as_slice().try_into().ok()?))
    }
}

/// Returns the uid of an object.
pub fn uid_of(object: &Value) -> Option<Uid> {
    object["metadata"]["uid"].as_str()?.parse().ok()
}

/// Returns where the Lease in a record lives.
pub fn key_of(object: &Value) -> Option<Key> {
    let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
    Some(Key::new(&kinds::LEASE, text("namespace")?, text("name")?))
}

/// Returns the register of a Lease. A name too long for one is told by its hash: `~` is in no name.
pub fn register_of(key: &Key) -> String {
    let plain = format!("{REGISTERS}{}/{}", key.namespace, key.name);
    if plain.len() <= MAX_KEY {
        return plain;
    }
    format!("{REGISTERS}{}/~{}", key.namespace, hex::encode(Sha256::digest(&key.name)))
}

/// Returns which state of which Lease a register's value is; `None` if it says nothing, or nothing that can be read.
pub fn version_of(value: &[u8]) -> Option<Version> {
    let (record, object) = Record::read(value)?;
    Some(Version { uid: uid_of(&object)?, number: record.version })
}

/// Returns how many bytes all Leases take but the one of that register.
pub fn taken(registers: &Registers, but: &str) -> usize {
    let leases = registers.range(REGISTERS.to_owned()..).take_while(|(key, _)| key.starts_with(REGISTERS));
    leases.filter(|(key, _)| *key != but).map(|(key, register)| size(key, register.value.len())).sum()
}

/// Returns how many bytes a Lease takes.
pub fn size(register: &str, record: usize) -> usize {
    OVERHEAD + register.len() + record
}

impl LeaseWrite {
    /// Tells whether it is what a node of this kind would ask: it came from a peer.
    pub fn is_sound(&self) -> bool {
        let Some(bytes) = &self.record else { return self.expected.is_some() && self.register.starts_with(REGISTERS) };
        if bytes.len() > MAX_LEASE + FRAME {
            return false;
        }
        let Some((record, object)) = Record::read(bytes) else { return false };
        let named = key_of(&object).map(|key| register_of(&key)) == Some(self.register.clone());
        let follows = match self.expected {
            None => record.version == 1,
            Some(version) => Some(version.uid) == uid_of(&object) && record.version == version.number.saturating_add(1),
        };
        named && follows
    }
}

/// The wire forms; numbers are never used again.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Asked {
    #[n(0)]
    id: u64,
    #[n(1)]
    register: String,
    #[n(2)]
    uid: Option<ByteVec>,
    #[n(3)]
    number: u64,
    #[n(4)]
    record: Option<ByteVec>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Answered {
    #[n(0)]
    id: u64,
    /// 0: decided; else why not.
    #[n(1)]
    refusal: u8,
    #[n(2)]
    term: u64,
    #[n(3)]
    seq: u64,
}

/// Writes what is asked of the leader.
pub fn write_asked(id: u64, write: &LeaseWrite) -> Vec<u8> {
    let asked = Asked {
        id,
        register: write.register.clone(),
        uid: write.expected.map(|version| version.uid.0.to_vec().into()),
        number: write.expected.map_or(0, |version| version.number),
        record: write.record.clone().map(ByteVec::from),
    };
    minicbor::to_vec(asked).expect("a vector takes any number of bytes")
}

/// Reads it.
///
/// # Errors
/// If it is something else.
pub fn read_asked(bytes: &[u8]) -> Result<(u64, LeaseWrite), minicbor::decode::Error> {
    let asked: Asked = minicbor::decode(bytes)?;
    let uid = asked.uid.map(|uid| uid.as_slice().try_into().map(Uid)).transpose();
    let uid = uid.map_err(|_| minicbor::decode::Error::message("a uid has 16 bytes"))?;
    let expected = uid.map(|uid| Version { uid, number: asked.number });
    Ok((asked.id, LeaseWrite { register: asked.register, expected, record: asked.record.map(Vec::from) }))
}

/// Writes the leader's answer.
pub fn write_answered(id: u64, answer: Result<Stamp, Refusal>) -> Vec<u8> {
    let refusal = match answer {
        Ok(_) => 0,
        Err(Refusal::Stale) => 1,
        Err(Refusal::NotLeader) => 2,
        Err(Refusal::NoRoom) => 3,
        Err(Refusal::Unknown) => 4,
        Err(Refusal::Malformed) => 5,
    };
    let Stamp { term, seq } = answer.unwrap_or_default();
    minicbor::to_vec(Answered { id, refusal, term: term.0, seq }).expect("a vector takes any number of bytes")
}

/// Reads it.
///
/// # Errors
/// If it is something else.
pub fn read_answered(bytes: &[u8]) -> Result<(u64, Result<Stamp, Refusal>), minicbor::decode::Error> {
    let Answered { id, refusal, term, seq } = minicbor::decode(bytes)?;
    let answer = match refusal {
        0 => Ok(Stamp { term: Term(term), seq }),
        1 => Err(Refusal::Stale),
        2 => Err(Refusal::NotLeader),
        3 => Err(Refusal::NoRoom),
        5 => Err(Refusal::Malformed),
        // What a newer leader says may mean anything.
        _ => Err(Refusal::Unknown),
    };
    Ok((id, answer))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
