//! Records: what is on disk and what travels between nodes (Events only travel); one format.
//!
//! A record is an envelope (CBOR, a map of numbered fields) and behind it 64 bytes of Ed25519 signature over exactly
//! the envelope's bytes. The bytes are kept as they came, so that fields of a newer version survive; numbers are
//! never used again for something else.

use std::ops::Range;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, Uid};
use crate::object::Key;

use super::credit::Credit;
use super::epoch::{Decision, Name, Serial};
use super::horizon::Horizon;
use super::parts::{Birth, Mark};
use super::register::Slot;
use super::wire;

/// The most bytes of a record.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

const VERSION: u8 = 1;
/// What is not about a later epoch of a document carries this.
const FIRST_EPOCH: u64 = 1;
const SIGNATURE_BYTES: usize = 64;
/// Goes before what is signed, so that a signature of another purpose does not do.
pub(super) const CONTEXT: &[u8] = b"skein record 1\0";

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// The whole, signature included.
    pub raw: Arc<[u8]>,
    /// Who wrote it.
    pub author: NodeId,
    /// The author's run.
    pub incarnation: u64,
    /// Its number within that run.
    pub seq: u64,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One change of an object's document.
    Change {
        /// The object.
        uid: Uid,
        /// If it is the first.
        birth: Option<Birth>,
        /// Whether it touches the spec.
        spec: bool,
        /// Where in the record the change chunk is.
        chunk: Range<usize>,
        /// The epoch it was written in, `None` for the first.
        base: Option<Name>,
        /// The changes it builds on, whatever the epoch; `None` if an older version wrote it.
        parents: Option<Vec<Serial>>,
    },
    /// The object's history begins anew.
    Epoch {
        /// The object.
        uid: Uid,
        /// Its birth.
        birth: Birth,
        /// What was decided.
        decision: Box<Decision>,
    },
    /// A register's content.
    Register {
        /// The object.
        uid: Uid,
        /// Which register.
        slot: Slot,
        /// The stamp.
        stamp: (u64, u64),
        /// Where in the record the value is.
        value: Range<usize>,
    },
    /// What a client says about parts of a status.
    Told {
        /// The object.
        uid: Uid,
        /// Hybrid time.
        time: u64,
        /// Field (or condition) and value, `None` if it is taken back.
        fields: Vec<(String, Option<Arc<[u8]>>)>,
    },
    /// The object is to go.
    Mark {
        /// The object.
        uid: Uid,
        /// How.
        mark: Mark,
    },
    /// The object is gone for good.
    Tombstone {
        /// The object.
        uid: Uid,
        /// Its birth.
        birth: Birth,
        /// Whether it went because an older one has its name.
        displaced: bool,
    },
    /// The author gives out no revision number above this.
    Ceiling {
        /// The number.
        ceiling: u64,
    },
    /// Signed rightly, and not to be read all the same: a bad writer's.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// A leader's list of the tombstones that the horizon `number` stands for, should the register come to name it.
    Sealed {
        /// The horizon.
        number: u64,
        /// The objects.
        uids: Vec<Uid>,
    },
    /// How far the author has come with collecting tombstones. On its own disk only.
    Acked {
        /// The horizon that it has acked.
        number: u64,
        /// The register, as it knew it.
        horizon: Horizon,
    },
    /// The author has forgotten all that is before this record about some objects, and some batches of tombstones. On its
    /// own disk only.
    Forgotten {
        /// The objects.
        uids: Vec<Uid>,
        /// The batches.
        batches: Vec<RecordId>,
    },
    /// An object that lives in memory only.
    Event {
        /// Its uid.
        uid: Uid,
        /// Where it lives.
        key: Key,
        /// Hybrid time at which it was written: microseconds since the Unix epoch.
        time: u64,
        /// Where in the record the object's JSON is, `None` if it was deleted.
        object: Option<Range<usize>>,
    },
}

/// A record's id, by which nodes compare what they hold: a hash of its signature, which no two records share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 16]);

/// A record that its author has signed. Whether the author is a member is `trust`'s to know.
#[derive(Clone, Debug)]
pub struct Verified(Record);

impl Verified {
    /// Reads a record and checks its signature.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong.
    pub fn read(raw: impl Into<Arc<[u8]>>) -> Result<Self, RecordError> {
        let record = Record::read(raw)?;
        record.verify()?;
        Ok(Self(record))
    }

