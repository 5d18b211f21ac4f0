//! Probes and lifecycle hooks: exactly one handler each.

use crate::object::validation::field::{Causes, Field};
use crate::object::validation::names;

/// Checks what a container that stays may have: hooks and probes.
pub(super) fn lifecycle_and_probes(container: &Field<'_>, grace: Option<i64>, causes: &mut Causes) {
    for hook in ["postStart", "preStop"].map(|name| container.child("lifecycle").child(name)) {
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, causes);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            probe(&container.child(name), name, causes);
        }
    }
}

fn probe(probe: &Field<'_>, name: &str, causes: &mut Causes) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, causes);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.not_negative(&probe.child(name));
    }
    let grace = probe.child("terminationGracePeriodSeconds");
    if grace.number().is_some_and(|seconds| seconds <= 0) {
        causes.invalid(&grace, "must be greater than 0");
    }
    let successes = probe.child("successThreshold");
    if name == "readinessProbe" {
        if grace.is_set() {
            causes.invalid(&grace, "must not be set for readinessProbes");
        }
    } else if successes.number() != Some(1) {
        causes.invalid(&successes, "must be 1");
    }
}

fn handler(owner: &Field<'_>, kinds: &[&str], grace: Option<i64>, causes: &mut Causes) {
    let given: Vec<_> = kinds.iter().filter(|kind| owner.has(kind)).collect();
    let Some((first, more)) = given.split_first() else {
        return causes.required(owner, "must specify a handler type");
    };
    let action = owner.child(first);
    match **first {
        "exec" if action.child("command").len() == 0 => causes.required(&action.child("command"), ""),
        "httpGet" => http_get(&action, causes),
        "tcpSocket" | "grpc" => port_number_or_name(&action.child("port"), causes),
        "sleep" => sleep(&action, grace, causes),
        _ => {}
    }
    for kind in more {
        causes.forbidden(&owner.child(kind), "may not specify more than 1 handler type");
    }
}

fn http_get(action: &Field<'_>, causes: &mut Causes) {
    if action.child("path").text().is_empty() {
        causes.required(&action.child("path"), "");
    }
    port_number_or_name(&action.child("port"), causes);
    if !["HTTP", "HTTPS"].contains(&action.child("scheme").text()) {
        causes.not_supported(&action.child("scheme"), &["HTTP", "HTTPS"]);
    }
    let headers = action.child("httpHeaders");
    for name in headers.items().map(|h| h.child("name").named(&headers.path)) {
        causes.invalid_each(&name, names::http_header(name.text()));
    }
}

fn sleep(action: &Field<'_>, grace: Option<i64>, causes: &mut Causes) {
    let seconds = action.child("seconds").number().unwrap_or_default();
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        causes.invalid_as(action, &seconds.to_string(), &why);
    }
}

/// Checks a port that is a number or the name of a container's port.
pub(in crate::object::validation) fn port_number_or_name(port: &Field<'_>, causes: &mut Causes) {
    if port.value.is_string() {
        causes.invalid_each(port, names::port_name(port.text()));
    } else {
        let number = port.number().unwrap_or_default();
        for fault in names::port_number(number) {
            causes.invalid_as(port, &number.to_string(), &fault);
        }
    }
}
