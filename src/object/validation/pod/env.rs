//! The environment: names, and where values come from.

use crate::object::Quantity;
use crate::object::validation::field::{Causes, Field};
use crate::object::validation::{meta, names};

/// Fields of a pod that its environment can show.
const POD_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a container that can be shown.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks `env`.
pub(super) fn env(env: &Field<'_>, causes: &mut Causes) {
    for variable in env.items() {
        let name = variable.child("name");
        if name.text().is_empty() {
            causes.required(&name, "");
        } else {
            causes.invalid_each(&name, names::env_name(name.text()));
        }
        if variable.has("valueFrom") {
            value_from(&variable.child("valueFrom"), !variable.child("value").text().is_empty(), causes);
        }
    }
}

fn value_from(source: &Field<'_>, has_value: bool, causes: &mut Causes) {
    let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];
    if source.has("fieldRef") {
        field_ref(&source.child("fieldRef"), POD_FIELDS, causes);
    }
    if source.has("resourceFieldRef") {
        resource_ref(&source.child("resourceFieldRef"), false, causes);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if source.has(name) {
            key_ref(&source.child(name), causes);
        }
    }
    let why = match sources.iter().filter(|name| source.has(name)).count() {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    causes.invalid_as(source, "\"\"", why);
}

fn key_ref(reference: &Field<'_>, causes: &mut Causes) {
    let (name, key) = (reference.child("name"), reference.child("key"));
    causes.invalid_each(&name, names::dns_subdomain(name.text()));
    if key.text().is_empty() {
        causes.required(&key, "");
    } else {
        causes.invalid_each(&key, names::config_key(key.text()));
    }
}

/// Checks a reference to a field of the pod; `fields` are those that can be shown here.
pub(super) fn field_ref(reference: &Field<'_>, fields: &[&str], causes: &mut Causes) {
    let path = reference.child("fieldPath");
    if reference.child("apiVersion").text().is_empty() {
        return causes.required(&reference.child("apiVersion"), "");
    }
    if path.text().is_empty() {
        return causes.required(&path, "");
    }
    let subscript = path.text().strip_suffix("']").and_then(|p| p.split_once("['"));
    match subscript {
        Some(("metadata.annotations", key)) => meta::label_key(reference, &key.to_lowercase(), causes),
        Some(("metadata.labels", key)) => meta::label_key(reference, key, causes),
        Some((field, _)) => {
            let why = format!("error converting fieldPath: field label does not support subscript: {field}");
            causes.invalid(&path, &why);
        }
        None if fields.contains(&path.text()) => {}
        None if known(path.text()) => causes.not_supported(&path, fields),
        None => {
            let why = format!("error converting fieldPath: field label not supported: {}", path.text());
            causes.invalid(&path, &why);
        }
    }
}

/// Fields that have a name in the downward API, be they shown here or elsewhere.
fn known(path: &str) -> bool {
    POD_FIELDS.contains(&path)
        || ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"]
            .contains(&path)
}

/// Checks a reference to a container's resource; in a volume it must name the container.
pub(super) fn resource_ref(reference: &Field<'_>, volume: bool, causes: &mut Causes) {
    let resource = reference.child("resource");
    let name = resource.text();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if volume && reference.child("containerName").text().is_empty() {
        causes.required(&reference.child("containerName"), "");
    } else if name.is_empty() {
        causes.required(&resource, "");
    } else if !RESOURCES.contains(&name) && !huge {
        causes.not_supported(&resource, RESOURCES);
    }
    divisor(name, &reference.child("divisor"), causes);
}

fn divisor(resource: &str, divisor: &Field<'_>, causes: &mut Causes) {
    let Ok(quantity) = Quantity::of(divisor.value) else { return };
    let written = quantity.to_string();
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (allowed, of): (&[&str], _) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => (&["1m", "1"], "values 1m and 1 are supported with the cpu resource".to_owned()),
        "memory" => (&sizes, format!("values {} are supported with the memory resource", sizes.join(", "))),
        "ephemeral-storage" => {
            (&sizes, format!("values {} are supported with the local ephemeral storage resource", sizes.join(", ")))
        }
        _ => return,
    };
    if !quantity.is_zero() && !allowed.contains(&written.as_str()) {
        let shown = crate::object::validation::field::quoted(resource);
        causes.invalid_as(divisor, &shown, &format!("only divisor's {of}"));
    }
}

/// Checks `envFrom`.
pub(super) fn env_from(sources: &Field<'_>, causes: &mut Causes) {
    for source in sources.items() {
        let prefix = source.child("prefix");
        if !prefix.text().is_empty() {
            causes.invalid_each(&prefix, names::env_name(prefix.text()));
        }
        let mut count = 0;
        for reference in ["configMapRef", "secretRef"].map(|n| source.child(n)).into_iter().filter(Field::is_set) {
            count += 1;
            let name = reference.child("name");
            if name.text().is_empty() {
                causes.required(&name, "");
            } else {
                causes.invalid_each(&name, names::dns_subdomain(name.text()));
            }
        }
        match count {
            0 => causes.invalid_as(sources, "\"\"", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => causes.invalid_as(sources, "\"\"", "may not have more than one field specified at a time"),
        }
    }
}
