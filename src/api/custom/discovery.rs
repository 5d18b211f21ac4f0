//! Discovery of users' kinds, plain and aggregated.

use serde_json::{Value, json};

use super::append;
use crate::api::discovery::{aggregated_resource, resource};
use crate::object::custom::{Catalog, Definition};

/// Adds the groups to the answer of `/apis`.
pub fn add_to_groups(answer: &mut Value, catalog: &Catalog) {
    let groups = catalog.groups();
    append(answer, "groups", groups.iter().map(|(group, versions)| members(group, versions)));
}

/// Returns the answer of `/apis/GROUP`.
pub fn group(catalog: &Catalog, group: &str) -> Option<Value> {
    let groups = catalog.groups();
    let mut answer = members(group, groups.get(group)?);
    answer["kind"] = json!("APIGroup");
    answer["apiVersion"] = json!("v1");
    Some(answer)
}

fn members(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<_> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// Adds the paths to the answer of `/`.
pub fn add_to_root(answer: &mut Value, catalog: &Catalog) {
    for (group, versions) in catalog.groups() {
        append(answer, "paths", [json!(format!("/apis/{group}"))]);
        append(answer, "paths", versions.iter().map(|version| json!(format!("/apis/{group}/{version}"))));
    }
}

/// Returns the answer of `/apis/GROUP/VERSION`, `None` if none of users' kinds are there.
pub fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut all = Vec::new();
    for (definition, version) in catalog.in_version(group, version) {
        let mut entries = resource(version.kind);
        name(&mut entries[0], "singularName", definition);
        all.extend(entries);
    }
    let group_version = format!("{group}/{version}");
    (!all.is_empty()).then(
        || json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": all}),
    )
}

/// Adds the groups to the aggregated answer of `/apis`.
pub fn add_to_aggregated(answer: &mut Value, catalog: &Catalog) {
    for (group, versions) in catalog.groups() {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let kinds = catalog.in_version(group, version);
                let resources: Vec<Value> = kinds
                    .map(|(definition, version)| {
                        let mut resource = aggregated_resource(version.kind);
                        name(&mut resource, "singularResource", definition);
                        resource
                    })
                    .collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = json!({"name": group, "creationTimestamp": null});
        append(answer, "items", [json!({"metadata": metadata, "versions": versions})]);
    }
}

/// What a kind is called besides is its definition's to say.
fn name(resource: &mut Value, singular: &str, definition: &Definition) {
    resource[singular] = json!(definition.singular);
    if !definition.short_names.is_empty() {
        resource["shortNames"] = json!(definition.short_names);
    }
    if !definition.categories.is_empty() {
        resource["categories"] = json!(definition.categories);
    }
}
