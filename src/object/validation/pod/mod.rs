//! Pods and pod templates.

mod container;
mod env;
mod ephemeral;
mod handler;
mod placement;
mod resources;
mod status;
mod update;
mod volume;

use super::field::{Causes, Field};
use super::{meta, names};

pub(super) use ephemeral::on_ephemeral_containers;
pub(super) use handler::port_number_or_name;
pub(super) use placement::taint_effect;
pub(super) use resources::value as resource_value;
pub(super) use status::on_status;
pub(super) use update::on_update;

/// Checks a new Pod.
pub(super) fn on_create(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    meta::partition(root, causes);
    pod(&spec, causes);
    if !spec.child("nodeName").text().is_empty() && spec.child("schedulingGates").len() > 0 {
        causes.forbidden(&spec.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// Checks what a Pod may have only later.
pub(super) fn on_birth(root: &Field<'_>, causes: &mut Causes) {
    let ephemeral = root.child("spec").child("ephemeralContainers");
    if ephemeral.len() > 0 {
        causes.forbidden(&ephemeral, "cannot be set on create");
    }
}

/// Checks a Pod's spec, and what pods are held to but templates are not.
fn pod(spec: &Field<'_>, causes: &mut Causes) {
    pod_spec(spec, true, causes);
    for list in ["containers", "initContainers"] {
        for image in spec.child(list).items().map(|c| c.child("image")) {
            if image.text().trim() != image.text() {
                causes.invalid(&image, "must not have leading or trailing whitespace");
            }
        }
    }
}

/// Checks a pod template: its metadata and spec.
pub(super) fn template(template: &Field<'_>, causes: &mut Causes) {
    // Upstream leaves `metadata` out of these two paths.
    let metadata = template.child("metadata");
    meta::labels(&metadata.child("labels").named(format!("{}.labels", template.path)), causes);
    meta::annotations(&metadata.child("annotations").named(format!("{}.annotations", template.path)), causes);
    let spec = template.child("spec");
    pod_spec(&spec, false, causes);
    if spec.child("ephemeralContainers").len() > 0 {
        causes.forbidden(&spec.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

fn pod_spec(spec: &Field<'_>, is_pod: bool, causes: &mut Causes) {
    if !spec.has("terminationGracePeriodSeconds") {
        causes.required(&spec.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::volumes(&spec.child("volumes"), causes);
    container::containers(spec, &volumes, causes);
    host_network_ports(spec, is_pod, causes);
    causes.one_of(&spec.child("restartPolicy"), &["Always", "OnFailure", "Never"]);
    dns(spec, causes);
    meta::labels(&spec.child("nodeSelector"), causes);
    security(&spec.child("securityContext"), causes);
    placement::affinity(&spec.child("affinity"), causes);
    placement::gates(&spec.child("schedulingGates"), causes);
    placement::spread(&spec.child("topologySpreadConstraints"), causes);
    names_of(spec, causes);
    let deadline = spec.child("activeDeadlineSeconds");
    if let Some(seconds) = deadline.number() {
        causes.invalid_each(&deadline, names::in_range(seconds, 1, i64::from(i32::MAX)));
    }
    placement::tolerations(&spec.child("tolerations"), causes);
    host_aliases(&spec.child("hostAliases"), causes);
    if spec.has("preemptionPolicy") {
        causes.one_of(&spec.child("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    }
    if spec.has("overhead") {
        resources::quantities(&spec.child("overhead"), causes);
    }
    if spec.has("os") && !["linux", "windows"].contains(&spec.child("os").child("name").text()) {
        causes.not_supported(&spec.child("os").child("name").named(spec.child("os").path), &["linux", "windows"]);
    }
}

/// Names of other things that the pod refers to.
fn names_of(spec: &Field<'_>, causes: &mut Causes) {
    type Rule = fn(&str) -> Vec<String>;
    let rules: [(&str, Rule); 6] = [
        ("serviceAccountName", names::dns_subdomain),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ];
    for (name, rule) in rules {
        let field = spec.child(name);
        if !field.text().is_empty() {
            causes.invalid_each(&field, rule(field.text()));
        }
    }
}

fn host_network_ports(spec: &Field<'_>, is_pod: bool, causes: &mut Causes) {
    if !spec.child("hostNetwork").is_true() {
        return;
    }
    for port in spec.child("containers").items().flat_map(|c| c.child("ports").items().collect::<Vec<_>>()) {
        let (host, own) = (port.child("hostPort"), port.child("containerPort"));
        let (host_number, own_number) = (host.number().unwrap_or_default(), own.number().unwrap_or_default());
        if (is_pod || host_number != 0) && host_number != own_number {
            causes.invalid_as(&host, &host_number.to_string(), "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

fn dns(spec: &Field<'_>, causes: &mut Causes) {
    let policy = spec.child("dnsPolicy");
    causes.one_of(&policy, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    let config = spec.child("dnsConfig");
    let servers = config.child("nameservers");
    if policy.text() == "None" {
        if !config.is_set() {
            return causes.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.len() == 0 {
            return causes.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > 3 {
        causes.invalid(&servers, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        causes.invalid_each(&server, names::ip_address(server.text()));
    }
    let searches = config.child("searches");
    if searches.len() > 32 {
        causes.invalid(&searches, "must not have more than 32 search paths");
    }
    for search in searches.items().filter(|s| s.text() != ".") {
        let bare = search.text().strip_suffix('.').unwrap_or(search.text()).replace('_', "a");
        causes.invalid_each(&search, names::dns_subdomain(&bare));
    }
    for option in config.child("options").items() {
        if option.child("name").text().is_empty() {
            causes.required(&option, "must not be empty");
        }
    }
}

fn host_aliases(aliases: &Field<'_>, causes: &mut Causes) {
    for alias in aliases.items() {
        let ip = alias.child("ip");
        causes.invalid_each(&ip, names::ip_address(ip.text()));
        for name in alias.child("hostnames").items() {
            causes.invalid_each(&name, names::dns_subdomain(name.text()));
        }
    }
}

fn security(context: &Field<'_>, causes: &mut Causes) {
    for id in ["fsGroup", "runAsUser", "runAsGroup"].map(|name| context.child(name)) {
        user_id(&id, causes);
    }
    for group in context.child("supplementalGroups").items() {
        user_id(&group, causes);
    }
    let policy = context.child("fsGroupChangePolicy");
    if policy.is_set() && !["Always", "OnRootMismatch"].contains(&policy.text()) {
        causes.not_supported(&policy, &["Always", "OnRootMismatch"]);
    }
}

/// A user's or group's number.
fn user_id(id: &Field<'_>, causes: &mut Causes) {
    if let Some(number) = id.number() {
        causes.invalid_each(id, names::in_range(number, 0, i64::from(u32::MAX)));
    }
}

#[cfg(test)]
mod tests;
