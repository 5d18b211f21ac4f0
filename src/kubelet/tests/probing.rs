//! Probes decide who gets traffic and who is restarted.

use serde_json::{Value, json};

use crate::runtime::fake::Image;

use super::drive::Drive;

fn probed(kind: &str, probe: &Value) -> Value {
    json!({"containers": [{"name": "web", "image": "app:1", kind: probe}]})
}

fn http() -> Value {
    json!({"httpGet": {"port": 80, "path": "/ok"}, "periodSeconds": 2, "failureThreshold": 2})
}

fn drive(healthy: bool) -> Drive {
    let mut drive = Drive::new();
    drive.fake.set_image("app:1", Image { healthy, ..Image::default() });
    drive
}

#[test]
fn readiness_follows_its_probe_there_and_back() {
    let mut drive = drive(false);
    drive.pod("web", probed("readinessProbe", &http()));
    drive.secs(5);
    assert_eq!(drive.status("web")["phase"], "Running");
    assert_eq!(drive.container("web")["ready"], false);
    assert_eq!(drive.condition("web", "Ready")["status"], "False");
    let unhealthy = "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 500".to_owned();
    assert!(drive.told("web").contains(&unhealthy));
    for (healthy, wait, ready) in [(true, 3, true), (false, 1, true), (false, 4, false), (true, 3, true)] {
        drive.fake.set_healthy("app:1", healthy);
        drive.secs(wait);
        assert_eq!(drive.container("web")["ready"], ready, "healthy {healthy} for {wait} s");
    }
    assert_eq!(drive.container("web")["restartCount"], 0);
}

#[test]
fn liveness_restarts_and_says_why() {
    let mut drive = drive(true);
    let mut probe = http();
    probe["initialDelaySeconds"] = json!(3);
    drive.pod("web", probed("livenessProbe", &probe));
    drive.secs(20);
    assert_eq!(drive.container("web")["restartCount"], 0);
    drive.fake.set_healthy("app:1", false);
    drive.secs(5);
    drive.fake.set_healthy("app:1", true);
    drive.secs(5);
    assert_eq!(drive.container("web")["restartCount"], 1);
    assert_eq!(drive.count("web", "Unhealthy"), 2);
    assert!(drive.told("web").contains(&"Killing: Container web failed liveness probe, will be restarted".to_owned()));
    drive.secs(60);
    assert_eq!(drive.container("web")["restartCount"], 1);
}

#[test]
fn a_startup_probe_gives_time_and_then_kills() {
    let mut drive = drive(false);
    let mut spec =
        probed("startupProbe", &json!({"tcpSocket": {"port": 80}, "periodSeconds": 2, "failureThreshold": 5}));
    spec["containers"][0]["livenessProbe"] = http();
    drive.pod("web", spec);
    drive.secs(8);
    let web = drive.container("web");
    assert_eq!((&web["started"], &web["ready"], &web["restartCount"]), (&json!(false), &json!(false), &json!(0)));
    drive.secs(4);
    assert_eq!(drive.container("web")["restartCount"], 1);
    assert!(drive.told("web").contains(&"Killing: Container web failed startup probe, will be restarted".to_owned()));
    drive.fake.set_healthy("app:1", true);
    drive.secs(3);
    let web = drive.container("web");
    assert_eq!((&web["started"], &web["ready"]), (&json!(true), &json!(true)));
}

#[test]
fn exec_probes_and_unknown_ports_are_told_apart() {
    let mut drive = drive(false);
    drive.pod("web", probed("readinessProbe", &json!({"exec": {"command": ["ok"]}, "periodSeconds": 2})));
    drive.pod("odd", probed("readinessProbe", &json!({"tcpSocket": {"port": "nope"}, "periodSeconds": 60})));
    drive.secs(3);
    assert!(drive.told("web").contains(&"Unhealthy: Readiness probe failed: exit status 1".to_owned()));
    assert!(drive.told("odd").contains(&"Unhealthy: Readiness probe errored: couldn't find port: \"nope\"".to_owned()));
    assert_eq!(drive.container("odd")["ready"], false);
}
