//! How much memory objects take. Run by hand, optimised, alone in its process:
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib store::tests::size -- --ignored --nocapture --test-threads=1`.
//! `SKEIN_OBJECTS` says how many.

use super::*;
use crate::ids::Uid;

/// What the process has in memory, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    4096 * text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages")
}

/// A pod as a Deployment's are, bound and running: about 2 KB of JSON, of which its status is a third.
fn grown_pod(rig: &mut Rig, i: usize) {
    let mut object = pod(&format!("web-5d4f8c7b9d-{i:06}"));
    let owner = Uid([7; 16]);
    object["metadata"]["generateName"] = "web-5d4f8c7b9d-".into();
    object["metadata"]["labels"] = json!({"app": "web", "pod-template-hash": "5d4f8c7b9d"});
    object["metadata"]["annotations"] = json!({"skein.dev/slot": i.to_string()});
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": "web-5d4f8c7b9d", "uid": owner, "controller": true, "blockOwnerDeletion": true}]);
    object["spec"] = json!({
        "containers": [{
            "name": "web", "image": "registry.example/team/web:1.27.3", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10,
                "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
        }],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "serviceAccountName": "default", "terminationGracePeriodSeconds": 30
    });
    let key = Key::of(&object).unwrap();
    rig.try_as(Author::Client, create(object)).unwrap();
    rig.try_as(Author::Leader, bind(&key, "n1")).unwrap();
    let at = "2026-11-23T07:25:30Z";
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": at});
    let seen = json!({"phase": "Running", "podIP": "10.240.0.17", "hostIP": "192.168.1.17", "startTime": at,
        "conditions": [condition("Initialized"), condition("Ready"), condition("ContainersReady")],
        "containerStatuses": [{"name": "web", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example/team/web:1.27.3", "containerID": format!("docker://{i:064x}"),
            "state": {"running": {"startedAt": at}}}]});
    rig.try_as(Author::Kubelet, status(&key, seen)).unwrap();
}

#[test]
#[ignore = "measures"]
fn how_much_memory_pods_take() {
    let count = std::env::var("SKEIN_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let mut rig = Rig::new(1);
    let before = resident();
    for i in 0..count {
        grown_pod(&mut rig, i);
        if i % 50 == 49 {
            rig.flush();
            // The disk is not what is measured.
            rig.disk = Vec::new();
        }
        if i == 999 {
            println!("the first 1,000 pods: {} MB", (resident() - before) >> 20);
        }
    }
    rig.flush();
    let taken = resident() - before;
    let json = rig.store.snapshot().all().map(|entry| entry.json.len()).sum::<usize>() / count;
    println!("{count} pods of {json} bytes of JSON: {} MB resident, {} bytes each", taken >> 20, taken / count);
}
