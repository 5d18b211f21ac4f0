//! Deployments: what a user of kubectl sees of them.

use serde_json::json;

use super::cluster::Cluster;
use super::objects::{BROKEN, condition, deployment, rollout_status, set_image};
use crate::controllers::{Controller, reconcile};
use crate::object::{Key, kinds};
use crate::store::Propagation;

const REVISION: &str = "deployment.kubernetes.io/revision";

fn set(name: &str) -> Key {
    Key::new(&kinds::REPLICA_SET, "shop", name)
}

fn only_set(c: &Cluster) -> Key {
    let sets = c.sizes();
    assert_eq!(sets.len(), 1, "{sets:?}");
    set(sets.keys().next().unwrap())
}

#[test]
fn a_new_deployment_comes_up() {
    let mut c = Cluster::new(1);
    let mut web = deployment("web", 3, "nginx:1");
    web["metadata"]["annotations"] = json!({
        "kubernetes.io/change-cause": "first",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    });
    let key = c.create(web);
    c.settle();

    let web = c.value(&key);
    assert_eq!(rollout_status(&web), Ok(true));
    assert_eq!(web["metadata"]["annotations"][REVISION], "1");
    let counts = json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3,
        "availableReplicas": 3});
    let mut status = web["status"].clone();
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(status, counts, "zeros are left out, as upstream does");

    let set = c.value(&only_set(&c));
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"], json!({"matchLabels": {"app": "web", "pod-template-hash": hash}}));
    assert_eq!(set["spec"]["template"]["metadata"]["labels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(
        set["metadata"]["annotations"],
        json!({REVISION: "1", "kubernetes.io/change-cause": "first",
            "deployment.kubernetes.io/desired-replicas": "3", "deployment.kubernetes.io/max-replicas": "4"})
    );
    let owner = &set["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], web["metadata"]["uid"]);
    assert_eq!((&owner["kind"], &owner["apiVersion"]), (&json!("Deployment"), &json!("apps/v1")));
    assert_eq!((&owner["controller"], &owner["blockOwnerDeletion"]), (&json!(true), &json!(true)));
    let name = set["metadata"]["name"].as_str().unwrap();
    assert_eq!(c.messages("ScalingReplicaSet"), [format!("Scaled up replica set {name} from 0 to 3")]);
}

#[test]
fn conditions_tell_how_a_rollout_gets_on() {
    let mut c = Cluster::new(2);
    c.kubelets = false;
    let key = c.create(deployment("web", 2, "nginx:1"));
    c.settle();
    let web = c.value(&key);
    let name = only_set(&c).name;
    let progressing = condition(&web, "Progressing");
    assert_eq!((&progressing["status"], &progressing["reason"]), (&json!("True"), &json!("ReplicaSetUpdated")));
    assert_eq!(progressing["message"], format!("ReplicaSet \"{name}\" is progressing."));
    let available = condition(&web, "Available");
    assert_eq!((&available["status"], &available["reason"]), (&json!("False"), &json!("MinimumReplicasUnavailable")));
    assert_eq!(web["status"]["unavailableReplicas"], 2);
    assert_eq!(rollout_status(&web), Ok(false));

    c.kubelets = true;
    c.settle();
    let web = c.value(&key);
    let progressing = condition(&web, "Progressing");
    assert_eq!((&progressing["status"], &progressing["reason"]), (&json!("True"), &json!("NewReplicaSetAvailable")));
    assert_eq!(progressing["message"], format!("ReplicaSet \"{name}\" has successfully progressed."));
    let available = condition(&web, "Available");
    assert_eq!((&available["status"], &available["reason"]), (&json!("True"), &json!("MinimumReplicasAvailable")));
    assert_eq!(available["message"], "Deployment has minimum availability.");
    assert_eq!(rollout_status(&web), Ok(true));
}

#[test]
fn the_first_look_says_that_a_set_was_made() {
    let mut c = Cluster::new(2);
    let key = c.create(deployment("web", 2, "nginx:1"));
    let plan = reconcile(Controller::Deployment, &c.view, &key, c.now);
    c.carry_out(Controller::Deployment, &key, plan);
    let progressing = condition(&c.value(&key), "Progressing");
    assert_eq!(progressing["reason"], "NewReplicaSetCreated");
    assert_eq!(progressing["message"], format!("Created new replica set \"{}\"", only_set(&c).name));
}

#[test]
fn a_rollback_brings_the_old_set_back_with_a_new_revision() {
    let mut c = Cluster::new(3);
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    let first = only_set(&c);
    c.edit(&key, |d| set_image(d, "nginx:2"));
    c.settle();
    let second = only_set(&c);
    assert_ne!(first, second);
    assert_eq!(c.value(&key)["metadata"]["annotations"][REVISION], "2");

    c.edit(&key, |d| set_image(d, "nginx:1"));
    c.settle();
    assert_eq!(only_set(&c), first);
    assert_eq!(c.value(&key)["metadata"]["annotations"][REVISION], "3");
    let annotations = c.value(&first)["metadata"]["annotations"].clone();
    assert_eq!(annotations[REVISION], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(c.value(&second)["metadata"]["annotations"][REVISION], "2");
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 2);
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

#[test]
fn a_rollout_that_gets_nowhere_is_given_up_and_can_be_repaired() {
    let mut c = Cluster::new(4);
    let key = c.create(deployment("web", 4, "nginx:1"));
    c.settle();
    c.edit(&key, |d| set_image(d, BROKEN));
    c.settle();
    c.wait(590);
    assert_eq!(rollout_status(&c.value(&key)), Ok(false));
    assert_eq!(c.ready(), 3, "what maxUnavailable allows was taken down, no more");
    c.wait(20);
    let progressing = condition(&c.value(&key), "Progressing");
    assert_eq!((&progressing["status"], &progressing["reason"]), (&json!("False"), &json!("ProgressDeadlineExceeded")));
    assert!(progressing["message"].as_str().unwrap().ends_with("has timed out progressing."));
    assert!(rollout_status(&c.value(&key)).is_err());
    assert_eq!(c.ready(), 3);

    c.edit(&key, |d| set_image(d, "nginx:3"));
    c.settle();
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
    assert_eq!(c.ready(), 4);
}

#[test]
fn no_deadline_no_progressing_condition() {
    let mut c = Cluster::new(4);
    let mut web = deployment("web", 1, "nginx:1");
    web["spec"]["progressDeadlineSeconds"] = i32::MAX.into();
    let key = c.create(web);
    c.settle();
    assert!(condition(&c.value(&key), "Progressing").is_null());
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut c = Cluster::new(5);
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    let first = only_set(&c);
    c.edit(&key, |d| {
        d["spec"]["paused"] = true.into();
        set_image(d, "nginx:2");
    });
    c.settle();
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 1);
    assert_eq!(condition(&c.value(&key), "Progressing")["reason"], "DeploymentPaused");
    c.edit(&key, |d| d["spec"]["replicas"] = 5.into());
    c.settle();
    assert_eq!(c.sizes().get(&first.name), Some(&5));
    // A pause as long as the deadline is no lack of progress.
    c.wait(700);
    c.edit(&key, |d| d["spec"]["paused"] = false.into());
    c.settle();
    assert_ne!(only_set(&c), first);
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

#[test]
fn a_resize_during_a_rollout_is_shared_out() {
    // The example of Kubernetes' own documentation of Deployments.
    let mut c = Cluster::new(6);
    let mut web = deployment("web", 10, "nginx:1");
    web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 3, "maxUnavailable": 2});
    let key = c.create(web);
    c.settle();
    let old = only_set(&c).name;
    c.edit(&key, |d| set_image(d, BROKEN));
    c.settle();
    let by_age = |c: &Cluster| {
        let mut sizes = c.sizes();
        (sizes.remove(&old).unwrap_or(0), sizes.into_values().sum::<i64>())
    };
    assert_eq!(by_age(&c), (8, 5));
    c.edit(&key, |d| d["spec"]["replicas"] = 15.into());
    c.settle();
    assert_eq!(by_age(&c), (11, 7));
    c.edit(&key, |d| d["spec"]["replicas"] = 0.into());
    c.settle();
    assert_eq!(by_age(&c), (0, 0));
    assert_eq!(c.active_pods().len(), 0);
}

