//! The parts of one object, and how they are shown as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::{Revision, Uid};
use crate::object::{Key, kinds};

use super::class::{self, Section};
use super::snapshot::Entry;

/// A stamped value. The highest stamp wins on every node alike; equal stamps are the same write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Term or incarnation, then a count.
    pub stamp: (u64, u64),
    /// JSON text.
    pub value: Arc<[u8]>,
    /// The signed record it came in.
    pub record: Arc<[u8]>,
}

/// Everything that an object is shown of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// All but the status, as JSON text.
    pub intent: Arc<[u8]>,
    /// How often the spec was touched.
    pub generation: u64,
    /// Decisions, observations and clients' statuses.
    pub registers: BTreeMap<Section, Register>,
}

/// One object of the working state.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it lives.
    pub key: Key,
    /// How many had its place before, for derived uids.
    pub turn: u64,
    /// Its document: the signed change records, parents first.
    pub changes: Vec<Arc<[u8]>>,
    /// As it will be when all that waits for the disk is durable.
    pub working: Parts,
    /// As it is shown; `None` if it is not shown yet.
    pub shown: Option<Parts>,
    /// How many changes of its intent wait for the disk.
    pub pending: usize,
}

impl Parts {
    /// Parses the intent.
    pub fn intent(&self) -> Value {
        if self.intent.is_empty() {
            return Value::Object(Map::new());
        }
        serde_json::from_slice(&self.intent).expect("the store writes valid JSON")
    }

    /// Shows the object.
    pub fn entry(&self, key: &Key, uid: Uid, revision: Revision) -> Entry {
        Entry::of(key.clone(), revision, &self.compose(key, uid, revision))
    }

    fn compose(&self, key: &Key, uid: Uid, revision: Revision) -> Value {
        let mut object = self.intent();
        object["apiVersion"] = key.kind.api_version().into();
        object["kind"] = key.kind.kind.into();
        let meta = &mut object["metadata"];
        meta["name"] = key.name.clone().into();
        if !key.namespace.is_empty() {
            meta["namespace"] = key.namespace.clone().into();
        }
        meta["uid"] = uid.to_string().into();
        meta["resourceVersion"] = revision.to_string().into();
        if class::has_generation(key.kind) {
            meta["generation"] = self.generation.into();
        }
        if let Some(node) = self.value(Section::Binding) {
            object["spec"]["nodeName"] = node;
        }
        if let Some(status) = self.status(key, &object) {
            object["status"] = status;
        }
        object
    }

    /// Puts the status together: the built-in writer's fields win over a client's, conditions merge by type.
    fn status(&self, key: &Key, object: &Value) -> Option<Value> {
        let sections = [Section::Client, Section::Decision, Section::Observation];
        let status = sections.into_iter().filter_map(|s| self.value(s)).reduce(overlay);
        if key.kind == &kinds::NAMESPACE {
            let terminating = object["metadata"]["deletionTimestamp"].is_string();
            let mut status = status.unwrap_or_else(|| Value::Object(Map::new()));
            status["phase"] = if terminating { "Terminating" } else { "Active" }.into();
            return Some(status);
        }
        status.or_else(|| default_status(key))
    }

    /// Parses a register.
    pub fn value(&self, section: Section) -> Option<Value> {
        serde_json::from_slice(&self.registers.get(&section)?.value).ok()
    }
}

/// What a status is before anybody has written one.
fn default_status(key: &Key) -> Option<Value> {
    let kind = key.kind;
    if kind == &kinds::POD {
        return Some(serde_json::json!({"phase": "Pending"}));
    }
    if kind == &kinds::SERVICE {
        return Some(serde_json::json!({"loadBalancer": {}}));
    }
    if kind == &kinds::REPLICA_SET {
        return Some(serde_json::json!({"replicas": 0}));
    }
    kind.has(crate::object::kinds::Subresource::Status).then(|| Value::Object(Map::new()))
}

fn overlay(mut below: Value, above: Value) -> Value {
    let conditions = merge_conditions(&below["conditions"], &above["conditions"]);
    if let (Value::Object(below), Value::Object(above)) = (&mut below, above) {
        below.extend(above);
        if let Some(conditions) = conditions {
            below.insert("conditions".into(), conditions);
        }
    }
    below
}

fn merge_conditions(below: &Value, above: &Value) -> Option<Value> {
    let (below, above) = (below.as_array()?, above.as_array()?);
    let others = below.iter().filter(|b| !above.iter().any(|a| a["type"] == b["type"]));
    Some(above.iter().chain(others).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn register(value: &Value) -> Register {
        Register { stamp: (1, 1), value: value.to_string().into_bytes().into(), record: Arc::default() }
    }

    #[test]
    fn the_built_in_writer_wins_field_by_field() {
        let mut parts = Parts::default();
        let client = json!({"phase": "Mine", "custom": 1,
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "Gate", "status": "True"}]});
        parts.registers.insert(Section::Client, register(&client));
        let kubelet = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        parts.registers.insert(Section::Observation, register(&kubelet));
        parts.registers.insert(Section::Binding, register(&json!("n1")));
        let key = Key::new(&kinds::POD, "default", "x");
        let shown = parts.entry(&key, Uid([1; 16]), Revision(7));
        assert_eq!(shown.node.as_deref(), Some("n1"));
        let status = &shown.value()["status"];
        assert_eq!((&status["phase"], &status["custom"]), (&json!("Running"), &json!(1)));
        assert_eq!(status["conditions"].as_array().map(Vec::len), Some(2));
        assert_eq!(status["conditions"][0]["status"], "True");
    }
}
