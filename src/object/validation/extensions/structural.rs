//! Whether a schema is structural: each place has one type, and what several schemas say together restricts no more than
//! values (`apiextensions-apiserver/pkg/apiserver/schema`).

use serde_json::Value;

use super::super::field::{Causes, Field, shown};
use crate::object::custom::{self, Schema, Type};

/// Words of JSON Schema that are not understood.
const UNSUPPORTED: &[&str] = &["definitions", "dependencies", "patternProperties", "id", "$schema", "additionalItems"];
/// Words that say what a place is; where several schemas are put together they say what it must be besides.
const STRUCTURE: &[&str] = &[
    "type",
    "description",
    "title",
    "default",
    "nullable",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];
/// How deep a schema may be.
const MAX_DEPTH: usize = 60;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Checks the schema of a version.
pub(super) fn check(schema: &Field<'_>, causes: &mut Causes) {
    level(schema, Level::Root, 0, causes);
    let meta = schema.child("properties").key("metadata");
    for (name, _) in meta.value.as_object().into_iter().flatten() {
        if !["type", "properties", "description", "default"].contains(&name.as_str()) {
            causes.forbidden(
                &meta,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            );
            break;
        }
    }
    for name in ["x-kubernetes-embedded-resource"] {
        if schema.child(name).is_true() {
            causes.forbidden(&schema.child(name), "must not be used at the root");
        }
    }
    if schema.child("nullable").is_true() {
        causes.forbidden(&schema.child("nullable"), "nullable cannot be true at the root");
    }
    let status = schema.child("properties").key("status");
    if status.is_set() {
        allowed_by_root(schema, causes);
    }
}

/// With a status there must be fields at the root.
fn allowed_by_root(schema: &Field<'_>, causes: &mut Causes) {
    if schema.child("additionalProperties").is_set() {
        causes.forbidden(&schema.child("additionalProperties"), "must not be used at the root");
    }
}

