//! Creating and updating.

use super::*;

#[test]
fn a_new_object_gets_what_the_store_gives() {
    let mut rig = Rig::new(1);
    let made = rig.create(deployment("web", 3, "nginx:1"));
    let meta = &made["metadata"];
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert_eq!(meta["creationTimestamp"], "2025-11-23T12:13:20Z");
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["resourceVersion"], rig.entry(&deployment_key("web")).revision.to_string());
    assert_eq!(made["spec"], deployment("web", 3, "nginx:1")["spec"]);
    let made = rig.create(pod("a"));
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let shop = rig.get(&Key::cluster(&kinds::NAMESPACE, "shop")).unwrap();
    assert_eq!(shop["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(shop["status"]["phase"], "Active");
    assert_eq!(shop["metadata"].get("generation"), None);
}

#[test]
fn what_a_client_says_of_the_stores_own_fields_counts_for_nothing() {
    let mut rig = Rig::new(1);
    let mut object = deployment("web", 1, "a");
    object["metadata"]["uid"] = "11111111-1111-4111-8111-111111111111".into();
    object["metadata"]["generation"] = 77.into();
    object["metadata"]["creationTimestamp"] = "1999-01-01T00:00:00Z".into();
    object["metadata"]["deletionTimestamp"] = "1999-01-01T00:00:00Z".into();
    object["status"] = json!({"replicas": 9});
    let made = rig.create(object);
    assert_ne!(made["metadata"]["uid"], "11111111-1111-4111-8111-111111111111");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"].get("deletionTimestamp"), None);
    assert_eq!(made["status"], json!({}));
}

#[test]
fn an_equal_object_makes_no_change() {
    let mut rig = Rig::new(1);
    let made = rig.create(deployment("web", 3, "nginx:1"));
    let before = rig.disk.len();
    for again in [made.clone(), deployment("web", 3, "nginx:1")] {
        let receipt = rig.try_as(Author::Client, update(again)).unwrap();
        let Receipt::Unchanged(committed) = receipt else { panic!("{receipt:?}") };
        assert_eq!(committed.entry.value(), made);
    }
    assert!(rig.flush().is_empty());
    assert_eq!(rig.disk.len(), before);
}

#[test]
fn every_kind_reads_back_as_it_was_written() {
    let mut rig = Rig::new(1);
    for kind in kinds::KINDS.iter().filter(|kind| ***kind != kinds::EVENT) {
        let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x"}});
        if kind.namespaced {
            object["metadata"]["namespace"] = "shop".into();
        }
        let bare = rig.create(object.clone());
        assert!(matches!(rig.try_as(Author::Client, update(bare)), Ok(Receipt::Unchanged(_))), "{kind}");
        object["metadata"]["annotations"] = json!({"a/b": "c"});
        object["metadata"]["labels"] = json!({});
        object["spec"] = json!({"x": {}, "y": [], "z": null, "type": "ClusterIP", "ports": [{"port": 1}]});
        let full = rig.update(object);
        assert!(matches!(rig.try_as(Author::Client, update(full.clone())), Ok(Receipt::Unchanged(_))), "{kind}");
        rig.crash();
        rig.flush();
        assert!(matches!(rig.try_as(Author::Client, update(full)), Ok(Receipt::Unchanged(_))), "{kind}");
    }
}

#[test]
fn a_lease_renewed_for_long_gathers_no_history() {
    let mut rig = Rig::new(1);
    let lease = |n: u64| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "x", "namespace": "shop"}, "spec": {"leaseTransitions": n}})
    };
    rig.create(lease(0));
    let live = rig.store.records().count();
    for n in 1..100 {
        assert_eq!(rig.update(lease(n))["spec"], json!({"leaseTransitions": n}));
    }
    assert_eq!(rig.store.records().count(), live);
    rig.crash();
    assert_eq!(rig.get(&Key::new(&kinds::LEASE, "shop", "x")).unwrap()["spec"], json!({"leaseTransitions": 99}));
    let mut without = lease(0);
    without.as_object_mut().unwrap().remove("spec");
    rig.flush();
    assert_eq!(rig.update(without).get("spec"), None);
}

#[test]
fn generation_counts_changes_of_the_spec() {
    let mut rig = Rig::new(1);
    let mut object = rig.create(deployment("web", 3, "nginx:1"));
    object["metadata"]["labels"] = json!({"a": "b"});
    let mut object = rig.update(object);
    assert_eq!(object["metadata"]["generation"], 1);
    object["spec"]["replicas"] = 4.into();
    let object = rig.update(object);
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
    rig.crash();
    rig.flush();
    assert_eq!(rig.get(&deployment_key("web")).unwrap()["metadata"]["generation"], 2);
}

