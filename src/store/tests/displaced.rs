//! Two sides made the same name: one stays, nothing that was asked for is lost.

use super::merge::{exchange, pair};
use super::*;
use crate::ids::Uid;
use crate::object::Note;
use crate::store::displaced;

/// What a leader does until all is in order. Dependants let go of owners that lost their name.
fn settle(rig: &mut Rig) -> Vec<Note> {
    let mut notes = Vec::new();
    for _ in 0..10 {
        let orders = rig.store.put_in_order(rig.now, Term(1));
        rig.flush();
        notes.extend(orders.notes);
        for key in orders.release {
            let mut object = rig.get(&key).unwrap();
            object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
            rig.update(object);
        }
        if rig.store.in_disorder_since().is_none() {
            return notes;
        }
    }
    panic!("it never comes to rest: {:?}", rig.store.in_disorder_since());
}

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"}, "type": "Opaque",
        "data": {"password": value}})
}

fn copies(rig: &Rig, kind: &'static Kind) -> Vec<Value> {
    rig.store
        .snapshot()
        .list(kind, None)
        .filter(|e| e.labels.contains_key(displaced::LABEL))
        .map(|e| e.value())
        .collect()
}

fn reasons(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|note| note.reason).collect()
}

fn uid(object: &Value) -> Uid {
    object["metadata"]["uid"].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_younger_of_two_objects_of_one_name_is_kept_as_a_copy() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    let older = a.create(config_map("x", json!({"k": "a"})));
    let younger = b.create(config_map("x", json!({"k": "b"})));
    exchange(&mut a, &mut b);
    assert!(a.store.snapshot().is_displaced(uid(&younger)) && !a.store.snapshot().is_displaced(uid(&older)));
    let notes = settle(&mut a);
    assert_eq!(reasons(&notes), ["Displaced"]);
    assert_eq!((&notes[0].regarding, notes[0].uid), (&map_key("x"), uid(&older)));
    exchange(&mut a, &mut b);
    for rig in [&mut a, &mut b] {
        assert_eq!(rig.get(&map_key("x")).unwrap()["data"]["k"], "a");
        let copies = copies(rig, &kinds::CONFIG_MAP);
        assert_eq!((copies.len(), &copies[0]["data"]), (1, &json!({"k": "b"})));
        assert!(notes[0].message.contains(copies[0]["metadata"]["name"].as_str().unwrap()), "{}", notes[0].message);
        assert!(!rig.store.objects.contains_key(&uid(&younger)));
        rig.crash();
        assert!(rig.store.snapshot().is_displaced(uid(&younger)), "a dependant may still be on its way");
    }
    assert_eq!(a.visible(), b.visible());
    assert_eq!(settle(&mut b), [], "the next leader finds all in order");
}

#[test]
fn a_secret_that_gives_way_is_kept_in_a_secret() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    a.create(secret("YWFh"));
    b.create(secret("YmJi"));
    exchange(&mut a, &mut b);
    let notes = settle(&mut a);
    assert_eq!(copies(&a, &kinds::CONFIG_MAP), [] as [Value; 0]);
    assert_eq!(copies(&a, &kinds::SECRET)[0]["data"]["password"], "YmJi");
    assert!(!format!("{notes:?}").contains("YmJi"));
}

#[test]
fn dependants_of_what_gives_way_are_let_go_of_and_live_on() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    a.create(deployment("web", 1, "a"));
    let younger = b.create(deployment("web", 1, "b"));
    let mut set = config_map("dependant", json!({}));
    set["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid(&younger), "controller": true}]);
    b.create(set);
    exchange(&mut a, &mut b);
    let orders = a.store.put_in_order(a.now, Term(1));
    a.flush();
    assert_eq!(orders.release, [], "first the copy");
    let orders = a.store.put_in_order(a.now, Term(1));
    assert_eq!(orders.release, [map_key("dependant")]);
    assert!(a.store.objects.contains_key(&uid(&younger)), "it goes last");
    settle(&mut a);
    exchange(&mut a, &mut b);
    assert!(b.get(&map_key("dependant")).is_some());
    let manifest = copies(&b, &kinds::CONFIG_MAP)[0]["data"]["manifest.json"].as_str().unwrap().to_owned();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["spec"]["template"]["spec"]["containers"][0]["image"], "b");
    b.create(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": manifest["spec"],
        "metadata": {"name": "again", "namespace": "shop"}}));
}

