//! Feature levels: tells this node's, hears the others', raises the cluster's while this node leads.

use std::collections::{BTreeMap, BTreeSet};

use crate::election::{self, ProposalId};
use crate::features::{self, Feature};
use crate::ids::NodeId;
use crate::store::{Change, Rejected};
use crate::time::Now;

use super::Node;
use super::message::Message;

/// What is known of members' levels.
pub(super) struct Levels {
    /// This node's.
    pub own: u32,
    /// As each has told last, in this run of this node.
    told: BTreeMap<NodeId, u32>,
    /// Whom this node has complained of.
    refused: BTreeSet<NodeId>,
    /// The rise that is being decided.
    deciding: Option<(ProposalId, u32)>,
}

impl Levels {
    pub fn new(own: u32) -> Self {
        Self { own, told: BTreeMap::new(), refused: BTreeSet::new(), deciding: None }
    }
}

impl Node {
    /// Returns the cluster's feature level.
    pub fn level(&self) -> u32 {
        features::of(self.leading.registers().get(features::REGISTER).map(|register| register.value.as_slice()))
    }

    /// Tells whether all members, now and later, understand something.
    pub fn may_use(&self, feature: Feature) -> bool {
        feature.is_in(self.level())
    }

    /// Refuses a new object of a kind that members of the cluster cannot read.
    pub(super) fn check_kind(&self, change: &Change) -> Result<(), Rejected> {
        match change {
            Change::Create { key, .. } if key.kind.since > self.level() => {
                let (kind, since, level) = (key.kind.kind, key.kind.since, self.level());
                let message = format!(
                    "{kind} came with feature level {since} and the cluster's is {level}: it rises once all members run a \
                     build that knows it"
                );
                Err(Rejected::NotYet { key: key.clone(), message })
            }
            _ => Ok(()),
        }
    }

    /// Returns the least level of a new member: the cluster's, or what that is about to become.
    pub(super) fn least_level(&self) -> u32 {
        self.levels.deciding.map_or(0, |(_, level)| level).max(self.level())
    }

    /// Notes the level that a member tells, and whether it may be listened to. A level goes with whatever is said about
    /// being alive, so a build that does so without one is of the first level.
    pub(super) fn understands(&mut self, from: NodeId, messages: &[Message]) -> bool {
        let told = messages.iter().find_map(|message| match message {
            Message::Level(level) => Some(*level),
            _ => None,
        });
        let alive = messages.iter().any(|message| matches!(message, Message::Membership(..)));
        if let Some(level) = told.or(alive.then_some(features::FIRST)) {
            self.levels.told.insert(from, level);
        }
        let (theirs, ours) = (self.levels.told.get(&from).copied(), self.level());
        let refused = theirs.filter(|theirs| *theirs < ours);
        match refused {
            Some(theirs) if self.levels.refused.insert(from) => {
                let (node, sentence) = (self.peers.name_of(&from), features::too_old(theirs, ours));
                tracing::error!(node, "a member is not listened to: {sentence}");
            }
            Some(_) => {}
            None => drop(self.levels.refused.remove(&from)),
        }
        refused.is_none()
    }

    /// Raises the cluster's level to the lowest of all members, once this node leads and has heard from all of them.
    pub(super) fn raise_level(&mut self, now: Now) {
        if !self.leading.is_leader() {
            // What was being decided may come into effect all the same, and is then seen in the registers.
            self.levels.deciding = None;
            return;
        }
        let me = self.store.node_id();
        let level = |id: &NodeId| if *id == me { Some(self.levels.own) } else { self.levels.told.get(id).copied() };
        let lowest: Option<u32> = self.peers.members.iter().map(|member| level(&member.id)).min().flatten();
        // One that is being admitted meanwhile was measured by the level as it is.
        let idle = self.levels.deciding.is_none() && self.admissions.are_idle();
        let Some(lowest) = lowest.filter(|lowest| idle && *lowest > self.level()) else { return };
        tracing::info!(level = lowest, "raising the cluster's feature level");
        let id = self.leading.number();
        self.levels.deciding = Some((id, lowest));
        let (key, value) = (features::REGISTER.to_owned(), features::write(lowest));
        self.elect(now, election::Input::Propose { id, key, value });
    }

    /// A proposal has ended; if it was a rise that came to nothing, the next tick tries again.
    pub(super) fn rise_decided(&mut self, id: ProposalId) {
        if self.levels.deciding.is_some_and(|(deciding, _)| deciding == id) {
            self.levels.deciding = None;
        }
    }
}
