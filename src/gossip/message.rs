//! What members say to each other about records.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::store::{MAX_RECORD_BYTES, Range, RecordId, Verified};

use super::fingerprint::{Buckets, Fingerprint, Mask, Probe};
use super::{Numbers, Origin, wire};

/// The most bytes of records, or of ids, in one message; a record that is larger travels alone.
pub(super) const FRAME_BYTES: usize = 256 << 10;
/// The most ids of one message.
pub(super) const FRAME_IDS: usize = FRAME_BYTES / 16;
/// The most ranges of which one message lists ids.
pub(super) const FRAME_RANGES: usize = 1_024;
/// The most ranges of which one message gives the sums of parts.
pub(super) const MOST_RANGES: usize = 1_792;
/// The most records of one message.
pub(super) const FRAME_RECORDS: usize = 2_048;
/// The most numbers that are pulled at once.
pub(super) const PULL_NUMBERS: usize = 256;
/// What a message's form may cost on top.
const SLACK: usize = 16 << 10;

/// What members say to each other about records. Numbers of the wire form are never used again.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Message {
    /// Batches of one origin: new ones, or an answer to a pull.
    #[n(0)]
    Batches {
        /// Whose.
        #[cbor(n(0), with = "wire::origin")]
        origin: Origin,
        /// Which.
        #[n(1)]
        batches: Vec<Batch>,
    },
    /// Send me these, as far as they go into a message.
    #[n(1)]
    Pull {
        /// Whose.
        #[cbor(n(0), with = "wire::origin")]
        origin: Origin,
        /// Which, at most 256.
        #[n(1)]
        numbers: Vec<u64>,
    },
    /// None of the pulled ones is kept here any more.
    #[n(2)]
    Lacking {
        /// Whose.
        #[cbor(n(0), with = "wire::origin")]
        origin: Origin,
    },
    /// A step of an exchange.
    #[n(3)]
    Exchange {
        /// Of which.
        #[n(0)]
        session: SessionId,
        /// What.
        #[n(1)]
        step: Step,
    },
}

/// One numbered batch.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Batch {
    /// Its number.
    #[n(0)]
    pub number: u64,
    /// What it carries.
    #[cbor(n(1), with = "wire::records")]
    pub records: Records,
}

/// Records on their way.
#[derive(Clone, Debug)]
pub enum Records {
    /// As they are sent: bytes.
    Raw(Arc<[Arc<[u8]>]>),
    /// As they came: those whose signatures are right.
    Verified {
        /// The records.
        records: Vec<Verified>,
        /// How many others there were: not signed rightly, or of a kind that this version does not know.
        left_out: usize,
    },
}

/// Names an exchange. A node never begins two of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct SessionId {
    /// The beginner's run.
    #[n(0)]
    pub incarnation: u64,
    /// Counts within that run, from 1.
    #[n(1)]
    pub number: u64,
}

/// Which part of a list or of records a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    /// Counts from 0.
    #[n(0)]
    pub number: u32,
    /// Whether none follows.
    #[n(1)]
    pub last: bool,
}

