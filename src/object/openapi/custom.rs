//! The document of a group version of users' kinds.

use serde_json::{Map, Value, json};

use super::{paths, write_schemas};
use crate::object::{Kind, schema};

const META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1";

/// Makes the document of kinds of one group version: each with the kind of its lists and its schema, as its definition has it.
pub fn custom_document(kinds: &[(&'static Kind, &str, Value)]) -> String {
    let all = kinds.iter().flat_map(|(kind, _, _)| paths::of(kind, &name(kind)));
    let paths = Value::Object(all.collect::<Map<_, _>>()).to_string();
    let mut schemas = Map::new();
    for (kind, list_kind, schema) in kinds {
        let name = name(kind);
        let item = format!("#/components/schemas/{name}");
        schemas.insert(format!("{name}List"), list(kind, list_kind, &item));
        schemas.insert(name, object(kind, schema));
    }
    let schemas = Value::Object(schemas).to_string();
    let info = json!({"title": "Kubernetes", "version": schema::VERSION});
    let mut document = format!(r#"{{"openapi":"3.0.0","info":{info},"paths":{paths},"components":{{"schemas":{{"#);
    // What is written is an object without its braces, and before it stands what it refers to.
    let before = document.len();
    write_schemas(&mut document, &[&*paths, &*schemas].concat());
    if document.len() > before {
        document.push(',');
    }
    document.push_str(&schemas[1..schemas.len() - 1]);
    document.push_str("}}}");
    document
}

/// `com.example.stable.v1.CronTab`.
fn name(kind: &Kind) -> String {
    let domain: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", domain.join("."), kind.version, kind.kind)
}

fn gvk(kind: &Kind, name: &str) -> Value {
    json!([{"group": kind.group, "version": kind.version, "kind": name}])
}

fn type_meta() -> Map<String, Value> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let mut members = Map::new();
    members.insert(
        "apiVersion".into(),
        text(
            "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized \
             schemas to the latest internal value, and may reject unrecognized values. More info: \
             https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
        ),
    );
    members.insert(
        "kind".into(),
        text(
            "Kind is a string value representing the REST resource this object represents. Servers may infer this from the \
             endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
             https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
        ),
    );
    members
}

fn object(kind: &Kind, schema: &Value) -> Value {
    let mut object = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
    let mut properties = object["properties"].as_object().cloned().unwrap_or_default();
    properties.extend(type_meta());
    let about = "Standard object's metadata. More info: \
                 https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    let meta = json!({"allOf": [{"$ref": format!("{META}.ObjectMeta")}], "description": about});
    properties.insert("metadata".into(), meta);
    object["properties"] = properties.into();
    object["x-kubernetes-group-version-kind"] = gvk(kind, kind.kind);
    object
}

fn list(kind: &Kind, list_kind: &str, item: &str) -> Value {
    let mut properties = type_meta();
    let items = json!({"type": "array", "items": {"allOf": [{"$ref": item}]},
        "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", kind.plural)});
    properties.insert("items".into(), items);
    let about = "Standard list metadata. More info: \
                 https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    properties
        .insert("metadata".into(), json!({"allOf": [{"$ref": format!("{META}.ListMeta")}], "description": about}));
    json!({"type": "object", "description": format!("{list_kind} is a list of {}", kind.kind), "required": ["items"],
        "properties": properties, "x-kubernetes-group-version-kind": gvk(kind, list_kind)})
}
