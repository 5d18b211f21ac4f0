//! Who leads: terms, votes, the voter set, and what a majority of voters has committed.
//!
//! A raft-like module without a log, after *Design and Analysis of a Logless Dynamic Reconfiguration Protocol*
//! (Schultz, Dardik, Tripakis; TLA+ module `MongoLoglessDynamicRaft`), with pre-vote and check-quorum. Beside the
//! configuration it carries *quorum registers* (rules 3, 4): few, small, unique decisions such as membership records.
//!
//! The room knows nothing of what registers mean, of sockets or of disks: messages and moments come in, messages and
//! what must be saved go out. What depends on a save waits inside until [`Input::Saved`].
//!
//! ```text
//!            no beat for long, or leader Gone       a majority would vote
//! Follower ------------------------------> Asking -----------------------> Candidate
//!   ^  ^                                     |      (a sole voter at once)    |    |
//!   |  +----------- a beat ------------------+----------- a beat -------------+    | a majority has voted
//!   |                                                                              v
//!   +-- newer term, no majority heard -- Leader, established <-- Leader, taking over:
//!                                        Role::Leader            reads a majority, re-stamps, writes to a majority
//! ```
//!
//! A member that is no voter (*learner*) is a follower that never asks. It gets beats and registers like a voter.
//!
//! *Invariants.* The rules they rest on are named in `rule::Rule`; tests break each and are caught.
//! - **One leader a term**: each voter votes once a term, durably, and any two majorities share a voter.
//! - **Decided stays**: a proposal answered with `Ok` is in effect, or overwritten by a later one of its key, under
//!   every later leader.
//! - **Passed over stays passed over**: what a new leader did not find when it took over never comes into effect.
//! - **Committed only grows**: what a run shows in effect never goes back to an older stamp. A crash may cost the
//!   newest of that knowledge (not the registers); the next leader brings it back.
//! - **A seat is a memory**: who has lost its ballot, or was given an older copy of it, is another voter than before
//!   ([`Ballot::seat`]), so no term sees two votes of one voter, and nothing counts on what is forgotten.
//! - **No configuration ahead of its registers**: who knows that a node votes knows all that was in effect when it
//!   was made a voter, its membership record among it.

mod follow;
mod grow;
mod lead;
mod machine;
mod message;
mod recall;
mod recover;
mod register;
mod rule;
mod save;
mod vote;
mod voters;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::ids::{NodeId, Term};

pub use machine::Election;
pub use message::{BadMessage, MAX_MESSAGE, Message};
pub use recall::Told;
pub use recover::{Generation, RECOVERY};
pub use register::{MAX_ALL, MAX_KEY, MAX_VALUE, OVERHEAD, Register, Registers, Stamp, settle, settled, settled_name};
pub use voters::{Ballot, FORMER_VOTERS, MOST_VOTERS, Voters, VotersId};

/// Numbers saves, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaveId(pub u64);

/// Correlates a proposal with its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A member of the same generation says something.
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
        /// Those that are members for their votes: they vote rather than others where that makes a vote for each but them
        /// possible, and else rather not.
        witnesses: BTreeSet<NodeId>,
        /// How many voters there may be: [`MOST_VOTERS`], or as many as the oldest build makes.
        most: usize,
    },
    /// The leader is asked to decide a register. Answered by exactly one [`Output::Decided`].
    Propose {
        /// Correlates the outcome.
        id: ProposalId,
        /// The register.
        key: String,
        /// What it shall say; nothing: the register is let go of, and forgotten when the next leader takes over.
        value: Vec<u8>,
    },
    /// Whether this node could do a leader's work. One that cannot takes no office over, and lets others stand first.
    Able(bool),
    /// Another voter should lead: this node does not get its work done, or is about to stop. Without another that is
    /// ready to, it goes on.
    Resign,
    /// There is a newer generation of the cluster: a human has begun it here, or a member has proven it.
    Begin(Generation),
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
    /// This node has told others more than its disk knows, which therefore is an older copy of it: it is no voter until
    /// a leader makes it one.
    Unseated,
    /// Registers that are in effect now and were not before, or say something else now; empty values for those that a
    /// new leader has forgotten.
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
    /// The key is empty, too long or begins with `~`, or the value or all registers together are too large.
    #[error("the register's name or size is out of bounds")]
    OutOfBounds,
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

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader beats.
    pub beat: std::time::Duration,
    /// How long a follower waits for a beat at least; each adds its rank among the voters and chance to it.
    pub patience: std::time::Duration,
}

/// A beat with every tick of 100 ms, 330 ms of patience: a dead leader is replaced in 0.3 to 0.6 s. Two lost beats do no
/// harm, and more only if a majority has missed them all.
impl Default for Timing {
    fn default() -> Self {
        Self { beat: std::time::Duration::from_millis(90), patience: std::time::Duration::from_millis(330) }
    }
}
