//! What nodes say to each other: one frame carries all that one turn has for a peer.

use crate::trust::{Admission, JoinRequest};
use crate::{election, gossip, membership};

/// One thing said to a peer.
#[derive(Clone, Debug)]
pub enum Message {
    /// About being alive, and in passing what the sender has.
    Membership(membership::Message, gossip::Numbers),
    /// About leading.
    Election(election::Message),
    /// About records.
    Gossip(gossip::Message),
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
        /// What; a refusal is a sentence.
        answer: Result<Admission, String>,
    },
}

/// What only the leader can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Admit a new member.
    Join(JoinRequest),
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
            Self::Gossip(_) => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// Why a frame is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub struct BadFrame(pub String);

/// Writes a frame.
pub fn encode(_messages: &[Message]) -> Vec<u8> {
    todo!()
}

/// Reads a frame, and checks the signatures in it.
///
/// # Errors
/// [`BadFrame`].
pub fn decode(_frame: &[u8]) -> Result<Vec<Message>, BadFrame> {
    todo!()
}
