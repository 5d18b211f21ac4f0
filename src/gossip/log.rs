//! The batches of one run of a node: which have come, and the newest of them to pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Mono;

use super::message::PULL_NUMBERS;

/// The most batches that are kept to be pulled by others.
pub(super) const KEPT: usize = 256;
/// How far ahead of the first missing number numbers are remembered. A gap that is wider is an exchange's business.
const WINDOW: u64 = 1_024;
/// How long a missing batch may still be on its way before it is pulled.
const GRACE: Duration = Duration::from_millis(200);
/// How long a pull may take until the next.
const PATIENCE: Duration = Duration::from_millis(300);

/// A batch's records.
pub(super) type Raws = Arc<[Arc<[u8]>]>;

/// One run's batches.
#[derive(Debug)]
pub(super) struct Log {
    /// The run.
    pub incarnation: u64,
    /// When something of it was last heard.
    pub heard: Mono,
    /// All batches up to this one have come.
    upto: u64,
    /// Those after `upto` that have come.
    held: BTreeSet<u64>,
    kept: BTreeMap<u64, Raws>,
    kept_bytes: usize,
    /// Up to where connected peers have it all, of those that have more than this node.
    told: BTreeMap<NodeId, u64>,
    /// Since when something is missing.
    missing_since: Option<Mono>,
    /// When batches were last pulled, and the highest number of them.
    pulled: Option<(Mono, u64)>,
    /// Counts pulls, so that each asks somebody else.
    turn: usize,
}

/// What a gap asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Remedy {
    /// Pull these numbers from that peer.
    Pull(NodeId, Vec<u64>),
    /// Too much is missing: an exchange with that peer.
    Exchange(NodeId),
}

impl Log {
    /// Of a run of which nothing has come.
    pub fn new(incarnation: u64, now: Mono) -> Self {
        Self {
            incarnation,
            heard: now,
            upto: 0,
            held: BTreeSet::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            told: BTreeMap::new(),
            missing_since: None,
            pulled: None,
            turn: 0,
        }
    }

    /// Returns the number up to which all have come.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// Notes that a batch has come. Returns whether it is new.
    pub fn take(&mut self, number: u64) -> bool {
        if self.has(number) {
            return false;
        }
        if number - self.upto <= WINDOW {
            self.held.insert(number);
            self.advance();
            // Should this be a pull's answer that was cut short, the next pull need not wait.
            self.pulled.take_if(|(_, highest)| number <= *highest);
        }
        true
    }

    /// Keeps a batch for others, as long as it is among the newest, of so many bytes.
    pub fn keep(&mut self, number: u64, raws: &Raws, most: usize) {
        self.kept_bytes += bytes(raws);
        if let Some(former) = self.kept.insert(number, Arc::clone(raws)) {
            self.kept_bytes -= bytes(&former);
        }
        while self.kept.len() > KEPT || self.kept_bytes > most {
            let Some((_, oldest)) = self.kept.pop_first() else { break };
            self.kept_bytes -= bytes(&oldest);
        }
    }

    /// Returns how many bytes are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Keeps a batch no longer.
    pub fn drop_kept(&mut self, number: u64) {
        if let Some(raws) = self.kept.remove(&number) {
            self.kept_bytes -= bytes(&raws);
        }
    }

    /// Tells whether it is remembered that a batch has come.
    pub fn has(&self, number: u64) -> bool {
        number <= self.upto || self.held.contains(&number)
    }

