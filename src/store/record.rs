//! Records: what is written to disk and sent to peers. One format for both.
//!
//! A record is a CBOR array of the envelope's bytes and its author's Ed25519 signature over exactly these bytes. The
//! raw bytes are kept and passed on, so that fields which this build does not know survive.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};

use crate::ids::{NodeId, Uid};
use crate::object::{Key, kinds};

/// The format's version. A record of a newer one is refused by name, never guessed at.
pub const VERSION: u8 = 1;
/// The largest record, in bytes. An object's bound lies below.
pub const RECORD_BYTES: usize = 2 << 20;
/// The largest object, in bytes of its JSON text, as upstream's storage has it.
pub const OBJECT_BYTES: usize = 3 << 19;

/// Why bytes are no good record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They are too many.
    #[error("a record of {0} bytes is larger than the bound of {RECORD_BYTES}")]
    TooLarge(usize),
    /// They are not understood.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// They are of a newer build.
    #[error("a record of version {0} is newer than this agent")]
    Version(u8),
    /// They were not signed by their author.
    #[error("the signature of a record by {0} is wrong")]
    Signature(NodeId),
}

/// A record, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who wrote it.
    pub author: NodeId,
    /// The author's count; grows with every record, over restarts too.
    pub seq: u64,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A change of an object's document.
    Change {
        /// Which object.
        about: About,
        /// The epoch of the document.
        epoch: u64,
        /// An uncompressed Automerge change.
        change: Vec<u8>,
    },
    /// A register's value.
    Register {
        /// Which object.
        about: About,
        /// Which register, by number.
        section: u8,
        /// Orders values: term and count for decisions, incarnation and count for observations.
        stamp: (u64, u64),
        /// The value: JSON.
        value: Vec<u8>,
    },
    /// The object is gone for good.
    Tombstone {
        /// Which object.
        about: About,
    },
    /// No resourceVersion above this one was shown by its author, in the incarnation that wrote it.
    Ceiling(u64),
    /// Something that a later build wrote; kept and passed on.
    Unknown,
}

/// Which object a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Where it lives.
    pub key: Key,
    /// Its uid.
    pub uid: Uid,
    /// Its turn: how many objects of derived uid had its place before it (rule 15).
    pub turn: u64,
}

#[derive(Encode, Decode)]
struct Outer {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    envelope: Vec<u8>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    signature: Vec<u8>,
}

#[derive(Default, Encode, Decode)]
#[cbor(map)]
struct Envelope {
    #[n(0)]
    version: u8,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    author: Vec<u8>,
    #[n(2)]
    seq: u64,
    #[n(3)]
    kind: u8,
    #[n(4)]
    epoch: u64,
    #[n(5)]
    group: Option<String>,
    #[n(6)]
    version_of_kind: Option<String>,
    #[n(7)]
    plural: Option<String>,
    #[n(8)]
    namespace: Option<String>,
    #[n(9)]
    name: Option<String>,
    #[n(10)]
    #[cbor(with = "minicbor::bytes")]
    uid: Option<Vec<u8>>,
    #[n(11)]
    turn: u64,
    #[n(12)]
    section: u8,
    #[n(13)]
    stamp: (u64, u64),
    #[n(14)]
    #[cbor(with = "minicbor::bytes")]
    value: Option<Vec<u8>>,
}

const CHANGE: u8 = 1;
const REGISTER: u8 = 2;
const TOMBSTONE: u8 = 3;
const CEILING: u8 = 4;

/// Writes and signs a record.
pub fn write(key: &SigningKey, seq: u64, body: &Body) -> Vec<u8> {
    let author = key.verifying_key().to_bytes().to_vec();
    let mut envelope = Envelope { version: VERSION, author, seq, ..Envelope::default() };
    match body {
        Body::Change { about, epoch, change } => {
            envelope.about(CHANGE, about);
            envelope.epoch = *epoch;
            envelope.value = Some(change.clone());
        }
        Body::Register { about, section, stamp, value } => {
            envelope.about(REGISTER, about);
            envelope.section = *section;
            envelope.stamp = *stamp;
            envelope.value = Some(value.clone());
        }
        Body::Tombstone { about } => envelope.about(TOMBSTONE, about),
        Body::Ceiling(ceiling) => {
            envelope.kind = CEILING;
            envelope.stamp = (*ceiling, 0);
        }
        Body::Unknown => unreachable!("only what is known is written"),
    }
    let envelope = minicbor::to_vec(&envelope).expect("writing to memory succeeds");
    let signature = key.sign(&envelope).to_bytes().to_vec();
    minicbor::to_vec(Outer { envelope, signature }).expect("writing to memory succeeds")
}

impl Envelope {
    fn about(&mut self, kind: u8, about: &About) {
        self.kind = kind;
        self.group = Some(about.key.kind.group.to_owned());
        self.version_of_kind = Some(about.key.kind.version.to_owned());
        self.plural = Some(about.key.kind.plural.to_owned());
        self.namespace = Some(about.key.namespace.clone());
        self.name = Some(about.key.name.clone());
        self.uid = Some(about.uid.0.to_vec());
        self.turn = about.turn;
    }
}

