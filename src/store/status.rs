//! Status in layers: the built-in writers' over the clients' over nothing said yet.
//!
//! A layer wins field by field, and conditions by their type. Whoever is not on top keeps only what the others do
//! not say: a client that reads a status and writes it back must not freeze what the kubelet said that day.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::object::{custom, kinds};

use super::class;
use super::parts::Parts;
use super::register::{Register, Told};
use super::small::SmallMap;

type Fields = Map<String, Value>;

/// The layers, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// What holds when nobody has said anything.
    First,
    /// What clients say.
    Told,
    /// What the leader decided.
    Decided,
    /// What follows from a binding.
    Bound,
    /// What the node saw.
    Observed,
}

/// Lays the layers that `wanted` names over one another. `None` if there is no status at all.
pub fn compose(
    parts: &Parts,
    intent: &Fields,
    observed: Option<&Register>,
    wanted: impl Fn(Layer) -> bool,
) -> Option<Fields> {
    let mut status: Option<Fields> = None;
    let mut lay = |layer: Layer, over: Option<Value>| {
        if let (true, Some(Value::Object(over))) = (wanted(layer), over) {
            lay_over(status.get_or_insert_default(), over);
        }
    };
    lay(Layer::First, class::first_status(parts.birth.key.kind));
    if *parts.birth.key.kind == kinds::CUSTOM_RESOURCE_DEFINITION {
        // Its names are its own until somebody has found otherwise, so it is served at once.
        let spec = intent.get("spec").unwrap_or(&Value::Null);
        lay(Layer::First, Some(custom::status(spec, &[], &parts.birth.created.to_string())));
    }
    lay(Layer::First, intent.get("status").cloned());
    lay(Layer::Told, (!parts.told.is_empty()).then(|| told_fields(&parts.told)));
    lay(Layer::Decided, parts.decided_status().and_then(|json| serde_json::from_slice(&json).ok()));
    lay(Layer::Bound, parts.binding(intent).and_then(|(_, at)| at).map(|at| scheduled(&at)));
    lay(Layer::Observed, observed.and_then(read));
    status
}

/// Picks of `given` what a writer on layer `own` adds: by field, or by condition.
pub fn novel(
    own: Layer,
    given: &Fields,
    parts: &Parts,
    intent: &Fields,
    observed: Option<&Register>,
) -> BTreeMap<String, Value> {
    let others = by_part(&compose(parts, intent, observed, |layer| layer != own).unwrap_or_default());
    let above = by_part(&compose(parts, intent, observed, |layer| layer > own).unwrap_or_default());
    let adds = |(part, value): &(String, Value)| !above.contains_key(part) && others.get(part) != Some(value);
    by_part(given).into_iter().filter(adds).collect()
}

/// Puts together what [`novel`] took apart.
pub fn joined(parts: impl IntoIterator<Item = (String, Value)>) -> Fields {
    let mut fields = Fields::new();
    let mut conditions = Vec::new();
    for (part, value) in parts {
        match part.strip_prefix(FIELD) {
            Some(field) => {
                fields.insert(field.to_owned(), value);
            }
            None => conditions.push(value),
        }
    }
    if !conditions.is_empty() {
        fields.insert("conditions".into(), Value::Array(conditions));
    }
    fields
}

const FIELD: &str = "field/";
const CONDITION: &str = "condition/";

/// Takes a status apart: by field, conditions by type.
pub fn by_part(fields: &Fields) -> BTreeMap<String, Value> {
    let mut parts = BTreeMap::new();
    for (field, value) in fields {
        match value {
            Value::Array(conditions) if field == "conditions" && are_told_apart(conditions) => {
                let named = conditions.iter().filter_map(|c| Some((c["type"].as_str()?, c)));
                parts.extend(named.map(|(name, c)| (format!("{CONDITION}{name}"), c.clone())));
            }
            value => {
                parts.insert(format!("{FIELD}{field}"), value.clone());
            }
        }
    }
    parts
}

/// Tells whether each condition has a type of its own. Users' kinds may have anything in a list of that name.
fn are_told_apart(conditions: &[Value]) -> bool {
    let types: BTreeSet<&str> = conditions.iter().filter_map(|c| c["type"].as_str()).collect();
    types.len() == conditions.len() && !types.is_empty()
}

fn told_fields(told: &SmallMap<String, Told>) -> Value {
    let value = |told: &Told| serde_json::from_slice(told.value.as_deref()?).ok();
    Value::Object(joined(told.iter().filter_map(|(part, told)| Some((part.clone(), value(told)?)))))
}

fn read(register: &Register) -> Option<Value> {
    serde_json::from_slice(register.value()).ok()
}

/// What the scheduler's binding says of a pod.
fn scheduled(at: &str) -> Value {
    json!({"conditions": [{"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": at}]})
}

fn lay_over(status: &mut Fields, over: Fields) {
    for (field, value) in over {
        match (status.get_mut(&field), value) {
            (Some(Value::Array(below)), Value::Array(conditions)) if field == "conditions" => {
                for condition in conditions {
                    match below.iter_mut().find(|c| c["type"] == condition["type"]) {
                        Some(c) => *c = condition,
                        None => below.push(condition),
                    }
                }
            }
            (_, value) => {
                status.insert(field, value);
            }
        }
    }
}
