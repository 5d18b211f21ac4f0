//! Who is alive: every member probes every other (rule 13), and what does not answer is unreachable, then lost.
//!
//! ```text
//!          silent for 2 s                5 s more
//! alive ------------------> unreachable ----------> lost
//!   ^------ an answer ----------'----------------------'
//! ```
//!
//! Unreachable: out of routing, no pod moves. Lost: its pods are replaced. Only an answer to a probe of one's own
//! counts, so a link that carries one way only counts as cut for both.
//!
//! Silence counts from when the first probe was sent that is not answered, so a cut is noticed between 2.0 and 2.5 s
//! after it, whenever the last answer came. A node that stood still itself (suspended, starved) doubts itself first:
//! the time it missed does not count against anybody.

mod peer;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::ids::NodeId;
use crate::time::Mono;

use peer::Peer;

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

/// What members say to each other about being alive. Numbers of the wire form are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Are you there? To be answered at once.
    #[n(0)]
    Probe(#[n(0)] u64),
    /// I am; with the number of the probe.
    #[n(1)]
    Ack(#[n(0)] u64),
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed membership message: {0}")]
pub struct Malformed(pub String);

impl Message {
    /// Returns the wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes any number of bytes")
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        minicbor::decode(bytes).map_err(|e| Malformed(e.to_string()))
    }
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
    /// Time has passed. Comes every 100 ms or so.
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

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often each member is probed.
    pub probe: Duration,
    /// How long without an answer until it is unreachable.
    pub unreachable: Duration,
    /// How much longer until it is lost.
    pub lost: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { probe: Duration::from_millis(400), unreachable: Duration::from_secs(2), lost: Duration::from_secs(5) }
    }
}

/// With no input for longer than this, this node itself stood still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// The machine of one node.
#[derive(Debug)]
pub struct Membership {
    config: Config,
    peers: BTreeMap<NodeId, Peer>,
    /// The last probe's number: no run of this node gives out one twice while the machine is up.
    probe: u64,
    /// When the last input came.
    last: Option<Mono>,
}

impl Membership {
    /// Makes a machine that knows no other member.
    pub fn new(config: Config) -> Self {
        Self { config, peers: BTreeMap::new(), probe: 0, last: None }
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, now: Mono, input: Input) -> Vec<Output> {
        self.doubt_self(now);
        match input {
            Input::Received { from, message: Message::Probe(number) } => {
                vec![Output::Send { to: from, message: Message::Ack(number) }]
            }
            Input::Received { from, message: Message::Ack(number) } => self.answered(now, from, number),
            Input::Members(members) => self.set_members(now, &members),
            Input::Tick => self.tick(now),
        }
    }

    /// Returns how a member is; one that is not known is lost.
    pub fn state(&self, peer: &NodeId) -> State {
        self.peers.get(peer).map_or(State::Lost, |peer| peer.state)
    }

    /// Shifts all deadlines if this node itself stood still: nobody is lost because of that.
    fn doubt_self(&mut self, now: Mono) {
        let gap = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(now);
        if gap > STANDSTILL {
            // Something must count, or a node that is always this slow would never notice anything.
            let missed = gap.saturating_sub(self.config.probe);
            self.peers.values_mut().for_each(|peer| peer.shift(missed));
        }
    }

    fn answered(&mut self, now: Mono, from: NodeId, number: u64) -> Vec<Output> {
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        peer.answered(number);
        changed(from, peer, now, &self.config).into_iter().collect()
    }

    fn set_members(&mut self, now: Mono, members: &BTreeSet<NodeId>) -> Vec<Output> {
        self.peers.retain(|id, _| members.contains(id));
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        for (place, id) in (1..).zip(members) {
            // First probes are spread over a period, and so are all that follow.
            let wait = self.config.probe * place / count;
            self.peers.entry(*id).or_insert_with(|| Peer::new(now + wait));
        }
        Vec::new()
    }

    fn tick(&mut self, now: Mono) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.is_due(now, self.config.probe) {
                self.probe = u64::try_from(now.0.as_micros()).unwrap_or(0).max(self.probe + 1);
                peer.probed(now, self.probe);
                outputs.push(Output::Send { to: *id, message: Message::Probe(self.probe) });
            }
            outputs.extend(changed(*id, peer, now, &self.config));
        }
        outputs
    }
}

/// Sets a member's state to what it is now; returns the change, if it is one.
fn changed(id: NodeId, peer: &mut Peer, now: Mono, config: &Config) -> Option<Output> {
    let silence = peer.silence(now);
    let state = if silence >= config.unreachable + config.lost {
        State::Lost
    } else if silence >= config.unreachable {
        State::Unreachable
    } else {
        State::Alive
    };
    let before = std::mem::replace(&mut peer.state, state);
    (before != state).then_some(Output::Changed { peer: id, state })
}
