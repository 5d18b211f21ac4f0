//! Images that come, and those that do not.

use std::time::Duration;

use serde_json::json;

use crate::kubelet::action::Step;
use crate::runtime::fake::{Image, Life};

use super::drive::{Drive, web};

fn absent(error: Option<&str>) -> Image {
    Image { local: false, pull_error: error.map(str::to_owned), ..Image::default() }
}

#[test]
fn an_absent_image_is_pulled_and_that_is_told_in_time() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", absent(None));
    drive.pod("web", web());
    drive.run(Duration::from_millis(700));
    assert_eq!(drive.told("web"), ["Pulling: Pulling image \"web:1\""]);
    drive.secs(3);
    let pulled =
        "Pulled: Successfully pulled image \"web:1\" in 1.2s (1.2s including waiting). Image size: 10600000 bytes.";
    assert_eq!(drive.told("web")[1], pulled);
    assert_eq!(drive.status("web")["phase"], "Running");
}

#[test]
fn a_pull_that_fails_is_retried_with_growing_pauses() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", absent(Some("manifest unknown")));
    drive.pod("web", web());
    drive.secs(3);
    let waiting = |drive: &Drive| drive.container("web")["state"]["waiting"].clone();
    assert_eq!(waiting(&drive), json!({"reason": "ErrImagePull", "message": "manifest unknown"}));
    drive.secs(4);
    let message = "Back-off pulling image \"web:1\": ErrImagePull: manifest unknown";
    assert_eq!(waiting(&drive), json!({"reason": "ImagePullBackOff", "message": message}));
    assert_eq!(
        drive.told("web"),
        [
            "Pulling: Pulling image \"web:1\"",
            "Failed: Failed to pull image \"web:1\": manifest unknown",
            "Failed: Error: ErrImagePull",
            "BackOff: Back-off pulling image \"web:1\"",
            "Failed: Error: ImagePullBackOff",
        ]
    );
    drive.secs(600);
    let pulls: Vec<u64> = drive
        .actions
        .iter()
        .filter(|(_, a)| matches!(a.step, Step::PullImage { never: false, .. }))
        .map(|(at, _)| at.as_secs())
        .collect();
    let gaps: Vec<u64> = pulls.windows(2).map(|w| w[1] - w[0]).collect();
    for (gap, expected) in gaps.iter().zip([11, 21, 41, 81, 161]) {
        assert!((expected..=expected + 1).contains(gap), "{gaps:?}");
    }
    assert!(gaps.len() >= 5);
    drive.fake.set_image("web:1", Image::default());
    drive.secs(310);
    assert_eq!(drive.status("web")["phase"], "Running");
}

#[test]
fn a_better_image_in_the_manifest_is_tried_at_once() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", absent(Some("manifest unknown")));
    drive.pod("web", web());
    drive.secs(100);
    drive.edit("web", |pod| pod["spec"]["containers"][0]["image"] = json!("web:2"));
    drive.secs(2);
    assert_eq!(drive.status("web")["phase"], "Running");
    assert_eq!(drive.container("web")["restartCount"], 0);
}

#[test]
fn policies_and_names_that_cannot_work_say_so() {
    for (image, policy, reason, message) in [
        ("gone:1", "Never", "ErrImageNeverPull", "Container image \"gone:1\" is not present with pull policy of Never"),
        (
            "NO/Image:1:",
            "IfNotPresent",
            "InvalidImageName",
            "Failed to apply default image tag \"NO/Image:1:\": couldn't parse image name \"NO/Image:1:\": invalid reference format",
        ),
    ] {
        let mut drive = Drive::new();
        drive.pod("web", json!({"containers": [{"name": "web", "image": image, "imagePullPolicy": policy}]}));
        drive.secs(5);
        let waiting = drive.container("web")["state"]["waiting"].clone();
        assert_eq!(waiting, json!({"reason": reason, "message": message}));
        assert!(drive.told("web").contains(&format!("Failed: Error: {reason}")), "{:?}", drive.told("web"));
    }
}

#[test]
fn always_asks_the_registry_even_for_a_local_image() {
    let mut drive = Drive::new();
    drive.pod("web", json!({"containers": [{"name": "web", "image": "web:1", "imagePullPolicy": "Always"}]}));
    drive.secs(3);
    assert!(drive.told("web")[1].starts_with("Pulled: Successfully pulled image"), "{:?}", drive.told("web"));
}

#[test]
fn a_container_that_cannot_start_is_told_from_one_that_cannot_be_made() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Missing, ..Image::default() });
    drive.pod("web", web());
    drive.secs(4);
    let web = drive.container("web");
    assert_eq!(web["state"]["waiting"]["reason"], "CrashLoopBackOff");
    let last = &web["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(128), &json!("StartError")));
    assert_eq!(last["message"], "exec: no such file or directory");
    assert!(drive.told("web").contains(&"Failed: Error: exec: no such file or directory".to_owned()));
    drive.secs(60);
    assert!(drive.container("web")["restartCount"].as_i64().unwrap() >= 3);
}

#[test]
fn a_pod_that_goes_does_not_wait_for_its_pull() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", absent(None));
    drive.pod("web", web());
    drive.run(Duration::from_millis(700));
    drive.delete("web", 30);
    drive.run(Duration::from_millis(200));
    assert_eq!(drive.finished, ["web"]);
}

#[test]
fn an_image_that_would_run_as_root_waits_for_a_better_one() {
    let mut drive = Drive::new();
    drive.pod(
        "web",
        json!({"containers": [{"name": "web", "image": "web:1", "securityContext": {"runAsNonRoot": true}}]}),
    );
    drive.secs(3);
    let waiting = drive.container("web")["state"]["waiting"].clone();
    assert_eq!(waiting["reason"], "CreateContainerConfigError");
    let message = waiting["message"].as_str().unwrap();
    assert!(message.starts_with("container has runAsNonRoot and image will run as root (pod: \"web_default("));
    assert!(drive.told("web").contains(&format!("Failed: Error: {message}")), "{:?}", drive.told("web"));
    assert_eq!(drive.fake.starts().len(), 0);
    drive.fake.set_image("web:1", Image { user: Some("1000".into()), ..Image::default() });
    drive.secs(30);
    assert_eq!(drive.status("web")["phase"], "Running");
}
