//! Deployments and ReplicaSets.

use serde_json::Value;

use crate::time::Wall;

use super::format::{containers, count, selector};
use super::{AGE, Column, NAME, Printer, age, integer, name, text, wide};

pub(super) const CONTAINERS: Column = wide(text("Containers", "Names of each container in the template."));
pub(super) const IMAGES: Column = wide(text("Images", "Images referenced by each container in the template."));
pub(super) const SELECTOR: Column = wide(text("Selector", "Label selector for pods."));

pub(super) const DEPLOYMENTS: Printer = Printer {
    columns: &[
        NAME,
        text("Ready", "Number of the pod with ready state"),
        text(
            "Up-to-date",
            "Total number of non-terminated pods targeted by this deployment that have the desired template spec.",
        ),
        text(
            "Available",
            "Total number of available pods (ready for at least minReadySeconds) targeted by this deployment.",
        ),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: deployment,
};

fn deployment(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    let numbers = [count(&status["updatedReplicas"]), count(&status["availableReplicas"])];
    let mut cells = vec![name(object), ready.into(), numbers[0].into(), numbers[1].into(), age(object, now)];
    cells.extend(template(&spec["template"], &spec["selector"]));
    cells
}

pub(super) const REPLICA_SETS: Printer = Printer {
    columns: &[
        NAME,
        integer("Desired", "Replicas is the number of desired replicas."),
        integer("Current", "Replicas is the most recently observed number of replicas."),
        integer("Ready", "readyReplicas is the number of pods targeted by this ReplicaSet with a Ready Condition."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: replica_set,
};

fn replica_set(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let numbers = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]].map(|n| count(n).into());
    let mut cells = vec![name(object)];
    cells.extend(numbers);
    cells.push(age(object, now));
    cells.extend(template(&spec["template"], &spec["selector"]));
    cells
}

/// The containers and images of a pod template, and whom the workload selects.
pub(super) fn template(template: &Value, of: &Value) -> [Value; 3] {
    [containers(template, "name").into(), containers(template, "image").into(), selector(of).into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn web(status: &Value) -> Value {
        json!({
            "metadata": {"name": "web", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "image": "x:2"}]}},
            },
            "status": status,
        })
    }

    #[test]
    fn a_deployment_is_printed_as_upstream_does() {
        let status = json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1});
        let expected = json!(["web", "2/3", 3, 1, "60s", "a,b", "nginx:1,x:2", "app=web"]);
        assert_eq!(json!(deployment(&web(&status), Wall::from_secs(60))), expected);
        assert_eq!(json!(deployment(&web(&json!({})), Wall::from_secs(60)))[1], "0/3");
    }

    #[test]
    fn a_replica_set_is_printed_as_upstream_does() {
        let status = json!({"replicas": 3, "readyReplicas": 2});
        let expected = json!(["web", 3, 3, 2, "60s", "a,b", "nginx:1,x:2", "app=web"]);
        assert_eq!(json!(replica_set(&web(&status), Wall::from_secs(60))), expected);
    }
}