fn level(schema: &Field<'_>, place: Level, depth: usize, causes: &mut Causes) {
    if depth > MAX_DEPTH {
        return causes.invalid_as(schema, "schema", &format!("must not be nested more than {MAX_DEPTH} levels deep"));
    }
    if !schema.value.is_object() {
        return causes.invalid(schema, "must be a schema");
    }
    let flag = |name: &str| schema.child(name).is_true();
    kind(schema, place, causes);
    words(schema, causes);
    if flag("x-kubernetes-embedded-resource")
        && !flag("x-kubernetes-preserve-unknown-fields")
        && schema.child("properties").len() == 0
    {
        causes.required(
            &schema.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
    let (properties, values, items) =
        (schema.child("properties"), schema.child("additionalProperties"), schema.child("items"));
    if properties.len() > 0 && values.is_set() && values.value != &Value::Bool(false) {
        causes.forbidden(&values, "additionalProperties and properties are mutual exclusive");
    }
    if values.value == &Value::Bool(false) {
        causes.forbidden(&values, "additionalProperties cannot be set to false");
    }
    for (_, property) in properties.entries() {
        level(&property, Level::Field, depth + 1, causes);
    }
    if values.value.is_object() {
        level(&values, Level::Field, depth + 1, causes);
    }
    if items.value.is_array() {
        causes.forbidden(&items, "items must be a schema object and not an array");
    } else if items.is_set() {
        level(&items, Level::Item, depth + 1, causes);
    } else if schema.child("type").text() == "array" {
        causes.required(&items, "must be specified");
    }
    lists(schema, causes);
    for name in ["allOf", "anyOf", "oneOf"] {
        for (at, junct) in schema.child(name).items().enumerate() {
            // The forms by which a place says that a number or a text may be there.
            let one = is_int_or_string(schema.value, name, at);
            restriction(&junct, schema.value, one, depth + 1, causes);
        }
    }
    if schema.has("not") {
        restriction(&schema.child("not"), schema.value, false, depth + 1, causes);
    }
    default(schema, causes);
}

fn kind(schema: &Field<'_>, place: Level, causes: &mut Causes) {
    let kind = schema.child("type");
    let int_or_string = schema.child("x-kubernetes-int-or-string").is_true();
    let free = int_or_string || schema.child("x-kubernetes-preserve-unknown-fields").is_true();
    match (kind.text(), place) {
        ("", Level::Root) => causes.required(&kind, "must not be empty at the root"),
        ("", Level::Field) if !free => causes.required(&kind, "must not be empty for specified object fields"),
        ("", Level::Item) if !free => causes.required(&kind, "must not be empty for specified array items"),
        ("", _) => {}
        ("object", _) if !int_or_string => {}
        (_, Level::Root) => causes.invalid(&kind, "must be object at the root"),
        (_, _) if int_or_string => causes.invalid(&kind, "must be empty if x-kubernetes-int-or-string is true"),
        (text, _) if Type::of(text).is_none() => {
            causes.not_supported(&kind, &["array", "boolean", "integer", "number", "object", "string"]);
        }
        (text, _) if text != "object" && schema.child("x-kubernetes-embedded-resource").is_true() => {
            causes.invalid(&kind, "must be object if x-kubernetes-embedded-resource is true");
        }
        _ => {}
    }
}

fn words(schema: &Field<'_>, causes: &mut Causes) {
    if schema.has("$ref") {
        causes.forbidden(&schema.child("$ref"), "$ref is not supported");
    }
    for name in UNSUPPORTED.iter().filter(|name| schema.has(name)) {
        causes.forbidden(&schema.child(name), &format!("{name} is not supported"));
    }
    if schema.child("uniqueItems").is_true() {
        causes.forbidden(
            &schema.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    let pattern = schema.child("pattern");
    if !pattern.text().is_empty()
        && let Err(why) = custom::pattern(pattern.text())
    {
        causes.invalid(&pattern, &format!("must be a valid regular expression, but isn't: {why}"));
    }
}

fn lists(schema: &Field<'_>, causes: &mut Causes) {
    let (list, keys) = (schema.child("x-kubernetes-list-type"), schema.child("x-kubernetes-list-map-keys"));
    let is_array = schema.child("type").text() == "array";
    match list.text() {
        "" => {}
        _ if !is_array => causes.invalid(&schema.child("type"), "must be array if x-kubernetes-list-type is set"),
        "atomic" | "set" => {}
        "map" => {
            if keys.len() == 0 {
                causes.required(&keys, "must not be empty if x-kubernetes-list-type is map");
            }
            for key in keys.items() {
                let property = schema.child("items").child("properties").key(key.text());
                if !property.is_set() {
                    causes.invalid(&key, "entries must all be names of item properties");
                }
            }
        }
        _ => causes.not_supported(&list, &["atomic", "map", "set"]),
    }
    if keys.len() > 0 && list.text() != "map" {
        causes.invalid_as(&list, &shown(list.value), "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    let map = schema.child("x-kubernetes-map-type");
    if !map.text().is_empty() {
        causes.one_of(&map, &["atomic", "granular"]);
        if schema.child("type").text() != "object" {
            causes.invalid(&schema.child("type"), "must be object if x-kubernetes-map-type is specified");
        }
    }
}

fn is_int_or_string(schema: &Value, name: &str, at: usize) -> bool {
    schema["x-kubernetes-int-or-string"] == true && (name == "anyOf" || (name == "allOf" && at == 0))
}

/// A schema that only restricts what `outer` says already.
fn restriction(schema: &Field<'_>, outer: &Value, may_have_type: bool, depth: usize, causes: &mut Causes) {
    if depth > MAX_DEPTH {
        return causes.invalid_as(schema, "schema", &format!("must not be nested more than {MAX_DEPTH} levels deep"));
    }
    words(schema, causes);
    for name in STRUCTURE.iter().filter(|name| schema.has(name)) {
        if !(may_have_type && *name == "type") {
            causes.forbidden(&schema.child(name), "must be empty to be structural");
        }
    }
    for (name, property) in schema.child("properties").entries() {
        let known = outer["properties"].get(name);
        match known {
            Some(known) => restriction(&property, known, false, depth + 1, causes),
            None if outer["x-kubernetes-preserve-unknown-fields"] == true
                || outer["additionalProperties"].is_object() => {}
            None => {
                let path = property.path.clone();
                causes.required(
                    &property.named(path),
                    "because it is defined in a restriction, and has to be in the schema itself too",
                );
            }
        }
    }
    let items = schema.child("items");
    if items.value.is_object() {
        restriction(&items, &outer["items"], false, depth + 1, causes);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for junct in schema.child(name).items() {
            restriction(&junct, outer, may_have_type && name == "anyOf", depth + 1, causes);
        }
    }
    if schema.has("not") {
        restriction(&schema.child("not"), outer, false, depth + 1, causes);
    }
}

/// A default must be what the schema asks for, and hold nothing that it does not know.
fn default(schema: &Field<'_>, causes: &mut Causes) {
    let default = schema.child("default");
    if !default.is_set() {
        return;
    }
    let read = Schema::of(schema.value);
    let mut pruned = default.value.clone();
    let unknown = custom::prune(&mut pruned, &Schema { embedded: read.embedded, ..read.clone() });
    if !unknown.is_empty() {
        causes.invalid(&default, "must not have unspecified fields");
    }
    custom::defaults(&mut pruned, &read);
    for cause in custom::validate_value(&pruned, &read) {
        let path = if cause.field.is_empty() || cause.field == "<nil>" {
            default.path.clone()
        } else {
            format!("{}.{}", default.path, cause.field)
        };
        let why = cause.message.split_once(": ").map_or(cause.message.as_str(), |(_, why)| why);
        causes.0.push(super::super::Cause {
            reason: cause.reason,
            field: path,
            message: format!("Invalid value: {why}"),
        });
    }
}