    /// Wraps a record that this node wrote itself.
    pub(super) fn own(raw: Arc<[u8]>) -> Self {
        Self(Record::read(raw).expect("a record that this node wrote can be read"))
    }

    /// Returns the record.
    pub fn record(&self) -> &Record {
        &self.0
    }

    pub(super) fn into_record(self) -> Record {
        self.0
    }

    /// Returns its id.
    pub fn id(&self) -> RecordId {
        RecordId::of(&self.0.raw)
    }
}

impl RecordId {
    /// Returns the id of a record, given whole.
    pub fn of(raw: &[u8]) -> Self {
        let signature = &raw[raw.len().saturating_sub(SIGNATURE_BYTES)..];
        let digest = Sha256::digest(signature);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too long or too short.
    #[error("record of {0} bytes")]
    Size(usize),
    /// The envelope or body cannot be read.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// Written by a newer version.
    #[error("record of version {0}")]
    Version(u8),
    /// Says something that this version does not know.
    #[error("record of unknown kind {0}")]
    Kind(String),
    /// The signature is not its author's.
    #[error("record of {0} is not signed by it")]
    Signature(NodeId),
}

/// Writes records of one run of a node.
#[derive(Debug)]
pub struct Scribe {
    /// The node.
    pub node: NodeId,
    /// The run.
    pub incarnation: u64,
    key: SigningKey,
    seq: u64,
    credit: Credit,
}

/// What [`Scribe::write`] takes: a [`Body`] whose bytes are not in a record yet.
#[derive(Clone, Copy, Debug)]
pub enum Draft<'a> {
    /// See [`Body::Change`].
    Change {
        /// The object.
        uid: Uid,
        /// If it is the first.
        birth: Option<&'a Birth>,
        /// Whether it touches the spec.
        spec: bool,
        /// The change chunk.
        chunk: &'a [u8],
        /// The epoch it is written in.
        base: Option<Name>,
        /// What it builds on, if that is to be said.
        parents: Option<&'a [Serial]>,
    },
    /// See [`Body::Epoch`]; the birth change, whose place in `decision` counts for nothing.
    Epoch(Uid, &'a Birth, &'a Decision, &'a [u8]),
    /// See [`Body::Register`].
    Register(Uid, Slot, (u64, u64), &'a [u8]),
    /// See [`Body::Told`].
    Told(Uid, u64, &'a [(String, Option<Arc<[u8]>>)]),
    /// See [`Body::Mark`].
    Mark(Uid, &'a Mark),
    /// See [`Body::Tombstone`].
    Tombstone(Uid, &'a Birth),
    /// See [`Body::Tombstone`]: of one that an older one of its name displaced.
    Displaced(Uid, &'a Birth),
    /// See [`Body::Ceiling`].
    Ceiling(u64),
    /// See [`Body::Sealed`].
    Sealed(u64, &'a [Uid]),
    /// See [`Body::Acked`].
    Acked(u64, &'a Horizon),
    /// See [`Body::Forgotten`].
    Forgotten(&'a [Uid], &'a [RecordId]),
    /// See [`Body::Event`].
    Event(Uid, &'a Key, u64, Option<&'a [u8]>),
}

impl Scribe {
    /// Makes the scribe of a run.
    pub fn new(node: NodeId, incarnation: u64, key: SigningKey) -> Self {
        Self { node, incarnation, key, seq: 0, credit: Credit::default() }
    }

    /// Notes whose changes it writes from now on.
    pub fn set_credit(&mut self, credit: Credit) {
        self.credit = credit;
    }

    /// Returns the number that comes next.
    pub fn peek_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Takes the next number.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Writes and signs a record under the next number.
    pub fn write(&mut self, draft: Draft<'_>) -> Arc<[u8]> {
        let seq = self.next_seq();
        self.write_as(seq, draft)
    }

    /// Writes and signs under the next number what another author's record says. `node`: that author's name.
    pub fn take_over(&mut self, record: &Record, node: Option<&str>) -> Arc<[u8]> {
        let seq = self.next_seq();
        let theirs = of_cbor::<Envelope<'_>>(&record.raw[..record.raw.len() - SIGNATURE_BYTES]);
        let theirs = theirs.expect("a record that was read can be read again");
        let body = wire::with_node(theirs.kind, theirs.body, node);
        let (author, incarnation) = (self.node.0, self.incarnation);
        self.sign(&Envelope { author, incarnation, seq, body: &body, ..theirs })
    }

    /// Writes and signs a record under a number taken before.
    pub fn write_as(&self, seq: u64, draft: Draft<'_>) -> Arc<[u8]> {
        let epoch = match draft {
            Draft::Change { base: Some(base), .. } => base.number,
            Draft::Epoch(_, _, decision, _) => decision.number,
            _ => FIRST_EPOCH,
        };
        let serial = Serial { author: self.node, incarnation: self.incarnation, seq };
        let (kind, body) = wire::encode(draft, &self.credit, serial);
        let envelope = Envelope {
            version: VERSION,
            author: self.node.0,
            epoch,
            incarnation: self.incarnation,
            seq,
            kind,
            body: &body,
        };
        self.sign(&envelope)
    }

    fn sign(&self, envelope: &Envelope<'_>) -> Arc<[u8]> {
        let mut bytes = to_cbor(envelope);
        let signature = self.key.sign(&signed(&bytes));
        bytes.extend(signature.to_bytes());
        bytes.into()
    }
}

impl Record {
    /// Reads a record. Whether its signature is right is another question: [`Record::verify`]. A body that cannot be
    /// read is [`Body::Unreadable`]: who signed it can be named.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong.
    pub fn read(raw: impl Into<Arc<[u8]>>) -> Result<Self, RecordError> {
        let raw: Arc<[u8]> = raw.into();
        if raw.len() > MAX_RECORD_BYTES || raw.len() <= SIGNATURE_BYTES {
            return Err(RecordError::Size(raw.len()));
        }
        let envelope: Envelope<'_> = of_cbor(&raw[..raw.len() - SIGNATURE_BYTES])?;
        if envelope.version != VERSION {
            return Err(RecordError::Version(envelope.version));
        }
        let (author, incarnation, seq) = (NodeId(envelope.author), envelope.incarnation, envelope.seq);
        let serial = Serial { author, incarnation, seq };
        let body = match wire::decode(envelope.kind, envelope.body, &raw, serial, envelope.epoch) {
            Err(RecordError::Malformed(reason)) => Body::Unreadable { reason },
            body => body?,
        };
        let later = matches!(body, Body::Epoch { .. } | Body::Change { base: Some(_), .. } | Body::Unreadable { .. });
        if !later && envelope.epoch != FIRST_EPOCH {
            return Err(RecordError::Kind(format!("epoch {}", envelope.epoch)));
        }
        Ok(Self { author, incarnation, seq, body, raw: Arc::clone(&raw) })
    }

    /// Reads whose change it holds; nothing is known of other records.
    pub fn credit(&self) -> Credit {
        let envelope = of_cbor::<Envelope<'_>>(&self.raw[..self.raw.len() - SIGNATURE_BYTES]);
        envelope.map(|envelope| wire::credit(envelope.kind, envelope.body)).unwrap_or_default()
    }

    /// Checks the author's signature.
    ///
    /// # Errors
    /// [`RecordError::Signature`] if it is not the author's.
    pub fn verify(&self) -> Result<(), RecordError> {
        let wrong = || RecordError::Signature(self.author);
        let (envelope, signature) = self.raw.split_at(self.raw.len() - SIGNATURE_BYTES);
        let key = VerifyingKey::from_bytes(&self.author.0).map_err(|_| wrong())?;
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        key.verify_strict(&signed(envelope), &signature).map_err(|_| wrong())
    }
}

fn signed(envelope: &[u8]) -> Vec<u8> {
    [CONTEXT, envelope].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Envelope<'a> {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    author: [u8; 32],
    #[n(2)]
    epoch: u64,
    #[n(3)]
    incarnation: u64,
    #[n(4)]
    seq: u64,
    #[n(5)]
    kind: u8,
    #[cbor(b(6), with = "minicbor::bytes")]
    body: &'a [u8],
}

pub(super) fn to_cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("a vector takes any number of bytes")
}

pub(super) fn of_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, RecordError> {
    minicbor::decode(bytes).map_err(|e| RecordError::Malformed(e.to_string()))
}
