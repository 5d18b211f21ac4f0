//! Pods start, crash, change and are refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubelet::action::Step;
use crate::runtime::fake::{Image, Life};
use crate::time::Wall;

use super::drive::{Drive, web};

fn exits(after_secs: u64, code: i32) -> Image {
    let life = Life::Exit { after: Duration::from_secs(after_secs), code, message: "bye".into() };
    Image { life, ..Image::default() }
}

#[test]
fn a_pod_runs_and_says_so_as_kubernetes_does() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    assert_eq!(
        drive.told("web"),
        [
            "Pulled: Container image \"web:1\" already present on machine",
            "Created: Created container: web",
            "Started: Started container web",
        ]
    );
    assert!(drive.notes.iter().all(|(_, n)| n.field_path == "spec.containers{web}" && n.component == "kubelet"));
    let status = drive.status("web");
    assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Running"), &json!("BestEffort")));
    assert_eq!((&status["podIP"], &status["podIPs"]), (&json!("10.240.1.2"), &json!([{"ip": "10.240.1.2"}])));
    assert_eq!((&status["hostIP"], &status["hostIPs"]), (&json!("192.0.2.1"), &json!([{"ip": "192.0.2.1"}])));
    for condition in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(drive.condition("web", condition)["status"], "True", "{condition}");
    }
    let web = drive.container("web");
    assert_eq!((&web["ready"], &web["started"], &web["restartCount"]), (&json!(true), &json!(true), &json!(0)));
    assert_eq!((&web["image"], &web["imageID"]), (&json!("web:1"), &json!("sha256:web:1")));
    assert!(web["containerID"].as_str().unwrap().starts_with("docker://"));
    assert!(web["state"]["running"]["startedAt"].is_string());
}

#[test]
fn a_pod_waits_as_container_creating() {
    let mut drive = Drive::new();
    drive.secs(1);
    drive.pod("web", web());
    let status = drive.status("web");
    assert_eq!(status["phase"], "Pending");
    assert_eq!(drive.container("web")["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
    let ready = drive.condition("web", "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ContainersNotReady")));
    assert_eq!(ready["message"], "containers with unready status: [web]");
    assert!(status["podIP"].is_null());
}

#[test]
fn an_idle_node_writes_and_does_nothing() {
    let mut drive = Drive::new();
    for n in 0..30 {
        drive.pod(&format!("web-{n}"), web());
    }
    drive.secs(30);
    assert!((0..30).all(|n| drive.status(&format!("web-{n}"))["phase"] == "Running"));
    drive.forget();
    drive.secs(1200);
    assert_eq!((drive.actions.len(), drive.statuses.len(), drive.notes.len(), drive.node.len()), (0, 0, 0, 0));
}

#[test]
fn a_crashing_container_is_restarted_with_growing_pauses() {
    let mut drive = Drive::new();
    drive.fake.set_image("web:1", exits(1, 3));
    drive.pod("web", web());
    drive.secs(12);
    let web = drive.container("web");
    assert_eq!((&web["restartCount"], &web["ready"]), (&json!(1), &json!(false)));
    assert_eq!(web["state"]["waiting"]["reason"], "CrashLoopBackOff");
    let uid = super::world::uid(&super::drive::key("web"));
    let message = format!("back-off 10s restarting failed container=web pod=web_default({uid})");
    assert_eq!(web["state"]["waiting"]["message"], message);
    let last = &web["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"], &last["message"]), (&json!(3), &json!("Error"), &json!("bye")));
    assert_eq!(drive.status("web")["phase"], "Running");
    drive.secs(1000);
    let gaps: Vec<u64> = drive.starts().windows(2).map(|w| w[1] - w[0]).collect();
    for (gap, expected) in gaps.iter().zip([1, 11, 21, 41, 81, 161, 301]) {
        assert!((expected..=expected + 1).contains(gap), "{gaps:?}");
    }
    let back_off = format!("BackOff: Back-off restarting failed container web in pod web_default({uid})");
    assert_eq!(drive.told("web").iter().filter(|t| **t == back_off).count(), drive.starts().len() - 1);
    // The last run and the one before are kept for `logs --previous`.
    assert_eq!(drive.fake.listed()[0].containers.len(), 2);
    assert_eq!((drive.fake.overlaps(), drive.fake.repeats()), (&[][..], &[][..]));
}

