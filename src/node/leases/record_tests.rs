use serde_json::json;

use super::*;

fn lease(name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "shop", "uid": Uid([7; 16])}, "spec": {"holderIdentity": "a"}})
}

fn write(expected: Option<u64>, version: u64) -> LeaseWrite {
    LeaseWrite {
        register: "lease/shop/a".into(),
        expected: expected.map(|number| Version { uid: Uid([7; 16]), number }),
        record: Some(Record::new(&lease("a"), version, Some(Uid([3; 16]))).to_bytes()),
    }
}

#[test]
fn a_record_reads_back() {
    let bytes = Record::new(&lease("a"), 9, Some(Uid([3; 16]))).to_bytes();
    let (record, object) = Record::read(&bytes).expect("a record");
    assert_eq!((object, record.version, record.home()), (lease("a"), 9, Some(Uid([3; 16]))));
    assert_eq!(version_of(&bytes), Some(Version { uid: Uid([7; 16]), number: 9 }));
    assert_eq!(version_of(b""), None);
}

#[test]
fn what_is_asked_and_answered_reads_back() {
    for asked in [write(None, 1), write(Some(4), 5), LeaseWrite { record: None, ..write(Some(4), 5) }] {
        assert_eq!(read_asked(&write_asked(8, &asked)).expect("it reads"), (8, asked));
    }
    let stamp = Stamp { term: Term(3), seq: 4 };
    let refusals = [Refusal::Stale, Refusal::NotLeader, Refusal::NoRoom, Refusal::Unknown, Refusal::Malformed];
    for answer in refusals.map(Err).into_iter().chain([Ok(stamp)]) {
        assert_eq!(read_answered(&write_answered(8, answer)).expect("it reads"), (8, answer));
    }
}

#[test]
fn a_peer_cannot_skip_a_version_take_another_name_or_grow_without_bound() {
    assert!(write(None, 1).is_sound() && write(Some(4), 5).is_sound());
    assert!(!write(None, 2).is_sound() && !write(Some(4), 4).is_sound() && !write(Some(u64::MAX), 1).is_sound());
    assert!(!LeaseWrite { register: "member/x".into(), ..write(None, 1) }.is_sound());
    assert!(!LeaseWrite { register: "lease/shop/b".into(), ..write(None, 1) }.is_sound());
    assert!(!LeaseWrite { record: Some(vec![0; MAX_LEASE + 1_000]), ..write(None, 1) }.is_sound());
    assert!(!LeaseWrite { record: Some(Vec::new()), ..write(None, 1) }.is_sound());
    let other = Some(Version { uid: Uid([8; 16]), number: 4 });
    assert!(!LeaseWrite { expected: other, ..write(Some(4), 5) }.is_sound());
    assert!(LeaseWrite { record: None, ..write(Some(4), 5) }.is_sound());
    assert!(!LeaseWrite { record: None, ..write(None, 1) }.is_sound(), "nothing becomes nothing");
}

#[test]
fn every_name_has_a_register_of_its_own() {
    let key = |name: &str| Key::new(&kinds::LEASE, "n".repeat(63), name);
    let (long, longer) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
    assert_ne!(register_of(&key(&long)), register_of(&key(&longer)));
    assert!([long.as_str(), &longer, "x"].iter().all(|name| register_of(&key(name)).len() <= MAX_KEY));
}
