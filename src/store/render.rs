//! An object's parts as the one object that is shown, and the other way round.

use serde_json::{Map, Value, json};

use crate::ids::Uid;
use crate::object::kinds;
use crate::time::Wall;

use super::class;
use super::parts::{Object, Parts};
use super::register::{Register, Slot};
use super::status::{self, Layer};

/// What the store gives: never part of what is asked.
const GIVEN: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "selfLink",
    "name",
    "namespace",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Takes from `object` what is asked of it.
pub fn intent_of(kind: &crate::object::Kind, object: Value) -> Map<String, Value> {
    let Value::Object(mut intent) = object else { return Map::new() };
    intent.remove("apiVersion");
    intent.remove("kind");
    if kind.is_custom() {
        // Where its definition has no status apart, the status is a field like any other.
        strip(&mut intent, "metadata", GIVEN);
        return intent;
    }
    let qos = intent.remove("status").and_then(|status| status.get("qosClass").cloned());
    if let (true, Some(qos)) = (*kind == kinds::POD, qos) {
        // Follows from the spec that a pod is born with.
        intent.insert("status".into(), json!({"qosClass": qos}));
    }
    strip(&mut intent, "metadata", GIVEN);
    if *kind == kinds::NODE {
        super::reach::strip_taints(&mut intent);
    }
    if class::has_builtin_finalizer(kind) {
        strip(&mut intent, "spec", &["finalizers"]);
    }
    intent
}

/// Takes fields out of a part, and the part too if nothing is left.
fn strip(intent: &mut Map<String, Value>, part: &str, fields: &[&str]) {
    let Some(Value::Object(map)) = intent.get_mut(part) else { return };
    for field in fields {
        map.remove(*field);
    }
    if map.is_empty() {
        intent.remove(part);
    }
}

/// Makes the object as it is shown, without a resourceVersion.
pub fn render(uid: Uid, parts: &Parts, observed: Option<&Register>) -> Value {
    let mut object = parts.intent();
    let status = status::compose(parts, &object, observed, |_| true);
    let binding = parts.binding(&object);
    let finalizers = parts.mark.is_some().then(|| parts.finalizers(&object));
    let key = &parts.birth.key;
    object.insert("apiVersion".into(), key.kind.api_version().into());
    object.insert("kind".into(), key.kind.kind.into());

    let meta = object.entry("metadata").or_insert_with(|| json!({}));
    if !meta.is_object() {
        *meta = json!({});
    }
    meta["uid"] = uid.to_string().into();
    meta["name"] = key.name.clone().into();
    if key.kind.namespaced {
        meta["namespace"] = key.namespace.clone().into();
    }
    meta["creationTimestamp"] = parts.birth.created.to_string().into();
    if class::has_generation(key.kind) {
        meta["generation"] = (parts.spec_changes.max(1) + u64::from(parts.mark.is_some())).into();
    }
    if let Some(mark) = &parts.mark {
        meta["deletionTimestamp"] = Wall::from_secs(mark.at).to_string().into();
        if let Some(grace) = mark.grace {
            meta["deletionGracePeriodSeconds"] = grace.into();
        }
    }
    match finalizers {
        Some(left) if !left.is_empty() => meta["finalizers"] = left.into(),
        Some(_) => {
            meta.as_object_mut().map(|meta| meta.remove("finalizers"));
        }
        None => {}
    }

    let decided = parts.registers.get(&Slot::Spec).and_then(|spec| serde_json::from_slice(spec.value()).ok());
    object.extend(decided.filter(|spec: &Value| !spec.is_null()).map(|spec| ("spec".to_owned(), spec)));
    if let Some((node, Some(_))) = binding {
        spec_of(&mut object)["nodeName"] = node.into();
    }
    if !key.kind.is_custom() || status.is_some() {
        object.remove("status");
    }
    object.extend(status.map(|status| ("status".to_owned(), Value::Object(status))));
    if *key.kind == kinds::NAMESPACE {
        spec_of(&mut object)["finalizers"] = json!(["kubernetes"]);
        let phase = if parts.mark.is_some() { "Terminating" } else { "Active" };
        let status = object.entry("status").or_insert_with(|| json!({}));
        status["phase"] = phase.into();
    }
    Value::Object(object)
}

fn spec_of(object: &mut Map<String, Value>) -> &mut Value {
    let spec = object.entry("spec").or_insert_with(|| json!({}));
    if !spec.is_object() {
        *spec = json!({});
    }
    spec
}

/// Returns the observation of an object that is shown. There are two of a pod that two sides of a cut have bound: that of the
/// node to which it is bound in the end; else the newest.
pub fn observation(object: &Object) -> Option<&Register> {
    let newest = || object.observed.values().max_by_key(|register| register.stamp);
    let bound = if object.observed.keys().nth(1).is_some() { object.working.bound_to() } else { None };
    bound.and_then(|node| object.observed.get(&node)).or_else(newest)
}

/// Returns `.status.phase` as it is with all layers.
pub fn phase(parts: &Parts, observed: Option<&Register>) -> Option<String> {
    let status = status::compose(parts, &parts.intent(), observed, |layer| layer != Layer::Bound)?;
    status.get("phase")?.as_str().map(str::to_owned)
}
