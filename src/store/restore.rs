//! The state of a cluster that is no more, as the first records of a new one.
//!
//! Every record that still counts is signed anew by the node that restores, since nobody else of the old cluster is a
//! member of the new one. So uids, creation stamps, status and histories stay; stamps, actors and turns are the old
//! ones, and the new cluster's terms must begin above them ([`Restored::term`]). Left out is what belongs to machines
//! that are no more: Nodes, observations, bindings, pods that a controller makes anew; and tombstones, since whom they
//! speak to is gone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::ids::{NodeId, Term, Uid};
use crate::object::{Key, kinds};
use crate::time::Now;

use super::document::{Actor, Document};
use super::epoch::{Clock, Decision, Epoch, Serial};
use super::leaves::flatten;
use super::parts::{Object, Parts};
use super::record::{Draft, Record, Scribe};
use super::render::{observation, phase};
use super::state::{Config, Store};

/// What a restored cluster begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// Its first records.
    pub records: Vec<Vec<u8>>,
    /// The objects in them.
    pub kept: Vec<Key>,
    /// The objects left out, and why.
    pub left: Vec<(Key, &'static str)>,
    /// Records of the backup that could not be used.
    pub refused: Vec<String>,
    /// The newest term of a decision: the new cluster's elections must be for later ones.
    pub term: Term,
}

/// Makes the first records of a new cluster, whose founder `config` describes, out of another's. `names`: the old members.
pub fn restore(config: Config, records: Vec<Vec<u8>>, names: &BTreeMap<NodeId, String>, now: Now) -> Restored {
    let mut scribe = Scribe::new(config.node, config.incarnation, config.key.clone());
    let (store, report) = Store::open(config, records, now);
    let mut restored =
        Restored { refused: report.refused.into_iter().map(|refusal| refusal.reason).collect(), ..Restored::default() };
    if let Some(ceiling) = store.ceiling.as_ref().and_then(|raw| Record::read(raw.clone()).ok()) {
        // Versions go on above those that clients have seen.
        restored.records.push(scribe.take_over(&ceiling, None).to_vec());
    }
    for (uid, object) in store.objects.iter().filter(|(_, object)| !object.working.gone) {
        let key = object.working.birth.key.clone();
        if let Some(why) = left_out(object) {
            restored.left.push((key, why));
            continue;
        }
        match &object.epoch {
            Some(epoch) => restored.records.push(afresh(&mut scribe, &store, *uid, object, epoch)),
            None => object.changes.iter().for_each(|kept| restored.take(&mut scribe, &kept.record, names)),
        }
        let pod = *key.kind == kinds::POD;
        for mark in &object.marks {
            restored.take(&mut scribe, &mark.record, names);
        }
        for (slot, register) in object.working.registers.iter().filter(|_| !pod) {
            let stamp = (register.stamp.major, register.stamp.minor);
            restored.term = restored.term.max(Term(stamp.0));
            restored.records.push(scribe.write(Draft::Register(*uid, *slot, stamp, register.value())).to_vec());
        }
        for (part, told) in object.working.told.iter().filter(|_| !pod) {
            let fields = [(part.clone(), told.value.clone())];
            restored.records.push(scribe.write(Draft::Told(*uid, told.stamp.major, &fields)).to_vec());
        }
        restored.kept.push(key);
    }
    restored
}

impl Restored {
    fn take(&mut self, scribe: &mut Scribe, raw: &std::sync::Arc<[u8]>, names: &BTreeMap<NodeId, String>) {
        let Ok(record) = Record::read(raw.clone()) else { return };
        self.records.push(scribe.take_over(&record, names.get(&record.author).map(String::as_str)).to_vec());
    }
}

/// Begins an object's next epoch with what is asked of it. What its history counts are records of others, by number.
fn afresh(scribe: &mut Scribe, store: &Store, uid: Uid, object: &Object, epoch: &Epoch) -> Vec<u8> {
    let parts = &object.working;
    let leaves = flatten(store.shape(&parts.birth.key), &Value::Object(parts.intent()));
    let number = epoch.name.number + 1;
    let this = Serial { author: scribe.node, incarnation: scribe.incarnation, seq: scribe.peek_seq() };
    let delta = leaves.into_iter().map(|(path, leaf)| (path, Some(leaf))).collect();
    let written = Document::default().write_once(&Actor::of_birth(uid, number, &[this]), delta);
    let mut clock = Clock::default();
    clock.raise(this, 0);
    let decision =
        Decision { number, former: None, heads: vec![this], clock, generation: parts.spec_changes, chunk: 0..0 };
    scribe.write(Draft::Epoch(uid, &parts.birth, &decision, &written.chunk)).to_vec()
}

/// Tells why an object is not restored, if it is not.
fn left_out(object: &Object) -> Option<&'static str> {
    let parts = &object.working;
    let (key, intent) = (&parts.birth.key, parts.intent());
    if *key.kind == kinds::NODE {
        return Some("its machine is not part of the new cluster");
    }
    if *key.kind == kinds::SERVICE && (key.namespace.as_str(), key.name.as_str()) == ("default", "kubernetes") {
        return Some("the new cluster makes its own");
    }
    if *key.kind != kinds::POD {
        return None;
    }
    if is_controlled(&intent) {
        Some("its controller makes it anew")
    } else if parts.mark.is_some() {
        Some("it was being deleted")
    } else if is_finished(object, parts) {
        Some("it has finished")
    } else if parts.binding(&intent).is_some_and(|(_, decided)| decided.is_none()) {
        Some("it names a node that is not part of the new cluster")
    } else {
        None
    }
}

fn is_controlled(intent: &Map<String, Value>) -> bool {
    let owners = intent.get("metadata").and_then(|meta| meta["ownerReferences"].as_array());
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true))
}

fn is_finished(object: &Object, parts: &Parts) -> bool {
    matches!(phase(parts, observation(object)).as_deref(), Some("Succeeded" | "Failed"))
}
