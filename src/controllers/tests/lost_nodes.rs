//! Nodes that do not answer, and come back: what counts, what is made, what is trimmed.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::{deployment, rollout_status, set_image};
use crate::controllers::{Controller, reconcile};
use crate::object::{Key, kinds};
use crate::store::{Change, Precondition, Propagation, RETURNING, UNREACHABLE};

/// A node that does not answer, and what its kubelet said of its pods.
struct Away {
    node: &'static str,
    said: Vec<(Key, Value)>,
}

impl Away {
    /// Cuts a node off: it does not answer.
    fn unreachable(c: &mut Cluster, node: &'static str) -> Self {
        c.nodes.retain(|n| *n != node);
        let pods: Vec<Key> = c.truth.on_node(node).map(|e| e.key.clone()).collect();
        taint(c, node, json!([{"key": UNREACHABLE, "effect": "NoSchedule"}]));
        let said: Vec<(Key, Value)> = pods.iter().map(|key| (key.clone(), c.value(key)["status"].clone())).collect();
        for (key, status) in &said {
            let mut status = status.clone();
            for condition in status["conditions"].as_array_mut().into_iter().flatten() {
                condition["status"] = "False".into();
                condition["lastTransitionTime"] = c.now.wall.to_string().into();
            }
            c.status(key, status);
        }
        Self { node, said }
    }

    /// It has not answered for long.
    fn lost(&self, c: &mut Cluster) {
        let no_execute = json!({"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": c.now.wall.to_string()});
        taint(c, self.node, json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, no_execute]));
    }

    /// It answers again.
    fn returning(&self, c: &mut Cluster) {
        for (key, status) in self.said.iter().filter(|(key, _)| c.exists(key)).cloned().collect::<Vec<_>>() {
            c.status(&key, status);
        }
        taint(c, self.node, json!([{"key": RETURNING, "effect": "NoSchedule"}]));
        c.nodes.push(self.node);
    }

    /// All that it holds is known.
    fn back(&self, c: &mut Cluster) {
        taint(c, self.node, Value::Null);
    }
}

fn taint(c: &mut Cluster, node: &str, taints: Value) {
    c.edit(&Key::cluster(&kinds::NODE, node), |n| n["spec"]["taints"] = taints);
}

/// A Deployment that runs, with a pod on `n2` at least, and its ReplicaSet.
fn running(seed: u64, mut web: Value) -> (Cluster, Key, Key) {
    web["metadata"]["name"] = "web".into();
    for seed in seed * 100.. {
        let mut c = Cluster::new(seed);
        let key = c.create(web.clone());
        c.settle();
        let here = c.truth.on_node("n2").count();
        if here > 0 && here < c.active_pods().len() {
            let set = c.entries(&kinds::REPLICA_SET)[0].key.clone();
            return (c, key, set);
        }
    }
    unreachable!("some seed puts a pod on n2")
}

fn on(c: &Cluster, node: &str) -> Vec<String> {
    c.truth.on_node(node).map(|e| e.key.name.clone()).collect()
}

fn slot(c: &Cluster, name: &str) -> Value {
    let pod = c.value(&Key::new(&kinds::POD, "shop", name));
    pod["metadata"]["annotations"]["skein.dev/slot"].clone()
}

fn is_marked(c: &Cluster, name: &str) -> bool {
    c.truth.get(&Key::new(&kinds::POD, "shop", name)).is_some_and(|e| e.terminating)
}

fn counts(c: &Cluster, key: &Key) -> (i64, i64, i64) {
    let status = c.value(key)["status"].clone();
    let n = |field: &str| status[field].as_i64().unwrap_or(0);
    (n("replicas"), n("readyReplicas"), n("availableReplicas"))
}

