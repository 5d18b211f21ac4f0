//! Defaults of workloads (`pkg/apis/apps/v1/defaults.go`).

use serde_json::Value;

use super::fill::{Members, fill, fill_text, open_or_make, text_of};
use super::pod;

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
