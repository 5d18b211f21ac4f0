//! Garbage collection: the three ways of cascading, and owners that are more than one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::deployment;
use crate::controllers::{Controller, reconcile};
use crate::ids::Revision;
use crate::object::{Key, kinds};
use crate::store::{Propagation, Snapshot};
use crate::time::Now;

fn owned(c: &Cluster, name: &str, owners: &[&Key]) -> Value {
    let reference = |key: &&Key| {
        json!({"apiVersion": key.kind.api_version(), "kind": key.kind.kind, "name": key.name,
            "uid": c.value(key)["metadata"]["uid"], "blockOwnerDeletion": true})
    };
    let owners: Vec<Value> = owners.iter().map(reference).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners}})
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}})
}

fn running(seed: u64) -> (Cluster, Key) {
    let mut c = Cluster::new(seed);
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    (c, key)
}

#[test]
fn background_deletes_all_that_was_owned() {
    for seed in 0..10 {
        let (mut c, key) = running(seed);
        c.delete(&key, Propagation::Background);
        assert!(!c.exists(&key), "the owner goes first");
        c.settle();
        assert!(c.entries(&kinds::REPLICA_SET).is_empty() && c.entries(&kinds::POD).is_empty());
    }
}

#[test]
fn foreground_keeps_the_owner_until_the_last_dependant_is_gone() {
    for seed in 0..10 {
        let (mut c, key) = running(seed);
        c.delete(&key, Propagation::Foreground);
        assert!(c.exists(&key));
        c.settle_and(|c| {
            let (sets, pods) = (c.entries(&kinds::REPLICA_SET).len(), c.entries(&kinds::POD).len());
            assert!(sets > 0 || pods == 0, "a ReplicaSet goes after its pods");
            assert!(c.exists(&key) || sets == 0, "the Deployment goes after its ReplicaSets");
        });
        assert!(!c.exists(&key));
    }
}

#[test]
fn orphaning_leaves_the_dependants_without_an_owner() {
    let (mut c, key) = running(1);
    let pods = c.pod_names();
    c.delete(&key, Propagation::Orphan);
    c.settle();
    assert!(!c.exists(&key));
    let set = c.entries(&kinds::REPLICA_SET)[0].value();
    assert!(set["metadata"]["ownerReferences"].is_null());
    assert_eq!(c.pod_names(), pods);
}

#[test]
fn an_object_lives_while_one_owner_does() {
    let mut c = Cluster::new(1);
    let (a, b) = (c.create(config_map("a")), c.create(config_map("b")));
    let child = owned(&c, "child", &[&a, &b]);
    let child = c.create(child);
    c.settle();
    c.delete(&a, Propagation::Background);
    c.settle();
    let owners = c.value(&child)["metadata"]["ownerReferences"].clone();
    assert_eq!(owners.as_array().unwrap().len(), 1);
    assert_eq!(owners[0]["name"], "b");
    c.delete(&b, Propagation::Background);
    c.settle();
    assert!(!c.exists(&child));
}

#[test]
fn a_foreground_owner_does_not_wait_for_what_another_holds() {
    let mut c = Cluster::new(1);
    let (a, b) = (c.create(config_map("a")), c.create(config_map("b")));
    let child = owned(&c, "child", &[&a, &b]);
    let child = c.create(child);
    c.settle();
    c.delete(&a, Propagation::Foreground);
    c.settle();
    assert!(!c.exists(&a));
    assert!(c.exists(&child));
}

#[test]
fn a_circle_of_owners_can_be_deleted_in_the_foreground() {
    for seed in 0..10 {
        let mut c = Cluster::new(seed);
        let a = c.create(config_map("a"));
        let b = owned(&c, "b", &[&a]);
        let b = c.create(b);
        let owners = owned(&c, "a", &[&b])["metadata"]["ownerReferences"].clone();
        c.edit(&a, |a| a["metadata"]["ownerReferences"] = owners);
        c.settle();
        c.delete(&a, Propagation::Foreground);
        c.settle();
        assert!(!c.exists(&a) && !c.exists(&b));
    }
}

#[test]
fn an_owner_that_cannot_be_looked_for_is_not_gone() {
    let mut c = Cluster::new(1);
    let strange = |kind: &str| {
        json!([{"apiVersion": "v1", "kind": kind, "name": "x",
        "uid": "01234567-89ab-cdef-0123-456789abcdef"}])
    };
    let mut child = config_map("child");
    child["metadata"]["ownerReferences"] = strange("Potato");
    let child = c.create(child);
    let node = Key::cluster(&kinds::NODE, "n1");
    c.edit(&node, |n| n["metadata"]["ownerReferences"] = strange("ConfigMap"));
    c.settle();
    assert!(c.exists(&child), "of a kind that is not served");
    assert!(c.exists(&node), "in no namespace, while its owner would be in one");
}

