//! How this node's disk is: whether it can be written, and whether all is there that was written.
//!
//! *A disk that refuses*: the node goes on from memory; what clients ask to be written is refused, since nobody can say
//! when it could be answered, and a leader decides nothing. What other members tell is merged as long as what waits for
//! the disk is little ([`MOST_RECORDS`], [`MOST_BYTES`]); then only what is shown at once is. The rest comes with an
//! exchange when the disk can be written again.
//!
//! *Records that are lost*: an owner that is not here may be one of them, so nothing is taken for gone because it is absent
//! ([`Snapshot::is_complete`](crate::store::Snapshot::is_complete)), and a leader decides nothing on what it lacks. That
//! ends when a majority of the members has shown what it holds, or when somebody says that what is lost is lost.

use std::time::Duration;

use crate::ids::NodeId;
use crate::kubelet;
use crate::store::Rejected;
use crate::time::{Mono, Now};

use super::{Node, Waiter};

/// For how long a leader waits for what others hold before it decides on what it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many records may wait for a disk that refuses.
const MOST_RECORDS: usize = 10_000;
/// How many bytes they may have.
const MOST_BYTES: usize = 16 << 20;

/// What is wrong with the disk.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Why it cannot be written.
    trouble: Option<String>,
    /// Whether records of members were let go meanwhile.
    missed: bool,
    /// What is lost, a sentence each.
    lost: Vec<String>,
    /// Since when this run knows.
    since: Option<Mono>,
}

impl Node {
    /// Notes what the disk has lost, a sentence each: nothing is concluded from an absence.
    pub fn lost_records(&mut self, lost: Vec<String>) {
        self.store.lost_records();
        self.health.lost = lost;
        self.tell_kubelet_of_the_disk();
    }

    /// Returns how many bytes of records are not durable yet.
    pub fn unsaved_bytes(&self) -> usize {
        self.store.unsaved().1
    }

    /// Tells whether nothing is lost, as far as this node knows.
    pub fn is_whole(&self) -> bool {
        self.health.lost.is_empty()
    }

    /// What was lost is back, or somebody has said that it is lost.
    pub fn forget_the_loss(&mut self, now: Now) {
        self.health.lost.clear();
        self.store.is_complete_again();
        self.tell_kubelet_of_the_disk();
        self.wake_kubelet(now, kubelet::Input::Changed);
        if self.decides().is_some() {
            self.look_at_everything(now);
        }
    }

    /// The disk refuses to be written, or takes writes again.
    pub(super) fn disk_changed(&mut self, now: Now, trouble: Option<String>) {
        self.health.trouble = trouble;
        self.tell_kubelet_of_the_disk();
        self.wake_kubelet(now, kubelet::Input::Changed);
        if self.health.trouble.is_none() && std::mem::take(&mut self.health.missed) {
            let all = self.peers.members.iter().map(|member| member.id);
            let answering: Vec<NodeId> = all.filter(|id| self.peers.answers(id)).collect();
            answering.into_iter().for_each(|peer| self.exchange(now, peer));
        }
        if let Err(refused) = self.check_disk() {
            let message = format!("{refused}; what was asked before may take effect when it can be written again");
            for waiter in self.waiting.values_mut() {
                if let Waiter::Request(id) = waiter {
                    let rejected = Rejected::Unavailable { message: message.clone() };
                    self.answers.push((*id, Err(rejected)));
                    *waiter = Waiter::Nobody;
                }
            }
        }
    }

    /// Refuses what could not be answered.
    pub(super) fn check_disk(&self) -> Result<(), Rejected> {
        let Some(trouble) = &self.health.trouble else { return Ok(()) };
        Err(Rejected::Unavailable { message: format!("the disk of node {} takes no writes: {trouble}", self.name) })
    }

    /// Tells whether more waits for a disk that refuses than is good for the memory; notes that something is let go.
    pub(super) fn must_let_go(&mut self) -> bool {
        let (records, bytes) = self.store.unsaved();
        let must = self.health.trouble.is_some() && (records >= MOST_RECORDS || bytes >= MOST_BYTES);
        self.health.missed |= must;
        must
    }

    /// Tells whether this node must not decide yet, since it may lack what its disk has lost and others hold.
    pub(super) fn must_learn_first(&mut self, now: Now) -> bool {
        if self.is_whole() || self.peers.members.iter().count() < 2 {
            return false;
        }
        let since = *self.health.since.get_or_insert(now.mono);
        now.mono.since(since) < PATIENCE
    }

    /// An exchange is done: with a majority of all members, this one counted, nothing can be lacking that was
    /// acknowledged anywhere but here.
    pub(super) fn note_exchanges(&mut self, now: Now) {
        if self.is_whole() {
            return;
        }
        let all: Vec<NodeId> = self.peers.members.iter().map(|member| member.id).collect();
        let known = 1 + all.iter().filter(|id| self.peers.has_exchanged(id)).count();
        if known > 1 && known > all.len() / 2 {
            tracing::info!("what the disk had lost is back from the other members");
            self.forget_the_loss(now);
        }
    }

    fn tell_kubelet_of_the_disk(&mut self) {
        let Health { trouble, lost, .. } = &self.health;
        self.kubelet.set_disk(kubelet::Disk { trouble: trouble.clone(), lost: lost.clone() });
    }
}
