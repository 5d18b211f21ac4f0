//! Jobs, CronJobs, DaemonSets, StatefulSets and what else makes or keeps pods.

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, UNSET, containers, count, elapsed, items, labels, len, or, since, time};
use super::workloads::{CONTAINERS, IMAGES, SELECTOR, template};
use super::{AGE, NAME, Printer, age, boolean, integer, name, text, wide};

pub(super) const JOBS: Printer = Printer {
    columns: &[
        NAME,
        text("Status", "Status of the job."),
        text(
            "Completions",
            "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs.",
        ),
        text("Duration", "Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        wide(text(
            "Selector",
            "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        )),
    ],
    cells: job,
};

pub(super) const CRON_JOBS: Printer = Printer {
    columns: &[
        NAME,
        text("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        text(
            "Timezone",
            "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
        ),
        boolean(
            "Suspend",
            "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.",
        ),
        integer("Active", "A list of pointers to currently running jobs."),
        text("Last Schedule", "Information when was the last time the job was successfully scheduled."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: cron_job,
};

pub(super) const DAEMON_SETS: Printer = Printer {
    columns: &[
        NAME,
        integer(
            "Desired",
            "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        integer(
            "Current",
            "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
        ),
        integer(
            "Ready",
            "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
        ),
        integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
        integer(
            "Available",
            "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
        ),
        text(
            "Node Selector",
            "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
        ),
        AGE,
        CONTAINERS,
        IMAGES,
        wide(text(
            "Selector",
            "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        )),
    ],
    cells: daemon_set,
};

pub(super) const STATEFUL_SETS: Printer = Printer {
    columns: &[NAME, text("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES],
    cells: stateful_set,
};

pub(super) const REPLICATION_CONTROLLERS: Printer = Printer {
    columns: &[
        NAME,
        integer(
            "Desired",
            "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        integer(
            "Current",
            "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
        ),
        integer("Ready", "The number of ready replicas for this replication controller."),
        AGE,
        CONTAINERS,
        IMAGES,
        wide(text(
            "Selector",
            "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
        )),
    ],
    cells: replication_controller,
};

pub(super) const CONTROLLER_REVISIONS: Printer = Printer {
    columns: &[
        NAME,
        text("Controller", "Controller of the object"),
        integer("Revision", "Revision indicates the revision of the state represented by Data."),
        AGE,
    ],
    cells: controller_revision,
};

pub(super) const POD_TEMPLATES: Printer = Printer {
    columns: &[
        NAME,
        text("Containers", "Names of each container in the template."),
        text("Images", "Images referenced by each container in the template."),
        text("Pod Labels", "The labels for the pod template."),
    ],
    cells: pod_template,
};

pub(super) const POD_DISRUPTION_BUDGETS: Printer = Printer {
    columns: &[
        NAME,
        text("Min Available", "The minimum number of pods that must be available."),
        text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        AGE,
    ],
    cells: pod_disruption_budget,
};

pub(super) const HORIZONTAL_POD_AUTOSCALERS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Reference",
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
        ),
        text(
            "Targets",
            "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
        ),
        text(
            "MinPods",
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
        ),
        text(
            "MaxPods",
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
        ),
        text(
            "Replicas",
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
        ),
        AGE,
    ],
    cells: super::autoscalers::cells,
};

fn job(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let succeeded = count(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), count(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration =
        time(&status["startTime"]).map(|start| elapsed(start, time(&status["completionTime"]).unwrap_or(now)));
    let mut cells = vec![name(object), job_status(object).into(), completions.into()];
    cells.extend([duration.unwrap_or_default().into(), age(object, now)]);
    cells.extend(template(&spec["template"], &spec["selector"]));
    cells
}

fn job_status(object: &Value) -> &'static str {
    let is =
        |kind: &str| items(&object["status"]["conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if !object["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn cron_job(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last =
        if status["lastScheduleTime"].is_null() { NONE.to_owned() } else { since(&status["lastScheduleTime"], now) };
    let suspend = spec["suspend"].as_bool().map_or(UNSET, |suspend| if suspend { "True" } else { "False" });
    let job = &spec["jobTemplate"]["spec"];
    let mut cells = vec![name(object), or(&spec["schedule"], "").into(), or(&spec["timeZone"], NONE).into()];
    cells.extend([suspend.into(), len(&status["active"]).into(), last.into(), age(object, now)]);
    cells.extend(template(&job["template"], &job["selector"]));
    cells
}

fn daemon_set(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|field| count(&status[field]).into()));
    cells.extend([labels(&spec["template"]["spec"]["nodeSelector"]).into(), age(object, now)]);
    cells.extend(template(&spec["template"], &spec["selector"]));
    cells
}

fn stateful_set(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    let [containers, images, _] = template(&spec["template"], &spec["selector"]);
    vec![name(object), ready.into(), age(object, now), containers, images]
}

fn replication_controller(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|n| count(n).into()));
    let [containers, images, _] = template(&spec["template"], &Value::Null);
    cells.extend([age(object, now), containers, images, labels(&spec["selector"]).into()]);
    cells
}

fn controller_revision(object: &Value, now: Wall) -> Vec<Value> {
    let owner = items(&object["metadata"]["ownerReferences"]).iter().find(|o| o["controller"] == true);
    let shown = |owner: &Value| {
        let kind = or(&owner["kind"], "").to_lowercase();
        let group = or(&owner["apiVersion"], "").split_once('/').map(|(group, _)| format!(".{group}"));
        format!("{kind}{}/{}", group.unwrap_or_default(), or(&owner["name"], ""))
    };
    let owner = owner.map_or_else(|| NONE.to_owned(), shown);
    vec![name(object), owner.into(), count(&object["revision"]).into(), age(object, now)]
}

fn pod_template(object: &Value, _now: Wall) -> Vec<Value> {
    let template = &object["template"];
    let labels = labels(&template["metadata"]["labels"]);
    vec![name(object), containers(template, "name").into(), containers(template, "image").into(), labels.into()]
}

fn pod_disruption_budget(object: &Value, now: Wall) -> Vec<Value> {
    let amount = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    let spec = &object["spec"];
    let allowed = count(&object["status"]["disruptionsAllowed"]);
    let (least, most) = (amount(&spec["minAvailable"]), amount(&spec["maxUnavailable"]));
    vec![name(object), least.into(), most.into(), allowed.into(), age(object, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(spec: &Value, status: &Value) -> Value {
        json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": spec, "status": status})
    }

    #[test]
    fn a_job_is_printed_as_upstream_does() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "b:1"}]}});
        let selector = json!({"matchLabels": {"c": "d"}});
        let spec = json!({"completions": 3, "parallelism": 2, "template": template, "selector": selector});
        let running = json!({"succeeded": 1, "startTime": "1970-01-01T00:00:10Z"});
        let cells = json!(job(&object(&spec, &running), Wall::from_secs(60)));
        assert_eq!(cells, json!(["x", "Running", "1/3", "50s", "60s", "a", "b:1", "c=d"]));
        let done = json!({"succeeded": 3, "startTime": "1970-01-01T00:00:10Z", "completionTime": "1970-01-01T00:00:15Z",
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]});
        let cells = json!(job(&object(&spec, &done), Wall::from_secs(60)));
        assert_eq!((&cells[1], &cells[3]), (&json!("Complete"), &json!("5s")));
        for (spec, status, completions, word) in [
            (json!({"parallelism": 2}), json!({"succeeded": 1}), "1/1 of 2", "Running"),
            (json!({"parallelism": 1}), json!({"conditions": [{"type": "Failed", "status": "True"}]}), "0/1", "Failed"),
            (json!({}), json!({"conditions": [{"type": "Suspended", "status": "True"}]}), "0/1", "Suspended"),
        ] {
            let cells = job(&object(&spec, &status), Wall::from_secs(60));
            assert_eq!((&cells[1], &cells[2]), (&json!(word), &json!(completions)));
        }
    }

    #[test]
    fn other_workloads_are_printed_as_upstream_does() {
        let now = Wall::from_secs(60);
        let status = json!({"active": [{}], "lastScheduleTime": "1970-01-01T00:00:30Z"});
        let cells = json!(cron_job(&object(&json!({"schedule": "* * * * *", "suspend": false}), &status), now));
        assert_eq!(cells, json!(["x", "* * * * *", "<none>", "False", 1, "30s", "60s", "", "", "<none>"]));
        let status = json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1});
        let cells = json!(daemon_set(&object(&json!({}), &status), now));
        assert_eq!(cells, json!(["x", 3, 2, 1, 0, 0, "<none>", "60s", "", "", "<none>"]));
        let cells = json!(stateful_set(&object(&json!({"replicas": 3}), &json!({"readyReplicas": 1})), now));
        assert_eq!(cells, json!(["x", "1/3", "60s", "", ""]));
        let budget = object(&json!({"minAvailable": "50%"}), &json!({"disruptionsAllowed": 1}));
        assert_eq!(json!(pod_disruption_budget(&budget, now)), json!(["x", "50%", "N/A", 1, "60s"]));
        let owned = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z", "ownerReferences":
            [{"controller": true, "kind": "StatefulSet", "apiVersion": "apps/v1", "name": "web"}]}, "revision": 2});
        assert_eq!(json!(controller_revision(&owned, now)), json!(["x", "statefulset.apps/web", 2, "60s"]));
    }
}
