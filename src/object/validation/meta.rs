//! Metadata, which is the same for all kinds (`apimachinery/pkg/api/validation`).

use serde_json::Value;

use super::field::{Causes, Field};
use super::names;
use crate::object::{Kind, hold, kinds};

/// All annotations of an object together.
const ANNOTATIONS_LIMIT: usize = 256 << 10;

/// Checks the metadata of a new object.
pub(super) fn on_create(kind: &'static Kind, root: &Field<'_>, causes: &mut Causes) {
    let meta = root.child("metadata");
    generate_name(kind, &meta.child("generateName"), causes);
    let name = meta.child("name");
    if name.text().is_empty() {
        causes.required(&name, "name or generateName is required");
    } else {
        causes.invalid_each(&name, name_faults(kind, name.text()));
    }
    namespace(kind, &meta.child("namespace"), causes);
    causes.not_negative(&meta.child("generation"));
    common(kind, &meta, causes);
}

/// Checks what may become of metadata.
pub(super) fn on_update(kind: &Kind, new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("metadata"), old.child("metadata"));
    if old.has("deletionTimestamp") {
        no_new_finalizers(&new.child("finalizers"), &old.child("finalizers"), causes);
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        causes.immutable(&new.child(name), &old.child(name));
    }
    common(kind, &new, causes);
}

/// What an object's name must look like.
fn name_faults(kind: &'static Kind, name: &str) -> Vec<String> {
    if *kind == kinds::NAMESPACE {
        names::dns_label(name)
    } else if *kind == kinds::SERVICE {
        names::dns1035_label(name)
    } else if kind.group == kinds::ROLE.group {
        names::path_segment(name)
    } else if *kind == kinds::IP_ADDRESS {
        names::ip_address(name)
    } else {
        names::dns_subdomain(name)
    }
}

/// A name is made of it by appending letters and digits, so its last character may be a dash.
fn generate_name(kind: &'static Kind, prefix: &Field<'_>, causes: &mut Causes) {
    let text = prefix.text();
    if !text.is_empty() {
        let masked = text.strip_suffix('-').map_or_else(|| text.to_owned(), |stem| format!("{stem}a"));
        causes.invalid_each(prefix, name_faults(kind, &masked));
    }
}

fn namespace(kind: &'static Kind, namespace: &Field<'_>, causes: &mut Causes) {
    match (kind.namespaced, namespace.text()) {
        (true, "") => causes.required(namespace, ""),
        (true, text) => causes.invalid_each(namespace, names::dns_label(text)),
        (false, "") => {}
        (false, _) => causes.forbidden(namespace, "not allowed on this type"),
    }
}

fn common(kind: &Kind, meta: &Field<'_>, causes: &mut Causes) {
    labels(&meta.child("labels"), causes);
    annotations(&meta.child("annotations"), causes);
    owners(&meta.child("ownerReferences"), causes);
    finalizers(kind, &meta.child("finalizers"), causes);
}

/// Checks a map of labels: keys and values.
pub(super) fn labels(labels: &Field<'_>, causes: &mut Causes) {
    for (key, value) in labels.entries() {
        label_key(&labels.named(&labels.path), key, causes);
        causes.invalid_each(&value.named(&labels.path), names::label_value(value.text()));
    }
}

/// Checks a label's key, which is no value of its own: `key` is shown.
pub(super) fn label_key(field: &Field<'_>, key: &str, causes: &mut Causes) {
    let shown = Value::from(key);
    causes.invalid_each(&Field { value: &shown, path: field.path.clone() }, names::qualified_name(key));
}

/// Checks a map of annotations: keys and total size.
pub(super) fn annotations(annotations: &Field<'_>, causes: &mut Causes) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        let shown = Value::from(key);
        let field = Field { value: &shown, path: annotations.path.clone() };
        causes.invalid_each(&field, names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.text().len();
    }
    if size > ANNOTATIONS_LIMIT {
        causes.too_long(annotations, ANNOTATIONS_LIMIT);
    }
}

/// Checks what a workload says that it wants when the cluster is in two.
pub(super) fn partition(root: &Field<'_>, causes: &mut Causes) {
    let annotations = root.child("metadata").child("annotations");
    let wish = annotations.key(hold::PARTITION);
    if wish.is_set() {
        causes.one_of(&wish, &[hold::HOLD, hold::RUN]);
    }
}

/// Checks that a pod keeps its slot: what runs must not be taken for another's.
pub(super) fn slot_is_kept(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("metadata").child("annotations"), old.child("metadata").child("annotations"));
    let keeps = |annotations: &Field<'_>| annotations.key(hold::PARTITION).text() == hold::HOLD;
    let kept: &[&str] = if keeps(&old) { &[hold::PARTITION, hold::SLOT, hold::SLOT_OF] } else { &[] };
    for name in kept {
        causes.immutable(&new.key(name), &old.key(name));
    }
    if keeps(&new) && !keeps(&old) {
        causes.forbidden(&new.key(hold::PARTITION), "a pod that is there already cannot be made to hold");
    }
}

fn owners(owners: &Field<'_>, causes: &mut Causes) {
    let mut controller: Option<String> = None;
    for owner in owners.items().map(|o| o.named(&owners.path)) {
        for (name, fault) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            let field = owner.child(name);
            if field.text().is_empty() {
                causes.invalid_as(&field, "\"\"", fault);
            }
        }
        if (owner.child("apiVersion").text(), owner.child("kind").text()) == ("v1", "Event") {
            causes.invalid(&owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.child("controller").is_true() {
            let this = format!("{}/{}", owner.child("kind").text(), owner.child("name").text());
            match &controller {
                Some(first) => causes.invalid(
                    owners,
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

/// Of users' kinds, and of what defines them, a finalizer need not name a path below a domain.
fn finalizers(kind: &Kind, finalizers: &Field<'_>, causes: &mut Causes) {
    let strict = !kind.is_custom() && *kind != kinds::CUSTOM_RESOURCE_DEFINITION;
    for finalizer in finalizers.items() {
        causes.invalid_each(&finalizer.named(&finalizers.path), names::qualified_name(finalizer.text()));
        let standard = ["kubernetes", "orphan", "foregroundDeletion"].contains(&finalizer.text());
        if strict && !standard && !finalizer.text().contains('/') {
            causes.invalid(&finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    let has = |name: &str| finalizers.items().any(|f| f.text() == name);
    if has("orphan") && has("foregroundDeletion") {
        causes.invalid(finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn no_new_finalizers(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let mut added: Vec<_> = new.items().filter(|n| old.items().all(|o| o.value != n.value)).map(|n| n.text()).collect();
    added.sort_unstable();
    if !added.is_empty() {
        let added: Vec<_> = added.into_iter().map(super::field::quoted).collect();
        let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
        causes.forbidden(new, &format!("{why} []string{{{}}}", added.join(", ")));
    }
}
