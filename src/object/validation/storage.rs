//! Storage, Ingresses and the network (`pkg/apis/{core,storage,networking}/validation`).

use serde_json::Value;

use super::field::{Causes, Field, same};
use super::{names, selector};
use crate::object::Quantity;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(modes: &Field<'_>, why: &str, causes: &mut Causes) {
    if modes.len() == 0 {
        causes.required(modes, why);
    }
    for mode in modes.items().filter(|mode| !MODES.contains(&mode.text())) {
        causes.not_supported(&mode.named(&modes.path), MODES);
    }
}

/// Checks a PersistentVolume.
pub(super) fn volume(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    access_modes(&spec.child("accessModes"), "", causes);
    let capacity = spec.child("capacity");
    if capacity.len() == 0 {
        causes.required(&capacity, "");
    } else if !capacity.has("storage") || capacity.len() > 1 {
        causes.not_supported(&capacity, &["storage"]);
    }
    positive(&capacity.key("storage"), causes);
    let sources = sources(spec.value);
    if sources.is_empty() {
        causes.required(&spec, "must specify a volume type");
    }
    for name in sources.iter().skip(1) {
        causes.forbidden(&spec.child(name), "may not specify more than 1 volume type");
    }
    let policy = spec.child("persistentVolumeReclaimPolicy");
    causes.one_of(&policy, &["Delete", "Recycle", "Retain"]);
    causes.one_of(&spec.child("volumeMode"), &["Block", "Filesystem"]);
}

/// The members of a volume's spec that say where the data is.
fn sources(spec: &Value) -> Vec<&str> {
    const OTHERS: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let members = spec.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| !value.is_null() && !OTHERS.contains(&name.as_str()))
        .map(|(n, _)| n.as_str())
        .collect()
}

/// Checks what may become of a PersistentVolume.
pub(super) fn volume_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("spec"), old.child("spec"));
    let source = |spec: &Value| -> Value {
        sources(spec).into_iter().map(|name| (name.to_owned(), spec[name].clone())).collect()
    };
    if !same(&source(new.value), &source(old.value)) {
        causes
            .forbidden(&new.child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation");
    }
    causes.immutable(&new.child("volumeMode"), &old.child("volumeMode"));
}

fn positive(amount: &Field<'_>, causes: &mut Causes) {
    if Quantity::of(amount.value).is_ok_and(|q| q.is_negative() || q.is_zero()) {
        causes.invalid(amount, "must be greater than zero");
    }
}

/// Checks a PersistentVolumeClaim.
pub(super) fn claim(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    access_modes(&spec.child("accessModes"), "at least 1 access mode is required", causes);
    let wanted = spec.child("resources").child("requests").key("storage");
    if wanted.is_set() {
        positive(&wanted, causes);
    } else {
        causes.required(&wanted.named("spec.resources[storage]"), "");
    }
    if spec.has("selector") {
        selector::label_selector(&spec.child("selector"), causes);
    }
    causes.one_of(&spec.child("volumeMode"), &["Block", "Filesystem"]);
}

/// Checks what may become of a claim: it may grow, and find its volume.
pub(super) fn claim_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (mut now, was) = (new.child("spec").value.clone(), old.child("spec").value);
    if let Some(now) = now.as_object_mut() {
        let unbound = was["volumeName"].as_str().unwrap_or_default().is_empty();
        let may = ["resources", "volumeAttributesClassName"].into_iter().chain(unbound.then_some("volumeName"));
        may.for_each(|name| drop(now.insert(name.to_owned(), was[name].clone())));
    }
    if !same(&now, was) {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.forbidden(&new.child("spec"), why);
    }
    let size = |root: &Field<'_>| Quantity::of(&root.child("spec").value["resources"]["requests"]["storage"]).ok();
    if let (Some(now), Some(was)) = (size(new), size(old))
        && now < was
    {
        let field = new.child("spec").child("resources").child("requests").child("storage");
        causes.forbidden(&field, "field can not be less than status.capacity");
    }
}

