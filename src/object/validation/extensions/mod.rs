//! CustomResourceDefinitions (`apiextensions-apiserver/pkg/apis/apiextensions/validation`).

mod structural;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Causes, Field};
use super::names;
use crate::object::custom::{self, JsonPath};

const APPROVAL: &str = "api-approved.kubernetes.io";
const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Checks a definition.
pub(super) fn definition(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let (group, names) = (spec.child("group"), spec.child("names"));
    let name = root.child("metadata").child("name");
    let expected = format!("{}.{}", names.child("plural").text(), group.text());
    if name.text() != expected {
        causes.invalid(&name, "must be spec.names.plural+\".\"+spec.group");
    }
    group_name(root, &group, causes);
    if spec.child("scope").text().is_empty() {
        causes.required(&spec.child("scope"), "");
    } else {
        causes.one_of(&spec.child("scope"), &["Cluster", "Namespaced"]);
    }
    accepted_names(&names, causes);
    conversion(&spec.child("conversion"), causes);
    if spec.child("preserveUnknownFields").is_true() {
        let field = spec.child("preserveUnknownFields");
        causes.invalid(&field, "must be false in order to use defaults in the schema");
    }
    versions(&spec, causes);
}

/// Checks what may become of a definition: what its objects go by stays.
pub(super) fn definition_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("spec"), old.child("spec"));
    for name in ["group", "scope"] {
        causes.immutable(&new.child(name), &old.child(name));
    }
    for name in ["kind", "plural"] {
        causes.immutable(&new.child("names").child(name), &old.child("names").child(name));
    }
}

fn group_name(root: &Field<'_>, group: &Field<'_>, causes: &mut Causes) {
    let text = group.text();
    if text.is_empty() {
        return causes.required(group, "");
    }
    causes.invalid_each(group, names::dns_subdomain(text));
    if !text.contains('.') {
        causes.invalid(group, "should be a domain with at least one dot");
    } else if custom::is_builtin(text) {
        causes.invalid(group, "is a group of the server's own");
    }
    let is_protected = |domain: &str| text == domain || text.ends_with(&format!(".{domain}"));
    let approval = root.child("metadata").child("annotations").key(APPROVAL);
    if ["k8s.io", "kubernetes.io"].into_iter().any(is_protected) {
        let value = approval.text();
        if value.is_empty() {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                       https://github.com/kubernetes/enhancements/pull/1111";
            causes.required(&approval, why);
        } else if !value.starts_with("unapproved") && !value.starts_with("http") {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a \
                       reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            causes.invalid(&approval, why);
        }
    }
}

fn accepted_names(names: &Field<'_>, causes: &mut Causes) {
    for field in ["plural", "singular", "kind", "listKind"].map(|name| names.child(name)) {
        let text = field.text();
        if text.is_empty() {
            causes.required(&field, "");
        } else {
            causes.invalid_each(&field, names::dns1035_label(&text.to_lowercase()));
        }
    }
    for list in ["shortNames", "categories"].map(|name| names.child(name)) {
        for name in list.items() {
            causes.invalid_each(&name, names::dns1035_label(name.text()));
        }
    }
    let (kind, list) = (names.child("kind"), names.child("listKind"));
    if !kind.text().is_empty() && kind.text() == list.text() {
        causes.invalid(&list, "kind and listKind may not be the same");
    }
}

fn conversion(conversion: &Field<'_>, causes: &mut Causes) {
    let strategy = conversion.child("strategy");
    match strategy.text() {
        "None" => {
            if conversion.has("webhook") {
                causes.forbidden(&conversion.child("webhook"), "should not be set when strategy is not set to Webhook");
            }
        }
        "Webhook" => {
            causes.invalid(&strategy, "conversion by a webhook is not supported by this server: only \"None\" is");
        }
        "" => causes.required(&strategy, ""),
        _ => causes.not_supported(&strategy, &["None", "Webhook"]),
    }
}