#[test]
fn nothing_is_shown_before_it_is_durable() {
    let mut rig = Rig::new(1);
    let key = map_key("a");
    let Ok(Receipt::Pending(made)) = rig.try_as(Author::Client, create(config_map("a", json!({"x": "1"})))) else {
        panic!()
    };
    let first = rig.store.take_batch().unwrap();
    assert!(first.urgent);
    let Ok(Receipt::Pending(changed)) = rig.try_as(Author::Client, update(config_map("a", json!({"x": "2"})))) else {
        panic!()
    };
    let second = rig.store.take_batch().unwrap();
    assert_eq!(rig.get(&key), None);
    assert_eq!(
        rig.try_as(Author::Client, create(config_map("a", json!({})))),
        Err(Rejected::AlreadyExists { key: key.clone() })
    );

    let answers = rig.store.persisted(first.id);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].0, &answers[0].1.entry.value()["data"]), (made, &json!({"x": "1"})));
    assert_eq!(rig.get(&key).unwrap()["data"], json!({"x": "1"}));
    let answers = rig.store.persisted(second.id);
    assert_eq!((answers[0].0, &answers[0].1.entry.value()["data"]), (changed, &json!({"x": "2"})));
    assert!(
        answers[0].1.entry.revision > rig.store.snapshot().revision()
            || answers[0].1.entry == rig.store.snapshot().get(&key).unwrap().clone()
    );
}

#[test]
fn an_equal_update_of_what_is_not_durable_yet_waits_for_it() {
    let mut rig = Rig::new(1);
    rig.try_as(Author::Client, create(config_map("a", json!({"x": "1"})))).unwrap();
    let batch = rig.store.take_batch().unwrap();
    let Ok(Receipt::Pending(again)) = rig.try_as(Author::Client, update(config_map("a", json!({"x": "1"})))) else {
        panic!("acknowledged before it is durable")
    };
    assert_eq!(rig.store.take_batch(), None);
    let answers = rig.store.persisted(batch.id);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1].0, again);
    assert_eq!(answers[0].1, answers[1].1);
}

#[test]
fn a_stale_revision_or_another_uid_is_refused() {
    let mut rig = Rig::new(1);
    rig.create(config_map("a", json!({"x": "1"})));
    let key = map_key("a");
    let seen = rig.entry(&key).clone();
    let with = |when| Change::Update { key: key.clone(), object: config_map("a", json!({"x": "2"})), when };
    rig.try_as(Author::Client, with(Precondition::unchanged(&seen))).unwrap();
    let stale = Err(Rejected::Stale { key: key.clone() });
    let next = Change::Update {
        key: key.clone(),
        object: config_map("a", json!({"x": "3"})),
        when: Precondition::unchanged(&seen),
    };
    assert_eq!(rig.try_as(Author::Client, next.clone()), stale, "another change is on its way");
    rig.flush();
    assert_eq!(rig.try_as(Author::Client, next), stale, "another change was made");
    let other = crate::ids::Uid([9; 16]);
    let wrong = Precondition { uid: Some(other), revision: None };
    let refused = Err(Rejected::UidMismatch { key: key.clone(), given: other, found: seen.uid });
    assert_eq!(rig.try_as(Author::Client, with(wrong)), refused);
}

#[test]
fn an_update_without_precondition_keeps_what_is_on_its_way() {
    let mut rig = Rig::new(1);
    let seen = rig.create(deployment("web", 1, "a"));
    let mut scaled = seen.clone();
    scaled["spec"]["replicas"] = 5.into();
    rig.try_as(Author::Client, update(scaled)).unwrap();
    let mut changed = seen;
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "b".into();
    rig.try_as(Author::Client, update(changed)).unwrap();
    rig.flush();
    let spec = &rig.get(&deployment_key("web")).unwrap()["spec"];
    assert_eq!((&spec["replicas"], &spec["template"]["spec"]["containers"][0]["image"]), (&json!(5), &json!("b")));
}

#[test]
fn namespaced_objects_need_a_living_namespace() {
    let mut rig = Rig::bare(1);
    let refused = rig.try_as(Author::Client, create(config_map("a", json!({}))));
    assert_eq!(refused, Err(Rejected::NoNamespace { key: map_key("a"), namespace: "shop".into() }));
    rig.try_as(Author::Client, create(namespace("shop"))).unwrap();
    rig.try_as(Author::Client, create(config_map("a", json!({})))).expect("a namespace on its way counts");
    rig.flush();
    rig.done(delete(&Key::cluster(&kinds::NAMESPACE, "shop"))).unwrap();
    let refused = rig.try_as(Author::Client, create(config_map("b", json!({}))));
    assert_eq!(refused, Err(Rejected::NamespaceTerminating { key: map_key("b"), namespace: "shop".into() }));
}

#[test]
fn uids_of_namespaces_are_derived_by_turn_and_others_are_not() {
    let key = Key::cluster(&kinds::NAMESPACE, "shop");
    let mut rigs = [Rig::new(1), Rig::new(2)];
    let uids = rigs.each_mut().map(|rig| rig.entry(&key).uid);
    assert_eq!(uids[0], uids[1]);
    let again = rigs.each_mut().map(|rig| {
        rig.done(remove(&key)).unwrap();
        rig.crash();
        rig.flush();
        rig.create(namespace("shop"));
        rig.entry(&key).uid
    });
    assert_eq!(again[0], again[1]);
    assert_ne!(again[0], uids[0]);
    let pods = rigs.each_mut().map(|rig| rig.create(pod("a"))["metadata"]["uid"].clone());
    assert_ne!(pods[0], pods[1]);
}

