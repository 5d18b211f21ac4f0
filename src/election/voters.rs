//! Who votes, and what a voter must not forget.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, Term};

use super::wire;

/// How many voters a cluster has at most.
pub const MOST_VOTERS: usize = 5;
/// How many builds before feature level 4 make.
pub const FORMER_VOTERS: usize = 3;

/// Who votes. Compares as (term, version) (the paper's configTerm, configVersion).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Voters {
    /// The term of the leader that made or restamped it.
    #[cbor(n(0), with = "wire::term")]
    pub term: Term,
    /// Grows by one with every change.
    #[n(1)]
    pub version: u64,
    /// The voters.
    #[cbor(n(2), with = "wire::nodes")]
    pub members: BTreeSet<NodeId>,
    /// The seats of those voters that have another than 0.
    #[cbor(n(3), with = "wire::seats", default)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<NodeId, u64>,
    /// The generation of the cluster; all of one generation compare.
    #[cbor(n(4), default)]
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(generation: &u64) -> bool {
    *generation == 0
}

/// Names one configuration; a newer one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct VotersId {
    /// The term of the leader that made or restamped it.
    #[cbor(n(0), with = "wire::term")]
    pub term: Term,
    /// Grows by one with every change.
    #[n(1)]
    pub version: u64,
}

impl Voters {
    /// Returns its name. Two configurations of one name have the same members.
    pub fn id(&self) -> VotersId {
        VotersId { term: self.term, version: self.version }
    }

    /// Returns how many voters are more than half: 1 of 1, 2 of 2 or 3, 3 of 4 or 5. Of no voters, 1: nobody ever has it.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// Tells whether more than half of the voters are as `has` says. Any two majorities of one configuration share a
    /// voter, and so do those of two configurations that differ by one voter: this is what all safety rests on.
    pub fn most(&self, has: impl Fn(&NodeId) -> bool) -> bool {
        self.members.iter().filter(|node| has(node)).count() >= self.majority()
    }

    /// Returns the greatest value that more than half of the voters have reached, where `value` says what each has.
    pub fn reached<T: Ord + Default>(&self, value: impl Fn(&NodeId) -> T) -> T {
        let mut values: Vec<T> = self.members.iter().map(value).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.into_iter().nth(self.majority() - 1).unwrap_or_default()
    }

    /// Returns the place of a voter among those that could follow `leader`, from 0. Who is no voter comes last.
    pub fn rank(&self, node: &NodeId, leader: Option<&NodeId>) -> usize {
        self.members.iter().filter(|voter| Some(*voter) != leader && *voter < node).count()
    }

    /// Returns the seat that a voter must have to be one: see [`Ballot::seat`].
    pub fn seat(&self, node: &NodeId) -> u64 {
        self.seats.get(node).copied().unwrap_or_default()
    }

    /// Makes a member a voter, on this seat.
    pub fn add(&mut self, node: NodeId, seat: u64) {
        self.members.insert(node);
        self.seats.retain(|known, _| *known != node);
        if seat != 0 {
            self.seats.insert(node, seat);
        }
    }

    /// Takes a voter's vote.
    pub fn remove(&mut self, node: &NodeId) {
        self.members.remove(node);
        self.seats.remove(node);
    }

    /// Tells whether `node` is the only voter.
    pub fn only(&self, node: &NodeId) -> bool {
        self.members.len() == 1 && self.members.contains(node)
    }
}

/// Returns how many voters a cluster of so many members wants: 1 for one or two, else the greatest odd number that
/// is not above `members` and `most`. (An even set bears no more losses than the odd one below it.)
pub fn wanted(members: usize, most: usize) -> usize {
    match members.min(most) {
        0..=2 => 1,
        n => n - (n + 1) % 2,
    }
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
    /// Which ballot this is. One that takes the place of a lost one is another voter than the one before, and so has
    /// another seat: it votes only once a leader has put the former out and this one in. 0: the node's first.
    #[serde(default)]
    pub seat: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(nodes: &[u8]) -> Voters {
        Voters { members: nodes.iter().map(|n| NodeId([*n; 32])).collect(), ..Voters::default() }
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (n, majority) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let nodes: Vec<u8> = (1..=n).collect();
            assert_eq!(voters(&nodes).majority(), majority, "{n} voters");
        }
        assert!(!voters(&[]).most(|_| true));
    }

    #[test]
    fn reached_is_what_a_majority_has() {
        assert_eq!(voters(&[1, 2, 3]).reached(|n| n.0[0]), 2);
        assert_eq!(voters(&[1, 2, 3, 4]).reached(|n| n.0[0]), 2);
        assert_eq!(voters(&[]).reached(|n| n.0[0]), 0);
    }

    #[test]
    fn wanted_is_odd_and_bounded() {
        let of = |most: usize| (0..7).map(|members| wanted(members, most)).collect::<Vec<_>>();
        assert_eq!(of(3), [1, 1, 1, 3, 3, 3, 3]);
        assert_eq!(of(5), [1, 1, 1, 3, 3, 5, 5]);
        assert_eq!(of(1), [1; 7]);
    }

    #[test]
    fn the_leader_leaves_no_gap_in_the_ranks() {
        let node = |n: u8| NodeId([n; 32]);
        let v = voters(&[1, 2, 3]);
        assert_eq!([1, 2, 3].map(|n| v.rank(&node(n), None)), [0, 1, 2]);
        assert_eq!([1, 3].map(|n| v.rank(&node(n), Some(&node(2)))), [0, 1]);
    }
}
