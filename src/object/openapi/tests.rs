use std::collections::BTreeMap;

use super::*;
use crate::object::Kind;
use crate::object::kinds::Subresource;

fn documents() -> BTreeMap<(&'static str, &'static str), Value> {
    let parsed = |(group, version)| {
        let text = document(group, version).unwrap();
        ((group, version), serde_json::from_str(&text).unwrap())
    };
    group_versions().into_iter().map(parsed).collect()
}

/// Calls `visit` with every `$ref` of a document, but not with a property of that name.
fn visit_references(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                match inner {
                    Value::String(to) if name == "$ref" => visit(to),
                    inner => visit_references(inner, visit),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit_references(item, visit)),
        _ => {}
    }
}

#[test]
fn every_document_parses_and_every_reference_resolves() {
    for ((group, version), document) in documents() {
        let mut count = 0;
        visit_references(&document, &mut |to| {
            let name = to.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{to}"));
            assert!(document["components"]["schemas"][name].is_object(), "{group}/{version}: {to}");
            count += 1;
        });
        assert!(count > 40, "{group}/{version}: {count} references");
    }
}

/// kubectl explain's templates and strict OpenAPI readers fail on these.
#[test]
fn schemas_hold_nothing_that_openapi_v3_does_not_know() {
    fn check(schema: &Value, at: &str) {
        assert!(schema["type"].is_string() || schema["type"].is_null(), "{at}: {}", schema["type"]);
        assert!(schema["$ref"].is_null() || schema.as_object().unwrap().len() == 1, "{at}: beside a $ref");
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            check(inner, &format!("{at}.{name}"));
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                check(&schema[inner], &format!("{at}.{inner}"));
            }
        }
    }
    for document in documents().values() {
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            check(schema, name);
        }
    }
}

/// What kubectl 1.33 looks for before `apply`: the PATCH operation with the kind, and its query parameters.
#[test]
fn kubectl_finds_its_parameters_on_the_patch_of_every_kind() {
    let documents = documents();
    for kind in SERVED {
        let wanted = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let document = &documents[&(kind.group, kind.version)];
        let paths = document["paths"].as_object().unwrap();
        let patch = paths
            .values()
            .map(|item| &item["patch"])
            .find(|patch| patch["x-kubernetes-group-version-kind"] == wanted)
            .unwrap_or_else(|| panic!("{kind}"));
        for name in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            let parameters = patch["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|p| p["name"] == name && p["in"] == "query"), "{kind} {name}");
        }
        let gvks = &document["components"]["schemas"][kind.definition]["x-kubernetes-group-version-kind"];
        assert!(gvks.as_array().unwrap().contains(&wanted), "{kind}: explain looks for it");
    }
}

#[test]
fn every_kind_is_served_at_its_paths() {
    let methods = |item: &Value| -> Vec<String> {
        item.as_object().map(|m| m.keys().filter(|k| *k != "parameters").cloned().collect()).unwrap_or_default()
    };
    for kind in SERVED {
        let paths = &document_of(kind)["paths"];
        let root = format!("/{}", root(kind.group, kind.version));
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let list = format!("{root}{scope}/{}", kind.plural);
        assert_eq!(methods(&paths[&list]), ["delete", "get", "post"], "{list}");
        assert_eq!(methods(&paths[format!("{list}/{{name}}")]), ["delete", "get", "patch", "put"], "{list}");
        let all = &paths[format!("{root}/{}", kind.plural)];
        assert!(methods(all).contains(&"get".to_owned()), "{kind}");
        for (subresource, name) in
            [(Subresource::Status, "status"), (Subresource::Scale, "scale"), (Subresource::Approval, "approval")]
        {
            let served = methods(&paths[format!("{list}/{{name}}/{name}")]);
            let expected: &[&str] = if kind.has(subresource) { &["get", "patch", "put"] } else { &[] };
            assert_eq!(served, expected, "{kind}/{name}");
        }
    }
}

fn document_of(kind: &Kind) -> Value {
    serde_json::from_str(&document(kind.group, kind.version).unwrap()).unwrap()
}

#[test]
fn operations_have_upstreams_ids() {
    let core = serde_json::from_str::<Value>(&document("", "v1").unwrap()).unwrap();
    let apps = serde_json::from_str::<Value>(&document("apps", "v1").unwrap()).unwrap();
    let lease = serde_json::from_str::<Value>(&document("coordination.k8s.io", "v1").unwrap()).unwrap();
    let pods = "/api/v1/namespaces/{namespace}/pods";
    let deployments = "/apis/apps/v1/namespaces/{namespace}/deployments";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases";
    let table = [
        (&core, pods.to_owned(), "get", "listCoreV1NamespacedPod", "list"),
        (&core, pods.to_owned(), "post", "createCoreV1NamespacedPod", "post"),
        (&core, pods.to_owned(), "delete", "deleteCoreV1CollectionNamespacedPod", "deletecollection"),
        (&core, "/api/v1/pods".into(), "get", "listCoreV1PodForAllNamespaces", "list"),
        (&core, "/api/v1/nodes/{name}".into(), "get", "readCoreV1Node", "get"),
        (&core, format!("{pods}/{{name}}"), "put", "replaceCoreV1NamespacedPod", "put"),
        (&core, format!("{pods}/{{name}}"), "delete", "deleteCoreV1NamespacedPod", "delete"),
        (&core, format!("{pods}/{{name}}/log"), "get", "readCoreV1NamespacedPodLog", "get"),
        (&core, format!("{pods}/{{name}}/status"), "patch", "patchCoreV1NamespacedPodStatus", "patch"),
        (&apps, format!("{deployments}/{{name}}/scale"), "get", "readAppsV1NamespacedDeploymentScale", "get"),
        (&lease, format!("{leases}/{{name}}"), "patch", "patchCoordinationV1NamespacedLease", "patch"),
    ];
    for (document, path, method, id, action) in table {
        let operation = &document["paths"][&path][method];
        assert_eq!(operation["operationId"], id, "{path}");
        assert_eq!(operation["x-kubernetes-action"], action, "{path}");
    }
    let scale = &apps["paths"][format!("{deployments}/{{name}}/scale")]["patch"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    let ids: Vec<_> = documents()
        .values()
        .flat_map(|d| d["paths"].as_object().unwrap().clone())
        .flat_map(|(_, item)| item.as_object().unwrap().clone())
        .filter_map(|(_, operation)| Some(operation.get("operationId")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
}

#[test]
fn the_index_names_each_document_by_its_hash() {
    let index = index(|group, version| document(group, version).unwrap());
    let url = |path: &str| index["paths"][path]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert!(url("apis/apps/v1").starts_with("/openapi/v3/apis/apps/v1?hash="));
    assert!(url("api/v1").starts_with("/openapi/v3/api/v1?hash="));
    assert_ne!(url("api/v1").split('=').nth(1), url("apis/apps/v1").split('=').nth(1));
    assert_eq!(index["paths"].as_object().unwrap().len(), group_versions().len());
    assert_eq!(document("apps", "v2"), None);
    assert_eq!(document("", "v1"), document("", "v1"), "the same text each time");
}
