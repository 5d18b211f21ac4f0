//! Pods: the status column sums up phase, containers and deletion in one word.

use serde_json::{Value, json};

use crate::time::Wall;

use super::format::{NONE, count, elapsed, items, or, time};
use super::{AGE, Column, NAME, Printer, age, name, text, wide};

pub(super) const PODS: Printer = Printer { columns: COLUMNS, cells };

const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    text("Status", "The aggregate status of the containers in this pod."),
    text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod \
         has restarted.",
    ),
    AGE,
    wide(text(
        "IP",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    )),
    wide(text("Node", "NodeName indicates in which node this pod is scheduled.")),
    wide(text(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right \
         away as preemption victims receive their graceful termination periods.",
    )),
    wide(text(
        "Readiness Gates",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers \
         are ready AND all conditions specified in the readiness gates have status equal to \"True\".",
    )),
];

fn cells(pod: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = Summary::of(pod);
    let ip = or(&status["podIPs"][0]["ip"], or(&status["podIP"], NONE));
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.clone().into(),
        summary.restarts(now).into(),
        age(pod, now),
        ip.into(),
        or(&spec["nodeName"], NONE).into(),
        or(&status["nominatedNodeName"], NONE).into(),
        gates(pod).into(),
    ]
}

/// Old clients hide rows of finished pods by these.
pub(super) fn row_conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// Ready containers, restarts and the one word, as upstream's printer finds them.
struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Wall>,
    reason: String,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let sidecars = items(&spec["initContainers"]).iter().filter(|c| is_sidecar(c)).count();
        let mut summary = Self {
            ready: 0,
            total: items(&spec["containers"]).len() + sidecars,
            restarts: 0,
            last_restart: None,
            reason: or(&status["reason"], or(&status["phase"], "")).to_owned(),
        };
        let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
        if items(&status["conditions"]).iter().any(gated) {
            summary.reason = "SchedulingGated".into();
        }
        let initializing = summary.add_init_containers(pod);
        if !initializing || condition(status, "Initialized") {
            summary.add_containers(pod);
        }
        summary.add_deletion(pod);
        summary
    }

    /// Counts init containers up to the first that is not done. Returns whether there is one.
    fn add_init_containers(&mut self, pod: &Value) -> bool {
        let declared = items(&pod["spec"]["initContainers"]);
        for (at, container) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            self.add_restarts(container);
            let state = &container["state"];
            let terminated = &state["terminated"];
            let waiting = or(&state["waiting"]["reason"], "");
            let sidecar = declared.iter().any(|c| c["name"] == container["name"] && is_sidecar(c));
            if terminated.is_object() && count(&terminated["exitCode"]) == 0 {
                continue;
            }
            if sidecar && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{at}/{}", declared.len())
            };
            return true;
        }
        false
    }

    fn add_containers(&mut self, pod: &Value) {
        let status = &pod["status"];
        // Restarts of plain init containers are history now; those of sidecars go on.
        (self.restarts, self.last_restart) = (0, None);
        let declared = items(&pod["spec"]["initContainers"]);
        for container in items(&status["initContainerStatuses"]) {
            if declared.iter().any(|c| c["name"] == container["name"] && is_sidecar(c)) {
                self.add_restarts(container);
            }
        }
        let mut running = false;
        for container in items(&status["containerStatuses"]).iter().rev() {
            self.add_restarts(container);
            let state = &container["state"];
            let waiting = or(&state["waiting"]["reason"], "");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                self.reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if condition(status, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }

    fn add_deletion(&mut self, pod: &Value) {
        if !pod["metadata"]["deletionTimestamp"].is_string() {
            return;
        }
        let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if pod["status"]["reason"] == "NodeLost" {
            self.reason = "Unknown".into();
        } else if !finished {
            self.reason = "Terminating".into();
        }
    }

    fn add_restarts(&mut self, container: &Value) {
        self.restarts += count(&container["restartCount"]);
        let last = time(&container["lastState"]["terminated"]["finishedAt"]);
        self.last_restart = self.last_restart.max(last);
    }

    fn restarts(&self, now: Wall) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, elapsed(last, now)),
            _ => self.restarts.to_string(),
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// The word for a container that ended.
fn ended(terminated: &Value) -> String {
    let signal = count(&terminated["signal"]);
    match or(&terminated["reason"], "") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", count(&terminated["exitCode"])),
        reason => reason.to_owned(),
    }
}

