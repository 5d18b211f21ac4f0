use super::*;

fn slot() -> Slot {
    Slot("d/0".into())
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn held(number: u64, complete: bool, pods: &[u8]) -> Held {
    Held { number, complete, slots: pods.iter().map(|pod| (slot(), Uid([*pod; 16]))).collect() }
}

fn at(millis: u64) -> Mono {
    Mono(Duration::from_millis(1_000_000 + millis))
}

#[test]
fn a_holder_survives_being_written() {
    let written = minicbor::to_vec(Holder::new(Uid([4; 16]), node(7))).unwrap();
    let read = holder("slot/d/0", &written).unwrap();
    assert_eq!((read.pod(), read.node()), (Uid([4; 16]), node(7)));
    assert_eq!(holder("member/d/0", &written), None);
    assert_eq!(holder("slot/d/0", b""), None, "a slot that was freed");
}

#[test]
fn a_pod_has_ended_when_its_node_names_it_no_more_and_knows_all_that_runs() {
    let mut granting = Granting::default();
    let holder = Holder::new(Uid([1; 16]), node(7));
    assert!(!granting.has_ended(&slot(), holder), "nothing was heard");
    for (said, ended) in [(held(1, true, &[1]), false), (held(2, false, &[]), false), (held(3, true, &[2]), true)] {
        assert!(granting.hear(node(7), 1, said));
        assert_eq!(granting.has_ended(&slot(), holder), ended);
    }
}

#[test]
fn what_comes_late_is_not_heard() {
    let mut granting = Granting::default();
    assert!(granting.hear(node(7), 2, held(5, true, &[1])));
    assert!(!granting.hear(node(7), 2, held(4, true, &[])));
    assert!(!granting.hear(node(7), 1, held(9, true, &[])), "of an earlier run");
    assert!(granting.hear(node(7), 3, held(1, true, &[])));
}

#[test]
fn a_slot_is_free_a_lease_after_the_last_and_after_the_office_began() {
    let mut granting = Granting::default();
    let office = at(0);
    assert!(!granting.has_expired(&slot(), office, at(15_749)));
    assert!(granting.has_expired(&slot(), office, at(15_750)), "leases of earlier leaders have ended");
    granting.granted.insert(slot(), at(30_000));
    assert!(!granting.has_expired(&slot(), office, at(30_749)));
    assert!(granting.has_expired(&slot(), office, at(30_750)));
}