#[test]
fn of_two_sets_of_a_size_the_newer_grows_and_the_older_shrinks() {
    for (replicas, sizes) in [(5, (4, 5)), (3, (3, 4))] {
        let mut c = Cluster::new(6);
        let mut web = deployment("web", 4, "nginx:1");
        web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 4, "maxUnavailable": 0});
        let key = c.create(web);
        c.settle();
        let old = only_set(&c).name;
        c.wait(1);
        c.edit(&key, |d| set_image(d, BROKEN));
        c.settle();
        c.kubelets = false;
        c.edit(&key, |d| d["spec"]["replicas"] = replicas.into());
        let plan = reconcile(Controller::Deployment, &c.view, &key, c.now);
        c.carry_out(Controller::Deployment, &key, plan);
        let mut shared = c.sizes();
        let older = shared.remove(&old).unwrap();
        assert_eq!((older, shared.into_values().sum::<i64>()), sizes);
    }
}

#[test]
fn progress_renews_a_condition_but_not_its_transition() {
    let mut c = Cluster::new(6);
    c.kubelets = false;
    let key = c.create(deployment("web", 2, "nginx:1"));
    c.settle();
    let before = condition(&c.value(&key), "Progressing");
    c.wait(5);
    let pod = c.active_pods()[0].key.clone();
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": c.now.wall.to_string()});
    c.status(&pod, json!({"phase": "Running", "conditions": [ready]}));
    c.settle();
    let after = condition(&c.value(&key), "Progressing");
    assert_eq!(after["reason"], "ReplicaSetUpdated");
    assert_eq!(after["lastTransitionTime"], before["lastTransitionTime"]);
    assert_eq!(after["lastUpdateTime"], c.now.wall.to_string());
    assert_ne!(after["lastUpdateTime"], before["lastUpdateTime"]);
}

