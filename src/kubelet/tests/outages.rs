//! The agent, the runtime and sandboxes die; what runs goes on.

use std::time::Duration;

use serde_json::json;

use crate::kubelet::action::{Exit, Observation, PodEvent, Step};
use crate::runtime::fake::{Image, Knobs, Latency, Life};

use super::drive::{Drive, web};

#[test]
fn nothing_is_done_before_the_runtime_has_listed() {
    let mut drive = Drive::new();
    drive.fake.stop_daemon(drive.now(), true);
    drive.pod("web", web());
    drive.secs(10);
    assert_eq!((drive.actions.len(), drive.statuses.len()), (0, 0));
    let node = drive.node.last().expect("the node says that it cannot");
    assert_eq!(node["conditions"][3]["reason"], "KubeletNotReady");
    drive.fake.start_daemon(drive.now());
    drive.secs(2);
    assert_eq!(drive.status("web")["phase"], "Running");
    assert_eq!(drive.node.last().unwrap()["conditions"][3]["status"], "True");
}

#[test]
fn a_new_agent_adopts_what_runs_and_does_nothing() {
    let mut drive = Drive::new();
    drive.fake.set_image("app:1", Image::default());
    drive.pod(
        "web",
        json!({"containers": [{"name": "web", "image": "app:1",
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 5}}]}),
    );
    drive.secs(10);
    drive.fake.kill(drive.now(), &drive.id("web"));
    drive.secs(10);
    let before = drive.status("web");
    assert_eq!(before["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(before["containerStatuses"][0]["ready"], true);
    drive.crash(Duration::from_secs(60));
    drive.secs(30);
    assert_eq!(drive.steps(), [] as [&Step; 0]);
    assert_eq!(drive.status("web"), before, "not a field has changed");
    assert_eq!((drive.statuses.len(), drive.notes.len()), (0, 0));
    assert!(!drive.actions.is_empty(), "probes go on");
    drive.fake.set_healthy("app:1", false);
    drive.secs(20);
    assert_eq!(drive.container("web")["ready"], false, "and count");
}

#[test]
fn what_was_not_adopted_by_anybody_is_removed() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.pod("stays", web());
    drive.secs(3);
    drive.die();
    drive.force("web");
    drive.crash(Duration::from_secs(1));
    drive.secs(3);
    let left: Vec<String> = drive.fake.listed().into_iter().map(|p| p.pod.name).collect();
    assert_eq!(left, ["stays"]);
}

