//! Leases: unique decisions in quorum registers, from any node (rules, 5).
//!
//! ```text
//! client -> this node: what becomes of the object, thought out on what is shown here
//!        -> leader: is the register as it was shown?  no: Stale     yes: proposed, durable on a majority, in effect
//!        <- this node: in effect here too, shown, answered
//! ```
//!
//! What was shown is named by the object's uid and a count of its writes, which its register holds: a register's own
//! stamp is another after each take-over. All writes are durable on a majority before the answer, pure renewals too:
//! were they lost when a majority crashes at once, a holder could be sure of its Lease for longer than others wait.
//!
//! Documents from before the cluster's level had [`Feature::Leases`] are moved by the leader, and then removed.

mod decide;
mod keep;
pub mod record;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::election::{ProposalId, Stamp};
use crate::features::Feature;
use crate::ids::NodeId;
use crate::object::{Key, json, kinds};
use crate::store::{After, Change, Committed, Decision, Rejected, class};
use crate::time::{Mono, Now};

use super::message::Message;
use super::{Node, Waiter};
use decide::Asker;
use record::{LeaseWrite, MAX_LEASE, Record, Refusal, Version, register_of};

/// How long it may take until a write is decided and shown here.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long after its start a node takes no Lease as a document: a cluster of new builds gets its level at once.
const YOUNG: Duration = Duration::from_secs(5);

/// Leases as this node shows them, and writes under way.
#[derive(Default)]
pub(super) struct Leases {
    /// What was handed to the store, by register.
    shown: BTreeMap<String, (Key, Version)>,
    /// Writes that this node has asked the leader for.
    asked: BTreeMap<u64, Asked>,
    /// The number of the last; those of a later run are higher.
    asks: u64,
    /// The leader's: what is being decided, a write a register.
    deciding: BTreeMap<String, (ProposalId, Asker)>,
    /// The leader's: what waits for that.
    queue: VecDeque<(Asker, LeaseWrite)>,
    /// The leader's: what members have asked lately. A frame may come twice.
    taken: BTreeMap<NodeId, BTreeSet<u64>>,
    next_look: Mono,
    /// Whether this node has just started, and until when it has.
    is_young: bool,
    young_until: Option<Mono>,
}

/// A write that this node has asked the leader for.
struct Asked {
    key: Key,
    creates: bool,
    leader: NodeId,
    until: Mono,
    waiter: Waiter,
    /// What is answered if another write is shown before this one ever was.
    outcome: Committed,
    /// The state that it makes; `None`: none.
    makes: Option<Version>,
    /// When it was decided.
    decided: Option<Stamp>,
}

impl Leases {
    /// `incarnation`: which run of the agent it is.
    pub fn new(incarnation: u64) -> Self {
        Self { asks: incarnation << 32, is_young: true, ..Self::default() }
    }
}

impl Node {
    /// Tells whether an object is a Lease that is decided, or will be.
    pub(super) fn is_decided(&self, key: &Key) -> bool {
        let is_lease = *key.kind == kinds::LEASE && !class::is_projection(key, None);
        let known = self.may_use(Feature::Leases) || self.leases.shown.contains_key(&register_of(key));
        is_lease && (known || self.may_have_missed_leases())
    }

    /// Tells whether the cluster may keep Leases in registers and this node does not know it: it has just started, perhaps
    /// as a new member, and has not heard yet what is in effect.
    fn may_have_missed_leases(&self) -> bool {
        let heard = self.leading.in_effect() != Stamp::default() && !self.leases.is_young;
        Feature::Leases.is_in(self.levels.own) && !self.may_use(Feature::Leases) && !heard
    }

    /// Answers what would become of a Lease.
    pub(super) fn try_on_lease(&mut self, now: Now, change: Change) -> Result<Committed, Rejected> {
        let key = change.key().clone();
        let decision = self.store.plan_decided(now, change)?;
        record_of(&key, &decision, 1)?;
        Ok(self.store.preview_decided(&key, &decision))
    }

    /// Has the leader decide a change to a Lease; `waiter` is told when it is shown, or that it is not.
    pub(super) fn ask_for_lease(&mut self, now: Now, change: Change, waiter: Waiter) -> Result<(), Rejected> {
        match self.prepare(now, change)? {
            Prepared::Same(committed) => self.tell(now, waiter, committed),
            Prepared::Ask(ask) => {
                let Ask { key, creates, leader, outcome, makes, write } = *ask;
                self.leases.asks += 1;
                let id = self.leases.asks;
                let until = now.mono + PATIENCE;
                let asked = Asked { key, creates, leader, until, waiter, outcome, makes, decided: None };
                self.leases.asked.insert(id, asked);
                if leader == self.store.node_id() {
                    self.decide_lease(now, Asker::Here(id), write);
                } else {
                    self.telling.say(leader, Message::LeaseAsk { id, write });
                }
            }
        }
        Ok(())
    }

    fn prepare(&mut self, now: Now, change: Change) -> Result<Prepared, Rejected> {
        let key = change.key().clone();
        if self.may_have_missed_leases() {
            return Err(no_leader(&key, NOBODY_LEADS));
        }
        let creates = matches!(change, Change::Create { .. });
        let decision = self.store.plan_decided(now, change)?;
        let outcome = self.store.preview_decided(&key, &decision);
        if decision.after == After::Same {
            return Ok(Prepared::Same(outcome));
        }
        let register = register_of(&key);
        let expected = self.leases.shown.get(&register).map(|(_, version)| *version);
        let number = expected.map_or(1, |version| version.number + 1);
        let record = record_of(&key, &decision, number)?;
        if record.is_none() && expected.is_none() {
            // The leader moves a document soon; what is removed meanwhile would come back.
            return Err(no_leader(&key, "it is being moved to the voters' registers: try again"));
        }
        let Some(leader) = self.leading.leader(self.store.node_id()) else {
            return Err(no_leader(&key, NOBODY_LEADS));
        };
        let makes = record.is_some().then_some(Version { uid: decision.uid, number });
        let write = LeaseWrite { register, expected, record };
        Ok(Prepared::Ask(Box::new(Ask { key, creates, leader, outcome, makes, write })))
    }

