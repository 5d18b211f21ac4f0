//! What members say to each other about leading, and how it is written.

use minicbor::{Decode, Encode};

use crate::ids::Term;

use super::recall::Told;
use super::register::{MAX_ALL, MAX_KEY, MAX_VALUE, Registers, Stamp, size};
use super::voters::{Voters, VotersId};
use super::wire;

/// How many bytes a message may have: all registers, and what is around them.
pub const MAX_MESSAGE: usize = MAX_ALL + 64 * 1024;
/// How many voters a message may name.
const MAX_NAMED: usize = 64;
/// The greatest term, version or number in a message: far above what a cluster can reach by counting, and far below
/// where counting on would overflow.
pub(super) const MAX_NUMBER: u64 = 1 << 60;

/// What members say to each other about leading. The wire form is minicbor; numbers are never used again.
///
/// There are no refusals: who is not to get what it asks for gets [`Message::Newer`] if it asks in an old term, else
/// nothing.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Message {
    /// Would you vote for me in this term? Binds nobody.
    #[n(0)]
    PreVote {
        /// The term it would be.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// The candidate's configuration.
        #[n(1)]
        voters: Voters,
    },
    /// I would.
    #[n(1)]
    PreVoted {
        /// The term that was asked about.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
    },
    /// Vote for me in this term.
    #[n(2)]
    Vote {
        /// The term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// The candidate's configuration.
        #[n(1)]
        voters: Voters,
    },
    /// I have; and what I hold will not change before you write.
    #[n(3)]
    Voted {
        /// The term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// Names the state that the voter holds.
        #[n(1)]
        held: Stamp,
        /// The voter's seat.
        #[cbor(n(2), default)]
        seat: u64,
    },
    /// I lead. Answered by [`Message::Ack`].
    #[n(4)]
    Beat {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// Its configuration.
        #[n(1)]
        voters: Voters,
        /// Up to which of its writes all is in effect.
        #[n(2)]
        commit: u64,
    },
    /// I follow, and have this on disk.
    #[n(5)]
    Ack {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// Names the configuration.
        #[n(1)]
        voters: VotersId,
        /// Names the state of the registers.
        #[n(2)]
        held: Stamp,
        /// The sender's seat.
        #[cbor(n(3), default)]
        seat: u64,
    },
    /// A new leader asks a voter that has a newer state than its own for it. Answered by [`Message::Held`].
    #[n(6)]
    Read {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
    },
    /// All registers of a voter.
    #[n(7)]
    Held {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// The registers.
        #[n(1)]
        registers: Registers,
    },
    /// Take these writes, which lead from state `after` to state `upto` of this term. Answered by [`Message::Ack`].
    #[n(8)]
    Write {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// The write that they follow; 0: they are the whole set.
        #[n(1)]
        after: u64,
        /// The last of them.
        #[n(2)]
        upto: u64,
        /// The registers written since; of one written twice only the last.
        #[n(3)]
        registers: Registers,
    },
    /// What you said is of an old term.
    #[n(9)]
    Newer {
        /// The newest the sender knows.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
    },
    /// The leader leaves: campaign now.
    #[n(10)]
    HandOver {
        /// The leader's term.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
    },
    /// I have just started: what have I told you? Binds nobody. Answered by [`Message::Recalled`].
    #[n(11)]
    Recall {
        /// The newest the sender knows.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// Names the state that it holds.
        #[n(1)]
        held: Stamp,
    },
    /// This. Binds nobody.
    #[n(12)]
    Recalled {
        /// The newest the sender knows.
        #[cbor(n(0), with = "wire::term")]
        term: Term,
        /// What it has been told, if anything.
        #[n(1)]
        told: Option<Told>,
        /// All its registers, if the one that asks is the only voter and holds an older state; else none.
        #[n(2)]
        registers: Registers,
    },
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// They are too many.
    #[error("an election message of {0} bytes is over {MAX_MESSAGE}")]
    TooLong(usize),
    /// They cannot be read.
    #[error("malformed election message: {0}")]
    Malformed(String),
    /// Something in it is out of bounds.
    #[error("election message with {0} out of bounds")]
    OutOfBounds(&'static str),
}

impl Message {
    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes any number of bytes")
    }

    /// Reads it. Fields that are not known are skipped.
    ///
    /// # Errors
    /// [`BadMessage`] if the bytes are too many, no message, or hold something out of bounds.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, BadMessage> {
        if bytes.len() > MAX_MESSAGE {
            return Err(BadMessage::TooLong(bytes.len()));
        }
        let message: Self = minicbor::decode(bytes).map_err(|e| BadMessage::Malformed(e.to_string()))?;
        message.check()?;
        Ok(message)
    }

    /// Returns the term it is about.
    pub fn term(&self) -> Term {
        match self {
            Self::PreVote { term, .. }
            | Self::PreVoted { term }
            | Self::Vote { term, .. }
            | Self::Voted { term, .. }
            | Self::Beat { term, .. }
            | Self::Ack { term, .. }
            | Self::Read { term }
            | Self::Held { term, .. }
            | Self::Write { term, .. }
            | Self::Newer { term }
            | Self::HandOver { term }
            | Self::Recall { term, .. }
            | Self::Recalled { term, .. } => *term,
        }
    }

    fn check(&self) -> Result<(), BadMessage> {
        within("term", self.term().0)?;
        match self {
            Self::PreVote { voters, .. } | Self::Vote { voters, .. } => check_voters(voters),
            Self::Beat { voters, commit, .. } => within("commit", *commit).and_then(|()| check_voters(voters)),
            Self::Voted { held, .. } => check_stamp(*held),
            Self::Ack { voters, held, .. } => {
                within("voters", voters.term.0.max(voters.version)).and_then(|()| check_stamp(*held))
            }
            Self::Held { registers, .. } => check_registers(registers),
            Self::Recall { held, .. } => check_stamp(*held),
            Self::Recalled { told, registers, .. } => {
                let Told { term, voters, held, .. } = told.unwrap_or_default();
                within("told", term.0.max(voters.term.0).max(voters.version))?;
                check_stamp(held).and_then(|()| check_registers(registers))
            }
            Self::Write { after, upto, registers, .. } => {
                within("seq", *(after.max(upto))).and_then(|()| check_registers(registers))
            }
            _ => Ok(()),
        }
    }
}

fn within(what: &'static str, number: u64) -> Result<(), BadMessage> {
    if number > MAX_NUMBER { Err(BadMessage::OutOfBounds(what)) } else { Ok(()) }
}

fn check_stamp(stamp: Stamp) -> Result<(), BadMessage> {
    within("stamp", stamp.term.0.max(stamp.seq))
}

fn check_voters(voters: &Voters) -> Result<(), BadMessage> {
    if voters.members.len().max(voters.seats.len()) > MAX_NAMED {
        return Err(BadMessage::OutOfBounds("voters"));
    }
    within("voters", voters.term.0.max(voters.version))
}

fn check_registers(registers: &Registers) -> Result<(), BadMessage> {
    for (key, register) in registers {
        check_stamp(register.stamp)?;
        if key.len() > MAX_KEY || key.starts_with('~') || register.value.len() > MAX_VALUE {
            return Err(BadMessage::OutOfBounds("register"));
        }
    }
    if size(registers) > MAX_ALL { Err(BadMessage::OutOfBounds("registers")) } else { Ok(()) }
}