#[test]
fn restart_policies_end_in_their_phases() {
    for (policy, code, phase, starts) in [
        ("Never", 0, "Succeeded", 1),
        ("Never", 1, "Failed", 1),
        ("OnFailure", 0, "Succeeded", 1),
        ("OnFailure", 1, "Running", 3),
        ("Always", 0, "Running", 3),
    ] {
        let mut drive = Drive::new();
        drive.fake.set_image("web:1", exits(1, code));
        drive.pod("web", json!({"restartPolicy": policy, "containers": [{"name": "web", "image": "web:1"}]}));
        drive.secs(18);
        assert_eq!(drive.status("web")["phase"], phase, "{policy} {code}");
        assert_eq!(drive.fake.starts().len(), starts, "{policy} {code}");
        if phase == "Succeeded" {
            assert_eq!(drive.condition("web", "Ready")["reason"], "PodCompleted");
            assert_eq!(drive.condition("web", "Initialized")["reason"], "PodCompleted");
            assert_eq!(drive.container("web")["state"]["terminated"]["reason"], "Completed");
        }
        assert_eq!(drive.fake.listed()[0].containers.len(), starts.min(2), "logs are kept");
    }
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let mut drive = Drive::new();
    drive.fake.set_image("init:1", exits(2, 0));
    let init = |name: &str| json!({"name": name, "image": "init:1"});
    drive.pod(
        "web",
        json!({"initContainers": [init("a"), init("b")], "containers": [{"name": "web", "image": "web:1"}]}),
    );
    drive.secs(4);
    assert_eq!(drive.status("web")["phase"], "Pending");
    assert_eq!(drive.container("web")["state"]["waiting"]["reason"], "PodInitializing");
    let initialized = drive.condition("web", "Initialized");
    assert_eq!(initialized["message"], "containers with incomplete status: [b]");
    drive.secs(4);
    let names: Vec<&str> = drive.fake.starts().iter().map(|s| s.container.as_str()).collect();
    assert_eq!(names, ["a", "b", "web"]);
    assert_eq!(drive.status("web")["phase"], "Running");
    assert_eq!(drive.condition("web", "Initialized")["status"], "True");
    assert_eq!(drive.status("web")["initContainerStatuses"][0]["ready"], true);
    let starts = drive.fake.starts().len();
    drive.secs(60);
    assert_eq!(drive.fake.starts().len(), starts, "what is done is not done again");
}

#[test]
fn a_failing_init_container_is_retried_or_fails_the_pod() {
    for (policy, phase) in [("Always", "Pending"), ("Never", "Failed")] {
        let mut drive = Drive::new();
        drive.fake.set_image("init:1", exits(1, 1));
        drive.pod(
            "web",
            json!({"restartPolicy": policy, "initContainers": [{"name": "a", "image": "init:1"}],
            "containers": [{"name": "web", "image": "web:1"}]}),
        );
        drive.secs(30);
        assert_eq!(drive.status("web")["phase"], phase);
        assert!(drive.fake.starts().iter().all(|s| s.container == "a"));
        assert_eq!(drive.fake.starts().len() > 1, policy == "Always");
    }
}

#[test]
fn a_sidecar_starts_first_outlives_the_others_and_does_not_keep_a_job_alive() {
    let mut drive = Drive::new();
    drive.fake.set_image("work:1", exits(5, 0));
    drive.pod(
        "job",
        json!({"restartPolicy": "Never",
        "initContainers": [{"name": "proxy", "image": "web:1", "restartPolicy": "Always"}],
        "containers": [{"name": "work", "image": "work:1"}]}),
    );
    drive.secs(3);
    assert_eq!(drive.status("job")["phase"], "Running");
    drive.secs(10);
    let names: Vec<&str> = drive.fake.starts().iter().map(|s| s.container.as_str()).collect();
    assert_eq!(names, ["proxy", "work"]);
    assert_eq!(drive.status("job")["phase"], "Succeeded");
    assert!(drive.status("job")["initContainerStatuses"][0]["state"]["terminated"].is_object());

    drive.pod(
        "app",
        json!({"initContainers": [{"name": "proxy", "image": "web:1", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "web:2"}]}),
    );
    drive.secs(3);
    let proxy = drive.status("app")["initContainerStatuses"][0]["containerID"].clone();
    drive.fake.kill(drive.now(), proxy.as_str().unwrap().trim_start_matches("docker://"));
    drive.secs(2);
    assert_eq!(drive.status("app")["initContainerStatuses"][0]["restartCount"], 1);
    assert_eq!(drive.container("app")["restartCount"], 0);
    drive.forget();
    drive.delete("app", 30);
    drive.secs(3);
    assert!(matches!(drive.steps()[..], [Step::StopContainer { .. }, Step::RemovePod { .. }]), "{:?}", drive.steps());
    assert_eq!(drive.finished, ["app"]);
}

