//! ConfigMaps and secrets that are late, and those that change.

use serde_json::{Value, json};

use crate::kubelet::action::{Step, VolumeSource};

use super::drive::{Drive, web};

fn config(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "c"},
        "data": {"greeting": value}})
}

fn mounted() -> Value {
    let mut spec = web();
    spec["volumes"] = json!([{"name": "conf", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "conf", "mountPath": "/conf"}]);
    spec
}

#[test]
fn a_pod_waits_for_its_config_map_and_starts_when_it_comes() {
    let mut drive = Drive::new();
    drive.pod("web", mounted());
    drive.secs(20);
    assert_eq!(drive.container("web")["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(
        drive.told("web")[0],
        "FailedMount: MountVolume.SetUp failed for volume \"conf\" : configmap \"c\" not found"
    );
    assert!(drive.count("web", "FailedMount") >= 2, "it is tried again");
    assert_eq!(drive.actions, []);
    drive.apply(config("hello"));
    drive.secs(1);
    assert_eq!(drive.status("web")["phase"], "Running");
}

#[test]
fn a_changed_config_map_is_written_once() {
    let mut drive = Drive::new();
    drive.apply(config("hello"));
    drive.pod("web", mounted());
    drive.secs(2);
    drive.forget();
    drive.apply(config("hello again"));
    drive.apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": "other"}}));
    drive.secs(5);
    let [Step::WriteVolumes(volumes)] = drive.steps()[..] else { panic!("{:?}", drive.actions) };
    let VolumeSource::Files(files) = &volumes[0].source else { panic!("{volumes:?}") };
    assert_eq!((volumes.len(), files[0].bytes.as_slice()), (1, b"hello again".as_slice()));
    assert_eq!(drive.container("web")["restartCount"], 0);
}

#[test]
fn a_new_agent_writes_what_may_have_changed_meanwhile() {
    let mut drive = Drive::new();
    drive.apply(config("hello"));
    drive.pod("web", mounted());
    drive.secs(2);
    drive.crash(std::time::Duration::from_secs(1));
    drive.secs(5);
    assert!(matches!(drive.steps()[..], [Step::WriteVolumes(_)]), "{:?}", drive.actions);
}

#[test]
fn labels_in_files_follow_the_pod() {
    let mut drive = Drive::new();
    let mut spec = web();
    spec["volumes"] = json!([{"name": "info", "downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]);
    drive.pod("web", spec);
    drive.secs(2);
    drive.forget();
    drive.edit("web", |pod| pod["metadata"]["labels"] = json!({"app": "web"}));
    drive.secs(1);
    let [Step::WriteVolumes(volumes)] = drive.steps()[..] else { panic!("{:?}", drive.actions) };
    let VolumeSource::Files(files) = &volumes[0].source else { panic!("{volumes:?}") };
    assert_eq!(files[0].bytes, b"app=\"web\"");
}

#[test]
fn a_missing_key_in_the_environment_holds_the_container_until_it_comes() {
    let mut drive = Drive::new();
    let mut spec = web();
    spec["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "greeting"}}}]);
    drive.pod("web", spec);
    drive.secs(2);
    let waiting = drive.container("web")["state"]["waiting"].clone();
    assert_eq!(waiting, json!({"reason": "CreateContainerConfigError", "message": "configmap \"c\" not found"}));
    assert!(drive.told("web").contains(&"Failed: Error: configmap \"c\" not found".to_owned()));
    drive.apply(config("hello"));
    drive.secs(1);
    assert_eq!(drive.status("web")["phase"], "Running");
    let started = drive.steps().into_iter().find_map(|s| match s {
        Step::StartContainer(spec) => Some(spec.env.clone()),
        _ => None,
    });
    assert_eq!(started.unwrap()[0], ("A".to_owned(), "hello".to_owned()));
}
