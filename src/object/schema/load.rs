//! Reads the committed schema: `kubernetes-1.33.json.gz`, which `generate.py` writes.
//!
//! Unpacked it is 0.8 MB of text, most of it descriptions. Nothing of that stays in memory: the compact form leaves
//! out the descriptions, and who wants those unpacks the text again.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::object::kinds::CUSTOM;

use super::{Field, ListType, Schema, Shape, Struct, StructId};

static PACKED: &[u8] = include_bytes!("kubernetes-1.33.json.gz");

const REFERENCE: &str = "#/components/schemas/";

/// The whole schema as OpenAPI v3 text.
pub struct Text(String);

/// Unpacks the schema's text: 0.8 MB, about 5 ms.
pub fn text() -> Text {
    let mut text = String::new();
    GzDecoder::new(PACKED).read_to_string(&mut text).expect("the committed schema is gzipped text");
    Text(text)
}

impl Text {
    /// Returns every definition's JSON by its name. `generate.py` writes one a line: `"name":{...},`.
    pub fn definitions(&self) -> BTreeMap<&str, &str> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix('"')?.split_once("\":"));
        lines.map(|(name, json)| (name, json.trim_end_matches(','))).collect()
    }
}

/// Returns the names of the definitions that `definition`, a JSON text, refers to.
///
/// Looking at the text is exact: within a JSON string the quotes would be escaped, and a property that is named
/// `$ref` has no string for its value.
pub fn references(definition: &str) -> impl Iterator<Item = &str> {
    const MARK: &str = r##""$ref":"#/components/schemas/"##;
    definition.split(MARK).skip(1).filter_map(|rest| rest.split('"').next())
}

/// A definition, or a part of one, as OpenAPI has it; what is not needed is not read.
#[derive(Deserialize)]
struct Definition {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    properties: BTreeMap<String, Definition>,
    #[serde(default)]
    required: Vec<String>,
    items: Option<Box<Definition>>,
    #[serde(rename = "additionalProperties")]
    values: Option<Box<Definition>>,
    #[serde(default, rename = "allOf")]
    all_of: Vec<Reference>,
    #[serde(default, rename = "x-kubernetes-list-type")]
    list_type: String,
    #[serde(default, rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(default, rename = "x-kubernetes-map-type")]
    map_type: String,
    #[serde(default, rename = "x-kubernetes-patch-strategy")]
    patch_strategy: String,
    #[serde(rename = "x-kubernetes-patch-merge-key")]
    patch_merge_key: Option<String>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "$ref")]
    to: String,
}

/// What is known of an object of any kind.
const ANY_OBJECT: &str = r##"{"type": "object", "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
    "metadata": {"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]}}}"##;

/// Reads the compact form.
pub(super) fn schema() -> Schema {
    let text = text();
    let mut definitions: BTreeMap<String, Definition> =
        serde_json::from_str(&text.0).expect("the committed schema is valid; a test reads it");
    definitions.insert(CUSTOM.to_owned(), serde_json::from_str(ANY_OBJECT).expect("it is valid; a test reads it"));
    let names: Vec<&String> = definitions.keys().collect();
    let structs = definitions.iter().map(|(name, d)| structure(name, d, &names)).collect();
    Schema { structs }
}

fn structure(name: &str, definition: &Definition, names: &[&String]) -> Struct {
    let field = |(name, d): (&String, &Definition)| {
        let required = definition.required.contains(name);
        (name.as_str().into(), field(d, required, names))
    };
    // A BTreeMap's order: `Struct::field` searches it.
    let fields = definition.properties.iter().map(field).collect();
    Struct { name: name.into(), fields, atomic_map: definition.map_type == "atomic" }
}

fn field(d: &Definition, required: bool, names: &[&String]) -> Field {
    let list = match d.list_type.as_str() {
        "set" => ListType::Set,
        "map" => ListType::Map(d.list_map_keys.iter().cloned().collect()),
        _ => ListType::Atomic,
    };
    let strategy = |word| d.patch_strategy.split(',').any(|s| s == word);
    Field {
        shape: shape(d, names),
        list,
        atomic_map: d.map_type == "atomic",
        merge: strategy("merge"),
        replace: strategy("replace"),
        merge_key: d.patch_merge_key.as_deref().map(Into::into),
        required,
    }
}

fn shape(d: &Definition, names: &[&String]) -> Shape {
    if let Some(reference) = d.all_of.first() {
        let name = reference.to.trim_start_matches(REFERENCE);
        let id = names.binary_search_by(|n| n.as_str().cmp(name)).expect("references resolve; a test reads all");
        return named_shape(name).unwrap_or(Shape::Struct(StructId(id)));
    }
    let inner = |d: &Option<Box<Definition>>| d.as_ref().map_or(Shape::Opaque, |d| shape(d, names));
    match (d.kind.as_str(), d.format.as_str()) {
        ("string", "byte") => Shape::Bytes,
        ("string", _) => Shape::String,
        ("boolean", _) => Shape::Bool,
        ("integer", "int32") => Shape::Int32,
        ("integer", _) => Shape::Int64,
        ("number", _) => Shape::Double,
        ("array", _) => Shape::List(Box::new(inner(&d.items))),
        ("object", _) if d.values.is_some() => Shape::Map(Box::new(inner(&d.values))),
        _ => Shape::Opaque,
    }
}

/// The definitions that are values of their own, with a form that the schema does not tell.
fn named_shape(name: &str) -> Option<Shape> {
    match name.rsplit('.').next()? {
        "Quantity" => Some(Shape::Quantity),
        "IntOrString" => Some(Shape::IntOrString),
        "Time" => Some(Shape::Time),
        "MicroTime" => Some(Shape::MicroTime),
        "FieldsV1" | "RawExtension" | "Patch" | "JSON" => Some(Shape::Opaque),
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => Some(Shape::Opaque),
        _ => None,
    }
}
