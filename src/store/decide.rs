//! What a status or a binding comes to: registers, by who speaks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::ids::{Term, Uid};
use crate::object::{Key, kinds};

use super::bounds::MAX_FIELDS;
use super::change::{Author, Precondition, Rejected};
use super::class::{self, StatusClass};
use super::parts::{Object, to_json};
use super::plan::{Plan, Planned, Write, check_size, sized_json};
use super::record::{Body, Record};
use super::register::{Register, Slot, Stamp, Told};
use super::render::{observation, render};
use super::state::Store;
use super::status::{Layer, by_part, joined, novel};
use super::uid::NODE_ID;

impl Store {
    pub(super) fn plan_status(
        &self,
        author: Author,
        term: Term,
        key: Key,
        status: Value,
        when: &Precondition,
    ) -> Result<Planned, Rejected> {
        let (uid, found) = self.find(&key, when)?;
        let Some(class) = class::of_status(key.kind, author) else {
            let message = format!("a kubelet has no say in the status of {}", key.kind);
            return Err(Rejected::Forbidden { key, message });
        };
        let given = if let Value::Object(given) = status { given } else { Map::new() };
        let given = if author == Author::Kubelet { given } else { self.unprojected(&key, uid, found, given) };
        let mut plan = self.plan_for(key, uid, found);
        let changed = match class {
            StatusClass::Observation => {
                let value = sized_json(&plan.key, &Value::Object(given))?;
                let same = found.observed.get(&self.scribe.node).is_some_and(|old| old.value() == value);
                plan.observed = (!same).then_some(value);
                !same
            }
            StatusClass::Decision => self.decide_status(&mut plan, found, author, term, given)?,
            StatusClass::Told => {
                let given = Value::Object(given);
                check_size(&plan.key, &given)?;
                given.as_object().is_some_and(|given| self.tell_status(&mut plan, found, given))
            }
        };
        if changed { Ok(plan.planned()) } else { Ok(Planned::Same(plan.key, uid)) }
    }

    /// Takes from a status that somebody read and writes back what is projected onto it.
    fn unprojected(&self, key: &Key, uid: Uid, found: &Object, given: Map<String, Value>) -> Map<String, Value> {
        let own = render(uid, &found.working, observation(found));
        let shown = self.projected(key, own.clone());
        if shown["status"] == own["status"] {
            return given;
        }
        let parts = |object: &Value| object["status"].as_object().map(by_part).unwrap_or_default();
        let (own, shown) = (parts(&own), parts(&shown));
        let is_projected =
            |part: &String, value: &Value| shown.get(part) == Some(value) && own.get(part) != Some(value);
        let given = by_part(&given).into_iter().filter_map(|(part, value)| {
            if is_projected(&part, &value) {
                own.get(&part).map(|own| (part, own.clone()))
            } else {
                Some((part, value))
            }
        });
        joined(given)
    }

    fn decide_status(
        &self,
        plan: &mut Plan,
        found: &Object,
        author: Author,
        term: Term,
        given: Map<String, Value>,
    ) -> Result<bool, Rejected> {
        let given = if class::has_kubelet_status(plan.key.kind) {
            let intent = found.working.intent();
            joined(novel(Layer::Decided, &given, &found.working, &intent, observation(found)))
        } else {
            given
        };
        let value = sized_json(&plan.key, &Value::Object(given))?;
        if found.working.decided_status().map_or(value == b"{}", |old| *old == value) {
            return Ok(false);
        }
        if author == Author::Caretaker {
            let status: Value = serde_json::from_slice(&value).expect("it was written as JSON just now");
            let said = json!({"over": found.working.elected_stamp(), "status": status});
            self.decide(plan, Slot::CaretakerStatus, term, sized_json(&plan.key, &said)?)?;
        } else {
            self.decide(plan, Slot::Status, term, value)?;
        }
        Ok(true)
    }

    /// Returns a node's id, as its Node says.
    fn id_of(&self, node: &str) -> Option<String> {
        let entry = self.snapshot.get(&Key::cluster(&kinds::NODE, node))?;
        entry.value()["metadata"]["annotations"][NODE_ID].as_str().map(str::to_owned)
    }

    /// Returns where an object lives that is held here.
    pub fn key_of(&self, uid: Uid) -> Option<&Key> {
        self.objects.get(&uid).map(|object| &object.working.birth.key)
    }

