//! Who says what of a status, and what of it is shown.

use super::*;

fn shown(rig: &Rig, key: &Key) -> Value {
    rig.get(key).unwrap()["status"].clone()
}

#[test]
fn what_a_kubelet_sees_is_shown_at_once_and_kept_lazily() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let key = pod_key("a");
    let receipt = rig.try_as(Author::Kubelet, status(&key, json!({"phase": "Running"}))).unwrap();
    let Receipt::Shown(committed) = receipt else { panic!("{receipt:?}") };
    assert_eq!(committed.entry.value()["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
    assert_eq!(rig.entry(&key).phase.as_deref(), Some("Running"));
    let again = rig.try_as(Author::Kubelet, status(&key, json!({"phase": "Running"}))).unwrap();
    assert!(matches!(again, Receipt::Unchanged(_)));
    rig.try_as(Author::Kubelet, status(&key, json!({"phase": "Failed"}))).unwrap();
    let batch = rig.store.take_batch().unwrap();
    assert!(!batch.urgent);
    assert_eq!(batch.records.len(), 1, "only the newest is worth writing");
    rig.disk.extend(batch.records);
    rig.crash();
    rig.flush();
    assert_eq!(shown(&rig, &key)["phase"], "Failed");
}

#[test]
fn a_status_before_its_object_is_durable_waits_for_it() {
    let mut rig = Rig::new(1);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1",
        "annotations": {"skein.dev/node-id": "0a"}}, "status": {"nodeInfo": {"architecture": "amd64"}}});
    let key = Key::cluster(&kinds::NODE, "n1");
    rig.try_as(Author::Kubelet, create(node)).unwrap();
    let Ok(Receipt::Pending(ticket)) = rig.try_as(Author::Kubelet, status(&key, json!({"phase": "x"}))) else {
        panic!()
    };
    assert_eq!(rig.get(&key), None);
    let answers = rig.flush();
    assert_eq!(answers[1].0, ticket);
    assert_eq!(answers[1].1.entry.value()["status"], json!({"phase": "x"}));
}

#[test]
fn a_nodes_first_status_comes_with_it() {
    let mut rig = Rig::new(1);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"nodeInfo": {"architecture": "amd64"}}});
    let made = rig.done_as(Author::Kubelet, create(node.clone())).unwrap().entry.value();
    assert_eq!(made["status"]["nodeInfo"]["architecture"], "amd64");
    let mut other = node;
    other["metadata"]["name"] = "n2".into();
    let made = rig.create(other);
    assert_eq!(made["status"], json!({}), "a client's is not kept");
}

#[test]
fn the_builtin_writer_wins_field_by_field_and_conditions_merge() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let key = pod_key("a");
    let condition = |name: &str, status: &str| json!({"type": name, "status": status});
    rig.done_as(
        Author::Kubelet,
        status(&key, json!({"phase": "Running", "message": "busy", "conditions": [condition("Ready", "True")]})),
    )
    .unwrap();
    let mut read = shown(&rig, &key);
    read["phase"] = "Failed".into();
    read["message"] = "not so busy".into();
    read["conditions"].as_array_mut().unwrap().push(condition("example.com/gate", "True"));
    rig.done(status(&key, read.clone())).unwrap();
    let both = json!([condition("example.com/gate", "True"), condition("Ready", "True")]);
    assert_eq!(shown(&rig, &key)["phase"], "Running");
    assert_eq!(shown(&rig, &key)["conditions"], both);
    let again = rig.try_as(Author::Client, status(&key, read)).unwrap();
    assert!(matches!(again, Receipt::Unchanged(_)));

    rig.done_as(
        Author::Kubelet,
        status(&key, json!({"phase": "Running", "conditions": [condition("Ready", "False")]})),
    )
    .unwrap();
    let now = shown(&rig, &key);
    assert_eq!(now.get("message"), None, "what the client read and wrote back is not frozen");
    assert_eq!(now["conditions"], json!([condition("example.com/gate", "True"), condition("Ready", "False")]));

    rig.flush();
    rig.crash();
    rig.flush();
    let mut without = shown(&rig, &key);
    without["conditions"].as_array_mut().unwrap().remove(0);
    rig.done(status(&key, without)).unwrap();
    assert_eq!(shown(&rig, &key)["conditions"], json!([condition("Ready", "False")]));
    rig.crash();
    rig.flush();
    assert_eq!(shown(&rig, &key)["conditions"], json!([condition("Ready", "False")]), "taken back for good");
}

