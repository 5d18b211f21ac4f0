//! Defaults of workloads (`pkg/apis/apps/v1/defaults.go`).

use serde_json::Value;

use super::batch::{take_labels, template_labels};
use super::fill::{Members, each, fill, fill_text, open, open_or_make, text_of};
use super::{pod, storage};

/// Fills in a Deployment.
pub(super) fn deployment(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill(spec, "replicas", 1);
    if let Some(strategy) = open_or_make(spec, "strategy") {
        rolling_update(strategy);
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    pod::template(spec);
}

fn rolling_update(strategy: &mut Members) {
    fill_text(strategy, "type", "RollingUpdate");
    if text_of(strategy, "type") != "RollingUpdate" {
        return;
    }
    if let Some(rolling) = open_or_make(strategy, "rollingUpdate") {
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
}

/// Fills in a ReplicaSet. (Labels are not taken from the template: apps/v1 gave that up.)
pub(super) fn replica_set(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill(spec, "replicas", 1);
    pod::template(spec);
}

/// Fills in a DaemonSet.
pub(super) fn daemon_set(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    if let Some(strategy) = open_or_make(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if text_of(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = open_or_make(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    pod::template(spec);
}

/// Fills in a StatefulSet.
pub(super) fn stateful_set(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = open_or_make(spec, "updateStrategy") {
        fill_text(strategy, "type", "RollingUpdate");
        if text_of(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = open_or_make(strategy, "rollingUpdate")
        {
            fill(rolling, "partition", 0);
        }
    }
    if let Some(retention) = open_or_make(spec, "persistentVolumeClaimRetentionPolicy") {
        fill_text(retention, "whenDeleted", "Retain");
        fill_text(retention, "whenScaled", "Retain");
    }
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    for claim in each(spec, "volumeClaimTemplates") {
        fill_text(claim, "apiVersion", "v1");
        fill_text(claim, "kind", "PersistentVolumeClaim");
        storage::claim_of(claim);
        if let Some(status) = open_or_make(claim, "status") {
            fill_text(status, "phase", "Pending");
        }
    }
    pod::template(spec);
}

/// Fills in a ReplicationController: labels and selector are the template's where it has none.
pub(super) fn replication_controller(object: &mut Value) {
    let Some(controller) = object.as_object_mut() else { return };
    let Some(spec) = open_or_make(controller, "spec") else { return };
    fill(spec, "replicas", 1);
    pod::template(spec);
    let labels = template_labels(spec);
    if let Some(labels) = &labels
        && open(spec, "selector").is_none_or(|selector| selector.is_empty())
    {
        spec.insert("selector".into(), labels.clone());
    }
    take_labels(controller, labels);
}

/// Fills in a PodTemplate.
pub(super) fn pod_template(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        pod::template(object);
    }
}