#[test]
fn a_dry_run_answers_the_same_and_leaves_no_trace() {
    let mut rig = Rig::new(1);
    let dry = |rig: &Rig, change| rig.store.dry_run(rig.now, Author::Client, Term(1), change);
    let would = dry(&rig, create(deployment("web", 1, "a"))).unwrap().entry.value();
    assert_eq!(rig.get(&deployment_key("web")), None);
    assert_eq!(would["metadata"].get("resourceVersion"), None);
    let made = rig.create(deployment("web", 1, "a"));
    assert_eq!(would["spec"], made["spec"]);
    let would = dry(&rig, update(deployment("web", 2, "a"))).unwrap();
    assert_eq!(would.entry.value()["metadata"]["generation"], 2);
    let would = dry(&rig, delete(&deployment_key("web"))).unwrap();
    assert!(would.removed);
    assert_eq!(rig.get(&deployment_key("web")), Some(made));
    assert!(dry(&rig, create(deployment("web", 1, "a"))).is_err());
    assert_eq!(rig.store.take_batch(), None);
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let mut rig = Rig::new(1);
    let large = config_map("a", json!({"x": "y".repeat(MAX_OBJECT_BYTES)}));
    assert!(matches!(rig.try_as(Author::Client, create(large)), Err(Rejected::Invalid { .. })));
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!({"a": deep});
    }
    assert!(matches!(rig.try_as(Author::Client, create(config_map("a", deep))), Err(Rejected::Invalid { .. })));
    let many: serde_json::Map<String, Value> = (0..100_000).map(|i| (format!("{i}"), json!(""))).collect();
    assert!(rig.try_as(Author::Client, create(config_map("a", many.into()))).is_ok());
}

#[test]
fn an_empty_object_is_an_object() {
    let mut rig = Rig::new(1);
    let key = Key::new(&kinds::SERVICE_ACCOUNT, "shop", "ci");
    rig.done(Change::Create { key: key.clone(), object: json!({}) }).unwrap();
    rig.crash();
    rig.flush();
    assert_eq!(rig.get(&key).unwrap()["kind"], "ServiceAccount");
}

#[test]
fn a_pods_node_is_not_for_an_update_to_say() {
    let mut rig = Rig::new(1);
    let mut object = rig.create(pod("a"));
    rig.done_as(Author::Leader, bind(&pod_key("a"), "n1")).unwrap();
    assert_eq!(rig.entry(&pod_key("a")).node.as_deref(), Some("n1"));
    object["metadata"]["labels"]["x"] = "y".into();
    let object = rig.update(object);
    assert_eq!(object["spec"]["nodeName"], "n1");
    let before = rig.disk.len();
    rig.update(object);
    assert_eq!(rig.disk.len(), before, "as it was read, so it is");
    let mut placed = pod("b");
    placed["spec"]["nodeName"] = "n7".into();
    rig.create(placed);
    assert_eq!(rig.entry(&pod_key("b")).node.as_deref(), Some("n7"));
    assert!(rig.try_as(Author::Leader, bind(&pod_key("b"), "n1")).is_err());
}

#[test]
fn only_the_leader_binds_and_only_once() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let key = pod_key("a");
    assert!(rig.try_as(Author::Client, bind(&key, "n1")).is_err());
    let bound = rig.done_as(Author::Leader, bind(&key, "n1")).unwrap().entry.value();
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert!(matches!(rig.try_as(Author::Leader, bind(&key, "n1")), Ok(Receipt::Unchanged(_))));
    let refused = rig.try_as(Author::Leader, bind(&key, "n2")).unwrap_err();
    assert_eq!(refused.to_string(), "pods/shop/a: pod a is already assigned to node \"n1\"");
}

#[test]
fn projections_are_computed_not_written() {
    let mut rig = Rig::new(1);
    let lease = Key::new(&kinds::LEASE, "kube-node-lease", "n1");
    let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "uid": crate::ids::Uid([3; 16])}, "spec": {}});
    for change in [create(object.clone()), update(object.clone()), delete(&lease)] {
        assert_eq!(rig.try_as(Author::Client, change), Err(Rejected::Projection { key: lease.clone() }));
    }
    let before = rig.disk.len();
    rig.store.project(rig.now, &lease, Some(object.clone()));
    let shown = rig.entry(&lease).revision;
    rig.store.project(rig.now, &lease, Some(object));
    assert_eq!(rig.entry(&lease).revision, shown, "no difference, no revision");
    rig.store.project(rig.now, &lease, None);
    assert_eq!(rig.get(&lease), None);
    rig.flush();
    assert_eq!(rig.disk.len(), before);
}
