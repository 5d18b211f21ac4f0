//! Keeps what is told of partitions: the one that lasts, and the last few that have healed.
//!
//! ```text
//! silent ──> open ──one was lost──> told in `agent status` ──one is back──> healing ──all quiet──> past, told in an Event
//!              └──all answer again before one was lost──> forgotten
//! ```
//!
//! What each side did is read off the records: those of members that are away, whoever passes them on, are the other
//! side's; all others that come before anybody is back are this side's. What the merge displaced, and which pods were
//! too many, the leader and the authors of lost edits say in Events, and those are counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::controllers::is_made_by_caretaker;
use crate::ids::{NodeId, Uid};
use crate::object::{Key, NoteType, kinds};
use crate::store::record::{Body, Record};
use crate::store::{Verified, WatchEvent, displaced};
use crate::time::{Mono, Now, Wall};

use super::partition::{Deed, Names, Partition, Pods, name};
use super::{Effect, Node};

/// How many partitions that have healed are remembered.
const PAST: usize = 8;
/// For how long nobody has come back and been heard out until a heal is over: replicas are exact by then.
const SETTLED: Duration = Duration::from_secs(10);
/// How many objects of one partition are told apart.
const MOST: usize = 10_000;
/// How much the clocks of two members may differ for an Event to belong to the right side of a heal.
const SKEW: i64 = 2_000_000;
/// An Event's message is cut here, as upstream's are.
const MESSAGE: usize = 1_024;

/// The partition that lasts, and those before.
#[derive(Debug, Default)]
pub(super) struct Partings {
    open: Option<Open>,
    past: VecDeque<Partition>,
    /// Whether there is something new to show.
    changed: bool,
}

/// A partition that lasts, or heals.
#[derive(Debug, Default)]
struct Open {
    since: Now,
    away: BTreeMap<NodeId, Away>,
    here: Vec<String>,
    /// Whether this node tells of it: one on each side does.
    speaks: bool,
    caretaker: String,
    /// By side (`true`: the other one) and object.
    deeds: BTreeMap<(bool, Uid), Done>,
    more: bool,
    /// Pods that were made, and whether on the other side.
    pods: BTreeMap<Uid, bool>,
    by_caretakers: BTreeSet<Uid>,
    /// Events that are counted.
    told: BTreeSet<Key>,
    displaced: Names,
    dropped: Names,
    moved: Names,
    /// Pods that a ReplicaSet had too many, by the Event that says so, and when.
    stopped: BTreeMap<Key, (String, String)>,
}

/// A member that is away, or was.
#[derive(Debug)]
struct Away {
    name: String,
    lost: bool,
    back: Option<Now>,
    heard: Option<Mono>,
}

/// What one side did to an object.
#[derive(Debug)]
struct Done {
    key: Key,
    made: bool,
    deleted: bool,
}

/// What one record does to an object.
pub(super) struct Act {
    author: NodeId,
    uid: Uid,
    deed: Deed,
    /// The object's key, if the record tells.
    pub key: Option<Key>,
}

impl Act {
    /// Reads what a record does to what is asked for; what nodes see and decide is left out.
    fn of(record: &Record) -> Option<Self> {
        let (uid, deed, key) = match &record.body {
            Body::Change { uid, birth: Some(birth), .. } => (*uid, Deed::Made, Some(birth.key.clone())),
            Body::Change { uid, .. } => (*uid, Deed::Changed, None),
            Body::Mark { uid, .. } => (*uid, Deed::Deleted, None),
            Body::Tombstone { uid, birth, displaced: false } => (*uid, Deed::Deleted, Some(birth.key.clone())),
            _ => return None,
        };
        Some(Self { author: record.author, uid, deed, key })
    }

    /// The object.
    pub fn uid(&self) -> Uid {
        self.uid
    }
}

impl Partings {
    /// A member does not answer any more.
    pub fn silent(&mut self, now: Now, id: NodeId, name: String) {
        let open = self.open.get_or_insert_with(|| Open { since: now, ..Open::default() });
        let away = open.away.entry(id).or_insert_with(|| Away { name, lost: false, back: None, heard: None });
        (away.back, away.heard) = (None, None);
    }

    /// A member is lost: `here` are those that answer, and `speaks` says whether this node tells for them.
    pub fn lost(&mut self, id: &NodeId, here: Vec<String>, speaks: bool) {
        let Some(open) = &mut self.open else { return };
        if let Some(away) = open.away.get_mut(id) {
            away.lost = true;
            (open.here, open.speaks) = (here, speaks);
            self.changed = true;
        }
    }

    /// A member answers again.
    pub fn back(&mut self, now: Now, id: &NodeId) {
        let Some(open) = &mut self.open else { return };
        match open.away.get_mut(id) {
            Some(away) if away.lost => away.back = Some(now),
            _ => drop(open.away.remove(id)),
        }
        self.changed = true;
        self.forget_if_nothing();
    }

