//! What may be changed of a pod that exists: hardly anything.

use serde_json::Value;

use super::placement;
use crate::object::validation::field::{Causes, Field, go_map, same};
use crate::object::validation::{meta, names};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
     `spec.tolerations` (only additions to existing tolerations),\
     `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a change of a Pod.
pub(in crate::object::validation) fn on_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    meta::slot_is_kept(new, old, causes);
    let (new, old) = (new.child("spec"), old.child("spec"));
    super::pod(&new, causes);
    for list in ["containers", "initContainers"] {
        if new.child(list).len() != old.child(list).len() {
            return causes.forbidden(&new.child(list), "pod updates may not add or remove containers");
        }
    }
    if !deadline(&new.child("activeDeadlineSeconds"), &old.child("activeDeadlineSeconds"), causes) {
        return;
    }
    only_added_tolerations(&new.child("tolerations"), &old.child("tolerations"), causes);
    only_deleted_gates(&new.child("schedulingGates"), &old.child("schedulingGates"), causes);
    let mut munged = munged(new.value, old.value);
    if old.child("schedulingGates").len() > 0 {
        gated(&new, &old, &mut munged, causes);
    }
    if !same(&munged, old.value) {
        let changed = differences(&munged, old.value).join("\n");
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n{changed}");
        causes.forbidden(&new, &why);
    }
}

/// A deadline may be set, and brought nearer. Says whether to go on.
fn deadline(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) -> bool {
    match (new.number(), old.number()) {
        (Some(seconds), before) => {
            let faults = names::in_range(seconds, 0, i64::from(i32::MAX));
            let later = faults.is_empty() && before.is_some_and(|b| b < seconds);
            let fine = faults.is_empty() && !later;
            causes.invalid_each(new, faults);
            if later {
                causes.invalid(new, "must be less than or equal to previous value");
            }
            fine
        }
        (None, Some(_)) => {
            causes.invalid(new, "must not update from a positive integer to nil value");
            true
        }
        (None, None) => true,
    }
}

fn only_added_tolerations(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.as_object_mut().map(|t| t.remove("tolerationSeconds"));
        toleration
    };
    let kept = |old: Field<'_>| new.items().any(|n| same(&without_seconds(n.value), &without_seconds(old.value)));
    if old.items().all(kept) {
        placement::tolerations(new, causes);
    } else {
        causes.forbidden(new, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn only_deleted_gates(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    for gate in new.items() {
        let name = gate.child("name");
        if old.items().all(|o| o.child("name").text() != name.text()) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            causes.forbidden(&name, &why);
        }
    }
}

/// The new spec with all that may be changed put back to what it was.
fn munged(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    let Some(spec) = munged.as_object_mut() else { return munged };
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate();
        for (i, container) in containers {
            if let Some(container) = container.as_object_mut() {
                container.insert("image".into(), old[list][i]["image"].clone());
            }
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        spec.insert(name.into(), old[name].clone());
    }
    let grace = "terminationGracePeriodSeconds";
    if old[grace].as_i64().is_some_and(|s| s < 0) && spec.get(grace).and_then(Value::as_i64) == Some(1) {
        spec.insert(grace.into(), old[grace].clone());
    }
    munged
}

/// A pod that waits behind gates may still be narrowed to fewer nodes.
fn gated(new: &Field<'_>, old: &Field<'_>, munged: &mut Value, causes: &mut Causes) {
    let (selector, before) = (new.child("nodeSelector"), old.child("nodeSelector"));
    if before.entries().any(|(key, value)| selector.value[key] != *value.value) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        causes.invalid_as(&selector, &go_map(selector.value), why);
    }
    munged["nodeSelector"] = before.value.clone();
}

/// Names the fields that differ and both values, which is kinder than upstream's diff of Go structures.
fn differences(new: &Value, old: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("spec", new, old, &mut found);
    found
}

fn walk(path: &str, new: &Value, old: &Value, found: &mut Vec<String>) {
    if same(new, old) {
        return;
    }
    match (new, old) {
        (Value::Object(x), Value::Object(y)) => {
            let mut names: Vec<_> = x.keys().chain(y.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                walk(&format!("{path}.{name}"), &new[name], &old[name], found);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (i, (v, w)) in x.iter().zip(y).enumerate() {
                walk(&format!("{path}[{i}]"), v, w, found);
            }
        }
        _ => found.push(format!("{path}: {old} -> {new}")),
    }
}
