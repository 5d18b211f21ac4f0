//! What nodes say to each other: one frame carries all that one turn has for a peer.
//!
//! A frame is a version byte and a CBOR list of messages, each `[kind, bytes]`, so that a node can pass over what only
//! a newer one understands. Kinds are never used again for something else; what a kind's bytes say is its room's.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::{Term, Uid};
use crate::object::hold::Slot;
use crate::store::Standing;
use crate::time::Wall;
use crate::trust::recovery::MAX_RECOVERY_BYTES;
use crate::trust::{Admission, Declined, JoinRequest, SignedMember};
use crate::{election, gossip, membership};

pub use super::horizon::Said;
use super::leases::record;
pub use super::leases::record::{LeaseWrite, Refusal};

use super::slots;

/// One thing said to a peer.
#[derive(Clone, Debug)]
pub enum Message {
    /// About being alive, and in passing what the sender has.
    Membership(membership::Message, gossip::Numbers),
    /// About leading.
    Election(election::Message),
    /// About leading, in a generation of the cluster that is not the first.
    ElectionOf(u64, election::Message),
    /// What proves the sender's generation of the cluster: a signed [`crate::trust::Recovery`]; nothing in the first.
    Recovery(Vec<u8>),
    /// About records.
    Gossip(gossip::Message),
    /// How far the sender has come. On the lane of records, so that what was sent before is known to be from before.
    Standing {
        /// What it says.
        said: Said,
        /// Whether it wants to be told the same.
        ask: bool,
    },
    /// Asks the leader for something. Answered by [`Message::Answer`] with the same number, if at all.
    Ask {
        /// Correlates the answer.
        id: u64,
        /// What is asked.
        ask: Ask,
    },
    /// Answers.
    Answer {
        /// Which.
        id: u64,
        /// What.
        answer: Result<Admission, Declined>,
    },
    /// Asks the leader to write a Lease. Answered by [`Message::LeaseAnswer`] with the same number, if at all. Only from
    /// [`crate::features::Feature::Leases`] on.
    LeaseAsk {
        /// Correlates the answer.
        id: u64,
        /// What is to be written.
        write: LeaseWrite,
    },
    /// Answers: where it stands among the leader's writes, or why it is not decided.
    LeaseAnswer {
        /// Which.
        id: u64,
        /// What.
        answer: Result<election::Stamp, Refusal>,
    },
    /// The sender's feature level; goes with everything about being alive.
    Level(u32),
    /// The newest beat of a leader that the sender knows of; goes with everything about being alive.
    Beat(Beat),
    /// What the sender's own wall clock says; goes with everything about being alive. A build that does not know of it leaves
    /// it out.
    Clock(Wall),
    /// The membership records that are in effect, as far as the sender knows.
    Members(Vec<SignedMember>),
    /// What the sender holds that must never run twice. Asks the leader for leases.
    Held {
        /// Which run of the sender.
        run: u64,
        /// What it holds.
        held: Held,
    },
    /// The leader answers [`Message::Held`] with leases.
    Leased {
        /// Its term.
        term: Term,
        /// The run of the asker.
        run: u64,
        /// What it answers.
        number: u64,
        /// The leases.
        leased: Vec<Leased>,
    },
    /// A leader asks a voter whether it has voted in a newer term.
    Vouch {
        /// The leader's term.
        term: Term,
        /// When it asks, by its own clock.
        at: u64,
    },
    /// The voter has not.
    Vouched {
        /// The leader's term.
        term: Term,
        /// When it was asked.
        at: u64,
    },
}

/// All that a node holds, or waits to start, of what must never run twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Numbers what a run of the node says.
    pub number: u64,
    /// Whether nothing else runs there.
    pub complete: bool,
    /// The slots, and the pod that it asks for.
    pub slots: Vec<(Slot, Uid)>,
}

impl Held {
    /// Tells whether a pod is named for a slot.
    pub fn names(&self, slot: &Slot, pod: Uid) -> bool {
        self.slots.iter().any(|(s, p)| s == slot && *p == pod)
    }
}

/// A run-lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The slot.
    pub slot: Slot,
    /// The pod.
    pub pod: Uid,
    /// For how long, from when it was asked for.
    pub millis: u64,
}

/// What only the leader can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Admit a new member.
    Join(JoinRequest),
}

/// That a leader was there: it counts while it may decide. The highest was the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beat {
    /// Its term.
    pub term: Term,
    /// How often it has counted in that term.
    pub count: u64,
}