    /// These are the other members.
    pub fn retain(&mut self, members: &BTreeSet<NodeId>) {
        if let Some(open) = &mut self.open {
            open.away.retain(|id, _| members.contains(id));
            self.changed = true;
            self.forget_if_nothing();
        }
    }

    fn forget_if_nothing(&mut self) {
        self.open.take_if(|open| open.away.is_empty());
    }

    /// Somebody is caretaker of this side now, or nobody.
    pub fn cared_for(&mut self, by: Option<&str>) {
        if let (Some(open), Some(by)) = (&mut self.open, by) {
            open.caretaker = by.to_owned();
            self.changed = true;
        }
    }

    /// Reads a record, if it counts.
    pub fn read(&self, record: &Record) -> Option<Act> {
        let open = self.open.as_ref()?;
        let act = Act::of(record)?;
        let counts = match open.away.get(&act.author) {
            Some(away) => away.heard.is_none(),
            None => !open.is_healing(),
        };
        counts.then_some(act)
    }

    /// Counts what was read, of the object at `key`.
    pub fn count(&mut self, act: &Act, key: Key) {
        let Some(open) = &mut self.open else { return };
        let there = open.away.contains_key(&act.author);
        self.changed = true;
        if displaced::is_called_copy(&key) {
            // Made while things are brought in order.
            return;
        }
        if *key.kind == kinds::POD {
            if act.deed == Deed::Made && open.pods.len() < MOST {
                open.pods.insert(act.uid, there);
            }
            return;
        }
        if open.deeds.len() >= MOST && !open.deeds.contains_key(&(there, act.uid)) {
            open.more = true;
            return;
        }
        let done = open.deeds.entry((there, act.uid)).or_insert(Done { key, made: false, deleted: false });
        done.made |= act.deed == Deed::Made;
        done.deleted |= act.deed == Deed::Deleted;
    }

    /// Notes pods of caretakers, and what Events tell of a heal.
    pub fn notice(&mut self, event: &WatchEvent) {
        let (Some(open), Some(new)) = (&mut self.open, &event.new) else { return };
        if new.key.kind == &kinds::POD && event.old.is_none() && is_made_by_caretaker(new) {
            open.by_caretakers.insert(new.uid);
            self.changed = true;
        } else if new.key.kind == &kinds::EVENT && open.told.len() < MOST {
            self.changed |= open.hear(&new.key, &new.value());
        }
    }

    /// Looks whether a heal is over. `heard` tells whether all is shown that a member held when it came back. Returns
    /// what is to be told of it.
    pub fn tick(&mut self, now: Now, heard: impl Fn(&NodeId) -> bool) -> Option<Partition> {
        let open = self.open.as_mut()?;
        for (id, away) in open.away.iter_mut().filter(|(_, away)| away.back.is_some() && away.heard.is_none()) {
            away.heard = heard(id).then_some(now.mono);
        }
        if !open.is_over(now.mono) {
            return None;
        }
        let mut over = self.open.take()?;
        let still = std::mem::take(&mut over.away).into_iter().partition(|(_, away)| away.back.is_none());
        let (still, came): (BTreeMap<_, _>, _) = still;
        over.away = came;
        let partition = Partition { settled: true, ..over.report() };
        if self.past.len() >= PAST {
            self.past.pop_front();
        }
        self.past.push_back(partition.clone());
        self.changed = true;
        let speaks = over.speaks;
        if !still.is_empty() {
            let Open { since, here, caretaker, .. } = over;
            self.open = Some(Open { since, away: still, here, speaks, caretaker, ..Open::default() });
        }
        speaks.then_some(partition)
    }

    /// Returns what there is to show, if it is new: the newest last.
    pub fn take_changed(&mut self) -> Option<Vec<Partition>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let lasting = self.open.as_ref().filter(|open| open.is_real()).map(Open::report);
        Some(self.past.iter().cloned().chain(lasting).collect())
    }
}

impl Open {
    /// Whether a member was away for long enough to speak of it.
    fn is_real(&self) -> bool {
        self.away.values().any(|away| away.lost)
    }

    fn is_healing(&self) -> bool {
        self.away.values().any(|away| away.back.is_some())
    }

    fn is_over(&self, now: Mono) -> bool {
        let mut back = self.away.values().filter(|away| away.back.is_some()).peekable();
        back.peek().is_some() && back.all(|away| away.heard.is_some_and(|at| now.since(at) >= SETTLED))
    }

