//! Disruption budgets: what they count and what they allow.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::{condition, deployment};
use crate::object::{Key, disruption, kinds};

fn budget(c: &mut Cluster, spec: &Value) -> Key {
    let mut spec = spec.clone();
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    c.create(budget)
}

/// Healthy pods, how many there must be, how many there should be, and how many may go.
fn numbers(c: &Cluster, key: &Key) -> [i64; 4] {
    let status = c.value(key)["status"].clone();
    ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"].map(|n| status[n].as_i64().unwrap())
}

#[test]
fn a_budget_says_how_many_pods_may_go() {
    for (spec, expected) in [
        (json!({"minAvailable": 3}), [4, 3, 4, 1]),
        (json!({"minAvailable": 9}), [4, 9, 4, 0]),
        (json!({"minAvailable": "60%"}), [4, 3, 4, 1]),
        (json!({"maxUnavailable": 1}), [4, 3, 4, 1]),
        (json!({"maxUnavailable": "50%"}), [4, 2, 4, 2]),
        (json!({"maxUnavailable": 0}), [4, 4, 4, 0]),
    ] {
        let mut c = Cluster::new(1);
        c.create(deployment("web", 4, "app:1"));
        let key = budget(&mut c, &spec);
        c.settle();
        assert_eq!(numbers(&c, &key), expected, "{spec}");
        let allowed = condition(&c.value(&key), "DisruptionAllowed");
        let (value, reason) = if expected[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        assert_eq!((&allowed["status"], &allowed["reason"]), (&json!(value), &json!(reason)), "{spec}");
        assert_eq!(c.value(&key)["status"]["observedGeneration"], 1);
    }
}

#[test]
fn a_pod_in_the_ledger_is_no_healthy_one_until_its_time_is_over() {
    let mut c = Cluster::new(2);
    c.create(deployment("web", 2, "app:1"));
    let key = budget(&mut c, &json!({"minAvailable": 1}));
    c.settle();
    let pod = c.active_pods()[0].key.name.clone();
    let ledger = [(pod.clone(), c.now.wall.to_string())].into();
    let lease = disruption::written(&c.value(&key), &disruption::key(&key), None, &ledger);
    c.create(lease);
    c.settle();
    assert_eq!(numbers(&c, &key), [1, 1, 2, 0]);
    assert_eq!(c.value(&key)["status"]["disruptedPods"], json!(ledger), "who reads the status knows what it counts");
    c.wait(u64::try_from(disruption::HELD_FOR).unwrap());
    assert_eq!((numbers(&c, &key), c.value(&key)["status"].get("disruptedPods")), ([2, 1, 2, 1], None));
}

#[test]
fn what_has_no_scale_cannot_be_a_share_of_anything() {
    let mut c = Cluster::new(3);
    c.create(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:1"}]}}}}));
    let key = budget(&mut c, &json!({"maxUnavailable": 1}));
    c.settle();
    let allowed = condition(&c.value(&key), "DisruptionAllowed");
    assert_eq!(
        (&allowed["reason"], c.value(&key)["status"]["disruptionsAllowed"].as_i64()),
        (&json!("SyncFailed"), Some(0))
    );
    assert_eq!(c.entries(&kinds::POD).len(), 1);
}