    /// Tells whether this node made an object and nobody else did. Of one whose history was cut nobody can tell.
    pub fn is_made_here(&self, uid: Uid) -> bool {
        let Some(object) = self.objects.get(&uid).filter(|object| object.epoch.is_none()) else { return false };
        let records = object.changes.iter().filter_map(|change| Record::read(Arc::clone(&change.record)).ok());
        let mut births = records.filter(|record| matches!(record.body, Body::Change { birth: Some(_), .. }));
        births.all(|birth| birth.author == self.scribe.node)
    }

    /// Returns the highest round of caretakers that this node knows of, 0 if there was none.
    pub fn caretaker_round(&self) -> u64 {
        let rounds = self.objects.values().flat_map(|object| {
            let slots = [Slot::CaretakerBinding, Slot::CaretakerStatus];
            slots.map(|slot| object.working.registers.get(&slot).map_or(0, |register| register.stamp.major))
        });
        rounds.max().unwrap_or(0)
    }

    pub(super) fn decide(&self, plan: &mut Plan, slot: Slot, term: Term, value: Vec<u8>) -> Result<(), Rejected> {
        let old = plan.after.registers.get(&slot).map(|register| register.stamp);
        if old.is_some_and(|old| old.major > term.0) {
            // A later leader has decided: the caller's view is old.
            return Err(Rejected::Stale { key: plan.key.clone() });
        }
        let after_old = old.filter(|old| old.major == term.0).map_or(0, |old| old.minor.saturating_add(1));
        let minor = after_old.max(self.scribe.peek_seq());
        let stamp = Stamp { major: term.0, minor, author: self.scribe.node };
        Arc::make_mut(&mut plan.after.registers).insert(slot, Register::draft(stamp, value.clone()));
        plan.writes.push(Write::Decide(slot, stamp, value));
        Ok(())
    }

    fn tell_status(&self, plan: &mut Plan, found: &Object, given: &Map<String, Value>) -> bool {
        let intent = found.working.intent();
        let adds = novel(Layer::Told, given, &found.working, &intent, observation(found));
        let old = &found.working.told;
        let mut fields: BTreeMap<String, Option<Arc<[u8]>>> =
            adds.iter().map(|(part, value)| (part.clone(), Some(to_json(value)))).collect();
        fields.retain(|part, value| old.get(part).is_none_or(|old| old.value != *value));
        for (part, _) in old.iter().filter(|(part, old)| old.value.is_some() && !adds.contains_key(*part)) {
            fields.insert(part.clone(), None);
        }
        if fields.is_empty() {
            return false;
        }
        // What is answered is shown, also if somebody's clock was ahead.
        let known = fields.keys().filter_map(|part| old.get(part)).map(|told| told.stamp.major).max().unwrap_or(0);
        let major = self.hybrid_time().max(known.saturating_add(1));
        let stamp = Stamp { major, minor: 0, author: self.scribe.node };
        let told = Arc::make_mut(&mut plan.after.told);
        for (part, value) in &fields {
            told.insert(part.clone(), Told { stamp, value: value.clone(), record: None });
        }
        let fields: Vec<_> = fields.into_iter().collect();
        plan.writes.extend(fields.chunks(MAX_FIELDS).map(|some| Write::Tell(stamp, some.to_vec())));
        true
    }

    pub(super) fn plan_bind(
        &self,
        author: Author,
        term: Term,
        key: Key,
        when: &Precondition,
        node: &str,
    ) -> Result<Planned, Rejected> {
        let (uid, found) = self.find(&key, when)?;
        let forbidden = |message: String| Err(Rejected::Forbidden { key: key.clone(), message });
        let slot = match author {
            Author::Leader if *key.kind == kinds::POD => Slot::Binding,
            Author::Caretaker if *key.kind == kinds::POD => Slot::CaretakerBinding,
            _ => return forbidden("only the scheduler may bind, and only pods".into()),
        };
        if let Some((bound, _)) = found.working.binding(&found.working.intent()) {
            if bound == node {
                return Ok(Planned::Same(key, uid));
            }
            return forbidden(format!("pod {} is already assigned to node {bound:?}", key.name));
        }
        if found.working.mark.is_some() {
            return forbidden(format!("pod {} is being deleted, cannot be assigned to a host", key.name));
        }
        let mut value = json!({"node": node, "at": self.now.wall.to_string()});
        if let Some(id) = self.id_of(node) {
            value["id"] = id.into();
        }
        let mut plan = self.plan_for(key, uid, found);
        self.decide(&mut plan, slot, term, to_json(&value).to_vec())?;
        Ok(plan.planned())
    }
}