    /// Takes an Event. Returns whether it counts.
    fn hear(&mut self, key: &Key, event: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = &event["involvedObject"];
        let place = [text(&about["namespace"]), text(&about["name"])];
        let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let object = format!("{} {place}", text(&about["kind"]).to_lowercase());
        let names = match event["reason"].as_str() {
            Some("Displaced" | "NameTaken") => &mut self.displaced,
            Some("MergeConflict" | "MergeRepaired" | "MergeRefused") => &mut self.dropped,
            Some("AllocationMoved") => &mut self.moved,
            Some("SuccessfulDelete") if about["kind"] == "ReplicaSet" => {
                let (message, namespace) = (text(&event["message"]), text(&about["namespace"]));
                let pod = format!("{namespace}/{}", message.rsplit(' ').next().unwrap_or_default());
                self.told.insert(key.clone());
                self.stopped.insert(key.clone(), (text(&event["lastTimestamp"]), pod));
                return true;
            }
            _ => return false,
        };
        if self.told.insert(key.clone()) {
            names.add(object);
        }
        true
    }

    fn report(&self) -> Partition {
        let back = self.away.values().filter_map(|away| away.back).max_by_key(|back| back.mono);
        let mut partition = Partition {
            since: self.since.wall.to_string(),
            healed: back.map(|back| back.wall.to_string()),
            seconds: back.map_or(0, |back| back.mono.since(self.since.mono).as_secs()),
            here: self.here.clone(),
            there: self.away.values().filter(|away| away.lost).map(|away| away.name.clone()).collect(),
            caretaker: self.caretaker.clone(),
            displaced: self.displaced.clone(),
            dropped: self.dropped.clone(),
            moved: self.moved.clone(),
            pods: self.pods(),
            ..Partition::default()
        };
        partition.here.sort();
        partition.there.sort();
        for ((there, uid), done) in &self.deeds {
            let deed = match (done.made, done.deleted) {
                // It came and went.
                (true, true) => continue,
                (true, false) => Deed::Made,
                (false, true) => Deed::Deleted,
                (false, false) => Deed::Changed,
            };
            let side = if *there { &mut partition.done_there } else { &mut partition.done_here };
            side.add(deed, name(&done.key));
            side.more = self.more;
            if *there && self.deeds.contains_key(&(false, *uid)) {
                partition.both.add(name(&done.key));
            }
        }
        partition
    }

    fn pods(&self) -> Pods {
        let made = |side: bool| {
            let made = self.pods.iter().filter(|(_, there)| **there == side).map(|(uid, _)| uid);
            let caretakers = made.clone().filter(|uid| self.by_caretakers.contains(uid));
            [made.count() as u64, caretakers.count() as u64]
        };
        Pods { made_here: made(false), made_there: made(true), stopped: self.surplus() }
    }
}

impl Open {
    /// Lists the pods that were stopped since the first member was back: what either side stopped before was not too much.
    /// The Events may be here before it is known that their author is.
    fn surplus(&self) -> Names {
        let mut names = Names::default();
        if let Some(back) = self.away.values().filter_map(|away| Some(away.back?.wall)).min() {
            let since = Wall(back.0 - SKEW).to_string();
            let stopped = self.stopped.values().filter(|(at, _)| *at >= since);
            stopped.for_each(|(_, pod)| names.add(pod.clone()));
        }
        names
    }
}

impl Node {
    /// Counts records that this node wrote.
    pub(super) fn note_own_records(&mut self, records: &[Verified]) {
        for record in records {
            if let Some(act) = self.partings.read(record.record()) {
                self.note_act(act);
            }
        }
    }

    /// Counts what a record did.
    pub(super) fn note_act(&mut self, mut act: Act) {
        let key = act.key.take().or_else(|| self.store.key_of(act.uid()).cloned());
        if let Some(key) = key {
            self.partings.count(&act, key);
        }
    }

    /// A member is lost.
    pub(super) fn note_lost(&mut self, now: Now, peer: NodeId) {
        let me = self.store.node_id();
        // Of one that stood still itself both may come at once.
        self.partings.silent(now, peer, self.peers.name_of(&peer));
        let here: Vec<(NodeId, String)> = self.peers.here(me).map(|m| (m.id, m.name.clone())).collect();
        let speaks = here.iter().map(|(id, _)| *id).min() == Some(me);
        self.partings.lost(&peer, here.into_iter().map(|(_, name)| name).collect(), speaks);
    }

    /// Shows what is new of partitions, and tells of one that is over.
    pub(super) fn look_at_partings(&mut self, now: Now) {
        let peers = &self.peers;
        if let Some(partition) = self.partings.tick(now, |peer| peers.was_heard_out(peer)) {
            tracing::info!("a partition has healed: {}", partition.lines().join("; "));
            let message: String = partition.lines().join("; ").chars().take(MESSAGE).collect();
            self.note_about_itself(now, NoteType::Normal, "agent", "PartitionHealed", message);
        }
        if let Some(partitions) = self.partings.take_changed() {
            self.effects.push(Effect::Partitions(Arc::new(partitions)));
        }
    }
}