#[test]
fn pods_of_an_unreachable_node_count_but_are_not_ready() {
    let (mut c, key, set) = running(1, deployment("web", 3, "nginx:1"));
    let pods = c.pod_names();
    let here = i64::try_from(on(&c, "n2").len()).unwrap();
    Away::unreachable(&mut c, "n2");
    c.settle();
    assert_eq!(c.pod_names(), pods, "no pod is moved for it");
    assert_eq!(counts(&c, &set), (3, 3 - here, 3 - here));
    assert_eq!(counts(&c, &key), (3, 3 - here, 3 - here));
}

#[test]
fn lost_pods_are_kept_left_out_and_replaced_slot_by_slot() {
    for seed in 1..10 {
        let (mut c, key, set) = running(seed, deployment("web", 3, "nginx:1"));
        c.lags = seed % 3 == 0;
        let (all, lost) = (c.pod_names(), on(&c, "n2"));
        let away = Away::unreachable(&mut c, "n2");
        c.settle();
        away.lost(&mut c);
        c.settle();
        assert_eq!((counts(&c, &set), counts(&c, &key)), ((3, 3, 3), (3, 3, 3)), "exact on this side");
        assert_eq!(rollout_status(&c.value(&key)), Ok(true));
        assert_eq!(on(&c, "n2"), lost, "bound as before");
        assert!(!lost.iter().any(|name| is_marked(&c, name)));
        let sorted = |names: &[String]| {
            let mut slots: Vec<String> = names.iter().map(|n| slot(&c, n).to_string()).collect();
            slots.sort();
            slots
        };
        let substitutes: Vec<String> = c.pod_names().into_iter().filter(|n| !all.contains(n)).collect();
        assert_eq!(sorted(&substitutes), sorted(&lost));
    }
}

#[test]
fn after_a_heal_the_originals_stay_and_nothing_goes_before_all_is_known() {
    for seed in 1..20 {
        let (mut c, key, set) = running(seed, deployment("web", 3, "nginx:1"));
        c.lags = seed % 2 == 0;
        let all = c.pod_names();
        c.wait(5);
        let away = Away::unreachable(&mut c, "n2");
        c.wait(5);
        away.lost(&mut c);
        c.wait(5);
        away.returning(&mut c);
        c.wait(5);
        assert!(c.entries(&kinds::POD).iter().all(|e| !e.terminating), "seed {seed}");
        assert!(c.pod_names().len() > 3);
        away.back(&mut c);
        c.settle();
        assert_eq!(c.pod_names(), all, "seed {seed}: only substitutes were stopped");
        assert_eq!((counts(&c, &set), counts(&c, &key)), ((3, 3, 3), (3, 3, 3)));
    }
}

#[test]
fn a_node_that_flaps_loses_no_pod() {
    let (mut c, _, _) = running(2, deployment("web", 3, "nginx:1"));
    let all = c.pod_names();
    c.wait(5);
    let away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.wait(5);
    let before = c.pod_names();
    // It is seen for a moment, and is away again before an exchange is done.
    away.returning(&mut c);
    c.settle();
    let away = Away::unreachable(&mut c, "n2");
    c.settle();
    assert_eq!(c.pod_names(), before);
    away.lost(&mut c);
    c.settle();
    assert_eq!(c.pod_names(), before, "nor is a second substitute made");
    away.returning(&mut c);
    c.settle();
    away.back(&mut c);
    c.settle();
    assert_eq!(c.pod_names(), all);
}

#[test]
fn of_two_in_a_slot_the_one_that_works_stays() {
    let (mut c, _, set) = running(3, deployment("web", 3, "nginx:1"));
    let lost = on(&c, "n2");
    c.wait(5);
    let mut away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.wait(5);
    for (_, status) in &mut away.said {
        status["conditions"][0]["status"] = "False".into();
    }
    // Its kubelet says that the originals do not work, and goes on saying so.
    c.kubelets = false;
    away.returning(&mut c);
    away.back(&mut c);
    c.settle();
    assert!(lost.iter().all(|name| is_marked(&c, name)));
    assert_eq!(counts(&c, &set), (3, 3, 3));
}