fn versions(spec: &Field<'_>, causes: &mut Causes) {
    let versions = spec.child("versions");
    if versions.len() == 0 {
        return causes.required(&versions, "must have at least one version");
    }
    let all: Vec<Field<'_>> = versions.items().collect();
    let shown = |field: &Field<'_>| field.value["name"].as_str().unwrap_or_default().to_owned();
    let list = all.iter().map(|v| format!("{:?}", shown(v))).collect::<Vec<_>>().join(" ");
    let distinct: BTreeSet<String> = all.iter().map(shown).collect();
    if distinct.len() < all.len() {
        causes.invalid_as(&versions, &format!("[{list}]"), "must contain unique version names");
    }
    if all.iter().filter(|v| v.child("storage").is_true()).count() != 1 {
        causes.invalid_as(&versions, &format!("[{list}]"), "must have exactly one version marked as storage version");
    }
    // Upstream folds equal schemas into one, and names the fields by that.
    let same = all.windows(2).all(|pair| pair[0].value["schema"] == pair[1].value["schema"]);
    for (at, version) in all.iter().enumerate() {
        causes.invalid_each(&version.child("name"), names::dns1035_label(version.child("name").text()));
        let schema = version.child("schema").child("openAPIV3Schema");
        if !schema.is_set() {
            causes.required(&schema, "schemas are required");
        } else if !same {
            structural::check(&schema, causes);
        } else if at == 0 {
            structural::check(&schema.named("spec.validation.openAPIV3Schema"), causes);
        }
        columns(&version.child("additionalPrinterColumns"), causes);
        scale(&version.child("subresources").child("scale"), causes);
        selectable(&version.child("selectableFields"), causes);
        if version.has("deprecationWarning") && !version.child("deprecated").is_true() {
            causes.invalid(&version.child("deprecationWarning"), "can only be set for deprecated versions");
        }
    }
}

fn columns(columns: &Field<'_>, causes: &mut Causes) {
    for column in columns.items() {
        if column.child("name").text().is_empty() {
            causes.required(&column.child("name"), "");
        }
        causes.one_of(&column.child("type"), TYPES);
        let format = column.child("format");
        if !format.text().is_empty() && !FORMATS.contains(&format.text()) {
            causes.invalid(&format, &format!("must be one of {}", FORMATS.join(",")));
        }
        json_path(&column.child("jsonPath"), causes);
    }
}

fn json_path(path: &Field<'_>, causes: &mut Causes) {
    if path.text().is_empty() {
        causes.required(path, "");
    } else if !path.text().starts_with(['.', '{', '[', '$']) {
        causes.invalid(path, "must be a simple json path starting with .");
    } else if let Err(why) = JsonPath::parse(path.text()) {
        causes.invalid(path, &format!("is invalid: {why}"));
    }
}

fn scale(scale: &Field<'_>, causes: &mut Causes) {
    if !scale.is_set() {
        return;
    }
    for (name, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = scale.child(name);
        if path.text().is_empty() {
            causes.required(&path, "");
        } else if !path.text().starts_with(root) {
            causes.invalid(&path, &format!("should be a json path under {}", root.trim_end_matches('.')));
        } else {
            plain(&path, causes);
        }
    }
    let selector = scale.child("labelSelectorPath");
    if !selector.text().is_empty() {
        if !selector.text().starts_with(".spec.") && !selector.text().starts_with(".status.") {
            causes.invalid(&selector, "should be a json path under either .spec or .status");
        } else {
            plain(&selector, causes);
        }
    }
}

/// A path of fields and nothing else.
fn plain(path: &Field<'_>, causes: &mut Causes) {
    if path.text().contains(['[', ']', '*']) || JsonPath::parse(path.text()).is_err() {
        causes.invalid(path, "is not a valid JSON path: array notation is not allowed");
    }
}

fn selectable(fields: &Field<'_>, causes: &mut Causes) {
    const MOST: usize = 8;
    if fields.len() > MOST {
        causes.too_many(fields, MOST);
    }
    for field in fields.items() {
        let path = field.child("jsonPath");
        if path.text().is_empty() {
            causes.required(&path, "");
        } else if path.text().starts_with(".metadata") {
            causes.invalid(&path, "must not point to fields in metadata");
        } else {
            plain(&path, causes);
        }
    }
}

/// Says what a definition asks for that is not done.
pub(super) fn warnings(crd: &Value) -> Vec<String> {
    let has_rules = |version: &&Value| {
        let text = version["schema"].to_string();
        text.contains(r#""x-kubernetes-validations":["#)
    };
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    let with = versions.filter(has_rules).filter_map(|v| v["name"].as_str());
    with.map(|name| format!("spec.versions[{name}]: the rules of x-kubernetes-validations are kept, and not enforced"))
        .collect()
}
