//! The format: signatures, versions, bounds.

use std::sync::Arc;

use ed25519_dalek::Signer;
use minicbor::Encoder;

use super::super::record::{Body, Draft, Record, RecordError, Scribe};
use super::super::register::Slot;
use super::*;
use crate::ids::Uid;

fn scribe() -> Scribe {
    let config = config(1, 7);
    Scribe::new(config.node, config.incarnation, config.key)
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let value = br#"{"phase":"Running"}"#;
    let raw = scribe().write(Draft::Register(Uid([5; 16]), Slot::Observation, (7, 3), value));
    let record = Record::read(Arc::clone(&raw)).unwrap();
    assert_eq!((record.author, record.incarnation, record.seq), (config(1, 7).node, 7, 1));
    let Body::Register { uid, slot, stamp, value: at } = &record.body else { panic!() };
    assert_eq!((*uid, *slot, *stamp), (Uid([5; 16]), Slot::Observation, (7, 3)));
    assert_eq!(&raw[at.clone()], value);
    record.verify().unwrap();
}

#[test]
fn what_collects_tombstones_is_read_as_it_was_written() {
    let uids = [Uid([1; 16]), Uid([2; 16])];
    let ids = [RecordId([3; 16])];
    let horizon = Horizon::default().advanced(0, ids[0]);
    let mut scribe = scribe();
    let read = |raw| Record::read(raw).unwrap().body;
    assert_eq!(read(scribe.write(Draft::Sealed(7, &uids))), Body::Sealed { number: 7, uids: uids.to_vec() });
    assert_eq!(read(scribe.write(Draft::Acked(7, &horizon))), Body::Acked { number: 7, horizon });
    let forgotten = Body::Forgotten { uids: uids.to_vec(), batches: ids.to_vec() };
    assert_eq!(read(scribe.write(Draft::Forgotten(&uids, &ids))), forgotten);
}

#[test]
fn any_flipped_bit_is_noticed() {
    let raw = scribe().write(Draft::Register(Uid([5; 16]), Slot::Binding, (1, 2), b"{}"));
    for at in 0..raw.len() {
        for bit in 0..8 {
            let mut bad = raw.to_vec();
            bad[at] ^= 1 << bit;
            assert!(Record::read(bad).and_then(|record| record.verify()).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn truncated_and_oversized_records_are_refused() {
    let raw = scribe().write(Draft::Ceiling(1));
    for length in 0..raw.len() {
        assert!(Record::read(raw[..length].to_vec()).and_then(|record| record.verify()).is_err(), "{length}");
    }
    let huge = vec![0; super::super::record::MAX_RECORD_BYTES + 1];
    assert!(matches!(Record::read(huge), Err(RecordError::Size(_))));
}

/// A record of a node that runs a newer version: an unknown field, and whatever version and kind.
fn newer(version: u8, kind: u8) -> Vec<u8> {
    let config = config(1, 1);
    let mut body = Encoder::new(Vec::new());
    body.map(2).unwrap().u8(0).unwrap().u64(99).unwrap().u8(44).unwrap().str("new").unwrap();
    let mut e = Encoder::new(Vec::new());
    e.map(8).unwrap().u8(0).unwrap().u8(version).unwrap();
    e.u8(1).unwrap().bytes(&config.node.0).unwrap();
    e.u8(2).unwrap().u8(1).unwrap().u8(3).unwrap().u8(1).unwrap().u8(4).unwrap().u8(1).unwrap();
    e.u8(5).unwrap().u8(kind).unwrap();
    e.u8(6).unwrap().bytes(&body.into_writer()).unwrap();
    e.u8(77).unwrap().str("unheard of").unwrap();
    let mut raw = e.into_writer();
    let signature = config.key.sign(&[b"skein record 1\0", &raw[..]].concat());
    raw.extend(signature.to_bytes());
    raw
}

#[test]
fn unknown_fields_are_passed_over_and_kept() {
    let raw = newer(1, 6);
    let record = Record::read(raw.clone()).unwrap();
    record.verify().unwrap();
    assert_eq!((record.body, &record.raw[..]), (Body::Ceiling { ceiling: 99 }, &raw[..]));
}

#[test]
fn records_of_a_newer_version_are_named_and_kept() {
    let mut rig = Rig::new(1);
    let strange = [newer(2, 6), newer(1, 200)];
    rig.disk.extend(strange.clone());
    let report = rig.crash();
    let reasons: Vec<&str> = report.refused.iter().map(|refusal| &*refusal.reason).collect();
    assert_eq!(reasons, ["record of version 2", "record of unknown kind 200"]);
    assert_eq!(report.refused[0].index, rig.disk.len() - 2);
    let kept: Vec<_> = rig.store.records().collect();
    assert!(strange.iter().all(|record| kept.contains(record)));
}

#[test]
fn an_older_ceilings_tombstones_and_births_read_back() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    rig.done(delete(&pod_key("a"))).unwrap();
    let kinds: Vec<&str> = rig
        .disk
        .iter()
        .map(|raw| match Record::read(raw.clone()).unwrap().body {
            Body::Ceiling { .. } => "ceiling",
            Body::Change { birth: Some(birth), .. } => birth.key.kind.kind,
            Body::Tombstone { birth, .. } => {
                assert_eq!(birth.key, pod_key("a"));
                "tombstone"
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["ceiling", "Namespace", "Namespace", "Pod", "tombstone"]);
}
