//! Kubernetes' deletion: grace, finalizers, propagation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::object::{Key, kinds};
use crate::time::Wall;

use super::change::{DeleteOptions, Propagation};

/// The finalizer of foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of orphaning deletion.
pub const ORPHAN: &str = "orphan";
/// Seconds that a pod may take to stop if it does not say.
const POD_GRACE: i64 = 30;

/// What a deletion comes to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It is under way already, and this changes nothing.
    Nothing,
    /// The object is marked: its intent after.
    Mark(Value),
    /// The object goes at once.
    Remove,
}

/// Decides what deleting `object`, as it is shown, comes to. `intent` is the object without its status.
pub fn delete(key: &Key, object: &Value, intent: Value, options: &DeleteOptions, wall: Wall) -> Step {
    let grace = grace(key, object, options);
    if object["metadata"]["deletionTimestamp"].is_string() {
        return again(key, object, intent, grace, wall);
    }
    let mut intent = intent;
    match options.propagation {
        Some(Propagation::Foreground) => add_finalizer(&mut intent, FOREGROUND),
        Some(Propagation::Orphan) => add_finalizer(&mut intent, ORPHAN),
        Some(Propagation::Background) | None => {}
    }
    if grace == 0 && !has_finalizers(&intent) && key.kind != &kinds::NAMESPACE {
        return Step::Remove;
    }
    Step::Mark(mark(intent, grace, wall))
}

/// Tells whether a marked object has nothing left to wait for.
pub fn is_over(key: &Key, intent: &Value) -> bool {
    let meta = &intent["metadata"];
    let waits = key.kind == &kinds::POD && meta["deletionGracePeriodSeconds"].as_i64().is_some_and(|g| g > 0);
    meta["deletionTimestamp"].is_string() && !has_finalizers(intent) && !waits && key.kind != &kinds::NAMESPACE
}

/// A repeated deletion may only shorten the grace.
fn again(key: &Key, object: &Value, intent: Value, grace: i64, wall: Wall) -> Step {
    let left = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if key.kind != &kinds::POD || (grace >= left && left > 0) {
        return Step::Nothing;
    }
    if grace == 0 && !has_finalizers(&intent) {
        return Step::Remove;
    }
    if grace == left {
        return Step::Nothing;
    }
    Step::Mark(mark(intent, grace, wall))
}

fn mark(mut intent: Value, grace: i64, wall: Wall) -> Value {
    let seconds = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
    intent["metadata"]["deletionTimestamp"] = (wall + seconds).to_string().into();
    intent["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    intent
}

/// Only pods that run somewhere need time.
fn grace(key: &Key, object: &Value, options: &DeleteOptions) -> i64 {
    let finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if key.kind != &kinds::POD || !object["spec"]["nodeName"].is_string() || finished {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(POD_GRACE);
    options.grace_seconds.unwrap_or(own).max(0)
}

fn has_finalizers(intent: &Value) -> bool {
    intent["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}

fn add_finalizer(intent: &mut Value, finalizer: &str) {
    let finalizers = &mut intent["metadata"]["finalizers"];
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|f| f == finalizer)
    {
        list.push(finalizer.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Wall = Wall(1_763_882_730_000_000);

    fn pod(bound: bool, phase: &str) -> (Key, Value) {
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {"terminationGracePeriodSeconds": 20}, "status": {"phase": phase}});
        if bound {
            pod["spec"]["nodeName"] = "n1".into();
        }
        (Key::new(&kinds::POD, "default", "x"), pod)
    }

    fn step(key: &Key, object: &Value, grace: Option<i64>) -> Step {
        let options = DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() };
        delete(key, object, object.clone(), &options, WALL)
    }

    #[test]
    fn only_a_bound_running_pod_gets_grace() {
        for (bound, phase, gone) in [(true, "Running", false), (false, "Pending", true), (true, "Succeeded", true)] {
            let (key, pod) = pod(bound, phase);
            assert_eq!(step(&key, &pod, None) == Step::Remove, gone, "{bound} {phase}");
        }
        let (key, pod) = pod(true, "Running");
        assert_eq!(step(&key, &pod, Some(0)), Step::Remove);
        let Step::Mark(marked) = step(&key, &pod, None) else { panic!("is marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2025-11-23T07:25:50Z");
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 20);
        assert_eq!(step(&key, &marked, None), Step::Nothing);
        assert_eq!(step(&key, &marked, Some(30)), Step::Nothing);
        assert!(matches!(step(&key, &marked, Some(5)), Step::Mark(_)));
        assert_eq!(step(&key, &marked, Some(0)), Step::Remove);
    }

    #[test]
    fn finalizers_hold_an_object() {
        let key = Key::new(&kinds::CONFIG_MAP, "default", "x");
        let held = json!({"metadata": {"finalizers": ["a/b"]}});
        let Step::Mark(mut marked) = step(&key, &held, None) else { panic!("is marked") };
        assert!(!is_over(&key, &marked));
        marked["metadata"]["finalizers"] = json!([]);
        assert!(is_over(&key, &marked));
        assert_eq!(step(&key, &json!({"metadata": {}}), None), Step::Remove);
    }

    #[test]
    fn propagation_leaves_a_finalizer() {
        let key = Key::new(&kinds::DEPLOYMENT, "default", "x");
        let object = json!({"metadata": {}});
        for (propagation, finalizer) in [(Propagation::Foreground, FOREGROUND), (Propagation::Orphan, ORPHAN)] {
            let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
            let Step::Mark(marked) = delete(&key, &object, object.clone(), &options, WALL) else { panic!("marked") };
            assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        }
    }
}
