//! Pods that must never run twice start, run and stop by their lease.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::kubelet::Claim;
use crate::kubelet::action::Step;
use crate::object::hold::{HOLD, PARTITION, Slot};
use crate::time::Mono;

use super::drive::{Drive, key, web};
use super::world;

fn pod(drive: &mut Drive, name: &str) {
    let mut spec = web();
    spec["nodeName"] = json!("n1");
    drive.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": name,
        "creationTimestamp": drive.now().wall.to_string(), "annotations": {PARTITION: HOLD}}, "spec": spec}));
}

/// Lets a pod run for so long from now on.
fn lease(drive: &mut Drive, name: &str, secs: u64) {
    let until = drive.now().mono + Duration::from_secs(secs);
    drive.kubelet.set_leases(drive.now(), BTreeMap::from([(world::uid(&key(name)), until)]));
}

fn claims(drive: &Drive) -> Vec<Claim> {
    drive.kubelet.claims().expect("the runtime has listed").claims
}

#[test]
fn without_a_lease_nothing_starts_and_the_status_says_why() {
    let mut drive = Drive::new();
    drive.kubelet.set_leases(drive.now(), BTreeMap::new());
    pod(&mut drive, "db");
    drive.secs(10);
    assert_eq!(drive.steps(), [] as [&Step; 0]);
    assert_eq!(drive.container("db")["state"]["waiting"]["reason"], "WaitingForRunLease");
    let slot = Slot("default/db".into());
    assert_eq!(claims(&drive), [Claim { slot, pod: world::uid(&key("db")), there: false }], "but it is asked for");
    lease(&mut drive, "db", 60);
    drive.secs(3);
    assert_eq!(drive.status("db")["phase"], "Running");
    assert!(claims(&drive)[0].there);
}

#[test]
fn what_runs_is_stopped_when_its_lease_is_over_and_starts_again_with_the_next() {
    let mut drive = Drive::new();
    pod(&mut drive, "db");
    lease(&mut drive, "db", 10);
    drive.secs(9);
    assert_eq!(drive.fake.running().count(), 1);
    drive.secs(4);
    assert_eq!(drive.fake.running().count(), 0);
    assert!(claims(&drive)[0].there, "something of it is there still");
    drive.secs(30);
    assert_eq!(drive.fake.running().count(), 0);
    lease(&mut drive, "db", 60);
    drive.secs(3);
    assert_eq!(drive.fake.running().count(), 1);
    assert_eq!(drive.container("db")["restartCount"], 1);
}

#[test]
fn a_lease_that_is_renewed_in_time_disturbs_nothing() {
    let mut drive = Drive::new();
    pod(&mut drive, "db");
    for _ in 0..20 {
        lease(&mut drive, "db", 10);
        drive.secs(3);
    }
    assert_eq!((drive.fake.running().count(), drive.fake.starts().len()), (1, 1));
}

#[test]
fn nothing_is_concluded_while_a_pod_is_ended_that_nobody_knows() {
    let mut drive = Drive::new();
    pod(&mut drive, "db");
    lease(&mut drive, "db", 600);
    drive.secs(3);
    drive.force("db");
    let claims = drive.kubelet.claims().expect("the runtime has listed");
    assert!(claims.complete && claims.claims[0].there, "its slot is known");
    drive.crash(Duration::from_millis(10));
    assert_eq!(drive.kubelet.claims(), None, "the runtime has not listed");
    let mut seen = Vec::new();
    for _ in 0..500 {
        drive.run(Duration::from_millis(10));
        seen.extend(drive.kubelet.claims().map(|claims| (claims.complete, drive.fake.running().count())));
    }
    assert!(seen.iter().all(|(complete, running)| !complete || *running == 0), "{seen:?}");
    assert_eq!(seen.last(), Some(&(true, 0)));
}

#[test]
fn deadlines_are_told_of_every_pod_that_holds() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    pod(&mut drive, "db");
    drive.secs(1);
    assert_eq!(drive.kubelet.deadlines(), BTreeMap::new(), "nobody asks for leases yet");
    let uid = world::uid(&key("db"));
    drive.kubelet.set_leases(drive.now(), BTreeMap::new());
    assert_eq!(drive.kubelet.deadlines(), BTreeMap::from([(uid, Mono::default())]));
    lease(&mut drive, "db", 10);
    assert_eq!(drive.kubelet.deadlines(), BTreeMap::from([(uid, drive.now().mono + Duration::from_secs(10))]));
}