/// Checks a StorageClass.
pub(super) fn class(root: &Field<'_>, causes: &mut Causes) {
    let provisioner = root.child("provisioner");
    if provisioner.text().is_empty() {
        causes.required(&provisioner, "");
    } else {
        causes.invalid_each(&provisioner, names::qualified_name(&provisioner.text().to_lowercase()));
    }
    causes.one_of(&root.child("reclaimPolicy"), &["Delete", "Retain"]);
    causes.one_of(&root.child("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
}

/// Checks what may become of a StorageClass.
pub(super) fn class_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(new.child(name).value, old.child(name).value) {
            causes.forbidden(&new.child(name), &format!("updates to {name} are forbidden."));
        }
    }
    causes.immutable(&new.child("volumeBindingMode"), &old.child("volumeBindingMode"));
}

/// Checks an Ingress.
pub(super) fn ingress(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    if spec.child("rules").len() == 0 && !spec.has("defaultBackend") {
        causes.invalid_as(&spec, &spec.value.to_string(), "either `defaultBackend` or `rules` must be specified");
    }
    if spec.has("defaultBackend") {
        backend(&spec.child("defaultBackend"), causes);
    }
    for rule in spec.child("rules").items() {
        let host = rule.child("host");
        if host.text().parse::<std::net::IpAddr>().is_ok() {
            causes.invalid(&host, "must be a DNS name, not an IP address");
        } else if !host.text().is_empty() {
            causes.invalid_each(&host, names::dns_subdomain(host.text().trim_start_matches("*.")));
        }
        let http = rule.child("http");
        if http.is_set() && http.child("paths").len() == 0 {
            causes.required(&http.child("paths"), "");
        }
        for path in http.child("paths").items() {
            let kind = path.child("pathType");
            if kind.text().is_empty() {
                causes.required(&kind, "pathType must be specified");
            } else if !["Exact", "ImplementationSpecific", "Prefix"].contains(&kind.text()) {
                causes.not_supported(&kind, &["Exact", "ImplementationSpecific", "Prefix"]);
            } else if !path.child("path").text().starts_with('/') && kind.text() != "ImplementationSpecific" {
                causes.invalid_each(&path.child("path"), vec!["must be an absolute path".into()]);
            }
            backend(&path.child("backend"), causes);
        }
    }
}

fn backend(backend: &Field<'_>, causes: &mut Causes) {
    let service = backend.child("service");
    match (service.is_set(), backend.has("resource")) {
        (true, true) => causes.invalid_as(backend, "\"\"", "cannot set both resource and service backends"),
        (false, false) => causes.required(&service.child("name"), ""),
        (false, true) => {}
        (true, false) => {
            let (name, port) = (service.child("name"), service.child("port"));
            if name.text().is_empty() {
                causes.required(&name, "");
            } else {
                causes.invalid_each(&name, names::dns1035_label(name.text()));
            }
            let (word, number) = (port.child("name"), port.child("number"));
            match (word.text().is_empty(), number.number().unwrap_or_default()) {
                (false, 0) => causes.invalid_each(&word, names::port_name(word.text())),
                (false, _) => causes.invalid(&service, "cannot set both port name & port number"),
                (true, 0) => causes.required(&port, "port name or number is required"),
                (true, number) => causes.invalid_each(&port.child("number"), names::port_number(number)),
            }
        }
    }
}

/// Checks a NetworkPolicy.
pub(super) fn network_policy(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    selector::label_selector(&spec.child("podSelector"), causes);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.child(rules).items() {
            for peer in rule.child(peers).items() {
                let block = peer.child("ipBlock");
                let others = peer.has("podSelector") || peer.has("namespaceSelector");
                if block.is_set() && others {
                    causes.forbidden(&peer, "may not specify both ipBlock and another peer");
                } else if !block.is_set() && !others {
                    causes.required(&peer, "must specify a peer");
                }
                if block.is_set() {
                    causes.invalid_each(&block.child("cidr"), names::cidr(block.child("cidr").text()));
                }
                for name in ["podSelector", "namespaceSelector"] {
                    selector::label_selector(&peer.child(name), causes);
                }
            }
            for port in rule.child("ports").items() {
                causes.one_of(&port.child("protocol"), &["SCTP", "TCP", "UDP"]);
                if port.has("port") {
                    super::pod::port_number_or_name(&port.child("port"), causes);
                }
            }
        }
    }
    for kind in spec.child("policyTypes").items() {
        if !["Egress", "Ingress"].contains(&kind.text()) {
            causes.not_supported(&kind, &["Egress", "Ingress"]);
        }
    }
}