/// A step of an exchange.
///
/// ```text
/// beginner                      answerer
/// Begin: fingerprint    -->
///                       <--     Reply: fingerprints of parts, if they differ (or Busy)
/// Probes: those of      -->              (as long as what differs holds many ids)
///   parts of those parts
///                       <--     Probes: those of parts of what differs
/// Listed: what differs  -->              (Ids, if nothing was probed; of no part: both hold the same, the end)
///                       <--     Want: ids       Records: what the beginner lacks
/// Records: those        -->
/// ```
/// Each part of records is acknowledged, and only a few are on their way at a time.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Step {
    /// Let us compare.
    #[n(0)]
    Begin {
        /// What the sender holds.
        #[n(0)]
        fingerprint: Fingerprint,
        /// What the sender has of each origin.
        #[cbor(n(1), with = "wire::numbers")]
        numbers: Numbers,
    },
    /// This is what I hold.
    #[n(1)]
    Reply {
        /// Fingerprints of parts, `None` if I hold what you do.
        #[n(0)]
        buckets: Option<Buckets>,
        /// What the sender has of each origin.
        #[cbor(n(1), with = "wire::numbers")]
        numbers: Numbers,
    },
    /// Too many exchanges: try again soon.
    #[n(2)]
    Busy {},
    /// All ids that I hold of the parts that differ.
    #[n(3)]
    Ids {
        /// Which frame of them.
        #[n(0)]
        part: Part,
        /// The parts that differ, the same in every frame.
        #[n(1)]
        mask: Mask,
        /// Whether more parts differ than fit into one exchange.
        #[n(2)]
        rest: bool,
        /// The ids.
        #[cbor(n(3), with = "wire::ids")]
        ids: Vec<RecordId>,
    },
    /// Of these I lack the records.
    #[n(4)]
    Want {
        /// Which frame of them.
        #[n(0)]
        part: Part,
        /// The ids.
        #[cbor(n(1), with = "wire::ids")]
        ids: Vec<RecordId>,
    },
    /// Records that you lack.
    #[n(5)]
    Records {
        /// Which frame of them.
        #[n(0)]
        part: Part,
        /// Whether some that were wanted are not held any more.
        #[n(1)]
        gone: bool,
        /// The records.
        #[cbor(n(2), with = "wire::records")]
        records: Records,
    },
    /// That part of your records is here.
    #[n(6)]
    Ack {
        /// Its number.
        #[n(0)]
        number: u32,
    },
    /// This is what I hold of parts of ranges that differ.
    #[n(7)]
    Probes {
        /// Whether more differs than is told.
        #[n(0)]
        rest: bool,
        /// The ranges.
        #[cbor(n(1), with = "wire::probes")]
        probes: Vec<Probe>,
    },
    /// All ids that I hold of ranges that differ.
    #[n(8)]
    Listed {
        /// Which frame of them.
        #[n(0)]
        part: Part,
        /// Whether more differs than is listed.
        #[n(1)]
        rest: bool,
        /// The ranges, whole ones.
        #[cbor(n(2), with = "wire::ranges")]
        ranges: Vec<Range>,
        /// Their ids.
        #[cbor(n(3), with = "wire::ids")]
        ids: Vec<RecordId>,
    },
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed gossip message: {0}")]
pub struct Malformed(pub String);

impl Message {
    /// Tells whether it carries records.
    pub fn has_records(&self) -> bool {
        match self {
            Self::Batches { batches, .. } => batches.iter().any(|batch| batch.records.count() > 0),
            Self::Exchange { step: Step::Records { records, .. }, .. } => records.count() > 0,
            Self::Exchange { .. } | Self::Pull { .. } | Self::Lacking { .. } => false,
        }
    }

    /// Returns the wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes any number of bytes")
    }

    /// Reads the wire form and verifies the signatures of all records in it, which takes some 50 us each: up to 0.1 s.
    /// Records that are not signed rightly, or of a kind that this version does not know, are left out.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with the message as a whole.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_RECORD_BYTES + SLACK {
            return Err(Malformed(format!("{} bytes", bytes.len())));
        }
        let mut message: Self = minicbor::decode(bytes).map_err(|e| Malformed(e.to_string()))?;
        let count: usize = message.records_mut().map(|records| records.count()).sum();
        if count > FRAME_RECORDS || (count != 1 && bytes.len() > FRAME_BYTES + SLACK) {
            return Err(Malformed(format!("{count} records in {} bytes", bytes.len())));
        }
        message.records_mut().for_each(Records::verify);
        Ok(message)
    }

    fn records_mut(&mut self) -> impl Iterator<Item = &mut Records> {
        let (batches, one) = match self {
            Self::Batches { batches, .. } => (batches.as_mut_slice(), None),
            Self::Exchange { step: Step::Records { records, .. }, .. } => (Default::default(), Some(records)),
            _ => (Default::default(), None),
        };
        batches.iter_mut().map(|batch| &mut batch.records).chain(one)
    }
}

impl Records {
    fn count(&self) -> usize {
        match self {
            Self::Raw(raws) => raws.len(),
            Self::Verified { records, left_out } => records.len() + left_out,
        }
    }

    fn verify(&mut self) {
        let Self::Raw(raws) = self else { return };
        let mut records = Vec::with_capacity(raws.len());
        for raw in raws.iter() {
            match Verified::read(Arc::clone(raw)) {
                Ok(record) => records.push(record),
                Err(error) => tracing::debug!(%error, "a peer's record is left out"),
            }
        }
        let left_out = raws.len() - records.len();
        *self = Self::Verified { records, left_out };
    }

    /// Returns the records that were verified, and whether these are all.
    pub(super) fn into_verified(self) -> (Vec<Verified>, bool) {
        match self {
            // What nobody has checked is not taken.
            Self::Raw(raws) => (Vec::new(), raws.is_empty()),
            Self::Verified { records, left_out } => (records, left_out == 0),
        }
    }
}