#[test]
fn scaling_up_and_down_keeps_the_set() {
    let mut c = Cluster::new(7);
    let key = c.create(deployment("web", 2, "nginx:1"));
    c.settle();
    let name = only_set(&c).name;
    for replicas in [5_usize, 1, 0, 4] {
        c.edit(&key, |d| d["spec"]["replicas"] = replicas.into());
        c.settle();
        assert_eq!(c.active_pods().len(), replicas);
        assert_eq!(rollout_status(&c.value(&key)), Ok(true));
    }
    let scaled = |way, from, to| format!("Scaled {way} replica set {name} from {from} to {to}");
    assert_eq!(
        c.messages("ScalingReplicaSet"),
        [scaled("up", 0, 2), scaled("up", 2, 5), scaled("down", 5, 1), scaled("down", 1, 0), scaled("up", 0, 4)]
    );
}

#[test]
fn both_ends_resized_at_once_come_to_rest() {
    // Upstream takes such a Deployment for one that is being scaled for ever.
    let mut c = Cluster::new(7);
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    let name = only_set(&c);
    c.edit(&name, |s| s["spec"]["replicas"] = 5.into());
    c.edit(&key, |d| d["spec"]["replicas"] = 5.into());
    c.settle();
    assert_eq!(c.value(&name)["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"], "5");
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

#[test]
fn old_sets_beyond_the_limit_go() {
    let mut c = Cluster::new(8);
    let mut web = deployment("web", 1, "nginx:0");
    web["spec"]["revisionHistoryLimit"] = 2.into();
    let key = c.create(web);
    c.settle();
    for version in 1..6 {
        c.edit(&key, |d| set_image(d, &format!("nginx:{version}")));
        c.settle();
    }
    let revision = |v: &serde_json::Value| v["metadata"]["annotations"][REVISION].as_str().unwrap().to_owned();
    let mut left: Vec<String> = c.entries(&kinds::REPLICA_SET).iter().map(|e| revision(&e.value())).collect();
    left.sort();
    assert_eq!(left, ["4", "5", "6"]);
    c.edit(&key, |d| d["spec"]["revisionHistoryLimit"] = 0.into());
    c.settle();
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 1);
}

#[test]
fn a_name_that_is_taken_makes_another_one() {
    let mut c = Cluster::new(9);
    let key = c.create(deployment("web", 1, "nginx:1"));
    c.settle();
    let name = only_set(&c).name;
    c.delete(&key, Propagation::Background);
    c.settle();
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 0);
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "other"}},
        "template": {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": []}}});
    c.create(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec}));
    let key = c.create(deployment("web", 1, "nginx:1"));
    c.settle();
    assert_ne!(only_set(&c).name, name);
    assert_eq!(c.value(&key)["status"]["collisionCount"], 1);
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

