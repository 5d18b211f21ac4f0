//! A member gone mad: validly signed records whose changes are garbage.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use super::super::record::{Body, Draft, Record, Scribe};
use super::*;

/// Where a chunk's body begins: behind magic, checksum, type and length.
fn body_start(chunk: &[u8]) -> usize {
    9 + chunk[9..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1
}

/// Changes some bytes of a chunk and makes its checksum right again.
fn mutated(chunk: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    let start = body_start(&chunk);
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(start..chunk.len());
        chunk[at] = random.random();
    }
    let checksum = Sha256::digest(&chunk[8..]);
    chunk[4..8].copy_from_slice(&checksum[..4]);
    chunk
}

#[test]
fn signed_garbage_neither_stops_a_node_nor_keeps_it_from_starting() {
    let mut a = Rig::new(1);
    a.create(deployment("web", 1, "a"));
    a.update(deployment("web", 2, "b"));
    let mad = config(2, 1);
    let mut scribe = Scribe::new(mad.node, 1, mad.key);
    let mut random = StdRng::from_seed([7; 32]);
    let (mut refused, mut taken) = (0, 0);
    for record in a.disk.clone() {
        let record = Record::read(record).unwrap();
        let Body::Change { uid, birth, spec, chunk } = &record.body else { continue };
        for _ in 0..150 {
            let chunk = mutated(&record.raw[chunk.clone()], &mut random);
            let forged = scribe.write(Draft::Change(*uid, birth.as_ref(), *spec, &chunk));
            match a.merge(&forged) {
                Ok(Merged::New) => taken += 1,
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
    }
    a.flush();
    assert!(refused > 100, "{refused} refused, {taken} taken");
    let visible = a.visible();
    let report = a.crash();
    assert_eq!(report.refused, []);
    assert_eq!(a.visible(), visible);
    a.flush();
    a.update(deployment("web", 7, "c"));
    assert_eq!(a.get(&deployment_key("web")).unwrap()["spec"]["replicas"], 7);
}
