//! The batches of all origins: taken, kept, told of, pulled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::NodeId;
use crate::store::Verified;
use crate::time::Mono;

use super::log::{self, Log, Raws, Remedy};
use super::message::{Batch, FRAME_BYTES, FRAME_RECORDS, Message, PULL_NUMBERS, Records};
use super::{Numbers, Origin};

/// The most other origins whose batches are counted: twice as many as peers are connected, within these bounds. Others'
/// records are delivered all the same.
const ORIGINS: std::ops::RangeInclusive<usize> = 16..=2_048;
/// The most bytes of batches that are kept for others: of one origin, and of all together or nearly so.
const KEPT_BYTES: usize = 1 << 20;
const KEPT_BYTES_OF_ALL: usize = 16 << 20;
/// The most origins whose numbers are told: those of which something came last.
const TOLD: usize = 64;

/// What is missing asks for.
#[derive(Debug)]
pub(super) enum Wish {
    /// Pull batches.
    Pull {
        /// From whom.
        from: NodeId,
        /// Whose.
        origin: Origin,
        /// Which.
        numbers: Vec<u64>,
    },
    /// An exchange with a peer.
    Exchange(NodeId),
}

/// The batches of all origins, this node's own included; one run of each, the latest.
#[derive(Debug)]
pub(super) struct Logs {
    me: Origin,
    logs: BTreeMap<NodeId, Log>,
    numbers: Numbers,
    /// Whose numbers are told, the newest last.
    recent: VecDeque<NodeId>,
}

/// A batch that was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its records, none if it came before.
    pub records: Vec<Verified>,
    /// The same as they came, if it came for the first time and none was left out: what may be passed on.
    pub whole: Option<Raws>,
}

impl Logs {
    /// Knows nothing yet.
    pub fn new(me: Origin) -> Self {
        let logs = [(me.node, Log::new(me.incarnation, Mono::default()))].into();
        Self { me, logs, numbers: [(me.node, (me.incarnation, 0))].into(), recent: [me.node].into() }
    }

    /// Returns what this node has.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Numbers and keeps a batch of this node's own.
    pub fn publish(&mut self, raws: &Raws, connected: &BTreeSet<NodeId>) -> (Origin, u64) {
        let most = self.most_bytes(connected);
        let own = self.logs.get_mut(&self.me.node).expect("a node's own log is never dropped");
        let number = own.upto() + 1;
        own.take(number);
        own.keep(number, raws, most);
        self.note(self.me.node);
        (self.me, number)
    }

    fn most_bytes(&self, connected: &BTreeSet<NodeId>) -> usize {
        KEPT_BYTES.min(KEPT_BYTES_OF_ALL / self.logs.len().max(connected.len()).max(1))
    }

    /// Takes a batch that came from `from`.
    pub fn take(
        &mut self,
        now: Mono,
        from: NodeId,
        origin: Origin,
        batch: Batch,
        connected: &BTreeSet<NodeId>,
    ) -> Taken {
        let number = batch.number;
        let (records, whole) = batch.records.into_verified();
        let most = self.most_bytes(connected);
        // What is not counted may be new: better twice than never.
        let Some(log) = self.log(now, origin, connected) else { return Taken { records, whole: None } };
        if !log.take(number) {
            return Taken::default();
        }
        // Passed on only as it was sent.
        let whole = whole.then(|| records.iter().map(|record| Arc::clone(&record.record().raw)).collect::<Raws>());
        if let Some(raws) = &whole {
            log.keep(number, raws, most);
        }
        let whole = whole.filter(|_| log.has(number));
        if from == origin.node && connected.contains(&from) {
            log.told(from, number.max(log.upto()));
        }
        self.note(origin.node);
        Taken { records, whole }
    }

    /// Notes what a connected peer has.
    pub fn heard(&mut self, now: Mono, from: NodeId, numbers: &Numbers, connected: &BTreeSet<NodeId>) {
        for (node, (incarnation, number)) in numbers {
            let origin = Origin { node: *node, incarnation: *incarnation };
            if let Some(log) = self.log(now, origin, connected) {
                log.told(from, *number);
            }
        }
    }

    /// Takes as known what an exchange vouches for.
    pub fn cover(&mut self, now: Mono, numbers: &Numbers, connected: &BTreeSet<NodeId>) {
        for (node, (incarnation, number)) in numbers {
            let origin = Origin { node: *node, incarnation: *incarnation };
            if let Some(log) = self.log(now, origin, connected) {
                log.cover(*number);
                self.note(*node);
            }
        }
    }

