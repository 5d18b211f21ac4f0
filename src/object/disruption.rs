//! The ledger of evictions: which pods of a disruption budget were evicted of late.
//!
//! Two nodes must not both spend the last disruption that a budget allows. So whoever evicts first writes the pod down in a
//! Lease beside the budget, and Leases are decided by a majority, one after the other: the second finds the first one's entry.
//! The budget's status, which the leader computes, names the entries that it has taken into account; those that it does not
//! name yet are taken off what it allows.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Key, kinds};
use crate::time::Wall;

/// For how long an eviction is held against a budget if its pod does not go (upstream's bound), in seconds.
pub const HELD_FOR: i64 = 120;
/// Most evictions that are in the ledger at once.
pub const MOST: usize = 100;

/// The annotation of the Lease with the entries, as JSON: pod to time.
const ENTRIES: &str = "skein.dev/disrupted-pods";
/// What a ledger's name begins with.
const PREFIX: &str = "disruptions-";
/// As long as a name may be.
const LONGEST: usize = 253;

/// Pods that were evicted, and when.
pub type Ledger = BTreeMap<String, String>;

/// Returns where the ledger of the budget at `budget` is. A name that is too long is cut; budgets that share a ledger are
/// held more strictly than they ask for, never less.
pub fn key(budget: &Key) -> Key {
    let name: String = format!("{PREFIX}{}", budget.name).chars().take(LONGEST).collect();
    Key::new(&kinds::LEASE, budget.namespace.clone(), name.trim_end_matches(['-', '.']))
}

/// Reads the entries that still count.
pub fn entries(lease: &Value, now: Wall) -> Ledger {
    let text = lease["metadata"]["annotations"][ENTRIES].as_str().unwrap_or_default();
    let all: Ledger = serde_json::from_str(text).unwrap_or_default();
    all.into_iter().filter(|(_, at)| left(at, now).is_some()).collect()
}

/// Tells for how many microseconds an entry still counts; `None` if it does not.
pub fn left(at: &str, now: Wall) -> Option<u64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    let end = Wall::from_secs(at.as_second().saturating_add(HELD_FOR));
    u64::try_from(end.0.saturating_sub(now.0)).ok().filter(|left| *left > 0)
}

/// Returns how many of `ledger` a budget's status does not know of yet.
pub fn unknown_to(status: &Value, ledger: &Ledger) -> usize {
    ledger.iter().filter(|(pod, at)| status["disruptedPods"][pod.as_str()] != at.as_str()).count()
}

/// Makes the Lease that holds `ledger` for the budget that `budget` shows; `lease` is as it is now, if it is.
pub fn written(budget: &Value, at: &Key, lease: Option<Value>, ledger: &Ledger) -> Value {
    let mut lease = lease.unwrap_or_else(|| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {},
            "metadata": {"name": at.name, "namespace": at.namespace}})
    });
    if !lease["metadata"]["annotations"].is_object() {
        lease["metadata"]["annotations"] = Map::new().into();
    }
    lease["metadata"]["annotations"][ENTRIES] = json!(ledger).to_string().into();
    let metadata = &budget["metadata"];
    lease["metadata"]["ownerReferences"] = json!([{"apiVersion": budget["apiVersion"], "kind": budget["kind"],
        "name": metadata["name"], "uid": metadata["uid"]}]);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_for_two_minutes_and_until_the_status_knows_it() {
        let budget =
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "uid": "u"}});
        let at = key(&Key::new(&kinds::POD_DISRUPTION_BUDGET, "shop", "b"));
        assert_eq!(at.to_string(), "leases.coordination.k8s.io/shop/disruptions-b");
        let ledger: Ledger = [("p".to_owned(), "1970-01-01T00:01:40Z".to_owned())].into();
        let lease = written(&budget, &at, None, &ledger);
        assert_eq!(entries(&lease, Wall::from_secs(219)), ledger);
        assert_eq!(entries(&lease, Wall::from_secs(220)), Ledger::new());
        assert_eq!(entries(&json!({"metadata": {"annotations": {ENTRIES: "{"}}}), Wall(0)), Ledger::new());
        assert_eq!(unknown_to(&json!({}), &ledger), 1);
        assert_eq!(
            unknown_to(&json!({"disruptedPods": {"p": "1970-01-01T00:01:39Z"}}), &ledger),
            1,
            "another eviction"
        );
        assert_eq!(unknown_to(&json!({"disruptedPods": {"p": "1970-01-01T00:01:40Z"}}), &ledger), 0);
        let again = written(&budget, &at, Some(lease.clone()), &Ledger::new());
        assert_eq!(
            (entries(&again, Wall(0)), &again["metadata"]["ownerReferences"]),
            (Ledger::new(), &lease["metadata"]["ownerReferences"])
        );
    }
}
