//! Records of members on their way into the store: a slice a turn, so that nothing a peer sends holds up the loop;
//! and what is said of those that are refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::gossip;
use crate::ids::NodeId;
use crate::object::{Key, Note, NoteType, kinds};
use crate::store::record::Body;
use crate::store::{Merged, Quarantined, Slot, Verified};
use crate::time::{Mono, Now};

use super::Node;

/// What one turn may take, in microseconds as [`crate::store::Store::cost`] reckons them. A record that takes longer
/// is a turn of its own.
const SLICE: u64 = 10_000;
/// How many refusals of one author are told as Events within [`WINDOW`]; the others are only counted.
const TOLD: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How many authors that is watched for.
const AUTHORS: usize = 256;

/// What is on its way.
#[derive(Default)]
pub(super) struct Arrivals {
    queue: VecDeque<Arrival>,
    /// When each author's window began, and how many of its refusals were told since.
    told: BTreeMap<NodeId, (Mono, u32)>,
}

/// In the order in which the gossip hands them over.
enum Arrival {
    Record {
        from: NodeId,
        record: Box<Verified>,
    },
    /// All that `peer` held when an exchange began has come.
    Exchanged {
        peer: NodeId,
        began: Mono,
    },
}

impl Arrivals {
    fn may_tell(&mut self, now: Mono, author: NodeId) -> bool {
        if self.told.len() >= AUTHORS {
            self.told.retain(|_, (began, _)| now.since(*began) < WINDOW);
        }
        if self.told.len() >= AUTHORS && !self.told.contains_key(&author) {
            return false;
        }
        let (began, told) = self.told.entry(author).or_insert((now, 0));
        if now.since(*began) >= WINDOW {
            (*began, *told) = (now, 0);
        }
        *told += 1;
        *told <= TOLD
    }
}

/// Tells whether a record is shown only when it is durable.
fn waits_for_the_disk(record: &Verified) -> bool {
    !matches!(record.record().body, Body::Event { .. } | Body::Register { slot: Slot::Observation, .. })
}

impl Node {
    /// Tells whether records wait to be merged: the next turn should come at once, and no more records before it.
    pub fn is_busy(&self) -> bool {
        !self.arrivals.queue.is_empty()
    }

    /// Returns how many records of members this run has refused.
    pub fn refused_records(&self) -> u64 {
        self.store.refusals().values().sum()
    }

    /// Records of members have come.
    pub(super) fn arrived(&mut self, from: NodeId, records: Vec<Verified>) {
        let arrivals = records.into_iter().map(|record| Arrival::Record { from, record: Box::new(record) });
        self.arrivals.queue.extend(arrivals);
    }

    /// All that `peer` held when an exchange began has come, be it merged or not.
    pub(super) fn all_arrived(&mut self, peer: NodeId, began: Mono) {
        self.arrivals.queue.push_back(Arrival::Exchanged { peer, began });
    }

    /// Merges what has come, as much as goes into one turn.
    pub(super) fn merge_arrivals(&mut self, now: Now) {
        let (mut spent, mut lacking) = (0, BTreeSet::new());
        while spent < SLICE {
            match self.arrivals.queue.pop_front() {
                None => break,
                // Of what it brought, something was let go.
                Some(Arrival::Exchanged { .. }) if self.must_let_go() => {}
                Some(Arrival::Exchanged { peer, began }) => self.exchange_finished(now, peer, began),
                Some(Arrival::Record { record, .. }) if waits_for_the_disk(&record) && self.must_let_go() => {}
                Some(Arrival::Record { from, record }) => {
                    let cost = self.store.cost(&record);
                    if spent > 0 && spent + cost > SLICE {
                        self.arrivals.queue.push_front(Arrival::Record { from, record });
                        break;
                    }
                    spent += cost;
                    if self.merge_record(now, from, *record) {
                        lacking.insert(from);
                    }
                }
            }
        }
        for refused in self.store.take_refused() {
            self.gossip(now, gossip::Input::Refused(refused.id));
            self.tell_refused(now, &refused);
        }
        if !self.is_busy() {
            self.learn_horizon(now);
        }
        for from in lacking {
            // What a record builds on was lost on the way: compare everything.
            self.gossip(now, gossip::Input::Exchange(from));
        }
    }

    /// Merges one record. Returns whether it waits for another.
    fn merge_record(&mut self, now: Now, from: NodeId, record: Verified) -> bool {
        let author = record.record().author;
        if self.peers.members.get(&author).is_none() {
            tracing::debug!(%author, "a record of no member");
            return false;
        }
        if let Some(shadow) = &mut self.horizons.shadow {
            shadow.take(record);
            return false;
        }
        let act = self.partings.read(record.record());
        match self.store.merge(now, record) {
            Ok(merged) => {
                if let (Some(act), true) = (act, merged != Merged::Known) {
                    self.note_act(act);
                }
                matches!(merged, Merged::Waiting { .. })
            }
            Err(error) => {
                tracing::debug!(from = self.peers.name_of(&from), %author, %error, "a record is refused");
                false
            }
        }
    }

    /// Says on the object, or if it is not known on its author's Node, that a record is refused.
    fn tell_refused(&mut self, now: Now, refused: &Quarantined) {
        if !self.arrivals.may_tell(now.mono, refused.author) {
            return;
        }
        let author = self.peers.name_of(&refused.author);
        tracing::warn!(author, reason = refused.reason, "a member's record is refused");
        let node = || {
            let key = Key::cluster(&kinds::NODE, author.clone());
            let uid = self.store.snapshot().get(&key)?.uid;
            Some((key, uid))
        };
        let Some((regarding, uid)) = refused.key.clone().zip(refused.uid).or_else(node) else { return };
        let message = format!("A record of node {author} is refused: {}", refused.reason);
        let (kind, field_path) = (NoteType::Warning, String::new());
        self.note(
            now,
            &Note { regarding, uid, field_path, kind, reason: "RecordRefused", message, component: "agent" },
        );
    }
}
