//! How records reach every member: numbered batches sent at once, gaps pulled at once, and a comparison of all that
//! both sides hold, which repairs whatever else was missed (design, section 3).
//!
//! *Batches.* A node numbers the batches that it tells within one run (origin = node and incarnation), from 1, and
//! sends them to every member it is connected to; where these are many, to a few at random, and so does each that gets
//! one first. Each member keeps the newest ones of every origin, and tells in
//! passing ([`Numbers`], with every probe) up to which number it has all. Who sees that it lacks some pulls them from
//! whoever has them.
//!
//! *Exchange.* With every peer that is (again) connected, on a gap that nobody can fill, and every so often,
//! two members compare fingerprints of all records; if they differ, of parts of what differs until little is left; then
//! lists of record ids, and send each other what the other lacks. So it costs what differs, not what is held. [`Output::Exchanged`] says that all the peer held when it began is here.
//!
//! Correctness is the exchange's; batches are for speed. So a member that lies about batches (numbers that are not,
//! another's number with other records) delays what it lied about until the next exchange, and no more.
//!
//! Files: `message` is what is said, `wire` its form; `log` keeps one origin's batches, `logs` all of them and says
//! what is to be pulled; `fingerprint` sums up what is held, `session` is one exchange with one peer,
//! `descent` how it finds what differs, `refused` what is known and not wanted, `transfer` what it carries in parts, `exchanges` begins and ends them.
//!
//! Invariants, each with its tests:
//! - *convergence*: members that stay connected come to hold the same records, whatever was lost;
//! - *an exchange is no promise before it is kept*: `Exchanged` comes after the last delivery, on either side;
//! - *quiet is cheap*: equal holdings cost three small messages;
//! - *bounded*: what a peer says is held only up to the limits beside each type; strangers' frames begin nothing.

mod descent;
mod exchanges;
mod fingerprint;
mod log;
mod logs;
mod message;
mod refused;
mod session;
mod transfer;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use crate::ids::NodeId;
use crate::store::{PARTS, Range, RecordId, Sum, Verified};
use crate::time::Mono;

use exchanges::Exchanges;
use logs::{Logs, Taken};
use message::{Batch, Records, Step};
use refused::{Known, Refused};
use session::Context;

pub use message::{Malformed, Message};
pub use wire::{numbers_of_bytes, numbers_to_bytes};

/// A node's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// Which of its runs. A later run has a higher number.
    pub incarnation: u64,
}

/// Up to which batch a node has everything of each origin: node to incarnation and number.
pub type Numbers = BTreeMap<NodeId, (u64, u64)>;

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
    /// A record that came is not taken: it is not to be asked for again, and not to make for a difference for ever.
    Refused(RecordId),
    /// Begin an exchange with a member now, or as soon as it is connected.
    Exchange(NodeId),
    /// Time has passed. Comes every 100 ms or so.
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
        /// When it began, by this node's clock.
        began: Mono,
    },
}

