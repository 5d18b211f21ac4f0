//! Every ticket is answered, whatever becomes of its object meanwhile.

use super::merge::pair;
use super::*;

fn ticket(receipt: Receipt) -> Ticket {
    let Receipt::Pending(ticket) = receipt else { panic!("{receipt:?}") };
    ticket
}

fn with_finalizers(finalizers: &[&str], data: &str) -> Value {
    let mut object = config_map("x", json!({"k": data}));
    object["metadata"]["finalizers"] = json!(finalizers);
    object
}

/// Flushes and returns the answers to `tickets`, in their order.
fn answers(rig: &mut Rig, tickets: &[Ticket]) -> Vec<Committed> {
    let given = rig.flush();
    let find = |ticket: &Ticket| given.iter().find(|(t, _)| t == ticket).expect("every ticket is answered").1.clone();
    tickets.iter().map(find).collect()
}

#[test]
fn a_change_of_what_a_peer_has_buried_is_answered() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    a.done(delete(&map_key("x"))).unwrap();
    let change = ticket(b.try_as(Author::Client, update(config_map("x", json!({"k": "2"})))).unwrap());
    let look = ticket(b.try_as(Author::Client, update(config_map("x", json!({"k": "2"})))).unwrap());
    for record in a.disk.clone() {
        b.merge(&record).unwrap();
    }
    let given = answers(&mut b, &[change, look]);
    assert!(given.iter().all(|committed| committed.entry.value()["data"]["k"] == "2"));
    assert_eq!(b.get(&map_key("x")), None);
}

#[test]
fn a_creation_that_an_older_object_hides_is_answered() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "old"})));
    b.wait(Duration::from_secs(1));
    let made = ticket(b.try_as(Author::Client, create(config_map("x", json!({"k": "new"})))).unwrap());
    let look = ticket(b.try_as(Author::Client, update(config_map("x", json!({"k": "new"})))).unwrap());
    for record in a.disk.clone() {
        b.merge(&record).unwrap();
    }
    let given = answers(&mut b, &[made, look]);
    assert!(given.iter().all(|committed| committed.entry.value()["data"]["k"] == "new" && !committed.removed));
    assert_eq!(b.get(&map_key("x")).unwrap()["data"]["k"], "old");
}

#[test]
fn a_change_of_what_a_merge_ends_is_answered() {
    let (mut a, mut b) = pair();
    a.create(with_finalizers(&["x/a", "x/b"], "1"));
    a.done(delete(&map_key("x"))).unwrap();
    b.take_all(&a);
    a.update(with_finalizers(&["x/b"], "1"));
    let change = ticket(b.try_as(Author::Client, update(with_finalizers(&["x/a"], "2"))).unwrap());
    for record in a.disk.clone() {
        b.merge(&record).unwrap();
    }
    assert_eq!(answers(&mut b, &[change])[0].entry.value()["data"]["k"], "2");
    b.store.put_in_order(b.now, Term(1));
    b.flush();
    assert_eq!(b.get(&map_key("x")), None);
}

#[test]
fn what_is_taken_away_in_between_is_answered_as_removed() {
    let mut rig = Rig::new(1);
    let made = ticket(rig.try_as(Author::Client, create(config_map("x", json!({"k": "1"})))).unwrap());
    let look = ticket(rig.try_as(Author::Client, update(config_map("x", json!({"k": "1"})))).unwrap());
    // As if it were gone before it was ever shown.
    let uid = rig.store.holder(&map_key("x")).unwrap().0;
    rig.store.objects.remove(&uid);
    let given = answers(&mut rig, &[made, look]);
    assert!(given.iter().all(|committed| committed.removed && committed.entry.value()["data"]["k"] == "1"));
}

#[test]
fn the_leaders_and_a_kubelets_word_on_what_is_buried_are_answered() {
    let (mut a, mut b) = pair();
    a.create(pod("p"));
    b.take_all(&a);
    a.done(remove(&pod_key("p"))).unwrap();
    let bound = ticket(b.try_as(Author::Leader, bind(&pod_key("p"), "n1")).unwrap());
    let told = ticket(b.try_as(Author::Client, status(&pod_key("p"), json!({"message": "hm"}))).unwrap());
    b.try_as(Author::Kubelet, status(&pod_key("p"), json!({"phase": "Running"}))).unwrap();
    for record in a.disk.clone() {
        b.merge(&record).unwrap();
    }
    let given = answers(&mut b, &[bound, told]);
    assert_eq!(given[0].entry.value()["spec"]["nodeName"], "n1");
    assert_eq!(given[1].entry.value()["status"]["message"], "hm");
}
