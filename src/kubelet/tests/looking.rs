//! Containers that are added to a running pod to look at it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubelet::action::Step;
use crate::runtime::fake::{Image, Life};

use super::drive::{Drive, key};

fn looked_at(target: Option<&str>) -> Value {
    json!({"restartPolicy": "Always", "containers": [{"name": "web", "image": "web:1"}],
        "ephemeralContainers": [{"name": "look", "image": "web:2", "targetContainerName": target}]})
}

fn looking(drive: &Drive) -> Value {
    drive.status("web")["ephemeralContainerStatuses"][0].clone()
}

#[test]
fn one_that_is_added_runs_beside_and_counts_for_nothing() {
    let mut drive = Drive::new();
    drive.pod("web", super::drive::web());
    drive.secs(2);
    let spec = looked_at(Some("web"))["ephemeralContainers"].clone();
    drive.edit("web", |pod| pod["spec"]["ephemeralContainers"] = spec);
    drive.secs(2);
    assert!(looking(&drive)["state"]["running"].is_object(), "{}", drive.status("web"));
    assert_eq!((&looking(&drive)["ready"], &looking(&drive)["restartCount"]), (&json!(false), &json!(0)));
    assert_eq!(drive.condition("web", "Ready")["status"], "True");
    let web = drive.id("web");
    let processes = drive.actions.iter().find_map(|(_, action)| match &action.step {
        Step::StartContainer(spec) if spec.name == "look" => spec.processes.clone(),
        _ => None,
    });
    assert_eq!(processes, Some(web), "it sees the processes of the one that it looks at");
    assert!(drive.notes.iter().any(|(_, n)| n.field_path == "spec.ephemeralContainers{look}"));
}

#[test]
fn one_that_has_ended_stays_ended_whatever_happens_to_the_pod() {
    let mut drive = Drive::new();
    let life = Life::Exit { after: Duration::from_secs(1), code: 0, message: String::new() };
    drive.fake.set_image("web:2", Image { life, ..Image::default() });
    drive.pod("web", looked_at(None));
    drive.secs(60);
    assert_eq!(looking(&drive)["state"]["terminated"]["reason"], "Completed");
    assert_eq!(drive.status("web")["phase"], "Running");
    drive.crash(Duration::from_secs(2));
    drive.secs(10);
    assert_eq!(looking(&drive)["state"]["terminated"]["reason"], "Completed");
    let starts = drive.actions.iter().filter(|(_, a)| matches!(&a.step, Step::StartContainer(s) if s.name == "look"));
    assert_eq!(starts.count(), 0, "not once more");
}

#[test]
fn a_pod_that_does_not_start_can_be_looked_at() {
    let mut drive = Drive::new();
    let mut pod = looked_at(None);
    pod["initContainers"] = json!([{"name": "first", "image": "web:1"}]);
    drive.pod("web", pod);
    drive.secs(3);
    assert!(looking(&drive)["state"]["running"].is_object());
    assert_eq!(drive.status("web")["phase"], "Pending", "its init container never ends");
}

#[test]
fn one_whose_target_does_not_run_waits_and_says_so() {
    let mut drive = Drive::new();
    let mut pod = looked_at(Some("web"));
    pod["initContainers"] = json!([{"name": "first", "image": "web:1"}]);
    drive.pod("web", pod);
    drive.secs(3);
    assert_eq!(looking(&drive)["state"]["waiting"]["message"], "unable to find target container web");
}

#[test]
fn it_ends_with_its_pod() {
    let mut drive = Drive::new();
    drive.pod("web", looked_at(None));
    drive.secs(2);
    drive.delete("web", 5);
    drive.secs(60);
    assert!(drive.fake.listed().is_empty(), "{:?}", drive.fake.listed());
    assert!(drive.finished.contains(&key("web").name));
}