#[test]
fn finalizers_of_others_are_kept() {
    let mut c = Cluster::new(1);
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = c.create(held);
    c.delete(&held, Propagation::Foreground);
    c.settle();
    assert_eq!(c.value(&held)["metadata"]["finalizers"], json!(["example.com/hold"]));
    c.edit(&held, |h| h["metadata"]["finalizers"] = json!([]));
    c.settle();
    assert!(!c.exists(&held));
}

#[test]
fn what_every_node_computes_is_not_collected() {
    let mut c = Cluster::new(1);
    let a = c.create(config_map("a"));
    let mut slice = owned(&c, "web-1", &[&a]);
    slice["apiVersion"] = "discovery.k8s.io/v1".into();
    slice["kind"] = "EndpointSlice".into();
    slice["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/managed-by": "skein.dev"});
    let slice = c.create(slice);
    c.delete(&a, Propagation::Background);
    assert!(reconcile(Controller::Garbage, &c.view, &slice, c.now).changes.is_empty());
}

#[test]
fn a_dependant_that_begins_to_block_is_deleted_too() {
    let mut c = Cluster::new(1);
    let a = c.create(config_map("a"));
    let mut held = owned(&c, "held", &[&a]);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = c.create(held);
    let mut child = owned(&c, "child", &[&a]);
    child["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = false.into();
    let child = c.create(child);
    c.delete(&a, Propagation::Foreground);
    c.settle();
    assert!(c.exists(&a) && c.exists(&child), "the owner waits for the one, not for the other");
    c.edit(&child, |c| c["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into());
    c.settle();
    assert!(c.exists(&a) && !c.exists(&child));
    c.edit(&held, |h| h["metadata"]["finalizers"] = json!([]));
    c.settle();
    assert!(!c.exists(&a));
}

#[test]
fn nothing_is_concluded_from_an_absence_after_records_were_lost() {
    let (c, key) = running(1);
    let set = c.entries(&kinds::REPLICA_SET).into_iter().next().expect("a running Deployment has a ReplicaSet");
    let mut view = Snapshot::default();
    view.show(&set.key, Some(Arc::clone(&set)), Revision(1));
    assert!(view.get(&key).is_none());
    let plan = |view: &Snapshot| reconcile(Controller::Garbage, view, &set.key, Now::default());
    assert!(!plan(&view).changes.is_empty(), "its owner is gone");
    view.set_complete(false);
    assert!(plan(&view).changes.is_empty(), "its owner may be what was lost");
}

#[test]
fn what_a_displaced_owner_had_lives_on_and_is_taken_over_by_whoever_selects_it() {
    let (mut c, key) = running(1);
    let (set, pods) = (c.entries(&kinds::REPLICA_SET)[0].clone(), c.pod_names());
    // An older Deployment of the same name comes from the other side of a cut.
    let mut older = c.value(&key);
    let displaced = set.owners[0];
    older["metadata"]["uid"] = crate::ids::Uid([9; 16]).to_string().into();
    c.replace(&key, older);
    c.view.set_displaced(displaced, true);
    c.settle();
    let after = c.entries(&kinds::REPLICA_SET);
    assert_eq!(after.iter().map(|e| e.uid).collect::<Vec<_>>(), [set.uid], "the same ReplicaSet");
    assert_eq!(after[0].controller, Some(crate::ids::Uid([9; 16])), "has another owner");
    assert_eq!(c.pod_names(), pods, "no pod was touched");
}

#[test]
fn an_owner_that_is_not_known_to_be_gone_is_not_gone_because_another_has_its_name() {
    let mut c = Cluster::new(1);
    let owner = c.create(config_map("a"));
    let mut child = owned(&c, "child", &[&owner]);
    child["metadata"]["ownerReferences"][0]["uid"] = crate::ids::Uid([9; 16]).to_string().into();
    let child = c.create(child);
    c.settle();
    assert!(c.exists(&child), "its owner may be still on its way");
    c.view.bury(crate::ids::Uid([9; 16]), false);
    let plan = reconcile(Controller::Garbage, &c.view, &child, c.now);
    assert_eq!(plan.changes.len(), 1, "the tombstone has come");
}
