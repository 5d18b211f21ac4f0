//! What a definition may say.

use serde_json::{Value, json};

use crate::object::{defaults, kinds, validation};

/// What a test does to an object that is valid.
type Edit = fn(&mut Value);

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}})
}

fn told(edit: impl Fn(&mut Value)) -> Vec<String> {
    let mut crd = definition();
    edit(&mut crd);
    defaults::apply(&kinds::CUSTOM_RESOURCE_DEFINITION, &mut crd);
    validation::on_create(&kinds::CUSTOM_RESOURCE_DEFINITION, &crd).iter().map(ToString::to_string).collect()
}

fn of_schema(schema: &Value) -> Vec<String> {
    told(|crd| {
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"] =
            schema.clone();
    })
}

#[test]
fn a_plain_definition_is_valid_and_completed() {
    assert_eq!(told(|_| {}), Vec::<String>::new());
    let mut crd = definition();
    defaults::apply(&kinds::CUSTOM_RESOURCE_DEFINITION, &mut crd);
    let names = json!({"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"});
    assert_eq!(crd["spec"]["names"], names);
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(crd["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let once = crd.clone();
    defaults::apply(&kinds::CUSTOM_RESOURCE_DEFINITION, &mut crd);
    assert_eq!(crd, once, "twice is once");
}

#[test]
fn names_and_versions_are_looked_at() {
    let table: &[(Edit, &str)] = &[
        (
            |c| c["metadata"]["name"] = json!("x.example.com"),
            "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            |c| c["spec"]["scope"] = json!("Galaxy"),
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            |c| c["spec"]["names"]["listKind"] = json!("Widget"),
            "spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same",
        ),
        (
            |c| c["spec"]["versions"][0]["storage"] = json!(false),
            "spec.versions: Invalid value: [\"v1\"]: must have exactly one version marked as storage version",
        ),
        (|c| c["spec"]["versions"] = json!([]), "spec.versions: Required value: must have at least one version"),
        (
            |c| drop(c["spec"]["versions"][0].as_object_mut().unwrap().remove("schema")),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            |c| c["spec"]["conversion"] = json!({"strategy": "Webhook"}),
            "spec.conversion.strategy: Invalid value: \"Webhook\": conversion by a webhook is not supported by this server: only \"None\" is",
        ),
        (
            |c| {
                c["spec"]["versions"][0]["subresources"] =
                    json!({"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.n"}});
            },
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec",
        ),
        (
            |c| {
                c["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "A", "type": "text", "jsonPath": ".spec.a"}]);
            },
            "spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: \"text\": supported values: \"boolean\", \"date\", \"integer\", \"number\", \"string\"",
        ),
    ];
    for (edit, fault) in table {
        assert_eq!(told(edit), [*fault]);
    }
    let own = told(|c| {
        c["metadata"]["name"] = json!("widgets.policy");
        c["spec"]["group"] = json!("policy");
    });
    assert_eq!(own, ["spec.group: Invalid value: \"policy\": should be a domain with at least one dot"]);
    let protected = told(|c| {
        c["metadata"]["name"] = json!("widgets.my.k8s.io");
        c["spec"]["group"] = json!("my.k8s.io");
    });
    assert!(
        protected[0].starts_with("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups"),
        "{protected:?}"
    );
}

#[test]
fn schemas_must_be_structural() {
    let at = "spec.validation.openAPIV3Schema.properties[spec].properties[size]";
    for (schema, fault) in [
        (json!({}), "type: Required value: must not be empty for specified object fields"),
        (
            json!({"type": "whole"}),
            "type: Unsupported value: \"whole\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (json!({"type": "array"}), "items: Required value: must be specified"),
        (
            json!({"type": "array", "items": {}}),
            "items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "additionalProperties": false}),
            "additionalProperties: Forbidden: additionalProperties cannot be set to false",
        ),
        (
            json!({"type": "string", "x-kubernetes-int-or-string": true}),
            "type: Invalid value: \"string\": must be empty if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "string", "anyOf": [{"type": "string"}]}),
            "anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}),
            "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            "default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "default": {"a": 1}}),
            "default: Invalid value: {\"a\":1}: must not have unspecified fields",
        ),
        (json!({"type": "string", "$ref": "#/x"}), "$ref: Forbidden: $ref is not supported"),
    ] {
        assert_eq!(of_schema(&schema), [format!("{at}.{fault}")]);
    }
    assert!(
        of_schema(&json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}))
            .is_empty()
    );
    assert!(of_schema(&json!({"x-kubernetes-preserve-unknown-fields": true})).is_empty());
    let bad = of_schema(&json!({"type": "string", "pattern": "("}));
    assert!(bad[0].contains("must be a valid regular expression, but isn't"), "{bad:?}");
}

#[test]
fn what_objects_go_by_stays() {
    let (old, mut new) = (definition(), definition());
    new["spec"]["scope"] = json!("Cluster");
    let causes = validation::on_update(&kinds::CUSTOM_RESOURCE_DEFINITION, &new, &old);
    assert!(
        causes.iter().any(|c| c.to_string() == "spec.scope: Invalid value: \"Cluster\": field is immutable"),
        "{causes:?}"
    );
}

#[test]
fn rules_that_nobody_enforces_are_named() {
    let mut crd = definition();
    assert!(super::warnings(&crd).is_empty());
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "self.x"}]);
    assert_eq!(
        super::warnings(&crd),
        ["spec.versions[v1]: the rules of x-kubernetes-validations are kept, and not enforced"]
    );
}
