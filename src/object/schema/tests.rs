use super::*;
use crate::object::kinds::{self, KINDS};

#[test]
fn every_kind_and_its_list_are_in_the_schema() {
    for kind in KINDS {
        assert!(definition(kind.definition).is_some(), "{kind}");
        assert!(definition(&format!("{}List", kind.definition)).is_some(), "{kind}");
    }
}

#[test]
fn every_definition_is_read_and_every_reference_resolves() {
    let text = text();
    let definitions = text.definitions();
    assert!(definitions.len() > 400, "{}", definitions.len());
    for (name, json) in &definitions {
        assert!(definition(name).is_some(), "{name}");
        assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{name}");
        for reference in references(json) {
            assert!(definitions.contains_key(reference), "{name} -> {reference}");
        }
    }
    let empty: Vec<_> = schema().structs.iter().filter(|s| s.fields.is_empty()).map(Struct::short_name).collect();
    let known = [
        "CustomResourceSubresourceStatus",
        "JSON",
        "JSONSchemaPropsOrArray",
        "JSONSchemaPropsOrBool",
        "JSONSchemaPropsOrStringArray",
        "Quantity",
        "FieldsV1",
        "MicroTime",
        "Patch",
        "Time",
        "RawExtension",
        "IntOrString",
    ];
    assert_eq!(empty, known, "a value of its own needs a Shape");
}

/// A reference to a value must not come out as a struct without fields, which would drop all that is in it.
#[test]
fn values_of_their_own_are_no_structs() {
    let value = |shape: &Shape| match shape {
        Shape::Struct(id) => id.get().fields.is_empty() && id.get().short_name() != "CustomResourceSubresourceStatus",
        _ => false,
    };
    for s in &schema().structs {
        for (name, field) in s.fields() {
            let inner = match &field.shape {
                Shape::List(inner) | Shape::Map(inner) => inner,
                other => other,
            };
            assert!(!value(inner), "{}.{name}", s.name);
        }
    }
}

type Row = (&'static Kind, &'static [&'static str], Option<Vec<&'static str>>);

#[test]
fn lists_are_told_apart_by_the_keys_of_the_schema() {
    let keys =
        |kind, path: &[&str]| list_map_keys(kind, path).map(|k| k.iter().map(String::as_str).collect::<Vec<_>>());
    let table: [Row; 8] = [
        (&kinds::SERVICE, &["spec", "ports"], Some(vec!["port", "protocol"])),
        (&kinds::DEPLOYMENT, &["spec", "template", "spec", "containers"], Some(vec!["name"])),
        (
            &kinds::DEPLOYMENT,
            &["spec", "template", "spec", "containers", "ports"],
            Some(vec!["containerPort", "protocol"]),
        ),
        (&kinds::POD, &["metadata", "ownerReferences"], Some(vec!["uid"])),
        (&kinds::POD, &["spec", "containers", "args"], None),
        (&kinds::POD, &["metadata", "labels"], None),
        (&kinds::POD, &["metadata", "labels", "app"], None),
        (&kinds::POD, &["spec", "no", "such"], None),
    ];
    for (kind, path, expected) in table {
        assert_eq!(keys(kind, path), expected, "{kind} {path:?}");
    }
    assert_eq!(list_type(&kinds::POD, &["metadata", "finalizers"]), Some(&ListType::Set));
    assert_eq!(list_type(&kinds::POD, &["spec", "containers", "args"]), Some(&ListType::Atomic));
    assert_eq!(list_type(&kinds::POD, &["spec"]), None);
}

#[test]
fn fields_know_their_type_and_how_a_patch_merges_them() {
    let of = |kind, path: &[&str]| field(kind, path).unwrap();
    assert_eq!(of(&kinds::DEPLOYMENT, &["spec", "replicas"]).shape, Shape::Int32);
    assert_eq!(of(&kinds::POD, &["metadata", "creationTimestamp"]).shape, Shape::Time);
    assert_eq!(of(&kinds::SECRET, &["data"]).shape, Shape::Map(Box::new(Shape::Bytes)));
    assert_eq!(of(&kinds::SERVICE, &["spec", "ports", "targetPort"]).shape, Shape::IntOrString);
    assert_eq!(of(&kinds::NODE, &["status", "capacity"]).shape.go_type(), "v1.ResourceList");
    assert_eq!(of(&kinds::POD, &["spec", "containers"]).shape.go_type(), "[]v1.Container");
    assert_eq!(of(&kinds::POD, &["spec", "containers"]).merge_key.as_deref(), Some("name"));
    assert!(of(&kinds::POD, &["spec", "containers"]).merge);
    assert!(of(&kinds::POD, &["spec", "volumes"]).merge, "merge,retainKeys");
    assert!(!of(&kinds::POD, &["spec", "tolerations"]).merge);
    assert!(of(&kinds::POD, &["spec", "containers"]).required);
    assert!(of(&kinds::DEPLOYMENT, &["spec", "selector"]).is_atomic_map());
    assert!(of(&kinds::SERVICE, &["spec", "selector"]).is_atomic_map());
    assert!(!of(&kinds::DEPLOYMENT, &["spec", "template"]).is_atomic_map());
}

#[test]
fn the_compact_form_is_small() {
    let fields: usize = schema().structs.iter().map(|s| s.fields.len()).sum();
    let size = fields * (size_of::<(Box<str>, Field)>() + 24) + schema().structs.len() * (size_of::<Struct>() + 64);
    assert!(size < 500_000, "{size} bytes, of the 60 MB that an idle agent may take");
}