#[test]
fn a_slot_is_trimmed_before_any_other_pod_goes() {
    let (mut c, _, _) = running(3, deployment("web", 3, "nginx:1"));
    let all = c.pod_names();
    c.wait(5);
    let mut away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.wait(5);
    // By upstream's order these would go: the youngest, by when they became ready.
    let late = |status: &mut Value, c: &Cluster| {
        status["conditions"][0]["lastTransitionTime"] = c.now.wall.to_string().into();
    };
    for (_, status) in &mut away.said {
        late(status, &c);
    }
    for key in c.truth.on_node("n1").filter(|e| all.contains(&e.key.name)).map(|e| e.key.clone()).collect::<Vec<_>>() {
        let mut status = c.value(&key)["status"].clone();
        late(&mut status, &c);
        c.status(&key, status);
    }
    away.returning(&mut c);
    away.back(&mut c);
    c.settle();
    assert_eq!(c.pod_names(), all);
}

#[test]
fn a_pods_own_toleration_delays_its_loss() {
    let mut web = deployment("web", 3, "nginx:1");
    web["spec"]["template"]["spec"]["tolerations"] =
        json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20}]);
    let (mut c, _, set) = running(4, web);
    let all = c.pod_names();
    let away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.settle();
    assert_eq!(reconcile(Controller::ReplicaSet, &c.view, &set, c.now).again, Some(Duration::from_secs(20)));
    c.wait(19);
    assert_eq!(c.pod_names(), all);
    assert_eq!(counts(&c, &set).0, 3, "it counts until then");
    c.wait(1);
    assert_eq!((counts(&c, &set), c.ready()), ((3, 3, 3), 3));
    assert!(c.pod_names().len() > 3);
}

#[test]
fn a_pod_that_tolerates_for_ever_is_never_lost() {
    let mut web = deployment("web", 3, "nginx:1");
    web["spec"]["template"]["spec"]["tolerations"] = json!([{"key": UNREACHABLE, "operator": "Exists"}]);
    let (mut c, key, _) = running(4, web);
    let (all, away_pods) = (c.pod_names(), on(&c, "n2"));
    let away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.wait(400);
    assert_eq!(c.pod_names(), all);
    // But it is the first to go when there are to be fewer: it is not ready.
    let rest = all.len() - away_pods.len();
    c.edit(&key, |d| d["spec"]["replicas"] = rest.into());
    c.settle();
    assert!(away_pods.iter().all(|name| is_marked(&c, name)));
    assert_eq!(c.ready(), rest);
}

#[test]
fn scaling_goes_on_without_the_lost_node_and_settles_after_the_heal() {
    for (to, name) in [(5, "up"), (1, "down")] {
        let (mut c, key, set) = running(5, deployment("web", 3, "nginx:1"));
        let lost = on(&c, "n2");
        c.wait(5);
        let away = Away::unreachable(&mut c, "n2");
        away.lost(&mut c);
        c.wait(5);
        c.edit(&key, |d| d["spec"]["replicas"] = to.into());
        c.settle();
        assert_eq!(counts(&c, &set), (to, to, to), "{name}");
        assert!(!lost.iter().any(|name| is_marked(&c, name)), "{name}");
        away.returning(&mut c);
        c.settle();
        away.back(&mut c);
        c.settle();
        assert_eq!(counts(&c, &set), (to, to, to), "{name}");
        assert_eq!(rollout_status(&c.value(&key)), Ok(true));
        assert_eq!(c.pod_names().len(), usize::try_from(to).unwrap());
    }
}

#[test]
fn scaling_down_waits_for_a_node_that_returns() {
    let (mut c, key, _) = running(6, deployment("web", 3, "nginx:1"));
    taint(&mut c, "n2", json!([{"key": RETURNING, "effect": "NoSchedule"}]));
    for replicas in [1, 0] {
        c.edit(&key, |d| d["spec"]["replicas"] = replicas.into());
        c.settle();
        assert_eq!(c.active_pods().len(), 3, "{replicas}");
    }
    taint(&mut c, "n2", Value::Null);
    c.settle();
    assert_eq!(c.pod_names().len(), 0);
}

