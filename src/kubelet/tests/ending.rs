//! Pods are deleted, by grace or by force, or have had their time.

use std::time::Duration;

use serde_json::json;

use crate::runtime::fake::{Image, Knobs, Latency, Life};

use super::drive::{Drive, web};

#[test]
fn a_deleted_pod_is_not_ready_at_once_and_gone_after_its_grace() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.delete("web", 5);
    assert_eq!(drive.condition("web", "Ready")["status"], "False");
    assert_eq!(drive.told("web").last().unwrap(), "Killing: Stopping container web");
    drive.secs(4);
    assert_eq!(drive.finished, [""; 0]);
    drive.secs(2);
    assert_eq!(drive.finished, ["web"]);
    assert_eq!(drive.fake.listed(), []);
    assert_eq!(drive.statuses.last().unwrap().1["phase"], "Failed", "137 is no success");
    drive.forget();
    drive.secs(60);
    assert_eq!(drive.actions, []);
}

#[test]
fn a_pod_deleted_before_it_began_is_finished_at_once() {
    let mut drive = Drive::new();
    drive.secs(1);
    drive.pod("web", json!({"containers": [], "volumes": [{"name": "v", "configMap": {"name": "gone"}}]}));
    drive.secs(1);
    drive.delete("web", 30);
    assert_eq!(drive.finished, ["web"]);
    assert_eq!(drive.actions, []);
}

#[test]
fn a_pod_deleted_by_force_is_removed_at_once() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.force("web");
    drive.secs(2);
    assert_eq!(drive.fake.listed(), []);
    assert_eq!(drive.finished, [""; 0], "there is no object to let go of");
    drive.pod("next", web());
    drive.secs(2);
    assert_eq!(drive.status("next")["podIP"], "10.240.1.3", "the address rests");
}

#[test]
fn a_pod_that_is_bound_elsewhere_now_is_ended_here_and_its_object_left_alone() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.forget();
    // A later leader did not know of the binding, and made another.
    drive.edit("web", |pod| {
        pod["spec"]["nodeName"] = json!("n2");
        pod["status"] = json!({"phase": "Pending"});
    });
    drive.secs(5);
    assert_eq!(drive.fake.listed(), []);
    assert_eq!((drive.statuses.len(), drive.finished.len()), (0, 0));
    assert_eq!(drive.status("web"), json!({"phase": "Pending"}));
    drive.crash(Duration::from_secs(1));
    drive.secs(60);
    assert_eq!((drive.steps().len(), drive.statuses.len(), drive.finished.len()), (0, 0, 0));
}

#[test]
fn a_pod_bound_elsewhere_while_the_agent_was_away_is_ended() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    drive.die();
    drive.edit("web", |pod| pod["spec"]["nodeName"] = json!("n2"));
    drive.crash(Duration::from_secs(1));
    drive.secs(5);
    assert_eq!(drive.fake.listed(), []);
    assert_eq!((drive.statuses.len(), drive.finished.len()), (0, 0));
}

#[test]
fn a_pod_that_is_bound_here_again_runs_again() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    for pause in [0, 5] {
        drive.edit("web", |pod| pod["spec"]["nodeName"] = json!("n2"));
        drive.secs(pause);
        drive.edit("web", |pod| pod["spec"]["nodeName"] = json!("n1"));
        drive.secs(30);
        assert_eq!(drive.condition("web", "Ready")["status"], "True", "after {pause} s");
        assert_eq!(drive.fake.listed().len(), 1);
    }
}

#[test]
fn force_overtakes_a_graceful_end() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.delete("web", 600);
    drive.secs(5);
    drive.force("web");
    drive.secs(2);
    assert_eq!(drive.fake.listed(), []);
}

#[test]
fn a_shorter_grace_overtakes_a_longer_one() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.delete("web", 600);
    drive.secs(5);
    drive.delete("web", 2);
    drive.secs(3);
    assert_eq!(drive.finished, ["web"]);
}

#[test]
fn a_finalizer_keeps_the_object_but_not_the_containers() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    drive.edit("web", |pod| pod["metadata"]["finalizers"] = json!(["example.org/hold"]));
    drive.delete("web", 1);
    drive.secs(3);
    assert_eq!((drive.finished.len(), drive.fake.listed().len()), (1, 0));
}

#[test]
fn the_agent_that_comes_back_goes_on_ending_a_pod() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Stubborn, ..Image::default() });
    drive.pod("web", web());
    drive.secs(2);
    drive.delete("web", 20);
    drive.secs(5);
    drive.crash(Duration::from_secs(5));
    drive.secs(8);
    assert_eq!(drive.finished, [""; 0]);
    drive.secs(4);
    assert_eq!(drive.finished, ["web"], "the time that passed counts");
}

#[test]
fn a_pod_past_its_deadline_fails() {
    let mut drive = Drive::new();
    let mut spec = web();
    spec["activeDeadlineSeconds"] = json!(10);
    spec["terminationGracePeriodSeconds"] = json!(1);
    drive.pod("web", spec);
    drive.secs(8);
    assert_eq!(drive.status("web")["phase"], "Running");
    drive.secs(5);
    let status = drive.status("web");
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert_eq!(status["message"], "Pod was active on the node longer than the specified deadline");
    drive.forget();
    drive.crash(Duration::from_secs(1));
    drive.secs(30);
    assert_eq!((drive.actions.len(), drive.statuses.len()), (0, 0), "what is over stays over");
}

#[test]
fn a_start_under_way_at_the_deadline_is_awaited_and_its_end_shown() {
    let mut drive = Drive::new();
    let slow = Latency::fixed(Duration::from_secs(3));
    drive.fake.tune(Knobs { start: slow, ..Knobs::default() });
    let mut spec = web();
    spec["activeDeadlineSeconds"] = json!(5);
    spec["terminationGracePeriodSeconds"] = json!(1);
    drive.pod("web", spec);
    drive.run(Duration::from_millis(5_500));
    assert_eq!(drive.status("web")["phase"], "Pending", "its container is being started");
    drive.secs(5);
    assert_eq!(drive.status("web")["phase"], "Failed");
    assert!(drive.container("web")["state"]["terminated"].is_object(), "{}", drive.container("web"));
}

#[test]
fn hooks_run_and_count_against_the_grace() {
    let mut drive = Drive::new();
    drive.pod(
        "web",
        json!({"containers": [{"name": "web", "image": "web:1", "lifecycle": {
        "postStart": {"exec": {"command": ["hello"]}}, "preStop": {"sleep": {"seconds": 5}}}}]}),
    );
    drive.secs(2);
    assert_eq!(drive.container("web")["ready"], true);
    drive.delete("web", 30);
    drive.secs(4);
    assert_eq!(drive.finished, [""; 0]);
    drive.secs(2);
    assert_eq!(drive.finished, ["web"]);

    drive.fake.set_image("sick:1", Image { healthy: false, ..Image::default() });
    drive.pod(
        "sick",
        json!({"containers": [{"name": "web", "image": "sick:1", "lifecycle": {
        "postStart": {"exec": {"command": ["hello"]}}}}]}),
    );
    drive.secs(3);
    assert!(drive.told("sick").contains(&"FailedPostStartHook: PostStartHook failed".to_owned()));
    assert!(drive.fake.starts().iter().filter(|s| s.attempt == 1).count() == 1, "restarted");
}