/// How urgent a frame is: each lane has a stream of its own, so that bulk never holds up a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small and urgent: membership, election, asks. When its queue is full the oldest frames are dropped.
    Control,
    /// Records. When its queue is full new frames are dropped, and repaired later.
    Bulk,
}

impl Message {
    /// Returns the lane it travels on.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Gossip(_) | Self::Standing { .. } => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// The most bytes of a frame: one record of `store::MAX_RECORD_BYTES` and what is around it.
pub const MAX_FRAME_BYTES: usize = 5 << 20;
/// A frame that has reached so many bytes takes no further message.
const FULL: usize = 512 << 10;
/// The most messages of a frame.
pub const MAX_MESSAGES: usize = 1_024;
/// The most bytes of an answer's JSON.
const MAX_ANSWER: usize = 1 << 20;
const VERSION: u8 = 1;

const MEMBERSHIP: u8 = 1;
const ELECTION: u8 = 2;
const GOSSIP: u8 = 3;
const ASK_JOIN: u8 = 4;
const ANSWER: u8 = 5;
const REFUSAL: u8 = 6;
const LEVEL: u8 = 20;
const MEMBERS: u8 = 21;
const BEAT: u8 = 22;
const STANDING: u8 = 16;
const ELECTION_OF: u8 = 40;
const RECOVERY: u8 = 41;
const LEASE_ASK: u8 = 32;
const LEASE_ANSWER: u8 = 33;
const HELD: u8 = 30;
const LEASED: u8 = 31;
const VOUCH: u8 = 34;
const VOUCHED: u8 = 35;
const CLOCK: u8 = 42;

/// Why a frame is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub struct BadFrame(pub String);

/// Writes messages into as many frames as are needed, in order, each of half a mebibyte or little more; a larger
/// message travels alone.
pub fn frames(messages: &[Message]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut open: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut bytes = 0;
    for (kind, body) in messages.iter().map(Message::to_bytes) {
        if !open.is_empty() && (bytes + body.len() > FULL || open.len() == MAX_MESSAGES) {
            frames.push(frame(&std::mem::take(&mut open)));
            bytes = 0;
        }
        bytes += body.len();
        open.push((kind, body));
    }
    if !open.is_empty() {
        frames.push(frame(&open));
    }
    frames
}

/// Writes messages into one frame, however large it gets: [`frames`] keeps to what peers take.
pub fn encode(messages: &[Message]) -> Vec<u8> {
    frame(&messages.iter().map(Message::to_bytes).collect::<Vec<_>>())
}

fn frame(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut encoder = Encoder::new(vec![VERSION]);
    list(&mut encoder, messages).expect("a vector takes any number of bytes");
    encoder.into_writer()
}

fn list(
    encoder: &mut Encoder<Vec<u8>>,
    messages: &[(u8, Vec<u8>)],
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    encoder.array(messages.len() as u64)?;
    for (kind, bytes) in messages {
        encoder.array(2)?.u8(*kind)?.bytes(bytes)?;
    }
    Ok(())
}

/// Reads a frame that came on a lane. Verifies the signatures of all records in it (some 50 us each): nothing for the
/// node's own loop.
///
/// A message of a kind that this version does not know, that its room cannot read, or that has no business on its lane,
/// is left out; the others count.
///
/// # Errors
/// [`BadFrame`] if it is too long, of another version, or no list of [`MAX_MESSAGES`] messages at most.
pub fn decode_on(lane: Lane, frame: &[u8]) -> Result<Vec<Message>, BadFrame> {
    let is_bulk = |kind| kind == u64::from(GOSSIP) || kind == u64::from(STANDING);
    read(frame, |kind| is_bulk(kind) == (lane == Lane::Bulk))
}

/// Reads a frame, whatever lane it came on: [`decode_on`] says the rest.
///
/// # Errors
/// As [`decode_on`].
pub fn decode(frame: &[u8]) -> Result<Vec<Message>, BadFrame> {
    read(frame, |_| true)
}

fn read(frame: &[u8], wanted: impl Fn(u64) -> bool) -> Result<Vec<Message>, BadFrame> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(BadFrame(format!("{} bytes", frame.len())));
    }
    let Some((version, list)) = frame.split_first() else { return Err(BadFrame("it is empty".into())) };
    if *version != VERSION {
        return Err(BadFrame(format!("version {version}, this node speaks version {VERSION}")));
    }
    let parts = parts(list).map_err(|e| BadFrame(e.to_string()))?;
    let message = |(kind, bytes)| match Message::of_bytes(kind, bytes) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::debug!(kind, %error, "a peer's message is left out");
            None
        }
    };
    Ok(parts.into_iter().filter(|(kind, _)| wanted(*kind)).filter_map(message).collect())
}