#[test]
fn a_rollout_goes_on_without_a_node_that_is_lost_on_the_way() {
    for seed in 1..15 {
        let (mut c, key, set) = running(seed, deployment("web", 4, "nginx:1"));
        c.wait(5);
        c.edit(&key, |d| set_image(d, "nginx:2"));
        for _ in 0..c.draw(40) {
            c.step();
        }
        c.lags = seed % 2 == 1;
        let away = Away::unreachable(&mut c, "n2");
        for _ in 0..c.draw(20) {
            c.step();
        }
        away.lost(&mut c);
        c.settle();
        assert_eq!(rollout_status(&c.value(&key)), Ok(true), "seed {seed}");
        assert_eq!((counts(&c, &key), c.sizes().len()), ((4, 4, 4), 1), "seed {seed}");
        let old = c.value(&set)["metadata"]["uid"].clone();
        let of_old = |v: &Value| v["metadata"]["ownerReferences"][0]["uid"] == old;
        let left: Vec<_> = c.entries(&kinds::POD).into_iter().filter(|e| of_old(&e.value())).collect();
        assert!(left.iter().all(|e| e.terminating), "seed {seed}: they are to go when they come back");
        away.returning(&mut c);
        c.settle();
        away.back(&mut c);
        c.settle();
        assert_eq!((counts(&c, &key), c.pod_names().len()), ((4, 4, 4), 4), "seed {seed}");
        assert_eq!(rollout_status(&c.value(&key)), Ok(true), "seed {seed}");
    }
}

#[test]
fn recreate_waits_for_what_may_still_run() {
    let mut web = deployment("web", 3, "nginx:1");
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    let (mut c, key, _) = running(7, web);
    let lost = on(&c, "n2");
    let away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.edit(&key, |d| set_image(d, "nginx:2"));
    c.settle();
    assert_eq!((c.pod_names(), c.ready()), (lost, 0));
    away.returning(&mut c);
    away.back(&mut c);
    c.settle();
    assert_eq!((rollout_status(&c.value(&key)), c.ready()), (Ok(true), 3));
}

#[test]
fn what_is_deleted_stays_terminating_until_its_node_is_back_or_it_is_forced() {
    let namespace = Key::cluster(&kinds::NAMESPACE, "shop");
    let owners: [fn(&Key, &Key) -> Key; 3] =
        [|d, _| d.clone(), |_, s| s.clone(), |_, _| Key::cluster(&kinds::NAMESPACE, "shop")];
    for owner in owners {
        let (mut c, key, set) = running(8, deployment("web", 3, "nginx:1"));
        let lost = on(&c, "n2");
        let away = Away::unreachable(&mut c, "n2");
        away.lost(&mut c);
        c.settle();
        let subject = owner(&key, &set);
        c.delete(&subject, Propagation::Background);
        c.settle();
        assert!(lost.iter().all(|name| is_marked(&c, name)), "{subject}");
        assert!(c.exists(&namespace));
        away.returning(&mut c);
        away.back(&mut c);
        c.settle();
        assert!(!lost.iter().any(|name| c.pod_names().contains(name)), "{subject}");
        assert_eq!(c.exists(&namespace), subject != namespace);
    }
}

#[test]
fn removing_a_lost_node_ends_its_pods_and_no_other() {
    let (mut c, _, set) = running(9, deployment("web", 3, "nginx:1"));
    let lost = on(&c, "n2");
    c.wait(5);
    let away = Away::unreachable(&mut c, "n2");
    away.lost(&mut c);
    c.wait(5);
    let kept: Vec<String> = c.pod_names().into_iter().filter(|n| !lost.contains(n)).collect();
    c.apply(Change::Remove { key: Key::cluster(&kinds::NODE, "n2"), when: Precondition::default() }).unwrap();
    c.wait(60);
    assert_eq!(c.pod_names(), kept);
    assert_eq!(counts(&c, &set), (3, 3, 3));
}
