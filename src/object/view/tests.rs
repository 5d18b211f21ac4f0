use serde_json::{Value, json};

use super::{show, store};
use crate::object::kinds::{EVENT, EVENT_V1, HORIZONTAL_POD_AUTOSCALER as V2, HORIZONTAL_POD_AUTOSCALER_V1 as V1};

fn hpa(metrics: &Value) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"maxReplicas": 5, "metrics": metrics, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}},
        "status": {"desiredReplicas": 3, "currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}]}})
}

#[test]
fn an_autoscaler_of_two_versions_is_one_object() {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 70}}});
    let old = show(&V1, hpa(&json!([cpu])));
    assert_eq!(
        (&old["apiVersion"], &old["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(70))
    );
    assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 7);
    assert_eq!((old["spec"].get("metrics"), old["spec"].get("behavior")), (None, None));
    assert_eq!(store(&V1, old), hpa(&json!([cpu])), "and back");

    let manifest = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 2, "targetCPUUtilizationPercentage": 50}});
    let stored = store(&V1, manifest);
    assert_eq!(stored["apiVersion"], V2.api_version());
    assert_eq!(
        stored["spec"]["metrics"][0]["resource"]["target"],
        json!({"type": "Utilization", "averageUtilization": 50})
    );
}

#[test]
fn metrics_that_the_old_version_has_no_field_for_go_along() {
    let metrics = json!([
        {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "web"},
            "metric": {"name": "hits"}, "target": {"type": "Value", "value": "10"}}},
        {"type": "Pods", "pods": {"metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "5"}}},
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 5}}},
        {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "2"}}},
    ]);
    let old = show(&V1, hpa(&metrics));
    let note = old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str().unwrap();
    let noted: Value = serde_json::from_str(note).unwrap();
    assert_eq!(
        noted[0]["object"],
        json!({"target": {"kind": "Service", "name": "web"}, "metricName": "hits", "targetValue": "10"})
    );
    assert_eq!(noted[3]["containerResource"]["targetAverageUtilization"], 5);
    assert_eq!(store(&V1, old), hpa(&metrics), "and back");
    let odd = json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{", "keep": "x"}}});
    assert_eq!(store(&V1, odd)["metadata"]["annotations"], json!({"keep": "x"}));
}

#[test]
fn an_event_has_other_names_in_its_own_group() {
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "eventTime": null, "reason": "Pulled",
        "involvedObject": {"kind": "Pod", "name": "web"}, "message": "it is here", "source": {"component": "kubelet"},
        "firstTimestamp": "2025-01-01T00:00:00Z", "lastTimestamp": "2025-01-01T00:00:01Z", "count": 2,
        "reportingComponent": "kubelet", "reportingInstance": "n1", "type": "Normal"});
    let shown = show(&EVENT_V1, event.clone());
    assert_eq!((&shown["apiVersion"], &shown["note"]), (&json!("events.k8s.io/v1"), &json!("it is here")));
    assert_eq!((&shown["regarding"]["name"], &shown["deprecatedCount"]), (&json!("web"), &json!(2)));
    assert_eq!((shown.get("message"), &shown["reportingController"]), (None, &json!("kubelet")));
    assert_eq!(store(&EVENT_V1, shown), event);
    assert_eq!(show(&EVENT, event.clone()), event, "the stored form is shown as it is");
}