fn parts(list: &[u8]) -> Result<Vec<(u64, &[u8])>, minicbor::decode::Error> {
    let mut decoder = Decoder::new(list);
    let count = decoder.array()?.ok_or_else(|| minicbor::decode::Error::message("a list without a length"))?;
    if count > MAX_MESSAGES as u64 {
        return Err(minicbor::decode::Error::message("too many messages"));
    }
    let mut parts = Vec::new();
    for _ in 0..count {
        if decoder.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a message is a kind and bytes"));
        }
        parts.push((decoder.u64()?, decoder.bytes()?));
    }
    Ok(parts)
}

impl Message {
    /// Returns the kind and the bytes.
    fn to_bytes(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Membership(message, numbers) => {
                (MEMBERSHIP, pair(&message.to_bytes(), &gossip::numbers_to_bytes(numbers)))
            }
            Self::Election(message) => (ELECTION, election::Message::to_bytes(message)),
            Self::ElectionOf(generation, message) => {
                let message = ByteVec::from(election::Message::to_bytes(message));
                (ELECTION_OF, minicbor::to_vec((generation, message)).expect("a vector takes any number of bytes"))
            }
            Self::Recovery(proof) => (RECOVERY, proof.clone()),
            Self::Gossip(message) => (GOSSIP, message.to_bytes()),
            Self::Members(records) => {
                let records: Vec<ByteVec> = records.iter().cloned().map(ByteVec::from).collect();
                (MEMBERS, minicbor::to_vec(records).expect("a vector takes any number of bytes"))
            }
            Self::Level(level) => (LEVEL, minicbor::to_vec(level).expect("a vector takes any number of bytes")),
            Self::Beat(Beat { term, count }) => {
                (BEAT, minicbor::to_vec((term.0, count)).expect("a vector takes any number of bytes"))
            }
            Self::Clock(wall) => (CLOCK, minicbor::to_vec(wall.0).expect("a vector takes any number of bytes")),
            Self::Held { run, held } => (HELD, slots::held(*run, held)),
            Self::Leased { term, run, number, leased } => (LEASED, slots::leased(*term, *run, *number, leased)),
            Self::Vouch { term, at } => (VOUCH, slots::moment(*term, *at)),
            Self::Vouched { term, at } => (VOUCHED, slots::moment(*term, *at)),
            Self::Standing { said, ask } => (STANDING, standing(*said, *ask)),
            Self::LeaseAsk { id, write } => (LEASE_ASK, record::write_asked(*id, write)),
            Self::LeaseAnswer { id, answer } => (LEASE_ANSWER, record::write_answered(*id, *answer)),
            Self::Ask { id, ask: Ask::Join(request) } => (ASK_JOIN, numbered(*id, request)),
            Self::Answer { id, answer: Ok(admission) } => (ANSWER, numbered(*id, admission)),
            Self::Answer { id, answer: Err(declined) } => (REFUSAL, numbered(*id, declined)),
        }
    }

    fn of_bytes(kind: u64, bytes: &[u8]) -> Result<Self, BadFrame> {
        fn bad(error: impl std::fmt::Display) -> BadFrame {
            BadFrame(error.to_string())
        }
        Ok(match u8::try_from(kind).unwrap_or(0) {
            MEMBERSHIP => {
                let (message, numbers) = read_pair(bytes).map_err(bad)?;
                let message = membership::Message::of_bytes(message).map_err(bad)?;
                Self::Membership(message, gossip::numbers_of_bytes(numbers).map_err(bad)?)
            }
            ELECTION => Self::Election(election::Message::of_bytes(bytes).map_err(bad)?),
            ELECTION_OF => {
                let (generation, message): (u64, &minicbor::bytes::ByteSlice) = minicbor::decode(bytes).map_err(bad)?;
                Self::ElectionOf(generation, election::Message::of_bytes(message).map_err(bad)?)
            }
            RECOVERY if bytes.len() > MAX_RECOVERY_BYTES => return Err(BadFrame(format!("{} bytes", bytes.len()))),
            RECOVERY => Self::Recovery(bytes.to_vec()),
            GOSSIP => Self::Gossip(gossip::Message::of_bytes(bytes).map_err(bad)?),
            LEVEL => Self::Level(minicbor::decode(bytes).map_err(|e| BadFrame(e.to_string()))?),
            BEAT => {
                let (term, count) = minicbor::decode(bytes).map_err(|e| BadFrame(e.to_string()))?;
                Self::Beat(Beat { term: Term(term), count })
            }
            CLOCK => Self::Clock(Wall(minicbor::decode(bytes).map_err(|e| BadFrame(e.to_string()))?)),
            MEMBERS => {
                let records: Vec<ByteVec> = minicbor::decode(bytes).map_err(|e| BadFrame(e.to_string()))?;
                Self::Members(records.into_iter().map(Vec::from).collect())
            }
            STANDING => {
                let (said, ask) = read_standing(bytes).map_err(bad)?;
                Self::Standing { said, ask }
            }
            LEASE_ASK => {
                let (id, write) = record::read_asked(bytes).map_err(bad)?;
                Self::LeaseAsk { id, write }
            }
            LEASE_ANSWER => {
                let (id, answer) = record::read_answered(bytes).map_err(bad)?;
                Self::LeaseAnswer { id, answer }
            }
            HELD => {
                let (run, held) = slots::read_held(bytes).map_err(bad)?;
                Self::Held { run, held }
            }
            LEASED => {
                let (term, run, number, leased) = slots::read_leased(bytes).map_err(bad)?;
                Self::Leased { term, run, number, leased }
            }
            VOUCH => {
                let (term, at) = slots::read_moment(bytes).map_err(bad)?;
                Self::Vouch { term, at }
            }
            VOUCHED => {
                let (term, at) = slots::read_moment(bytes).map_err(bad)?;
                Self::Vouched { term, at }
            }
            ASK_JOIN => {
                let (id, request) = read_numbered(bytes)?;
                Self::Ask { id, ask: Ask::Join(request) }
            }
            ANSWER => {
                let (id, admission) = read_numbered(bytes)?;
                Self::Answer { id, answer: Ok(admission) }
            }
            REFUSAL => {
                let (id, declined) = read_numbered(bytes)?;
                Self::Answer { id, answer: Err(declined) }
            }
            _ => return Err(BadFrame(format!("message of unknown kind {kind}"))),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StandingBody {
    #[n(0)]
    acked: u64,
    #[n(1)]
    floor: u64,
    #[n(2)]
    cleared: u64,
    #[n(3)]
    blank: bool,
    #[n(4)]
    ask: bool,
}

fn standing(said: Said, ask: bool) -> Vec<u8> {
    let Said { standing: Standing { acked, floor, cleared }, blank } = said;
    let body = StandingBody { acked, floor, cleared, blank, ask };
    minicbor::to_vec(body).expect("a vector takes any number of bytes")
}

fn read_standing(bytes: &[u8]) -> Result<(Said, bool), minicbor::decode::Error> {
    let StandingBody { acked, floor, cleared, blank, ask } = minicbor::decode(bytes)?;
    Ok((Said { standing: Standing { acked, floor, cleared }, blank }, ask))
}

/// `[bytes, bytes]`.
fn pair(one: &[u8], other: &[u8]) -> Vec<u8> {
    let pair: (&minicbor::bytes::ByteSlice, &minicbor::bytes::ByteSlice) = (one.into(), other.into());
    minicbor::to_vec(pair).expect("a vector takes any number of bytes")
}

fn read_pair(bytes: &[u8]) -> Result<(&[u8], &[u8]), minicbor::decode::Error> {
    let mut decoder = Decoder::new(bytes);
    match decoder.array()? {
        Some(2) => Ok((decoder.bytes()?, decoder.bytes()?)),
        _ => Err(minicbor::decode::Error::message("not a pair")),
    }
}

/// Eight bytes of number, then JSON: what is asked is rare, and grows.
fn numbered(id: u64, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(serde_json::to_vec(value).expect("it has string keys only"));
    bytes
}

fn read_numbered<T: DeserializeOwned>(bytes: &[u8]) -> Result<(u64, T), BadFrame> {
    let Some((id, json)) = bytes.split_first_chunk() else { return Err(BadFrame("no number".into())) };
    if json.len() > MAX_ANSWER {
        return Err(BadFrame(format!("{} bytes of JSON", json.len())));
    }
    let value = serde_json::from_slice(json).map_err(|e| BadFrame(e.to_string()))?;
    Ok((u64::from_be_bytes(*id), value))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
