//! Who is alive. In a cluster of few every member probes every other (rule 13); in one of many each probes some and
//! tells what it finds (SWIM). What does not answer is unreachable, then lost.
//!
//! ```text
//!          silent for 2 s                5 s more
//! alive ------------------> unreachable ----------> lost
//!   ^------ an answer ----------'----------------------'
//! ```
//!
//! Unreachable: out of routing, no pod moves. Lost: its pods are replaced.
//!
//! *A host that refuses* lives, and its agent does not: nobody listens where a member was dialled, and the kernel there says
//! so. Its pods go on. So it is unreachable as soon as a probe is not answered either, and lost only when it has not answered for 30 s: an agent that is
//! started again by then has moved nothing. That counts as long as refusals come, which is every second; a host that falls
//! silent is lost like any other. Each node goes by what it finds itself, as with probes: what is replaced is decided by one.
//!
//! *Few* (up to [`Config::direct`] others). Only an answer to a probe of one's own counts, so a link that carries one way
//! only counts as cut for both. Silence counts from when the first probe was sent that is not answered, so a cut is
//! noticed between 2.0 and 2.5 s after it, whenever the last answer came. Others are asked about who is silent: as long
//! as any two of them reach it, it is unreachable from here and not lost, so no pod moves because of one link.
//!
//! *Many.* A node probes ten members a second, each round in a new order. Of who does not answer in 0.3 s it asks three
//! others; if they do not reach it either it is accused, and all are told: at once, each that hears it passes it on to
//! four, and with probes and answers. An accused member that lives refutes that, by a next incarnation of its own. If it
//! does not it is unreachable, after the longer the fewer accuse it. So each node judges by its own clock on what all
//! have found, and a member behind one bad link is not even accused, as long as others reach it.
//!
//! *Local health* (Lifeguard). A node that stood still itself (suspended, starved) doubts itself first: the time it missed
//! does not count against anybody. One whose helpers are silent too, or that had to refute, gives others more time. An
//! accuser alone is believed late, and whoever is accused is told so first of all.
//!
//! Files: `peer` is one of few, `standing` one of many, `swim` the machine for many, `relays` probes on behalf of others,
//! `message` what is said.

mod message;
mod peer;
mod relays;
mod standing;
mod swim;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use crate::ids::NodeId;
use crate::time::Mono;

use peer::Peer;
use relays::Relays;
use standing::Standing;
use swim::Swim;

pub use message::{Malformed, Message, Rumour};

/// How a member is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It answers.
    Alive,
    /// It has not answered for 2 s, or its host refuses connections.
    Unreachable,
    /// It has not answered for 7 s, or for 30 s if its host refuses connections.
    Lost,
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
    /// A member's host refuses connections: it lives, and its agent does not.
    Refused(NodeId),
    /// Who the other members are. One that is new counts from now on as if it had just answered.
    Members(BTreeSet<NodeId>),
    /// Time has passed. Comes every 100 ms or so.
    Tick,
}

/// Something to do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How long without an answer until it is lost, if its host refuses connections.
    pub grace: Duration,
    /// Up to so many others are few: all are probed.
    pub direct: usize,
    /// Whether a node doubts itself first. Off only to see what that is worth.
    pub local_health: bool,
}

impl Default for Config {
    fn default() -> Self {
        let (probe, unreachable, lost) = (Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5));
        Self { probe, unreachable, lost, grace: Duration::from_secs(30), direct: 16, local_health: true }
    }
}

/// With no input for longer than this, this node itself stood still; where there are many a probe may take less time than
/// that.
const STANDSTILL: Duration = Duration::from_secs(1);
const STANDSTILL_OF_MANY: Duration = Duration::from_millis(300);
/// For how long a refusal counts: a member is dialled every second, which may take two.
const REFUSED: Duration = Duration::from_secs(3);
/// How many others are asked about a silent member.
const HELPERS: usize = 3;

