//! What a pod's status may say.

use crate::object::validation::field::{Causes, Field};
use crate::object::validation::names;

/// Checks a change of a Pod's status.
pub(in crate::object::validation) fn on_status(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (status, before) = (new.child("status"), old.child("status"));
    for condition in status.child("conditions").items().map(|c| c.child("type").named(c.child("Type").path)) {
        if !["PodScheduled", "Ready", "Initialized"].contains(&condition.text()) {
            causes.invalid_each(&condition, names::qualified_name(condition.text()));
        }
    }
    if before.has("qosClass") {
        causes.immutable(&status.child("qosClass"), &before.child("qosClass"));
    }
    let spec = old.child("spec");
    let policy = spec.child("restartPolicy").text();
    for list in ["initContainerStatuses", "containerStatuses"] {
        let (now, was) = (status.child(list), before.child(list));
        stays_terminated(&now, &was, policy, &spec, causes);
    }
    for list in ["podIPs", "hostIPs"] {
        for ip in status.child(list).items().map(|ip| ip.child("ip").named(&ip.path)) {
            causes.invalid_each(&ip, names::ip_address(ip.text()));
        }
    }
}

/// A container that is not to be restarted does not run again.
fn stays_terminated(now: &Field<'_>, was: &Field<'_>, policy: &str, spec: &Field<'_>, causes: &mut Causes) {
    if policy == "Always" {
        return;
    }
    let init = spec.child("initContainers");
    for (i, old) in was.items().enumerate() {
        let ended = old.child("state").child("terminated");
        let name = old.child("name").text();
        let failed = ended.child("exitCode").number() != Some(0);
        let mut sidecars = init.items().filter(|c| c.child("restartPolicy").text() == "Always");
        if !ended.is_set() || (failed && policy == "OnFailure") || sidecars.any(|c| c.child("name").text() == name) {
            continue;
        }
        let runs = |c: Field<'_>| c.child("name").text() == name && !c.child("state").has("terminated");
        if now.items().any(runs) {
            let state = now.named(format!("{}[{i}].state", now.path));
            causes.forbidden(&state, "may not be transitioned to non-terminated state");
        }
    }
}