#[test]
fn a_deployment_made_again_adopts_what_the_orphaning_left() {
    let mut c = Cluster::new(10);
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    let (set, pods) = (only_set(&c), c.pod_names());
    c.delete(&key, Propagation::Orphan);
    c.settle();
    assert!(!c.exists(&key));
    assert!(c.value(&set)["metadata"]["ownerReferences"].is_null());
    let key = c.create(deployment("web", 3, "nginx:1"));
    c.settle();
    assert_eq!(only_set(&c), set);
    assert_eq!(c.pod_names(), pods, "no pod was touched");
    assert_eq!(c.value(&set)["metadata"]["ownerReferences"][0]["uid"], c.value(&key)["metadata"]["uid"]);
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

/// A ReplicaSet without an owner that a Deployment `web` selects.
fn stray_set(replicas: i32) -> serde_json::Value {
    let labels = json!({"app": "web", "pod-template-hash": "stray"});
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "stray", "namespace": "shop", "labels": labels,
            "annotations": {"deployment.kubernetes.io/desired-replicas": replicas.to_string()}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx:0"}]}}}})
}

#[test]
fn a_stray_set_is_adopted_and_rolled_away() {
    for strategy in ["RollingUpdate", "Recreate"] {
        let mut c = Cluster::new(10);
        let mut web = deployment("web", 3, "nginx:1");
        web["spec"]["strategy"] = json!({"type": strategy});
        let key = c.create(web);
        c.settle();
        let set = only_set(&c);
        let stray = c.create(stray_set(2));
        c.settle();
        assert_eq!(c.value(&stray)["metadata"]["ownerReferences"][0]["uid"], c.value(&key)["metadata"]["uid"]);
        assert_eq!(only_set(&c), set, "{strategy}");
        assert_eq!((c.ready(), c.active_pods().len()), (3, 3), "{strategy}");
        assert_eq!(rollout_status(&c.value(&key)), Ok(true));
    }
}

#[test]
fn recreate_ends_a_stray_set_though_its_own_does_not_work() {
    let mut c = Cluster::new(10);
    let mut web = deployment("web", 3, BROKEN);
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    c.create(web);
    c.settle();
    let set = only_set(&c);
    c.create(stray_set(2));
    c.settle();
    assert_eq!(only_set(&c), set);
}

#[test]
fn a_set_that_a_user_deletes_is_made_again() {
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut c = Cluster::new(11);
        let key = c.create(deployment("web", 2, "nginx:1"));
        c.settle();
        let set = only_set(&c);
        c.delete(&set, propagation);
        c.settle();
        assert_eq!(only_set(&c), set, "same template, same name");
        assert_eq!(c.active_pods().len(), 2, "{propagation:?}");
        assert_eq!(rollout_status(&c.value(&key)), Ok(true));
    }
}

#[test]
fn a_set_whose_template_was_edited_by_hand_stays_the_newest() {
    let mut c = Cluster::new(12);
    let key = c.create(deployment("web", 2, "nginx:1"));
    c.settle();
    let set = only_set(&c);
    c.edit(&set, |s| set_image(s, "nginx:9"));
    c.settle();
    assert_eq!(only_set(&c), set);
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 1);
    assert_eq!(rollout_status(&c.value(&key)), Ok(true));
}

#[test]
fn new_annotations_reach_the_set_without_a_rollout() {
    let mut c = Cluster::new(13);
    let key = c.create(deployment("web", 2, "nginx:1"));
    c.settle();
    let (set, pods) = (only_set(&c), c.pod_names());
    c.edit(&key, |d| {
        d["metadata"]["annotations"]["kubernetes.io/change-cause"] = "a good reason".into();
        d["spec"]["minReadySeconds"] = 5.into();
    });
    c.settle();
    assert_eq!(c.value(&set)["metadata"]["annotations"]["kubernetes.io/change-cause"], "a good reason");
    assert_eq!(c.value(&set)["spec"]["minReadySeconds"], 5);
    assert_eq!(c.pod_names(), pods);
}

#[test]
fn what_makes_no_sense_is_left_alone() {
    let mut c = Cluster::new(14);
    let mut odd = deployment("odd", 1, "nginx:1");
    odd["spec"]["selector"] = json!({});
    let mut shapeless = deployment("shapeless", 1, "nginx:1");
    shapeless["spec"]["replicas"] = "many".into();
    c.create(odd);
    c.create(shapeless);
    c.settle();
    assert_eq!(c.entries(&kinds::REPLICA_SET).len(), 0);
}
