//! How records reach every member: numbered batches sent at once, gaps pulled at once, and a comparison of all that
//! both sides hold, which repairs whatever else was missed (design, section 3).
//!
//! *Batches.* A node numbers the batches that it tells within one run (origin = node and incarnation), from 1, and
//! sends them to every member it is connected to. Each member keeps the newest ones of every origin, and tells in
//! passing ([`Numbers`], with every probe) up to which number it has all. Who sees that it lacks some pulls them from
//! whoever has them.
//!
//! *Exchange.* With every peer that is (again) connected, on a gap that nobody can fill, and every so often,
//! two members compare fingerprints of all records; if they differ, sorted lists of record ids, and send each other
//! what the other lacks. [`Output::Exchanged`] says that all the peer held when it began is here.
//!
//! Correctness is the exchange's; batches are for speed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::NodeId;
use crate::store::{RecordId, Verified};
use crate::time::Mono;

/// A node's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// Which of its runs.
    pub incarnation: u64,
}

/// Up to which batch a node has everything of each origin.
pub type Numbers = BTreeMap<NodeId, (u64, u64)>;

/// What members say to each other about records.
#[derive(Clone, Debug)]
pub enum Message {}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A member can be sent to from now on.
    Connected(NodeId),
    /// It cannot any more.
    Gone(NodeId),
    /// A member says something.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A member tells, in passing, what it has.
    Heard {
        /// Who.
        from: NodeId,
        /// What.
        numbers: Numbers,
    },
    /// This node has something to tell everybody: durable already, where that matters.
    Publish(Vec<Verified>),
    /// Begin an exchange with a member now, or as soon as it is connected.
    Exchange(NodeId),
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Merge these records.
    Deliver {
        /// Who sent them.
        from: NodeId,
        /// What.
        records: Vec<Verified>,
    },
    /// All that `peer` held at the beginning of an exchange is delivered. Comes after its deliveries.
    Exchanged {
        /// With whom.
        peer: NodeId,
        /// When it began.
        began: Mono,
    },
}

/// What this node holds, asked for by an exchange.
pub trait Holdings {
    /// Lists the ids of all records that peers should have.
    fn ids(&self) -> Vec<RecordId>;
    /// Returns the records that are held of `ids`, in an order in which they can be merged.
    fn records(&self, ids: &std::collections::BTreeSet<RecordId>) -> Vec<Arc<[u8]>>;
}

/// The machine of one node.
#[derive(Debug)]
pub struct Gossip {}

impl Gossip {
    /// Makes the machine of a run. `seed`: where its randomness comes from.
    pub fn new(_me: Origin, _seed: u64) -> Self {
        todo!()
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, _now: Mono, _input: Input, _holdings: &dyn Holdings) -> Vec<Output> {
        todo!()
    }

    /// Returns what this node has, to be told with every probe.
    pub fn numbers(&self) -> &Numbers {
        todo!()
    }
}
