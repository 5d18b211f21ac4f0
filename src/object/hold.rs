//! Pods that must never run twice: who asks for it, and what two pods may not hold at once (design, section 4; rules 7, 8).
//!
//! A pod whose annotation [`PARTITION`] is `hold` holds a *slot*: its ReplicaSet's place in a Deployment, or its own name.
//! Of all pods of one slot at most one runs at a time, in the whole cluster, whatever is cut off from what.

use serde_json::Value;
use sha2::{Digest, Sha256};

use std::collections::BTreeMap;
use std::fmt;

/// The annotation that says what a workload wants when the cluster is in two: `hold` or `run`.
pub const PARTITION: &str = "skein.dev/partition";
/// Its value for what must never run twice.
pub const HOLD: &str = "hold";
/// Its value for what may go on, and roll out, on both sides.
pub const RUN: &str = "run";
/// The annotation that holds a replica's index. It never changes.
pub const SLOT: &str = "skein.dev/slot";
/// The annotation of a replica that holds its slot: the uid of the Deployment, or of the ReplicaSet that has none, that the
/// index is one of. It never changes.
pub const SLOT_OF: &str = "skein.dev/slot-of";

/// The most bytes of a slot's name.
pub const MAX_SLOT: usize = 160;

/// What at most one running pod may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub String);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether an object asks that its pods never run twice.
pub fn holds(object: &Value) -> bool {
    annotation(object, PARTITION) == Some(HOLD)
}

/// As [`holds`], of typed annotations.
pub fn is_hold(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.and_then(|all| all.get(PARTITION)).is_some_and(|wish| wish == HOLD)
}

/// Returns the slot of a pod that must never run twice; `None` for any other.
///
/// A pod of its own has its name: one that is made again under it waits for the end of the one before.
pub fn slot(pod: &Value) -> Option<Slot> {
    if !holds(pod) {
        return None;
    }
    if let (Some(owner), Some(index)) = (annotation(pod, SLOT_OF), annotation(pod, SLOT)) {
        return Some(Slot(short(format!("{owner}/{index}"))));
    }
    let name = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    Some(Slot(short(format!("{}/{}", name("namespace"), name("name")))))
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(name)?.as_str()
}

/// Keeps names that users make up within [`MAX_SLOT`].
fn short(name: String) -> String {
    if name.len() <= MAX_SLOT {
        return name;
    }
    let start: String = name.chars().take_while(|c| c.is_ascii()).take(MAX_SLOT - 65).collect();
    format!("{start}#{}", hex::encode(Sha256::digest(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(annotations: &Value, name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop", "annotations": annotations}})
    }

    #[test]
    fn only_a_pod_that_holds_has_a_slot() {
        assert_eq!(slot(&json!({"metadata": {"name": "a", "namespace": "shop"}})), None);
        assert_eq!(slot(&pod(&json!({PARTITION: RUN, SLOT: "0", SLOT_OF: "u"}), "a")), None);
        assert_eq!(slot(&pod(&json!({PARTITION: HOLD}), "a")), Some(Slot("shop/a".into())));
    }

    #[test]
    fn replicas_of_one_index_share_a_slot_whatever_they_are_called() {
        let of = |name| slot(&pod(&json!({PARTITION: HOLD, SLOT: "0", SLOT_OF: "d-1"}), name));
        assert_eq!(of("db-abcde"), of("db-fghij"));
        assert_eq!(of("db-abcde"), Some(Slot("d-1/0".into())));
    }

    #[test]
    fn long_names_stay_apart_and_within_bounds() {
        let of = |end: &str| slot(&pod(&json!({PARTITION: HOLD}), &format!("{}{end}", "x".repeat(250)))).unwrap();
        assert_ne!(of("a"), of("b"));
        assert!(of("a").0.len() <= MAX_SLOT);
    }
}