    /// Forgets the batches that are kept.
    pub fn forget_kept(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// Returns a batch that is kept.
    pub fn kept(&self, number: u64) -> Option<&Raws> {
        self.kept.get(&number)
    }

    /// Takes all up to `number` as known.
    pub fn cover(&mut self, number: u64) {
        self.upto = self.upto.max(number);
        self.advance();
    }

    fn advance(&mut self) {
        while self.held.first().is_some_and(|first| *first <= self.upto.saturating_add(1)) {
            self.upto = self.held.pop_first().map_or(self.upto, |number| number.max(self.upto));
        }
        // Where all is known nobody needs to be remembered: in a large cluster that would be everybody, for every origin.
        self.told.retain(|_, told| *told > self.upto);
    }

    /// Notes up to where a connected peer has it all.
    pub fn told(&mut self, peer: NodeId, number: u64) {
        if number > self.upto {
            let told = self.told.entry(peer).or_default();
            *told = number.max(*told);
        }
    }

    /// Forgets what a peer said.
    pub fn forget(&mut self, peer: &NodeId) {
        self.told.remove(peer);
    }

    /// Notes that a peer keeps nothing of what was pulled.
    pub fn lacks(&mut self, now: Mono) {
        self.pulled = Some((now, 0));
    }

    /// Returns what is to be done about missing batches, if it is time. `first`: whom to ask first. `busy`: with whom
    /// an exchange goes on.
    pub fn remedy(&mut self, now: Mono, first: Option<NodeId>, busy: impl Fn(NodeId) -> bool) -> Option<Remedy> {
        let ahead = self.held.last().copied().unwrap_or(0);
        let mut holders: BTreeMap<NodeId, u64> = self.told.clone();
        // Whose batches they are has them, whatever it told.
        if let Some(origin) = first {
            holders.entry(origin).and_modify(|told| *told = ahead.max(*told)).or_insert(ahead);
        }
        holders.retain(|_, number| *number > self.upto);
        if holders.is_empty() {
            self.missing_since = None;
            return None;
        }
        let since = *self.missing_since.get_or_insert(now);
        let waits = self.pulled.is_some_and(|(at, _)| now.since(at) < PATIENCE);
        // To one that knows nothing yet an exchange brings most of it.
        let soon = self.upto == 0 && holders.keys().any(|peer| busy(*peer));
        if now.since(since) < GRACE || waits || soon {
            return None;
        }
        let mut order: Vec<_> = holders.into_iter().collect();
        order.sort_by_key(|(peer, _)| (Some(*peer) != first, *peer));
        let (peer, number) = order[self.turn % order.len()];
        self.turn = self.turn.wrapping_add(1);
        if number - self.upto > WINDOW {
            self.pulled = Some((now, 0));
            return Some(Remedy::Exchange(peer));
        }
        let missing = (self.upto + 1..=number).filter(|number| !self.held.contains(number));
        let missing: Vec<u64> = missing.take(PULL_NUMBERS).collect();
        self.pulled = Some((now, missing.last().copied().unwrap_or(0)));
        Some(Remedy::Pull(peer, missing))
    }
}

/// Returns how many bytes a batch has.
pub(super) fn bytes(raws: &Raws) -> usize {
    raws.iter().map(|raw| raw.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    #[test]
    fn batches_count_in_any_order_and_once() {
        let mut log = Log::new(1, at(0));
        let new: Vec<bool> = [2, 2, 4, 1, 1, 3, 4].into_iter().map(|n| log.take(n)).collect();
        assert_eq!(new, [true, false, true, true, false, true, false]);
        assert_eq!(log.upto(), 4);
        assert!(log.held.is_empty());
    }

    #[test]
    fn a_number_far_ahead_is_not_remembered() {
        let mut log = Log::new(1, at(0));
        assert!(log.take(u64::MAX));
        assert!(log.held.is_empty());
        log.cover(u64::MAX - 1);
        assert!(log.take(u64::MAX));
        assert!(!log.take(u64::MAX));
    }

    #[test]
    fn a_gap_is_pulled_after_its_grace_from_one_after_the_other() {
        let mut log = Log::new(1, at(0));
        log.take(1);
        log.take(3);
        log.told(B, 4);
        let idle = |_| false;
        assert_eq!(log.remedy(at(0), Some(A), idle), None);
        assert_eq!(log.remedy(at(100), Some(A), idle), None);
        assert_eq!(log.remedy(at(200), Some(A), idle), Some(Remedy::Pull(A, vec![2])));
        assert_eq!(log.remedy(at(300), Some(A), idle), None, "the answer may be on its way");
        assert_eq!(log.remedy(at(500), Some(A), idle), Some(Remedy::Pull(B, vec![2, 4])));
        log.take(2);
        log.take(4);
        assert_eq!(log.remedy(at(900), Some(A), idle), None);
        assert_eq!(log.missing_since, None);
    }

    #[test]
    fn what_is_too_much_to_pull_is_exchanged() {
        let mut log = Log::new(1, at(0));
        log.told(B, u64::MAX);
        assert_eq!(log.remedy(at(0), None, |_| false), None);
        assert_eq!(log.remedy(at(300), None, |_| true), None, "an exchange is going on");
        assert_eq!(log.remedy(at(300), None, |_| false), Some(Remedy::Exchange(B)));
    }

    #[test]
    fn only_the_newest_batches_are_kept() {
        let mut log = Log::new(1, at(0));
        let small: Raws = [Arc::from([0; 10].as_slice())].into();
        (1..=300).for_each(|n| log.keep(n, &small, 1 << 20));
        assert!(log.kept(44).is_none() && log.kept(45).is_some());
        assert_eq!(log.kept_bytes, 2_560);
        let large: Raws = [Arc::from([0; 600 << 10].as_slice())].into();
        log.keep(301, &large, 1 << 20);
        log.keep(302, &large, 1 << 20);
        assert!(log.kept(301).is_none() && log.kept(302).is_some());
        assert_eq!(log.kept.len(), 1);
        let huge: Raws = [Arc::from(vec![0; 2 << 20])].into();
        log.keep(303, &huge, 1 << 20);
        assert_eq!((log.kept.len(), log.kept_bytes), (0, 0));
    }
}