#[test]
fn what_died_while_the_agent_was_away_is_restarted_and_counted() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    let start = drive.status("web")["startTime"].clone();
    drive.die();
    drive.secs(5);
    drive.fake.kill(drive.now(), &drive.id("web"));
    drive.crash(Duration::from_secs(5));
    drive.secs(2);
    let web = drive.container("web");
    assert_eq!(web["restartCount"], 1);
    assert_eq!(web["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(drive.status("web")["startTime"], start);
}

#[test]
fn restart_counts_survive_containers_that_are_gone() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    for _ in 0..2 {
        drive.fake.kill(drive.now(), &drive.id("web"));
        drive.secs(20);
    }
    drive.die();
    let container = drive.id("web");
    drive.fake.vanish(drive.now(), &container);
    drive.crash(Duration::from_secs(1));
    drive.secs(20);
    let web = drive.container("web");
    assert_eq!(web["restartCount"], 3);
    assert_eq!(web["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!((drive.fake.overlaps(), drive.fake.repeats()), (&[][..], &[][..]));
}

#[test]
fn restart_counts_survive_runs_that_never_came_to_life() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", Image { life: Life::Missing, ..Image::default() });
    drive.pod("web", web());
    drive.secs(100);
    let before = drive.container("web");
    assert_eq!(before["state"]["waiting"]["reason"], "CrashLoopBackOff");
    drive.crash(Duration::from_secs(1));
    drive.secs(2);
    let web = drive.container("web");
    let count = |c: &serde_json::Value| c["restartCount"].as_i64().unwrap();
    assert_eq!(count(&web), count(&before) + 1, "the new agent tries at once, and counts on");
    assert_eq!(web["lastState"]["terminated"]["reason"], "StartError");
}

#[test]
fn the_attempt_of_a_container_that_vanished_is_not_used_again() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    drive.fake.kill(drive.now(), &drive.id("web"));
    drive.secs(20);
    let container = drive.id("web");
    drive.fake.vanish(drive.now(), &container);
    drive.secs(20);
    let web = drive.container("web");
    assert_eq!((&web["restartCount"], &web["ready"]), (&json!(2), &json!(true)));
    assert_eq!(web["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(drive.fake.repeats(), [""; 0]);
}

#[test]
fn an_end_that_is_told_before_the_start_counts() {
    let hour = Latency::fixed(Duration::from_secs(3600));
    let mut drive = Drive::new();
    drive.pod("web", json!({"restartPolicy": "Never", "containers": [{"name": "web", "image": "web:1"}]}));
    drive.run(Duration::from_millis(310));
    drive.fake.tune(Knobs { start: hour, ..Knobs::default() });
    drive.secs(1);
    let pod = drive.actions[0].1.pod.clone();
    assert!(matches!(drive.steps().last(), Some(Step::StartContainer(_))));
    let (name, id, wall) = ("web".to_owned(), "c1".to_owned(), drive.now().wall);
    let exit = Exit { code: 4, started: wall, finished: wall, ..Exit::default() };
    let exited = PodEvent::ContainerExited { name: name.clone(), id: id.clone(), exit };
    let started = PodEvent::ContainerStarted { name, attempt: 0, id, image_id: "i".into(), started: wall };
    for event in [exited, started] {
        drive.say(Observation::Pod { pod: pod.clone(), event });
    }
    assert_eq!(drive.container("web")["state"]["terminated"]["exitCode"], 4);
    assert_eq!(drive.status("web")["phase"], "Failed");
}

#[test]
fn a_start_that_is_told_again_after_the_end_wakes_nobody() {
    let mut drive = Drive::new();
    drive.pod("web", json!({"restartPolicy": "Never", "containers": [{"name": "web", "image": "web:1"}]}));
    drive.secs(2);
    let (pod, id) = (drive.actions[0].1.pod.clone(), drive.id("web"));
    let (name, started) = ("web".to_owned(), drive.now().wall);
    drive.fake.kill(drive.now(), &id);
    drive.run(Duration::from_millis(1));
    let event = PodEvent::ContainerStarted { name, attempt: 0, id, image_id: "i".into(), started };
    drive.say(Observation::Pod { pod, event });
    assert_eq!(drive.container("web")["state"]["terminated"]["exitCode"], 137);
}

#[test]
fn a_daemon_that_is_away_changes_nothing_if_containers_live() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    let before = drive.status("web");
    drive.forget();
    drive.fake.stop_daemon(drive.now(), true);
    drive.secs(60);
    let ready = drive.node.last().unwrap()["conditions"][3].clone();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("KubeletNotReady")));
    assert!(ready["message"].as_str().unwrap().starts_with("container runtime is down: "));
    drive.fake.start_daemon(drive.now());
    drive.secs(10);
    assert_eq!(drive.status("web"), before);
    assert_eq!((drive.actions.len(), drive.statuses.len()), (0, 0));
    assert_eq!(drive.node.last().unwrap()["conditions"][3]["status"], "True");
}

/// A pod whose readiness and liveness are asked for by `handler`, every two seconds.
fn probed(handler: serde_json::Value) -> serde_json::Value {
    let mut probe = handler;
    probe["periodSeconds"] = json!(2);
    probe["failureThreshold"] = json!(2);
    json!({"containers": [{"name": "web", "image": "app:1", "readinessProbe": probe, "livenessProbe": probe}]})
}

#[test]
fn readiness_is_followed_while_the_daemon_is_away_and_nothing_is_restarted() {
    let mut drive = Drive::new();
    drive.fake.set_image("app:1", Image::default());
    drive.pod("web", probed(json!({"httpGet": {"port": 80, "path": "/ok"}})));
    drive.secs(10);
    let before = drive.status("web");
    assert_eq!(before["containerStatuses"][0]["ready"], true);
    drive.fake.stop_daemon(drive.now(), true);
    drive.secs(10);
    drive.forget();
    drive.fake.set_healthy("app:1", false);
    drive.secs(5);
    assert_eq!(drive.container("web")["ready"], false);
    for condition in ["Ready", "ContainersReady"] {
        assert_eq!(drive.condition("web", condition)["status"], "False", "{condition}");
    }
    drive.secs(30);
    assert_eq!(drive.statuses.len(), 1, "told once");
    drive.fake.set_healthy("app:1", true);
    drive.secs(3);
    assert_eq!(drive.condition("web", "Ready")["status"], "True");
    drive.fake.start_daemon(drive.now());
    drive.secs(30);
    assert_eq!(drive.container("web"), before["containerStatuses"][0]);
    assert_eq!(drive.steps(), [] as [&Step; 0]);
    assert_eq!(drive.count("web", "Killing"), 0);
}