/// The machine of one node.
#[derive(Debug)]
pub struct Membership {
    config: Config,
    random: StdRng,
    me: NodeId,
    /// The others, where they are few.
    peers: BTreeMap<NodeId, Peer>,
    /// The same where they are many.
    swim: Swim,
    relays: Relays,
    /// The last probe's number: no run of this node gives out one twice while the machine is up.
    probe: u64,
    /// When the last input came.
    last: Option<Mono>,
}

impl Membership {
    /// Makes the machine of node `me` that knows no other member. `seed`: where its randomness comes from.
    pub fn new(me: NodeId, config: Config, seed: u64) -> Self {
        let seed = seed ^ me.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self {
            config,
            random: StdRng::seed_from_u64(seed),
            me,
            peers: BTreeMap::new(),
            swim: Swim::new(me, seed.rotate_left(1), config.local_health),
            relays: Relays::default(),
            probe: 0,
            last: None,
        }
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, now: Mono, input: Input) -> Vec<Output> {
        self.doubt_self(now);
        match input {
            Input::Received { from, message } => self.received(now, from, message),
            Input::Refused(peer) => self.refused(now, peer),
            Input::Members(members) => self.set_members(now, &members),
            Input::Tick => self.tick(now),
        }
    }

    /// Returns how a member is; one that is not known is lost.
    pub fn state(&self, peer: &NodeId) -> State {
        let few = self.peers.get(peer).map(|peer| peer.state);
        few.or_else(|| self.swim.state(peer)).unwrap_or(State::Lost)
    }

    /// Shifts all deadlines if this node itself stood still: nobody is lost because of that.
    fn doubt_self(&mut self, now: Mono) {
        let gap = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(now);
        if !self.config.local_health {
            return;
        }
        // Something must count, or a node that is always this slow would never notice anything.
        let missed = gap.saturating_sub(self.config.probe);
        if gap > STANDSTILL {
            self.peers.values_mut().for_each(|peer| peer.shift(missed));
            self.relays.shift(missed);
        }
        if gap > STANDSTILL_OF_MANY {
            self.swim.shift(missed);
        }
    }

    fn received(&mut self, now: Mono, from: NodeId, message: Message) -> Vec<Output> {
        match message {
            Message::Probe(number) => {
                let answer = Output::Send { to: from, message: Message::Ack(number) };
                std::iter::once(answer).chain(self.swim.news_for(now, from)).collect()
            }
            Message::Ack(number) => self.answered(now, from, number),
            Message::Ask { number, about } if self.is_member(&from) && self.is_member(&about) => {
                let probe = next_number(&mut self.probe, now);
                self.relays.ask(now, from, number, about, probe).into_iter().collect()
            }
            Message::Ask { .. } => Vec::new(),
            Message::Told { number, answers } => self.told(now, from, number, answers),
            Message::News(rumours) => self.swim.heard(now, from, rumours, &self.config),
        }
    }

    fn is_member(&self, id: &NodeId) -> bool {
        self.peers.contains_key(id) || self.swim.state(id).is_some()
    }

    fn answered(&mut self, now: Mono, from: NodeId, number: u64) -> Vec<Output> {
        if let Some(told) = self.relays.answered(from, number) {
            return vec![told];
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            self.swim.answered(from, number);
            return Vec::new();
        };
        peer.answered(number);
        changed(from, peer, now, &self.config).into_iter().collect()
    }

