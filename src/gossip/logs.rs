//! The batches of all origins: taken, kept, told of, pulled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::NodeId;
use crate::store::Verified;
use crate::time::Mono;

use super::log::{self, KEPT, Log, Raws, Remedy};
use super::message::{Batch, FRAME_BYTES, FRAME_RECORDS, Message, PULL_NUMBERS, Records};
use super::{Numbers, Origin};

/// The most other origins whose batches are counted: twice as many as peers are connected, within these bounds. Others'
/// records are delivered all the same.
const ORIGINS: std::ops::RangeInclusive<usize> = 16..=2_048;
/// The most bytes of batches that are kept for others: of one origin, and of all together. Few origins may have all of it:
/// a share for each of a thousand would be less than a batch.
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
    /// Batches in the order in which they were kept; some are not kept any more.
    kept: VecDeque<(NodeId, u64)>,
    /// How many bytes are kept.
    kept_bytes: usize,
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
        let numbers = [(me.node, (me.incarnation, 0))].into();
        Self { me, logs, numbers, recent: [me.node].into(), kept: VecDeque::new(), kept_bytes: 0 }
    }

    /// Returns what this node has.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Numbers and keeps a batch of this node's own.
    pub fn publish(&mut self, raws: &Raws) -> (Origin, u64) {
        let own = self.logs.get_mut(&self.me.node).expect("a node's own log is never dropped");
        let number = own.upto() + 1;
        own.take(number);
        self.keep(self.me.node, number, raws);
        self.note(self.me.node);
        (self.me, number)
    }

    /// Keeps a batch, and of all that are kept no more than there is room for: the oldest go.
    fn keep(&mut self, node: NodeId, number: u64, raws: &Raws) {
        let Some(log) = self.logs.get_mut(&node) else { return };
        let before = log.kept_bytes();
        log.keep(number, raws, KEPT_BYTES);
        self.kept_bytes = self.kept_bytes + log.kept_bytes() - before;
        self.kept.push_back((node, number));
        while self.kept_bytes > KEPT_BYTES_OF_ALL || self.kept.len() > KEPT * self.logs.len() {
            let Some((node, number)) = self.kept.pop_front() else { break };
            let Some(log) = self.logs.get_mut(&node) else { continue };
            let before = log.kept_bytes();
            log.drop_kept(number);
            self.kept_bytes = self.kept_bytes + log.kept_bytes() - before;
        }
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
        // What is not counted may be new: better twice than never.
        let Some(log) = self.log(now, origin, connected) else { return Taken { records, whole: None } };
        if !log.take(number) {
            return Taken::default();
        }
        // Passed on only as it was sent.
        let whole = whole.then(|| records.iter().map(|record| Arc::clone(&record.record().raw)).collect::<Raws>());
        let remembered = log.has(number);
        if from == origin.node && connected.contains(&from) {
            log.told(from, number.max(log.upto()));
        }
        if let Some(raws) = &whole {
            self.keep(origin.node, number, raws);
        }
        let whole = whole.filter(|_| remembered);
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

    /// Forgets the batches that are kept for others.
    pub fn forget_kept(&mut self) {
        self.logs.values_mut().for_each(Log::forget_kept);
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
            let former = self.logs.insert(origin.node, Log::new(origin.incarnation, now));
            self.kept_bytes -= former.map_or(0, |log| log.kept_bytes());
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
        let former = self.logs.remove(&oldest);
        self.kept_bytes -= former.map_or(0, |log| log.kept_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn kept(logs: &Logs, origin: Origin, number: u64) -> bool {
        matches!(logs.answer(origin, &[number]), Message::Batches { .. })
    }

    #[test]
    fn a_burst_of_one_of_a_thousand_can_be_pulled_and_all_together_stay_within_bounds() {
        let me = Origin { node: node(1), incarnation: 1 };
        let mut logs = Logs::new(me);
        let connected: BTreeSet<NodeId> = (2..1_000).map(node).collect();
        let raws = |bytes: usize| -> Raws { [Arc::from(vec![0; bytes])].into() };
        for number in 1..=8 {
            assert_eq!(logs.publish(&raws(32 << 10)), (me, number));
        }
        assert!((1..=8).all(|number| kept(&logs, me, number)));
        for n in &connected {
            logs.log(Mono::default(), Origin { node: *n, incarnation: 1 }, &connected).unwrap();
            (1..=30).for_each(|number| logs.keep(*n, number, &raws(1 << 10)));
        }
        let all = |logs: &Logs| logs.logs.values().map(Log::kept_bytes).sum::<usize>();
        assert!(logs.kept_bytes == all(&logs) && all(&logs) <= KEPT_BYTES_OF_ALL, "{}", all(&logs));
        assert!(all(&logs) > KEPT_BYTES_OF_ALL - (64 << 10), "{}", all(&logs));
        assert!(!kept(&logs, me, 8), "the oldest went first");
        assert!(kept(&logs, Origin { node: node(999), incarnation: 1 }, 30));
        // Another run's batches take the place of the former's.
        logs.log(Mono::default(), Origin { node: node(999), incarnation: 2 }, &connected).unwrap();
        assert_eq!(logs.kept_bytes, all(&logs));
        // Small ones are counted too.
        (0..600_000_u64).for_each(|n| logs.keep(node(2), n, &raws(1)));
        assert!(logs.kept.len() <= KEPT * 1_000 && logs.kept_bytes == all(&logs));
    }
}