    /// The leader answers.
    pub(super) fn lease_answered(&mut self, now: Now, from: NodeId, id: u64, answer: Result<Stamp, Refusal>) {
        let Some(asked) = self.leases.asked.get_mut(&id).filter(|asked| asked.leader == from) else { return };
        match answer {
            Ok(stamp) => asked.decided = asked.decided.or(Some(stamp)),
            Err(refusal) if asked.decided.is_none() => self.refuse_lease(now, id, refusal),
            Err(_) => {}
        }
    }

    fn refuse_lease(&mut self, now: Now, id: u64, refusal: Refusal) {
        let Some(asked) = self.leases.asked.remove(&id) else { return };
        let key = asked.key;
        let rejected = match refusal {
            Refusal::Stale if asked.creates => Rejected::AlreadyExists { key },
            Refusal::Stale => Rejected::Stale { key },
            Refusal::NotLeader => no_leader(&key, NOBODY_LEADS),
            Refusal::NoRoom => {
                let most = record::MAX_LEASES;
                let message = format!("all Leases together may have {most} bytes, and there is no room for more");
                Rejected::NoRoom { key, message }
            }
            Refusal::Unknown => {
                let message = "the leader was lost before it said whether the Lease is written: read it again".into();
                Rejected::Unknown { key, message }
            }
            Refusal::Malformed => {
                let message = "the leader does not understand what is asked of it".into();
                Rejected::Forbidden { key, message }
            }
        };
        self.tell_not_made(now, asked.waiter, rejected);
    }

    /// Answers whoever waits for a write that is in effect and shown here, or was and is no more.
    pub(super) fn answer_leases(&mut self, now: Now) {
        if self.leases.asked.is_empty() {
            return;
        }
        let in_effect = self.leading.in_effect();
        let done = |asked: &Asked| asked.decided.is_some_and(|stamp| stamp <= in_effect);
        let done: Vec<u64> = self
            .leases
            .asked
            .iter()
            .filter(|(_, a)| done(a) && self.store.shows_decided(&a.key))
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            let Some(asked) = self.leases.asked.remove(&id) else { continue };
            let shown = self.leases.shown.get(&register_of(&asked.key)).map(|(_, version)| *version);
            let entry = self.store.snapshot().get(&asked.key).filter(|_| asked.makes.is_some() && shown == asked.makes);
            // Never what somebody else wrote after it: who is answered would take it for its own.
            let committed = entry.map(|entry| Committed { entry: Arc::clone(entry), removed: false });
            self.tell(now, asked.waiter, committed.unwrap_or(asked.outcome));
        }
    }

    /// Ends the wait for answers that will not come.
    pub(super) fn give_up_on_leases(&mut self, now: Now) {
        let until = *self.leases.young_until.get_or_insert(now.mono + YOUNG);
        self.leases.is_young = now.mono < until;
        let leader = self.leading.leader(self.store.node_id());
        let lost = |asked: &Asked| {
            asked.until <= now.mono || asked.decided.is_none() && leader.is_some_and(|leader| leader != asked.leader)
        };
        let lost: Vec<u64> = self.leases.asked.iter().filter(|(_, asked)| lost(asked)).map(|(id, _)| *id).collect();
        for id in lost {
            self.refuse_lease(now, id, Refusal::Unknown);
        }
    }

    /// Tells a waiter that its change was not made.
    fn tell_not_made(&mut self, now: Now, waiter: Waiter, rejected: Rejected) {
        match waiter {
            Waiter::Request(id) => self.answers.push((id, Err(rejected))),
            Waiter::Work(work) => {
                tracing::debug!(controller = ?work.0, key = %work.1, %rejected, "change refused");
                self.work.change_failed(&work, now.mono);
            }
            Waiter::Binding | Waiter::Nobody => {}
        }
    }
}

/// What a change comes to.
enum Prepared {
    Same(Committed),
    Ask(Box<Ask>),
}

/// A write that the leader is to be asked for.
struct Ask {
    key: Key,
    creates: bool,
    leader: NodeId,
    outcome: Committed,
    makes: Option<Version>,
    write: LeaseWrite,
}

/// Makes the record of what an object becomes; `None` if it goes.
fn record_of(key: &Key, decision: &Decision, version: u64) -> Result<Option<Vec<u8>>, Rejected> {
    let After::Object(object) = &decision.after else { return Ok(None) };
    let size = size_of(object);
    if size > MAX_LEASE {
        let message = format!("is too large: {size} bytes, at most {MAX_LEASE} can be kept of a Lease");
        let (field, value) = ("metadata".into(), key.name.clone());
        return Err(Rejected::Invalid { key: key.clone(), field, value, message });
    }
    Ok(Some(Record::new(object, version, decision.home).to_bytes()))
}

fn size_of(object: &Value) -> usize {
    json::write(object).len()
}

/// What is said without a leader.
const NOBODY_LEADS: &str =
    "a Lease is written by a majority of the cluster's voters, and this node hears no leader of one: try again";

fn no_leader(key: &Key, message: &str) -> Rejected {
    Rejected::NoLeader { key: key.clone(), message: message.to_owned() }
}
