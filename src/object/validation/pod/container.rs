//! Containers: names, images, ports, mounts; what init containers may not have.

use std::collections::BTreeSet;

use super::volume::Volumes;
use super::{env, handler, resources, user_id};
use crate::object::validation::field::{Causes, Field, quoted};
use crate::object::validation::names;

/// Checks all containers of a pod spec: regular, init, ephemeral. Names are unique among them.
pub(super) fn containers(spec: &Field<'_>, volumes: &Volumes, causes: &mut Causes) {
    let grace = spec.child("terminationGracePeriodSeconds").number();
    let regular = spec.child("containers");
    if regular.len() == 0 {
        causes.required(&regular, "");
    }
    let mut used = BTreeSet::new();
    for container in regular.items() {
        common(&container, volumes, causes);
        unique_name(&container, &mut used, causes);
        handler::lifecycle_and_probes(&container, grace, causes);
        if container.has("restartPolicy") {
            causes.forbidden(&container.child("restartPolicy"), "may not be set for non-init containers");
        }
    }
    host_ports(regular.items(), causes);
    init_containers(&spec.child("initContainers"), grace, volumes, &mut used, causes);
    for container in spec.child("ephemeralContainers").items() {
        common(&container, volumes, causes);
        unique_name(&container, &mut used, causes);
        super::ephemeral::ephemeral(spec, &container, causes);
    }
}

fn init_containers<'a>(
    init: &Field<'a>,
    grace: Option<i64>,
    volumes: &Volumes,
    used: &mut BTreeSet<&'a str>,
    causes: &mut Causes,
) {
    for container in init.items() {
        common(&container, volumes, causes);
        let restart = container.child("restartPolicy");
        if restart.is_set() && restart.text() != "Always" {
            causes.not_supported(&restart, &["Always"]);
        }
        unique_name(&container, used, causes);
        // Upstream checks each one by itself, since they run one by one, and calls each the first.
        host_ports(std::iter::once(container.named(format!("{}[0]", init.path))), causes);
        if restart.text() == "Always" {
            handler::lifecycle_and_probes(&container, grace, causes);
            continue;
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(name) {
                let why = "may not be set for init containers without restartPolicy=Always";
                causes.forbidden(&container.child(name), why);
            }
        }
    }
}

fn unique_name<'a>(container: &Field<'a>, used: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    let name = container.child("name");
    if !name.text().is_empty() && !used.insert(name.text()) {
        causes.duplicate(&name);
    }
}

fn common(container: &Field<'_>, volumes: &Volumes, causes: &mut Causes) {
    let name = container.child("name");
    if name.text().is_empty() {
        causes.required(&name, "");
    } else {
        causes.invalid_each(&name, names::dns_label(name.text()));
    }
    if container.child("image").text().is_empty() {
        causes.required(&container.child("image"), "");
    }
    causes.one_of(&container.child("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(&container.child("ports"), causes);
    env::env(&container.child("env"), causes);
    env::env_from(&container.child("envFrom"), causes);
    mounts(container, volumes, causes);
    causes.one_of(&container.child("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources::requirements(&container.child("resources"), causes);
    security(&container.child("securityContext"), causes);
}

/// Protocols of ports, as upstream lists them.
pub(in crate::object::validation) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn ports(ports: &Field<'_>, causes: &mut Causes) {
    let mut used = BTreeSet::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.text().is_empty() {
            let faults = names::port_name(name.text());
            if faults.is_empty() && !used.insert(name.text()) {
                causes.duplicate(&name);
            }
            causes.invalid_each(&name, faults);
        }
        let own = port.child("containerPort");
        match own.number().unwrap_or_default() {
            0 => causes.required(&own, ""),
            number => causes.invalid_each(&own, names::port_number(number)),
        }
        let host = port.child("hostPort");
        match host.number().unwrap_or_default() {
            0 => {}
            number => causes.invalid_each(&host, names::port_number(number)),
        }
        causes.one_of(&port.child("protocol"), PROTOCOLS);
    }
}

/// Two containers of a pod cannot have the same port of the host.
fn host_ports<'a>(containers: impl Iterator<Item = Field<'a>>, causes: &mut Causes) {
    let mut used = BTreeSet::new();
    for port in containers.flat_map(|c| c.child("ports").items().collect::<Vec<_>>()) {
        let host = port.child("hostPort");
        let number = host.number().unwrap_or_default();
        let key = format!("{}/{}/{number}", port.child("protocol").text(), port.child("hostIP").text());
        if number != 0 && !used.insert(key.clone()) {
            causes.duplicate_as(&host, &quoted(&key), "");
        }
    }
}

fn mounts(container: &Field<'_>, volumes: &Volumes, causes: &mut Causes) {
    let mounts = container.child("volumeMounts");
    let privileged = container.child("securityContext").child("privileged").is_true();
    let mut used = BTreeSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if name.text().is_empty() {
            causes.required(&name, "");
        }
        if !volumes.contains(name.text()) {
            causes.not_found(&name);
        }
        if path.text().is_empty() {
            causes.required(&path, "");
        }
        if !used.insert(path.text()) {
            causes.invalid_as(&path, &quoted(path.text()), "must be unique");
        }
        // Upstream leaves the mount's number out of the paths of these.
        let (part, expression) = (mount.child("subPath"), mount.child("subPathExpr"));
        if !part.text().is_empty() {
            super::volume::descending(&part.named(format!("{}.subPath", mounts.path)), causes);
        }
        if !expression.text().is_empty() {
            if !part.text().is_empty() {
                causes.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
            }
            super::volume::descending(&expression.named(format!("{}.subPathExpr", mounts.path)), causes);
        }
        let propagation = mount.child("mountPropagation").named(format!("{}.mountPropagation", mounts.path));
        if propagation.is_set() {
            if !["Bidirectional", "HostToContainer", "None"].contains(&propagation.text()) {
                causes.not_supported(&propagation, &["Bidirectional", "HostToContainer", "None"]);
            }
            if propagation.text() == "Bidirectional" && !privileged {
                let why = "Bidirectional mount propagation is available only to privileged containers";
                causes.forbidden(&propagation, why);
            }
        }
    }
    devices(&container.child("volumeDevices"), volumes, causes);
}

fn devices(devices: &Field<'_>, volumes: &Volumes, causes: &mut Causes) {
    for device in devices.items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        if name.text().is_empty() {
            causes.required(&name, "");
        }
        if !volumes.contains(name.text()) {
            causes.not_found(&name);
        }
        if path.text().is_empty() {
            causes.required(&path, "");
        }
    }
}

fn security(context: &Field<'_>, causes: &mut Causes) {
    user_id(&context.child("runAsUser"), causes);
    user_id(&context.child("runAsGroup"), causes);
    let escalation = context.child("allowPrivilegeEscalation");
    if escalation.value == &serde_json::Value::Bool(false) {
        if context.child("privileged").is_true() {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            causes.invalid_as(context, &context.value.to_string(), why);
        }
        let mut added = context.child("capabilities").child("add").items().map(|c| c.text()).collect::<Vec<_>>();
        added.retain(|c| *c == "CAP_SYS_ADMIN");
        if !added.is_empty() {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            causes.invalid_as(context, &context.value.to_string(), why);
        }
    }
}