/// Reads a record without looking at its signature: for our own disk, whose frames are checked already.
///
/// # Errors
/// [`RecordError`] but for `Signature`.
pub fn read(bytes: &[u8]) -> Result<Record, RecordError> {
    let outer = outer(bytes)?;
    read_envelope(&outer.envelope)
}

/// Reads a peer's record and checks its signature.
///
/// # Errors
/// [`RecordError`].
pub fn verify(bytes: &[u8]) -> Result<Record, RecordError> {
    let outer = outer(bytes)?;
    let record = read_envelope(&outer.envelope)?;
    let wrong = || RecordError::Signature(record.author);
    let key = VerifyingKey::from_bytes(&record.author.0).map_err(|_| wrong())?;
    let signature = Signature::from_slice(&outer.signature).map_err(|_| wrong())?;
    key.verify_strict(&outer.envelope, &signature).map_err(|_| wrong())?;
    Ok(record)
}

fn outer(bytes: &[u8]) -> Result<Outer, RecordError> {
    if bytes.len() > RECORD_BYTES {
        return Err(RecordError::TooLarge(bytes.len()));
    }
    minicbor::decode(bytes).map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(error.to_string())
}

fn read_envelope(bytes: &[u8]) -> Result<Record, RecordError> {
    let envelope: Envelope = minicbor::decode(bytes).map_err(malformed)?;
    if envelope.version != VERSION {
        return Err(RecordError::Version(envelope.version));
    }
    let author = <[u8; 32]>::try_from(envelope.author.as_slice()).map_err(malformed)?;
    Ok(Record { author: NodeId(author), seq: envelope.seq, body: body(envelope)? })
}

fn body(envelope: Envelope) -> Result<Body, RecordError> {
    if envelope.kind == CEILING {
        return Ok(Body::Ceiling(envelope.stamp.0));
    }
    if ![CHANGE, REGISTER, TOMBSTONE].contains(&envelope.kind) {
        return Ok(Body::Unknown);
    }
    let Some(about) = about(&envelope)? else { return Ok(Body::Unknown) };
    let value = envelope.value.unwrap_or_default();
    Ok(match envelope.kind {
        CHANGE => Body::Change { about, epoch: envelope.epoch, change: value },
        REGISTER => Body::Register { about, section: envelope.section, stamp: envelope.stamp, value },
        _ => Body::Tombstone { about },
    })
}

/// `None` for a kind that this build does not serve.
fn about(envelope: &Envelope) -> Result<Option<About>, RecordError> {
    let text = |field: &Option<String>| field.clone().ok_or_else(|| malformed("a field of the key is missing"));
    let (group, version) = (text(&envelope.group)?, text(&envelope.version_of_kind)?);
    let plural = text(&envelope.plural)?;
    let Some(kind) = kinds::by_plural(&group, &version, &plural) else { return Ok(None) };
    let uid = envelope.uid.as_deref().and_then(|u| <[u8; 16]>::try_from(u).ok());
    let uid = Uid(uid.ok_or_else(|| malformed("the uid is missing"))?);
    let key = Key::new(kind, text(&envelope.namespace)?, text(&envelope.name)?);
    Ok(Some(About { key, uid, turn: envelope.turn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn about_pod() -> About {
        About { key: Key::new(&kinds::POD, "default", "x"), uid: Uid([3; 16]), turn: 2 }
    }

    fn bodies() -> Vec<Body> {
        vec![
            Body::Change { about: about_pod(), epoch: 1, change: vec![1, 2, 3] },
            Body::Register { about: about_pod(), section: 3, stamp: (4, 5), value: b"{}".to_vec() },
            Body::Tombstone { about: about_pod() },
            Body::Ceiling(1 << 60),
        ]
    }

    #[test]
    fn records_are_read_as_written() {
        for body in bodies() {
            let bytes = write(&key(), 9, &body);
            let record = verify(&bytes).unwrap();
            assert_eq!((record.seq, &record.body), (9, &body));
            assert_eq!(record, read(&bytes).unwrap());
        }
    }

    #[test]
    fn a_changed_byte_is_never_accepted() {
        for body in bodies() {
            let bytes = write(&key(), 9, &body);
            for at in 0..bytes.len() {
                let mut forged = bytes.clone();
                forged[at] ^= 1;
                assert!(verify(&forged).is_err(), "byte {at} of {body:?}");
            }
        }
    }

    #[test]
    fn what_a_later_build_adds_is_passed_over() {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        encoder.map(4).unwrap().u8(0).unwrap().u8(VERSION).unwrap();
        encoder.u8(1).unwrap().bytes(&key().verifying_key().to_bytes()).unwrap();
        encoder.u8(3).unwrap().u8(200).unwrap().u8(99).unwrap().str("news").unwrap();
        let record = read_envelope(&encoder.into_writer());
        // Fields that are there in every build of ours but not in this envelope have defaults or are refused.
        assert!(matches!(record, Ok(Record { body: Body::Unknown, .. }) | Err(RecordError::Malformed(_))));
    }
}
