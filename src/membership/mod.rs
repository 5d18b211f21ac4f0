//! Who is alive: every member probes every other (rule 13), and what does not answer is unreachable, then lost.
//!
//! Unreachable: out of routing, no pod moves. Lost: its pods are replaced. Only an answer to a probe of one's own
//! counts, so a link that carries one way only counts as cut for both.

use std::collections::BTreeSet;

use crate::ids::NodeId;
use crate::time::Mono;

/// How a member is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It answers.
    Alive,
    /// It has not answered for 2 s.
    Unreachable,
    /// It has not answered for 7 s.
    Lost,
}

/// What members say to each other about being alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Are you there? To be answered at once.
    Probe(u64),
    /// I am; with the number of the probe.
    Ack(u64),
}

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
    /// Who the other members are. One that is new counts from now on as if it had just answered.
    Members(BTreeSet<NodeId>),
    /// Time has passed.
    Tick,
}

/// Something to do or know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A member is in another state now.
    Changed {
        /// Which.
        peer: NodeId,
        /// How it is now.
        state: State,
    },
}

/// The machine of one node.
#[derive(Debug)]
pub struct Membership {}

impl Membership {
    /// Makes a machine that knows no other member.
    pub fn new(_config: Config) -> Self {
        todo!()
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, _now: Mono, _input: Input) -> Vec<Output> {
        todo!()
    }

    /// Returns how a member is; one that is not known is lost.
    pub fn state(&self, _peer: &NodeId) -> State {
        todo!()
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often each member is probed.
    pub probe: std::time::Duration,
    /// How long without an answer until it is unreachable.
    pub unreachable: std::time::Duration,
    /// How much longer until it is lost.
    pub lost: std::time::Duration,
}