#[test]
fn what_is_hidden_is_shown_if_the_older_one_is_deleted_first() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    a.create(config_map("x", json!({"k": "a"})));
    let younger = b.create(config_map("x", json!({"k": "b"})));
    exchange(&mut a, &mut b);
    a.done(delete(&map_key("x"))).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(settle(&mut a), []);
    assert_eq!(a.entry(&map_key("x")).uid, uid(&younger));
    assert!(!a.store.snapshot().is_displaced(uid(&younger)));
}

#[test]
fn two_leaders_make_one_copy() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    a.create(config_map("x", json!({"k": "a"})));
    b.create(config_map("x", json!({"k": "b"})));
    exchange(&mut a, &mut b);
    for rig in [&mut a, &mut b] {
        settle(rig);
    }
    exchange(&mut a, &mut b);
    assert_eq!(copies(&a, &kinds::CONFIG_MAP).len(), 1);
    let held =
        |rig: &Rig| rig.store.objects.values().filter(|o| o.working.birth.key.name.contains("displaced")).count();
    assert_eq!((held(&a), held(&b)), (1, 1));
    assert_eq!((settle(&mut a), settle(&mut b)), (vec![], vec![]));
}

#[test]
fn what_a_controller_makes_again_is_not_copied() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    let owned = |owner: u8| {
        let mut pod = pod("p");
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": Uid([owner; 16]), "controller": true}]);
        pod
    };
    a.create(owned(1));
    b.create(owned(2));
    exchange(&mut a, &mut b);
    assert_eq!(settle(&mut a), []);
    exchange(&mut a, &mut b);
    assert_eq!((copies(&a, &kinds::CONFIG_MAP).len(), a.store.objects.len()), (0, 3), "two namespaces and a pod");
}

#[test]
fn a_name_that_looks_like_a_copy_keeps_the_object_from_going() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    a.create(config_map("x", json!({"k": "a"})));
    let younger = b.create(config_map("x", json!({"k": "b"})));
    let name = displaced::copy_key(&map_key("x"), uid(&younger), "shop").name;
    a.create(config_map(&name, json!({"k": "mine"})));
    exchange(&mut a, &mut b);
    assert_eq!(reasons(&settle(&mut a)), ["NameTaken"]);
    assert!(a.store.objects.contains_key(&uid(&younger)), "kept whole, hidden");
}

#[test]
fn what_is_written_into_a_namespace_while_another_side_deletes_it_is_kept() {
    let (mut a, mut b) = pair();
    a.create(namespace("kube-system"));
    let shop = Key::cluster(&kinds::NAMESPACE, "shop");
    b.take_all(&a);
    a.done_as(Author::Leader, remove(&shop)).unwrap();
    b.create(config_map("x", json!({"k": "b"})));
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}});
    b.create(account);
    exchange(&mut a, &mut b);
    let notes = settle(&mut a);
    assert_eq!(reasons(&notes), ["Displaced"]);
    exchange(&mut a, &mut b);
    let kept = copies(&b, &kinds::CONFIG_MAP);
    assert_eq!(
        (kept.len(), &kept[0]["data"], &kept[0]["metadata"]["namespace"]),
        (1, &json!({"k": "b"}), &json!("kube-system"))
    );
    assert_eq!(b.get(&map_key("x")), None);
    // Made again, it begins empty, and works at once.
    b.create(namespace("shop"));
    b.create(config_map("x", json!({"k": "new"})));
    exchange(&mut a, &mut b);
    assert_eq!((settle(&mut a), a.get(&map_key("x")).unwrap()["data"]["k"].clone()), (vec![], json!("new")));
}

#[test]
fn a_namespace_made_on_two_sides_with_contents_loses_nothing() {
    let (mut a, mut b) = (Rig::bare(1), Rig::bare(2));
    b.wait(Duration::from_secs(1));
    for (rig, mine) in [(&mut a, "a"), (&mut b, "b")] {
        rig.create(namespace("shop"));
        rig.create(config_map(mine, json!({"k": mine})));
        rig.create(config_map("both", json!({"k": mine})));
        rig.create(secret("YWFh"));
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}});
        rig.create(account);
    }
    exchange(&mut a, &mut b);
    settle(&mut a);
    exchange(&mut a, &mut b);
    assert!(b.get(&map_key("a")).is_some() && b.get(&map_key("b")).is_some());
    assert_eq!(b.get(&map_key("both")).unwrap()["data"]["k"], "a");
    assert_eq!(copies(&b, &kinds::CONFIG_MAP)[0]["data"]["k"], "b");
    assert_eq!(copies(&b, &kinds::SECRET).len(), 1);
    assert_eq!(b.store.snapshot().list(&kinds::SERVICE_ACCOUNT, None).count(), 1);
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