#[test]
fn a_changed_image_replaces_the_container_in_place() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    let before = drive.id("web");
    drive.edit("web", |pod| pod["spec"]["containers"][0]["image"] = json!("web:2"));
    drive.secs(2);
    assert_ne!(drive.id("web"), before);
    let web = drive.container("web");
    assert_eq!((&web["image"], &web["restartCount"]), (&json!("web:2"), &json!(1)));
    assert!(drive.told("web").contains(&"Killing: Container web definition changed, will be restarted".to_owned()));
}

#[test]
fn a_host_network_pod_has_the_hosts_address() {
    let mut drive = Drive::new();
    let mut spec = web();
    spec["hostNetwork"] = json!(true);
    drive.pod("web", spec);
    drive.secs(2);
    assert_eq!(drive.status("web")["podIP"], "192.0.2.1");
    assert_eq!(drive.fake.listed()[0].sandbox.as_ref().unwrap().address, None);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut drive = Drive::new();
    drive.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "spec": {"unschedulable": true},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}}));
    drive.secs(1);
    let asks =
        |cpu: &str| json!({"containers": [{"name": "web", "image": "web:1", "resources": {"requests": {"cpu": cpu}}}]});
    drive.pod("a", asks("1500m"));
    drive.pod("b", asks("1"));
    drive.secs(2);
    assert_eq!(drive.status("a")["phase"], "Running", "a cordon is no matter of the node's");
    let b = drive.status("b");
    assert_eq!((&b["phase"], &b["reason"]), (&json!("Failed"), &json!("OutOfcpu")));
    let why = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    assert_eq!(b["message"], format!("Pod was rejected: {why}"));
    assert_eq!(drive.told("b"), [format!("OutOfcpu: {why}")]);
    drive.edit("a", |_| {});
    drive.crash(Duration::from_secs(1));
    drive.secs(2);
    assert_eq!(drive.status("a")["phase"], "Running", "what runs is not asked again");
    for name in ["c", "d", "e"] {
        drive.pod(name, web());
    }
    drive.secs(3);
    let phases: Vec<Value> = ["c", "d", "e"].map(|n| drive.status(n)["phase"].clone()).into();
    assert_eq!(phases.iter().filter(|p| **p == "Running").count(), 2);
    assert_eq!(phases.iter().filter(|p| **p == "Failed").count(), 1);
}

#[test]
fn readiness_gates_and_foreign_conditions_are_respected() {
    let mut drive = Drive::new();
    let mut spec = web();
    spec["readinessGates"] = json!([{"conditionType": "example.org/lb"}]);
    drive.pod("web", spec);
    drive.secs(2);
    assert_eq!(drive.condition("web", "Ready")["reason"], "ReadinessGatesNotReady");
    assert_eq!(drive.condition("web", "ContainersReady")["status"], "True");
    drive.edit("web", |pod| {
        let gate = json!({"type": "example.org/lb", "status": "True"});
        pod["status"]["conditions"].as_array_mut().unwrap().push(gate);
    });
    assert_eq!(drive.condition("web", "Ready")["status"], "True");
    assert_eq!(drive.condition("web", "example.org/lb")["status"], "True");
}

#[test]
fn transition_times_move_only_with_their_condition() {
    let mut drive = Drive::new();
    drive.pod("web", web());
    drive.secs(2);
    let since = drive.condition("web", "Ready")["lastTransitionTime"].clone();
    let start = drive.status("web")["startTime"].clone();
    drive.secs(100);
    drive.fake.kill(drive.now(), &drive.id("web"));
    drive.secs(5);
    let again = drive.condition("web", "Ready")["lastTransitionTime"].clone();
    assert_ne!(again, since, "it was not ready for a moment");
    assert_eq!(drive.status("web")["startTime"], start);
    assert_eq!(drive.condition("web", "PodReadyToStartContainers")["lastTransitionTime"], since);
    let parse = |v: &Value| serde_json::from_value::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>(v.clone());
    assert!(Wall::of(&parse(&again).unwrap()) > Wall::of(&parse(&since).unwrap()));
}
