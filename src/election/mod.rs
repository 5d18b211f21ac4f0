//! Who leads: terms, votes, the voter set, and what a majority of voters has committed.
//!
//! A raft-like module without a log, after *Design and Analysis of a Logless Dynamic Reconfiguration Protocol*
//! (Schultz, Dardik, Tripakis; TLA+ module `MongoLoglessDynamicRaft`), with pre-vote and check-quorum. Beside the
//! configuration it carries *quorum registers* (rules 3, 4): few, small, unique decisions such as membership records.
//!
//! The room knows nothing of what registers mean, of sockets or of disks: messages and moments come in, messages and
//! what must be saved go out. What depends on a save waits inside until [`Input::Saved`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Term};

/// When a register was written: compares as (term, seq).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// The leader's term.
    pub term: Term,
    /// Its number among the leader's writes, from 1.
    pub seq: u64,
}

/// One quorum register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// When it was written.
    pub stamp: Stamp,
    /// What it says; opaque here.
    pub value: Vec<u8>,
}

/// Quorum registers by name, such as `member/<node id>`.
pub type Registers = BTreeMap<String, Register>;

/// Who votes. Compares as (term, version) (the paper's configTerm, configVersion).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters {
    /// The term of the leader that made or restamped it.
    pub term: Term,
    /// Grows by one with every change.
    pub version: u64,
    /// The voters.
    pub members: BTreeSet<NodeId>,
}

/// What a voter must not forget: durable before any answer that depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The newest term this node takes part in.
    pub term: Term,
    /// For whom it voted in that term.
    pub voted_for: Option<NodeId>,
    /// The newest configuration it has seen.
    pub voters: Voters,
}

/// Numbers saves, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaveId(pub u64);

/// Correlates a proposal with its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A member says something.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// All saves up to this one are durable.
    Saved(SaveId),
    /// A member's connection was reset: should it lead, it is worth asking at once who leads now.
    Gone(NodeId),
    /// Who is a member, and which of them this node can reach, itself included.
    Members {
        /// All members.
        all: BTreeSet<NodeId>,
        /// Those that answer.
        reachable: BTreeSet<NodeId>,
    },
    /// The leader is asked to decide a register. Answered by exactly one [`Output::Decided`].
    Propose {
        /// Correlates the outcome.
        id: ProposalId,
        /// The register.
        key: String,
        /// What it shall say.
        value: Vec<u8>,
    },
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a message to a member; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Make durable what is given, ballot before registers, then say [`Input::Saved`].
    Save {
        /// Which.
        id: SaveId,
        /// The ballot, if it changed.
        ballot: Option<Ballot>,
        /// All registers, if one changed.
        registers: Option<Registers>,
    },
    /// The role has changed.
    Role(Role),
    /// Registers that are in effect now and were not before, or say something else now.
    Committed(Registers),
    /// What became of a proposal.
    Decided {
        /// Which.
        id: ProposalId,
        /// In effect, or not decided by this leader (its outcome may still come about).
        result: Result<(), Undecided>,
    },
}

/// Why a proposal is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// It led no longer before a majority had it.
    #[error("leadership was lost before a majority of voters had it")]
    Lost,
}

/// What part this node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads and may decide: it won the term, restamped the configuration, and has read and re-stamped the
    /// registers of a majority.
    Leader(Term),
    /// It follows the leader of a term, if it has heard of one within the election timeout.
    Follower {
        /// The newest term it knows.
        term: Term,
        /// Who leads it.
        leader: Option<NodeId>,
    },
}

/// What members say to each other about leading. The wire form is minicbor; numbers are never used again.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader beats.
    pub beat: std::time::Duration,
    /// How long a follower waits for a beat at least; each adds its rank among the voters and chance to it.
    pub patience: std::time::Duration,
}

/// The machine of one node.
#[derive(Debug)]
pub struct Election {}

impl Election {
    /// Makes the machine of node `me` from what its disk holds. `seed`: where its randomness comes from.
    pub fn new(_me: NodeId, _seed: u64, _timing: Timing, _ballot: Ballot, _registers: Registers) -> Self {
        todo!()
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, _now: crate::time::Mono, _input: Input) -> Vec<Output> {
        todo!()
    }

    /// Returns the registers that are in effect as far as this node knows.
    pub fn committed(&self) -> &Registers {
        todo!()
    }

    /// Returns the newest ballot, saved or being saved.
    pub fn ballot(&self) -> &Ballot {
        todo!()
    }

    /// Returns the part this node plays.
    pub fn role(&self) -> Role {
        todo!()
    }
}