/// What this node holds of what peers should have, asked for by an exchange. Nothing here may cost a walk over it all.
pub trait Holdings {
    /// Sums up all ids.
    fn sum(&self) -> Sum;
    /// Sums up each part of a range.
    fn sums(&self, range: Range) -> [Sum; PARTS];
    /// Lists the ids of a range.
    fn ids(&self, range: Range) -> Vec<RecordId>;
    /// Tells whether a record is held.
    fn has(&self, id: &RecordId) -> bool;
    /// Tells how many records were held once and are not any more, by the first byte of their ids.
    fn removed(&self) -> &[u64; 256];
    /// Returns the records that are held of `ids`, in an order in which they can be merged.
    fn records(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>>;
}

/// How long a batch may be on its way to the disk after it was delivered. Numbers that an exchange vouches for are at
/// least this old, since what is not durable yet is not among the holdings that are compared.
const SETTLING: Duration = Duration::from_secs(5);
/// How often it is noted which numbers are how old.
const NOTING: Duration = Duration::from_secs(1);
/// The most bytes and records of a batch; a record that is larger travels alone.
const BATCH_BYTES: usize = 32 << 10;
const BATCH_RECORDS: usize = 64;
/// Up to so many connected members a batch is sent to each by its origin. Of more, each member that gets it first passes
/// it on to so many at random: what chance leaves out is pulled.
const DIRECT: usize = 16;
const FANOUT: usize = 8;

/// The machine of one node.
#[derive(Debug)]
pub struct Gossip {
    connected: BTreeSet<NodeId>,
    random: StdRng,
    logs: Logs,
    exchanges: Exchanges,
    refused: Refused,
    /// What [`Logs::numbers`] said at least [`SETTLING`] ago.
    settled: Numbers,
    settling: VecDeque<(Mono, Numbers)>,
}

impl Gossip {
    /// Makes the machine of a run. `seed`: where its randomness comes from.
    pub fn new(me: Origin, seed: u64) -> Self {
        Self {
            connected: BTreeSet::new(),
            random: StdRng::seed_from_u64(seed.rotate_left(1) ^ first_bytes(me.node)),
            logs: Logs::new(me),
            exchanges: Exchanges::new(me, seed),
            refused: Refused::default(),
            settled: Numbers::new(),
            settling: VecDeque::new(),
        }
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, now: Mono, input: Input, holdings: &dyn Holdings) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected(peer) => {
                self.connected.insert(peer);
                self.exchange(now, holdings, &mut out, |exchanges, cx| exchanges.connected(peer, cx));
            }
            Input::Gone(peer) => {
                self.connected.remove(&peer);
                self.logs.gone(peer);
                self.exchanges.gone(peer);
            }
            Input::Received { from, message } => self.received(now, from, message, holdings, &mut out),
            Input::Heard { from, numbers } if self.connected.contains(&from) => {
                self.logs.heard(now, from, &numbers, &self.connected);
            }
            Input::Heard { .. } => {}
            Input::Publish(records) => self.publish(&records, &mut out),
            Input::Refused(id) => self.refused.add(id),
            Input::Exchange(peer) => {
                self.exchange(now, holdings, &mut out, |exchanges, cx| exchanges.ask(peer, cx));
            }
            Input::Tick => self.tick(now, holdings, &mut out),
        }
        out
    }

    /// Forgets the batches that are kept to be pulled, and lets go of exchanges under way: what they hold may be gone for
    /// good now. Peers have to exchange instead.
    pub fn forget_batches(&mut self) {
        self.logs.forget_kept();
        self.exchanges.interrupt();
    }

    /// Returns what this node has, to be told with every probe.
    pub fn numbers(&self) -> &Numbers {
        self.logs.numbers()
    }

    fn publish(&mut self, records: &[Verified], out: &mut Vec<Output>) {
        let raws: Vec<Arc<[u8]>> = records.iter().map(|record| Arc::clone(&record.record().raw)).collect();
        for records in batches(&raws) {
            let (origin, number) = self.logs.publish(&records);
            let everybody = self.connected.len() <= DIRECT;
            let to = if everybody { self.connected.iter().copied().collect() } else { self.some(&[]) };
            pass(origin, number, &records, &to, out);
        }
    }

    /// Picks members at random to whom a batch is passed, none of those that have it.
    fn some(&mut self, but: &[NodeId]) -> Vec<NodeId> {
        let others = self.connected.iter().filter(|peer| !but.contains(peer)).copied();
        others.sample(&mut self.random, FANOUT)
    }

    fn received(&mut self, now: Mono, from: NodeId, message: Message, holdings: &dyn Holdings, out: &mut Vec<Output>) {
        match message {
            Message::Batches { origin, batches } => {
                for batch in batches {
                    let number = batch.number;
                    let Taken { records, whole } = self.logs.take(now, from, origin, batch, &self.connected);
                    if let Some(raws) = whole.filter(|_| self.connected.len() > DIRECT) {
                        pass(origin, number, &raws, &self.some(&[from, origin.node]), out);
                    }
                    out.extend((!records.is_empty()).then_some(Output::Deliver { from, records }));
                }
            }
            // Its words were quicker than the news of its connection: with that an exchange begins from here.
            Message::Exchange { step: Step::Begin { .. }, .. } if !self.connected.contains(&from) => {
                self.exchange(now, holdings, out, |exchanges, cx| exchanges.ask(from, cx));
            }
            // An answer to who is not connected would reach nobody.
            _ if !self.connected.contains(&from) => {}
            Message::Pull { origin, numbers } => {
                out.push(Output::Send { to: from, message: self.logs.answer(origin, &numbers) });
            }
            Message::Lacking { origin } => {
                if self.logs.lacks(now, from, origin) {
                    self.exchanges.gap(now, from);
                }
            }
            Message::Exchange { session, step } => {
                self.exchange(now, holdings, out, |exchanges, cx| exchanges.received(from, session, step, cx));
            }
        }
    }

    fn tick(&mut self, now: Mono, holdings: &dyn Holdings, out: &mut Vec<Output>) {
        self.settle(now);
        self.exchange(now, holdings, out, Exchanges::tick);
        for wish in self.logs.wishes(now, &self.connected, |peer| self.exchanges.is_busy(peer)) {
            match wish {
                logs::Wish::Pull { from, origin, numbers } => {
                    out.push(Output::Send { to: from, message: Message::Pull { origin, numbers } });
                }
                logs::Wish::Exchange(peer) => self.exchanges.gap(now, peer),
            }
        }
    }

    /// Lets exchanges go on, and takes as known what those that ended were told.
    fn exchange(
        &mut self,
        now: Mono,
        holdings: &dyn Holdings,
        out: &mut Vec<Output>,
        go: impl FnOnce(&mut Exchanges, &mut Context<'_>),
    ) {
        let holdings = &Known { holdings, refused: &self.refused };
        let (learnt, unheard) = (Vec::new(), BTreeSet::new());
        let mut cx = Context { now, holdings, numbers: &self.settled, out, learnt, unheard };
        go(&mut self.exchanges, &mut cx);
        let Context { learnt, unheard, .. } = cx;
        for numbers in learnt {
            self.logs.cover(now, &numbers, &self.connected);
        }
        // Should it come after all, it is refused again.
        self.refused.forget(&unheard);
    }

    /// Notes which numbers are so old that what they stand for is among the holdings.
    fn settle(&mut self, now: Mono) {
        while self.settling.front().is_some_and(|(at, _)| now.since(*at) >= SETTLING) {
            self.settled = self.settling.pop_front().map(|(_, numbers)| numbers).unwrap_or_default();
        }
        let newest = self.settling.back();
        let noted = newest.map_or(&self.settled, |(_, numbers)| numbers);
        if newest.is_none_or(|(at, _)| now.since(*at) >= NOTING) && noted != self.logs.numbers() {
            self.settling.push_back((now, self.logs.numbers().clone()));
        }
    }
}

/// Sends a batch to some members.
fn pass(origin: Origin, number: u64, records: &Arc<[Arc<[u8]>]>, to: &[NodeId], out: &mut Vec<Output>) {
    for to in to {
        let batches = vec![Batch { number, records: Records::Raw(Arc::clone(records)) }];
        out.push(Output::Send { to: *to, message: Message::Batches { origin, batches } });
    }
}

/// Were all nodes given one seed, they would all draw the same.
fn first_bytes(node: NodeId) -> u64 {
    node.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Splits records into batches.
fn batches(records: &[Arc<[u8]>]) -> Vec<Arc<[Arc<[u8]>]>> {
    let mut batches = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (at, record) in records.iter().enumerate() {
        if at > first && (bytes + record.len() > BATCH_BYTES || at - first == BATCH_RECORDS) {
            batches.push(records[first..at].into());
            (first, bytes) = (at, 0);
        }
        bytes += record.len();
    }
    if first < records.len() {
        batches.push(records[first..].into());
    }
    batches
}
