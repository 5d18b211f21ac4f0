//! What membership records are believed.

use super::super::fixtures::{cluster, id, key};
use super::*;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Member `n` of the cluster that member 1 has founded.
fn member(n: u8, by: u8) -> Member {
    Member {
        cluster: cluster(),
        id: id(n),
        name: format!("n{n}"),
        tag: n.into(),
        pod_range: format!("10.240.{n}.0/24").parse().unwrap(),
        joined: Wall::from_secs(n.into()),
        token: (n > 1).then_some(TokenId([n; 16])),
        by: id(by),
    }
}

fn signed_member(n: u8, by: u8) -> SignedMember {
    member(n, by).sign(&key(by))
}

fn names<'a>(records: impl IntoIterator<Item = &'a SignedMember>) -> Vec<String> {
    let table = Members::of(cluster(), records.into_iter().map(Vec::as_slice));
    let mut names: Vec<_> = table.iter().map(|m| m.name.clone()).collect();
    names.sort();
    names
}

#[test]
fn a_record_is_read_back() {
    let raw = signed_member(2, 1);
    assert_eq!(Member::read(&raw), Ok(member(2, 1)));
    assert!(raw.len() < 300, "{}", raw.len());
}

#[test]
fn a_chain_is_followed_to_the_founder_in_any_order() {
    let mut records: Vec<_> = [(1, 1), (2, 1), (3, 2), (4, 3)].map(|(n, by)| signed_member(n, by)).into();
    let all = ["n1", "n2", "n3", "n4"];
    assert_eq!(names(&records), all);
    records.reverse();
    assert_eq!(names(&records), all);
    // Without a link, what hangs on it is not believed.
    assert_eq!(names(records.iter().filter(|r| Member::read(r).unwrap().name != "n2")), ["n1"]);
    assert!(names(&records[..3]).is_empty(), "no founder, no members");
}

#[test]
fn cycles_and_self_made_members_are_left_out() {
    let founder = signed_member(1, 1);
    assert_eq!(names(&[founder.clone(), signed_member(2, 3), signed_member(3, 2)]), ["n1"]);
    assert_eq!(names(&[founder, signed_member(2, 2)]), ["n1"]);
}

#[test]
fn another_clusters_members_are_left_out() {
    let foreign = Member { cluster: ClusterId::founded_by(id(9)), ..member(9, 9) }.sign(&key(9));
    let claims = Member { cluster: cluster(), ..member(9, 9) }.sign(&key(9));
    assert_eq!(names(&[signed_member(1, 1), foreign, claims]), ["n1"]);
}

#[test]
fn a_record_signed_by_another_than_it_says_is_refused() {
    let forged = member(2, 1).sign(&key(2));
    assert_eq!(Member::read(&forged), Err(BadMember::Signature(id(2), id(1))));
    assert_eq!(names(&[signed_member(1, 1), forged]), ["n1"]);
}

#[test]
fn of_two_records_of_one_member_the_older_counts_in_any_order() {
    let newer = Member { name: "other".into(), joined: Wall::from_secs(50), ..member(2, 1) }.sign(&key(1));
    let deeper = Member { name: "deep".into(), joined: Wall::from_secs(1), ..member(2, 3) }.sign(&key(3));
    let mut records = vec![signed_member(1, 1), newer, signed_member(2, 1), signed_member(3, 1)];
    for _ in 0..records.len() {
        assert_eq!(names(&records), ["n1", "n2", "n3"]);
        records.rotate_left(1);
    }
    records.push(deeper);
    for _ in 0..records.len() {
        assert_eq!(names(&records), ["deep", "n1", "n3"]);
        records.rotate_left(1);
    }
}

#[test]
fn no_mutated_record_is_believed() {
    let raw = signed_member(2, 1);
    let mut chance = StdRng::seed_from_u64(2);
    for round in 0..5_000 {
        let mut bytes = raw.clone();
        match round % 3 {
            0 => bytes.truncate(chance.random_range(0..raw.len())),
            1 => bytes.insert(chance.random_range(0..raw.len()), chance.random()),
            _ => {
                let at = chance.random_range(0..raw.len());
                bytes[at] ^= 1 << chance.random_range(0..8);
            }
        }
        assert!(bytes == raw || Member::read(&bytes).is_err(), "round {round}");
    }
    for _ in 0..5_000 {
        let bytes: Vec<u8> = (0..chance.random_range(0..300)).map(|_| chance.random()).collect();
        assert!(Member::read(&bytes).is_err());
    }
}

#[test]
fn members_are_found_by_key_and_name() {
    let records = [signed_member(1, 1), signed_member(2, 1)];
    let table = Members::of(cluster(), records.iter().map(Vec::as_slice));
    assert_eq!(table.get(&id(2)).map(|m| m.tag), Some(2));
    assert_eq!(table.named("n1").map(|m| m.id), Some(id(1)));
    assert!(table.get(&id(3)).is_none() && table.named("n3").is_none());
    assert!(table.get(&id(1)).unwrap().is_founder() && !table.get(&id(2)).unwrap().is_founder());
}