    fn refused(&mut self, now: Mono, id: NodeId) -> Vec<Output> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return self.swim.refused(now, id, &self.config).into_iter().collect();
        };
        peer.refused(now);
        changed(id, peer, now, &self.config).into_iter().collect()
    }

    fn told(&mut self, now: Mono, from: NodeId, number: u64, answers: bool) -> Vec<Output> {
        let mut out = Vec::new();
        match self.peers.iter_mut().find(|(_, peer)| peer.is_asked(number)) {
            Some((id, peer)) if answers => {
                peer.vouched(from, now);
                out.extend(changed(*id, peer, now, &self.config));
            }
            Some(_) => {}
            None => self.swim.told(now, from, number, answers, &mut out),
        }
        out
    }

    fn set_members(&mut self, now: Mono, members: &BTreeSet<NodeId>) -> Vec<Output> {
        if members.len() > self.config.direct {
            self.set_many(members);
        } else {
            self.set_few(now, members);
        }
        Vec::new()
    }

    fn set_few(&mut self, now: Mono, members: &BTreeSet<NodeId>) {
        self.swim.set_members(BTreeMap::new());
        self.peers.retain(|id, _| members.contains(id));
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        for (place, id) in (1..).zip(members) {
            // First probes are spread over a period, and so are all that follow.
            let wait = self.config.probe * place / count;
            self.peers.entry(*id).or_insert_with(|| Peer::new(now + wait));
        }
    }

    /// What is known of members while they were few is not forgotten.
    fn set_many(&mut self, members: &BTreeSet<NodeId>) {
        let peers = std::mem::take(&mut self.peers);
        let standing = |id: &NodeId| match peers.get(id).map(|peer| (peer, peer.silent_since())) {
            Some((peer, Some(since))) if peer.state != State::Alive => {
                Standing::silent(self.me, peer.state, since, peer.refusal(), &self.config)
            }
            _ => Standing::well(),
        };
        self.swim.set_members(members.iter().map(|id| (*id, standing(id))).collect());
    }

    fn tick(&mut self, now: Mono) -> Vec<Output> {
        let mut outputs = self.relays.tick(now);
        for (id, peer) in &mut self.peers {
            if peer.is_due(now, self.config.probe) {
                let number = next_number(&mut self.probe, now);
                peer.probed(now, number);
                outputs.push(Output::Send { to: *id, message: Message::Probe(number) });
            }
            outputs.extend(changed(*id, peer, now, &self.config));
        }
        self.ask_about_silent(now, &mut outputs);
        if self.peers.is_empty() {
            outputs.extend(self.swim.tick(now, &self.config, || next_number(&mut self.probe, now)));
        }
        outputs
    }

    /// Asks others about those that are silent: they may be alive behind a link that is not.
    fn ask_about_silent(&mut self, now: Mono, outputs: &mut Vec<Output>) {
        let well: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.state == State::Alive).map(|(id, _)| *id).collect();
        for (id, peer) in &mut self.peers {
            if !peer.is_to_be_asked_about(now) {
                continue;
            }
            let number = next_number(&mut self.probe, now);
            peer.asked(now, number);
            let helpers = well.iter().filter(|helper| *helper != id).sample(&mut self.random, HELPERS);
            let message = Message::Ask { number, about: *id };
            outputs.extend(helpers.into_iter().map(|to| Output::Send { to: *to, message: message.clone() }));
        }
    }
}

/// Gives out numbers that rise, over restarts too as long as the machine is up.
fn next_number(last: &mut u64, now: Mono) -> u64 {
    *last = u64::try_from(now.0.as_micros()).unwrap_or(0).max(*last + 1);
    *last
}

/// Sets the state of one of few to what it is now; returns the change, if it is one.
fn changed(id: NodeId, peer: &mut Peer, now: Mono, config: &Config) -> Option<Output> {
    let silence = peer.silence(now);
    let refuses = peer.refusal().is_some_and(|at| now.since(at) < REFUSED);
    // Who is lost already is not found again by its host.
    let patience = if refuses && peer.state != State::Lost { config.grace } else { config.unreachable + config.lost };
    let state = if silence >= patience && !peer.is_vouched_for(now) {
        State::Lost
    } else if silence >= config.unreachable || refuses && silence >= config.probe {
        State::Unreachable
    } else {
        State::Alive
    };
    let before = std::mem::replace(&mut peer.state, state);
    (before != state).then_some(Output::Changed { peer: id, state })
}
