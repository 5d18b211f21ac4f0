//! The tokens in pods' volumes: when they are made, and when anew.

use serde_json::{Value, json};

use super::drive::{Drive, web};
use super::world;
use crate::kubelet::action::{Step, VolumeSource, VolumeSpec};
use crate::time::Wall;
use crate::trust::service_account::{self, Claims};

/// A token's life in these tests, in seconds.
const LIFE: u64 = 1_000;

fn account(uid: u8) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "default", "name": "default",
        "uid": format!("00000000-0000-4000-8000-0000000000{uid:02}")}})
}

fn asking() -> Value {
    let mut spec = web();
    spec["volumes"] = json!([{"name": "access", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": LIFE}}]}}]);
    spec
}

fn token(volumes: &[VolumeSpec], now: Wall) -> Claims {
    let VolumeSource::Files(files) = &volumes[0].source else { panic!("{volumes:?}") };
    assert_eq!((files[0].path.as_str(), files[0].mode), ("token", 0o644));
    let issuer = world::config().issuer.unwrap().id();
    service_account::read(std::str::from_utf8(&files[0].bytes).unwrap(), |id| *id == issuer, now).unwrap()
}

fn first(drive: &Drive) -> Claims {
    let made = drive.steps().into_iter().find_map(|step| match step {
        Step::CreateSandbox(spec) => Some(spec.volumes.clone()),
        _ => None,
    });
    token(&made.unwrap(), drive.now().wall)
}

fn written(drive: &Drive) -> Vec<Claims> {
    let volumes = drive.steps().into_iter().filter_map(|step| match step {
        Step::WriteVolumes(volumes) => Some(token(volumes, drive.now().wall)),
        _ => None,
    });
    volumes.collect()
}

#[test]
fn a_pod_waits_for_its_account_and_gets_a_token_that_is_bound_to_it() {
    let mut drive = Drive::new();
    drive.pod("web", asking());
    drive.secs(5);
    let why = "FailedMount: MountVolume.SetUp failed for volume \"access\" : failed to fetch token: serviceaccounts \
               \"default\" not found";
    assert_eq!(drive.told("web")[0], why);
    drive.apply(account(1));
    drive.secs(1);
    assert_eq!(drive.status("web")["phase"], "Running");
    let claims = first(&drive);
    assert_eq!(claims.user().name, "system:serviceaccount:default:default");
    assert_eq!(claims.kubernetes.pod.unwrap().name, "web");
    assert_eq!(claims.expires.unwrap() - claims.issued, i64::try_from(LIFE).unwrap());
}

#[test]
fn a_token_is_made_anew_at_four_fifths_of_its_life_and_not_before() {
    let mut drive = Drive::new();
    drive.apply(account(1));
    drive.pod("web", asking());
    drive.secs(2);
    let before = first(&drive);
    drive.forget();
    drive.secs(LIFE * 4 / 5 - 10);
    assert_eq!(written(&drive), []);
    drive.secs(20);
    let after = written(&drive);
    assert_eq!(after.len(), 1);
    assert!(after[0].expires > before.expires && after[0].id != before.id);
    drive.forget();
    drive.secs(LIFE * 4);
    assert_eq!(drive.steps().len(), 5, "and so on");
    assert_eq!(drive.container("web")["restartCount"], 0);
}

#[test]
fn another_account_of_the_name_gets_another_token_and_other_changes_do_not() {
    let mut drive = Drive::new();
    drive.apply(account(1));
    drive.pod("web", asking());
    drive.secs(2);
    drive.forget();
    let mut same = account(1);
    same["metadata"]["annotations"] = json!({"a": "b"});
    drive.apply(same);
    drive.secs(5);
    assert_eq!(written(&drive), []);
    drive.apply(account(2));
    drive.secs(5);
    assert_eq!(written(&drive)[0].kubernetes.serviceaccount.uid, "00000000-0000-4000-8000-000000000002");
}