fn condition(status: &Value, kind: &str) -> bool {
    items(&status["conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
}

fn gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|g| condition(&pod["status"], or(&g["conditionType"], ""))).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_763_882_730_000_000);

    /// Prints a pod of two containers: ready, status, restarts.
    fn print(pod: &Value) -> [String; 3] {
        let cells = cells(pod, NOW);
        [1, 2, 3].map(|i| cells[i].as_str().unwrap().to_owned())
    }

    fn pod(status: &Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status})
    }

    fn running(name: &str) -> Value {
        json!({"name": name, "ready": true, "restartCount": 0, "state": {"running": {}}})
    }

    #[test]
    fn one_word_sums_up_the_containers() {
        let waiting = |reason: &str| json!({"name": "b", "restartCount": 0, "state": {"waiting": {"reason": reason}}});
        let ended = |how: Value| json!({"name": "b", "restartCount": 0, "state": {"terminated": how}});
        for (phase, second, ready, word) in [
            ("Running", running("b"), "2/2", "Running"),
            ("Running", waiting("CrashLoopBackOff"), "1/2", "CrashLoopBackOff"),
            ("Pending", waiting("ImagePullBackOff"), "1/2", "ImagePullBackOff"),
            ("Running", ended(json!({"exitCode": 0, "reason": "Completed"})), "1/2", "NotReady"),
            ("Running", ended(json!({"exitCode": 1, "reason": "Error"})), "1/2", "Error"),
            ("Running", ended(json!({"exitCode": 137, "reason": "OOMKilled"})), "1/2", "OOMKilled"),
            ("Running", ended(json!({"exitCode": 3})), "1/2", "ExitCode:3"),
            ("Running", ended(json!({"exitCode": 0, "signal": 9})), "1/2", "Signal:9"),
        ] {
            let pod = pod(&json!({"phase": phase, "containerStatuses": [running("a"), second]}));
            assert_eq!(print(&pod)[..2], [ready, word]);
        }
        assert_eq!(print(&pod(&json!({"phase": "Pending"}))), ["0/2", "Pending", "0"]);
        assert_eq!(print(&pod(&json!({"phase": "Failed", "reason": "Evicted"})))[1], "Evicted");
        let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
        assert_eq!(print(&pod(&json!({"phase": "Pending", "conditions": gated})))[1], "SchedulingGated");
    }

    #[test]
    fn a_running_container_beside_a_completed_one_is_running_when_the_pod_is_ready() {
        let done = json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let pod = pod(&json!({
            "phase": "Running",
            "containerStatuses": [running("a"), done],
            "conditions": [{"type": "Ready", "status": "True"}],
        }));
        assert_eq!(print(&pod)[1], "Running");
    }

    #[test]
    fn init_containers_come_first() {
        let mut pod = pod(&json!({"phase": "Pending"}));
        pod["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        for (states, word) in [
            (json!([{"name": "i", "state": {"running": {}}}, {"name": "j", "state": {"waiting": {}}}]), "Init:0/2"),
            (json!([done, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]), "Init:1/2"),
            (json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]), "Init:Error"),
            (json!([{"name": "i", "state": {"terminated": {"exitCode": 2}}}]), "Init:ExitCode:2"),
            (
                json!([done, {"name": "j", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
                "Init:CrashLoopBackOff",
            ),
        ] {
            pod["status"]["initContainerStatuses"] = states;
            assert_eq!(print(&pod)[1], word);
        }
    }

    #[test]
    fn a_started_sidecar_counts_as_a_container() {
        let mut pod = pod(&json!({"phase": "Running", "containerStatuses": [running("a"), running("b")]}));
        pod["spec"]["initContainers"] = json!([{"name": "s", "restartPolicy": "Always"}]);
        pod["status"]["initContainerStatuses"] =
            json!([{"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}}]);
        assert_eq!(print(&pod), ["3/3", "Running", "2"]);
    }

    #[test]
    fn restarts_tell_when() {
        let last = json!({"terminated": {"exitCode": 1, "finishedAt": "2025-11-23T07:23:30Z"}});
        let mut again = running("b");
        again["restartCount"] = json!(3);
        again["lastState"] = last;
        let pod = pod(&json!({"phase": "Running", "containerStatuses": [running("a"), again]}));
        assert_eq!(print(&pod), ["2/2", "Running", "3 (2m ago)"]);
    }

    #[test]
    fn a_deleted_pod_is_terminating_until_it_is_done() {
        let mut pod = pod(&json!({"phase": "Running", "containerStatuses": [running("a"), running("b")]}));
        pod["metadata"]["deletionTimestamp"] = json!("2025-11-23T07:23:30Z");
        assert_eq!(print(&pod)[1], "Terminating");
        pod["status"]["reason"] = json!("NodeLost");
        assert_eq!(print(&pod)[1], "Unknown");
        pod["status"] = json!({"phase": "Succeeded"});
        assert_eq!(print(&pod)[1], "Succeeded");
    }

    #[test]
    fn wide_cells_say_where() {
        let mut p = pod(&json!({"phase": "Running", "podIPs": [{"ip": "10.240.0.5"}]}));
        p["spec"]["nodeName"] = json!("n1");
        assert_eq!(cells(&p, NOW)[5..], [json!("10.240.0.5"), json!("n1"), json!("<none>"), json!("<none>")]);
        p["spec"]["readinessGates"] = json!([{"conditionType": "x"}, {"conditionType": "y"}]);
        p["status"]["conditions"] = json!([{"type": "x", "status": "True"}]);
        assert_eq!(cells(&p, NOW)[8], "1/2");
        assert_eq!(cells(&pod(&json!({})), NOW)[5], "<none>");
    }

    #[test]
    fn finished_pods_are_marked_completed() {
        assert_eq!(row_conditions(&json!({"status": {"phase": "Failed"}})).unwrap()[0]["reason"], "Failed");
        assert_eq!(row_conditions(&json!({"status": {"phase": "Running"}})), None);
    }
}