#[test]
fn a_client_has_the_say_where_nobody_else_has() {
    let mut rig = Rig::new(1);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
    rig.create(service);
    let key = Key::new(&kinds::SERVICE, "shop", "web");
    assert_eq!(shown(&rig, &key), json!({"loadBalancer": {}}));
    let before = rig.disk.len();
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    rig.done(status(&key, ingress.clone())).unwrap();
    assert!(rig.disk.len() > before, "durable before the answer");
    rig.crash();
    rig.flush();
    assert_eq!(shown(&rig, &key), ingress);
}

#[test]
fn what_a_client_says_counts_whatever_the_clock() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let gate = |n: u64| status(&pod_key("a"), json!({"conditions": [{"type": "x", "n": n}]}));
    for n in 1..4 {
        rig.done(gate(n)).unwrap();
        rig.now.wall = Wall::from_secs(1_763_900_000 - 7_200 * i64::try_from(n).unwrap());
        rig.crash();
        rig.flush();
        assert_eq!(shown(&rig, &pod_key("a"))["conditions"][0]["n"], n);
    }
}

#[test]
fn the_leaders_status_is_shown_when_durable_and_a_later_terms_stands() {
    let mut rig = Rig::new(1);
    rig.create(deployment("web", 1, "a"));
    let key = deployment_key("web");
    let receipt = rig.try_as(Author::Leader, status(&key, json!({"replicas": 1}))).unwrap();
    assert!(matches!(receipt, Receipt::Pending(_)));
    assert_eq!(shown(&rig, &key), json!({}));
    rig.flush();
    assert_eq!(shown(&rig, &key), json!({"replicas": 1}));
    let again = rig.try_as(Author::Leader, status(&key, json!({"replicas": 1}))).unwrap();
    assert!(matches!(again, Receipt::Unchanged(_)));
    let later = rig.store.commit(rig.now, Author::Leader, Term(5), status(&key, json!({"replicas": 2})));
    assert!(later.is_ok());
    rig.flush();
    let earlier = rig.store.commit(rig.now, Author::Leader, Term(4), status(&key, json!({"replicas": 3})));
    assert_eq!(earlier, Err(Rejected::Stale { key: key.clone() }));
    rig.crash();
    rig.flush();
    let same_term = rig.store.commit(rig.now, Author::Leader, Term(5), status(&key, json!({"replicas": 4})));
    assert!(same_term.is_ok());
    rig.flush();
    assert_eq!(shown(&rig, &key), json!({"replicas": 4}), "also in a new run of the same term");
}

#[test]
fn a_scheduled_pod_says_so_until_its_kubelet_does() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let key = pod_key("a");
    let unschedulable = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
    let mut read = shown(&rig, &key);
    read["conditions"] = json!([unschedulable]);
    rig.done_as(Author::Leader, status(&key, read)).unwrap();
    assert_eq!(shown(&rig, &key)["conditions"][0]["reason"], "Unschedulable");
    rig.done_as(Author::Leader, bind(&key, "n1")).unwrap();
    assert_eq!(shown(&rig, &key)["conditions"].as_array().unwrap().len(), 1);
    assert_eq!(shown(&rig, &key)["conditions"][0]["status"], "True");
    let seen = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
    rig.done_as(Author::Kubelet, status(&key, json!({"phase": "Running", "conditions": [seen]}))).unwrap();
    assert_eq!(shown(&rig, &key)["conditions"], json!([seen]));
}

#[test]
fn a_kubelet_has_no_say_in_other_kinds() {
    let mut rig = Rig::new(1);
    rig.create(deployment("web", 1, "a"));
    let refused = rig.try_as(Author::Kubelet, status(&deployment_key("web"), json!({})));
    assert!(matches!(refused, Err(Rejected::Forbidden { .. })));
}