#[test]
fn what_liveness_found_while_the_daemon_was_away_counts_when_it_is_back() {
    let mut drive = Drive::new();
    drive.fake.set_image("app:1", Image::default());
    drive.pod("web", probed(json!({"tcpSocket": {"port": 80}})));
    drive.secs(10);
    drive.fake.stop_daemon(drive.now(), true);
    drive.fake.set_healthy("app:1", false);
    drive.secs(60);
    assert_eq!((drive.count("web", "Killing"), drive.container("web")["ready"].as_bool()), (0, Some(false)));
    drive.fake.start_daemon(drive.now());
    drive.secs(3);
    assert_eq!((drive.count("web", "Killing"), drive.fake.starts().len()), (1, 2));
}

#[test]
fn commands_wait_for_the_daemon() {
    let mut drive = Drive::new();
    drive.fake.set_image("app:1", Image::default());
    drive.pod("web", probed(json!({"exec": {"command": ["ok"]}})));
    drive.secs(10);
    let before = drive.status("web");
    drive.fake.stop_daemon(drive.now(), true);
    drive.secs(1);
    drive.forget();
    drive.secs(120);
    assert_eq!((drive.actions.len(), drive.statuses.len(), drive.notes.len()), (0, 0, 0));
    drive.fake.start_daemon(drive.now());
    drive.secs(10);
    assert_eq!(drive.status("web"), before);
    assert!(!drive.actions.is_empty() && drive.steps().is_empty(), "only probes go on");
}

#[test]
fn a_daemon_that_comes_back_with_everything_dead_gets_it_all_again() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.pod("once", json!({"restartPolicy": "Never", "containers": [{"name": "once", "image": "web:1"}]}));
    drive.secs(3);
    let address = drive.status("web")["podIP"].clone();
    drive.fake.stop_daemon(drive.now(), false);
    drive.secs(10);
    assert_eq!(drive.container("web")["restartCount"], 0, "nobody knows yet");
    drive.fake.start_daemon(drive.now());
    drive.secs(5);
    let web = drive.container("web");
    assert_eq!((&web["restartCount"], &web["ready"]), (&json!(1), &json!(true)));
    assert_eq!(web["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(drive.status("web")["podIP"], address);
    assert_eq!(drive.status("once")["phase"], "Failed");
    assert_eq!((drive.fake.overlaps(), drive.fake.repeats()), (&[][..], &[][..]));
}

#[test]
fn a_pod_made_while_the_daemon_is_away_starts_when_it_is_back() {
    let mut drive = Drive::new();
    drive.secs(1);
    drive.fake.stop_daemon(drive.now(), true);
    drive.secs(1);
    drive.pod("web", web());
    drive.secs(5);
    assert_eq!(drive.actions, []);
    drive.fake.start_daemon(drive.now());
    drive.secs(2);
    assert_eq!(drive.status("web")["phase"], "Running");
}

#[test]
fn a_dead_sandbox_is_replaced_with_all_that_was_in_it() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    let sandbox = drive.fake.listed()[0].sandbox.clone().unwrap();
    drive.fake.kill(drive.now(), &sandbox.id);
    drive.secs(3);
    let listed = drive.fake.listed();
    let new = listed[0].sandbox.clone().unwrap();
    assert_ne!(new.id, sandbox.id);
    assert_eq!(new.address, sandbox.address);
    assert_eq!(drive.container("web")["restartCount"], 1);
    assert_eq!(drive.count("web", "SandboxChanged"), 1);
    assert_eq!(drive.condition("web", "Ready")["status"], "True");
}

#[test]
fn a_sandbox_that_fails_is_tried_again() {
    let mut drive = Drive::lying(1, crate::runtime::fake::Knobs { fail: 1_000, ..Default::default() });
    drive.pod("web", web());
    drive.secs(10);
    assert_eq!(drive.status("web")["phase"], "Pending");
    let failed = "FailedCreatePodSandBox: Failed to create pod sandbox: something went wrong";
    assert!(drive.told("web").len() >= 2 && drive.told("web").iter().all(|t| t == failed), "{:?}", drive.told("web"));
}

#[test]
fn reports_about_nobody_are_nothing() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    drive.forget();
    let pod = crate::kubelet::action::PodRef {
        namespace: "default".into(),
        name: "nobody".into(),
        uid: crate::ids::Uid([9; 16]),
    };
    drive.say(Observation::Pod { pod, event: crate::kubelet::action::PodEvent::PodRemoved });
    drive.secs(5);
    assert_eq!((drive.actions.len(), drive.statuses.len()), (0, 0));
}