    /// Forgets what a peer said that cannot be asked any more.
    pub fn gone(&mut self, peer: NodeId) {
        self.logs.values_mut().for_each(|log| log.forget(&peer));
    }

    /// Answers a pull, as far as it goes into a message.
    pub fn answer(&self, origin: Origin, numbers: &[u64]) -> Message {
        let log = self.logs.get(&origin.node).filter(|log| log.incarnation == origin.incarnation);
        let (mut batches, mut bytes, mut count) = (Vec::new(), 0, 0);
        for number in numbers.iter().take(PULL_NUMBERS) {
            let Some(raws) = log.and_then(|log| log.kept(*number)) else { continue };
            (bytes, count) = (bytes + log::bytes(raws), count + raws.len());
            if !batches.is_empty() && (bytes > FRAME_BYTES || count > FRAME_RECORDS) {
                break;
            }
            batches.push(Batch { number: *number, records: Records::Raw(Arc::clone(raws)) });
        }
        if batches.is_empty() { Message::Lacking { origin } } else { Message::Batches { origin, batches } }
    }

    /// Notes that a peer cannot fill a gap. Returns whether that matters.
    pub fn lacks(&mut self, now: Mono, from: NodeId, origin: Origin) -> bool {
        let log = self.logs.get_mut(&origin.node).filter(|log| log.incarnation == origin.incarnation);
        let Some(log) = log.filter(|_| origin.node != self.me.node) else { return false };
        log.lacks(now);
        log.forget(&from);
        true
    }

    /// Returns what is to be done about all that is missing. `busy`: with whom an exchange goes on.
    pub fn wishes(&mut self, now: Mono, connected: &BTreeSet<NodeId>, busy: impl Fn(NodeId) -> bool) -> Vec<Wish> {
        let me = self.me.node;
        let others = self.logs.iter_mut().filter(|(node, _)| **node != me);
        let wishes = others.filter_map(|(node, log)| {
            let origin = Origin { node: *node, incarnation: log.incarnation };
            Some(match log.remedy(now, connected.get(node).copied(), &busy)? {
                Remedy::Pull(from, numbers) => Wish::Pull { from, origin, numbers },
                Remedy::Exchange(peer) => Wish::Exchange(peer),
            })
        });
        wishes.collect()
    }

    /// Finds or makes the log of another node's run; an older run than the known one has none.
    fn log(&mut self, now: Mono, origin: Origin, connected: &BTreeSet<NodeId>) -> Option<&mut Log> {
        if origin.node == self.me.node {
            return None;
        }
        let known = self.logs.get(&origin.node).map(|log| log.incarnation);
        if known.is_some_and(|known| origin.incarnation < known) {
            return None;
        }
        if known.is_none() && self.logs.len() > (2 * connected.len()).clamp(*ORIGINS.start(), *ORIGINS.end()) {
            self.make_room(connected)?;
        }
        if known != Some(origin.incarnation) {
            self.logs.insert(origin.node, Log::new(origin.incarnation, now));
            self.untell(origin.node);
        }
        let log = self.logs.get_mut(&origin.node)?;
        log.heard = now;
        Some(log)
    }

    /// Drops the log of the origin that was not heard of for longest, never a connected one's.
    fn make_room(&mut self, connected: &BTreeSet<NodeId>) -> Option<()> {
        let others = self.logs.iter().filter(|(node, _)| **node != self.me.node && !connected.contains(*node));
        let oldest = *others.min_by_key(|(_, log)| log.heard)?.0;
        self.logs.remove(&oldest);
        self.untell(oldest);
        Some(())
    }

    fn untell(&mut self, node: NodeId) {
        self.numbers.remove(&node);
        self.recent.retain(|recent| *recent != node);
    }

    /// Brings the numbers that are told in step with a log.
    fn note(&mut self, node: NodeId) {
        let Some(log) = self.logs.get(&node).filter(|log| log.upto() > 0) else { return };
        let newest = (log.incarnation, log.upto());
        if self.numbers.insert(node, newest) == Some(newest) {
            return;
        }
        self.recent.retain(|recent| *recent != node);
        self.recent.push_back(node);
        if self.recent.len() > TOLD
            && let Some(oldest) = self.recent.pop_front()
        {
            self.numbers.remove(&oldest);
        }
    }
}