#[test]
fn the_younger_of_services_with_one_address_and_port_moves_and_its_user_is_told() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.1.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30_080}]});
    a.create(service("one", spec.clone()));
    b.create(service("two", spec));
    exchange(&mut a, &mut b);
    let key = |name: &str| Key::new(&kinds::SERVICE, "shop", name);
    // Until then both can be edited.
    let mut two = b.get(&key("two")).unwrap();
    two["metadata"]["labels"] = json!({"edited": "yes"});
    b.update(two);
    exchange(&mut a, &mut b);
    let notes = settle(&mut a);
    assert_eq!((reasons(&notes), &notes[0].regarding), (vec!["AllocationMoved"], &key("two")));
    exchange(&mut a, &mut b);
    let (one, two) = (b.get(&key("one")).unwrap(), b.get(&key("two")).unwrap());
    assert_eq!(
        (&one["spec"]["clusterIP"], &one["spec"]["ports"][0]["nodePort"]),
        (&json!("10.96.1.1"), &json!(30_080))
    );
    assert_eq!(two["spec"]["clusterIPs"], json!([two["spec"]["clusterIP"]]));
    assert_ne!(
        (&two["spec"]["clusterIP"], &two["spec"]["ports"][0]["nodePort"]),
        (&json!("10.96.1.1"), &json!(30_080))
    );
    assert_eq!(two["metadata"]["labels"]["edited"], "yes");
    let (address, port) =
        (two["spec"]["clusterIP"].as_str().unwrap(), two["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    assert!(notes[0].message.contains(address) && notes[0].message.contains(&port.to_string()), "{}", notes[0].message);
    assert_eq!((settle(&mut a), settle(&mut b)), (vec![], vec![]));
}

#[test]
fn a_service_that_is_not_durable_yet_moves_too() {
    let (mut a, mut b) = pair();
    let spec = json!({"clusterIP": "10.96.1.1", "ports": [{"port": 80, "protocol": "TCP"}]});
    b.create(service("two", spec.clone()));
    a.wait(Duration::from_secs(1));
    let ticket = a.try_as(Author::Client, create(service("one", spec))).unwrap();
    for record in b.disk.clone() {
        a.merge(&record).unwrap();
    }
    let orders = a.store.put_in_order(a.now, Term(1));
    assert_eq!(reasons(&orders.notes), ["AllocationMoved"]);
    let answers = a.flush();
    let Receipt::Pending(ticket) = ticket else { panic!("{ticket:?}") };
    assert_eq!(answers.len(), 1, "only whoever asked is answered");
    assert_eq!(answers[0].0, ticket);
    let addresses = |rig: &Rig| -> std::collections::BTreeSet<String> {
        let services = rig.store.snapshot().list(&kinds::SERVICE, None);
        services.map(|e| e.value()["spec"]["clusterIP"].to_string()).collect()
    };
    assert_eq!(addresses(&a).len(), 2);
    exchange(&mut a, &mut b);
    assert_eq!(addresses(&b), addresses(&a));
}

#[test]
fn a_service_whose_type_two_sides_changed_gets_an_address_again() {
    let (mut a, mut b) = pair();
    let key = Key::new(&kinds::SERVICE, "shop", "x");
    a.create(service("x", json!({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]})));
    b.take_all(&a);
    a.update(service(
        "x",
        json!({"type": "ExternalName", "externalName": "x.org", "ports": [{"port": 80, "protocol": "TCP"}]}),
    ));
    let port = json!([{"port": 80, "protocol": "TCP", "nodePort": 30_500}]);
    for _ in 0..3 {
        // The side that writes more often wins a field.
        b.update(service("x", json!({"type": "LoadBalancer", "ports": port})));
        b.update(service("x", json!({"type": "NodePort", "ports": port})));
    }
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&key).unwrap()["spec"]["type"], "NodePort");
    settle(&mut a);
    exchange(&mut a, &mut b);
    let address = b.get(&key).unwrap()["spec"]["clusterIP"].clone();
    assert!(address.as_str().is_some_and(|a| a.starts_with("10.96.")), "{address}");
}
