//! What sides made of an object together, made valid again: a function of its document, the same on every node.
//!
//! Each side wrote what was valid by itself. Together it need not be: two sources of one volume, a container of which
//! only an edit is left. What validation refuses is taken out, a field or a list's element at a time, in the order in
//! which it is found; holes get their defaults. If that leads nowhere, the side that wrote last stands as it was: the
//! last valid state. A document that is not forked is what one author saw and found valid, so it is left alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::object::validation::{self, Cause, CauseReason};
use crate::object::{Key, defaults};

use super::class;
use super::document::{Document, Hash};
use super::inflate::inflate;
use super::leaves::{Leaf, Leaves, Shape, flatten};
use super::path::{Segment, parse};
use super::render::intent_of;

/// How much is taken out of one object before its repair is given up.
const ROUNDS: usize = 32;

/// What is asked of an object, after a merge.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The object, without what the store gives.
    pub intent: Value,
    /// Leaves of the document that have no place in it.
    pub strays: BTreeSet<String>,
    /// The last change of the side that stands alone; `None` if the merged object stands.
    pub alone: Option<Hash>,
}

/// Makes the object of a document.
pub fn settle(shape: Shape, key: &Key, document: &Document) -> Settled {
    let merged = inflate(shape, document.leaves());
    if !document.is_forked() || class::has_decided_spec(key.kind) {
        return Settled { intent: merged, strays: BTreeSet::new(), alone: None };
    }
    if let Some(intent) = repaired(key, merged.clone()) {
        let strays = strays(shape, document.leaves(), &intent);
        return Settled { intent, strays, alone: None };
    }
    let valid = |side: super::fork::Side| Some((side.head, repaired(key, inflate(shape, &side.leaves))?));
    match document.sides().into_iter().find_map(valid) {
        Some((head, intent)) => Settled { intent, strays: BTreeSet::new(), alone: Some(head) },
        // No side was ever valid: then nothing is better than what there is.
        None => Settled { intent: merged, strays: BTreeSet::new(), alone: None },
    }
}

/// Takes out what validation refuses, until it refuses nothing.
fn repaired(key: &Key, intent: Value) -> Option<Value> {
    let mut intent = intent;
    for _ in 0..ROUNDS {
        let mut object = dressed(key, intent);
        defaults::apply(key.kind, &mut object);
        let causes = validation::on_create(key.kind, &object);
        if causes.is_empty() {
            return Some(Value::Object(intent_of(key.kind, object)));
        }
        if !causes.iter().any(|cause| take_out(&mut object, cause)) {
            return None;
        }
        intent = Value::Object(intent_of(key.kind, object));
    }
    None
}

/// Gives an object the name by which validation judges it.
fn dressed(key: &Key, intent: Value) -> Value {
    let mut object = intent;
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"]["name"] = key.name.clone().into();
    if key.kind.namespaced {
        object["metadata"]["namespace"] = key.namespace.clone().into();
    }
    object
}

/// Takes out what a cause names. Of something that lacks a field, or is there twice, the element goes.
fn take_out(object: &mut Value, cause: &Cause) -> bool {
    let steps = steps(&cause.field);
    let whole = matches!(
        cause.reason,
        CauseReason::FieldValueRequired | CauseReason::FieldValueNotFound | CauseReason::FieldValueDuplicate
    );
    (!whole && remove(object, &steps))
        || innermost_element(object, &steps).is_some_and(|element| remove(object, element))
        || (cause.reason == CauseReason::FieldValueNotFound && remove(object, &steps))
}

/// Splits `spec.containers[0].image`, or `data[a.b]`.
fn steps(field: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

/// Finds the way to the list element that a field is in.
fn innermost_element<'a>(object: &Value, steps: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let mut here = object;
    let mut found = None;
    for (depth, step) in steps.iter().enumerate() {
        if here.is_array() {
            found = Some(&steps[..=depth]);
        }
        here = match child(here, step) {
            Some(child) => child,
            None => break,
        };
    }
    found
}

fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

fn remove(value: &mut Value, steps: &[&str]) -> bool {
    let [step, rest @ ..] = steps else { return false };
    match value {
        Value::Object(map) if rest.is_empty() => map.remove(*step).is_some(),
        Value::Object(map) => map.get_mut(*step).is_some_and(|child| remove(child, rest)),
        Value::Array(items) => {
            let Some(at) = step.parse::<usize>().ok().filter(|at| *at < items.len()) else { return false };
            if rest.is_empty() {
                items.remove(at);
                return true;
            }
            remove(&mut items[at], rest)
        }
        _ => false,
    }
}

/// Lists the leaves that say something and are not in the object: what is left of an element that is gone, or stands
/// under a list that is one register.
fn strays(shape: Shape, leaves: &Leaves, intent: &Value) -> BTreeSet<String> {
    let kept = flatten(shape, intent);
    let says = |path: &str, leaf: &Leaf| {
        let weak = matches!(leaf, Leaf::Json(json) if **json == *b"[]" || **json == *b"{}");
        let order = matches!(parse(path).as_deref(), Some([.., Segment::Element(id)]) if id.is_empty());
        !weak && !order
    };
    let gone = leaves.iter().filter(|(path, leaf)| !kept.contains_key(*path) && says(path, leaf));
    gone.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds;
    use serde_json::json;

    #[test]
    fn a_field_is_found_whatever_its_name() {
        assert_eq!(steps("spec.containers[0].image"), ["spec", "containers", "0", "image"]);
        assert_eq!(steps("data[a.b/c]"), ["data", "a.b/c"]);
        assert_eq!(steps("metadata"), ["metadata"]);
    }

    fn deployment(spec: &Value) -> Value {
        let mut pod = json!({"containers": [{"name": "web", "image": "nginx"}]});
        pod.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}})
    }

    fn key() -> Key {
        Key::new(&kinds::DEPLOYMENT, "shop", "web")
    }

    #[test]
    fn one_of_two_volume_sources_goes_and_what_is_incomplete_goes() {
        let both = deployment(&json!({
            "containers": [{"name": "web", "image": "nginx"}, {"name": "left", "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}));
        let repaired = repaired(&key(), both).unwrap();
        let pod = &repaired["spec"]["template"]["spec"];
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1, "{pod}");
        let sources = pod["volumes"][0].as_object().unwrap();
        assert_eq!(sources.len(), 2, "{sources:?}");
        assert!(validation::on_create(&kinds::DEPLOYMENT, &dressed(&key(), repaired)).is_empty());
    }

    #[test]
    fn a_strategy_loses_what_goes_with_another() {
        let mut mixed = deployment(&json!({}));
        mixed["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}});
        let repaired = repaired(&key(), mixed).unwrap();
        assert_eq!(repaired["spec"]["strategy"], json!({"type": "Recreate"}));
    }

    #[test]
    fn what_cannot_be_repaired_is_given_up() {
        let mut foreign = deployment(&json!({}));
        foreign["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
        assert_eq!(repaired(&key(), foreign), None);
    }
}
