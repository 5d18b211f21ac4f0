//! What a schema adds to an object, and what it takes away: defaults, and fields that it does not know.

use serde_json::{Map, Value};

use super::schema::{Schema, Type};
use crate::object::raw;

/// The members of an embedded object that are known whatever its schema says.
const TYPE_META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes out of an object what its schema does not know, and reports it: `unknown field "spec.x"`. The root's apiVersion,
/// kind and metadata are no business of the schema's.
pub fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut faults = Vec::new();
    prune_at(object, schema, true, &mut String::new(), &mut faults);
    faults
}

fn prune_at(value: &mut Value, schema: &Schema, is_object: bool, path: &mut String, faults: &mut Vec<String>) {
    let base = path.len();
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                if is_object && TYPE_META.contains(&name.as_str()) {
                    return true;
                }
                raw::push_name(path, name);
                let known = match schema.member(name) {
                    Some(inner) => {
                        prune_at(value, inner, inner.embedded, path, faults);
                        true
                    }
                    None => schema.preserves,
                };
                if !known {
                    raw::report(faults, "unknown field", path);
                }
                path.truncate(base);
                known
            });
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for (at, item) in items.iter_mut().enumerate() {
                    raw::push_index(path, at);
                    prune_at(item, inner, inner.embedded, path, faults);
                    path.truncate(base);
                }
            }
        }
        _ => {}
    }
}

/// The most bytes of defaults that one object is given. What would take more is larger than any object may be, and is
/// refused for that; a few empty elements must not become gigabytes first.
const MAX_DEFAULTS: usize = 4 << 20;

/// Gives fields that are not there, or null where that is no value, their defaults; other such nulls go.
pub fn defaults(value: &mut Value, schema: &Schema) {
    let mut left = MAX_DEFAULTS;
    fill(value, schema, &mut left);
}

fn fill(value: &mut Value, schema: &Schema, left: &mut usize) {
    match value {
        Value::Object(members) => {
            drop_nulls(members, schema);
            for (name, inner) in &schema.properties {
                if !members.contains_key(name)
                    && let Some(default) = default(inner, left)
                {
                    members.insert(name.clone(), default);
                }
            }
            for (name, value) in members.iter_mut() {
                if let Some(inner) = schema.member(name) {
                    fill(value, inner, left);
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = schema.items.as_deref() else { return };
            for item in items {
                if item.is_null()
                    && !inner.nullable
                    && let Some(default) = default(inner, left)
                {
                    *item = default;
                }
                fill(item, inner, left);
            }
        }
        _ => {}
    }
}

/// Takes a default, if there is one and room for it.
fn default(schema: &Schema, left: &mut usize) -> Option<Value> {
    let default = schema.default.as_ref()?;
    *left = left.checked_sub(schema.default_bytes + 1)?;
    Some(default.clone())
}

fn drop_nulls(members: &mut Map<String, Value>, schema: &Schema) {
    let is_value = |name: &str| {
        schema.member(name).is_none_or(|inner| inner.nullable || inner.kind.is_none() && !inner.int_or_string)
    };
    members.retain(|name, value| !value.is_null() || is_value(name));
}

/// Makes whole numbers of numbers that are written as if they were none, where whole ones are asked for: `1.0`.
pub fn whole_numbers(value: &mut Value, schema: &Schema) {
    match value {
        Value::Number(number) if schema.kind == Some(Type::Integer) && number.is_f64() => {
            #[allow(clippy::cast_possible_truncation, reason = "it is looked at first")]
            if let Some(float) = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                *value = (float as i64).into();
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(inner) = schema.member(name) {
                    whole_numbers(value, inner);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| whole_numbers(item, inner));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_schema_does_not_know_goes_and_is_told() {
        let schema = Schema::of(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "known": {"type": "string"},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"deep": {"type": "object"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        }}}}));
        let mut object = json!({"apiVersion": "x", "kind": "y", "metadata": {"z": 1}, "top": 1, "spec": {
            "known": "a", "unknown": 1, "any": {"x": {"y": 1}, "deep": {"gone": 1}}, "map": {"k": {"a": "1", "b": 2}},
            "list": [{"a": "1"}, {"b": 2}], "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "x": 1}}});
        let faults = prune(&mut object, &schema);
        let expected = json!({"apiVersion": "x", "kind": "y", "metadata": {"z": 1}, "spec": {
            "known": "a", "any": {"x": {"y": 1}, "deep": {}}, "map": {"k": {"a": "1"}},
            "list": [{"a": "1"}, {}], "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}}}});
        assert_eq!(object, expected);
        let fields = ["spec.any.deep.gone", "spec.list[1].b", "spec.map.k.b", "spec.pod.x", "spec.unknown", "top"];
        assert_eq!(faults, fields.map(|f| format!("unknown field {f:?}")));
    }

    #[test]
    fn defaults_fill_what_is_absent_and_nulls_go_where_they_are_no_value() {
        let schema = Schema::of(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "replicas": {"type": "integer", "default": 1},
                "null": {"type": "string", "nullable": true, "default": "x"},
                "plain": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
                "none": {"type": "object", "properties": {"deep": {"type": "string", "default": "no"}}},
            }}}}),
        );
        let filled = |mut object: Value| {
            defaults(&mut object, &schema);
            object
        };
        assert_eq!(filled(json!({})), json!({"spec": {"replicas": 1, "null": "x"}}));
        let given = json!({"spec": {"replicas": null, "null": null, "plain": null, "list": [{}, {"p": "UDP"}]}});
        let expected = json!({"spec": {"replicas": 1, "null": null, "list": [{"p": "TCP"}, {"p": "UDP"}]}});
        assert_eq!(filled(given), expected);
        assert_eq!(filled(expected.clone()), expected, "twice is once");
        assert!(schema.has_defaults());
    }

    #[test]
    fn a_few_bytes_do_not_become_gigabytes() {
        let schema =
            Schema::of(&json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "object",
            "properties": {"p": {"type": "string", "default": "x".repeat(100_000)}}}}}}));
        let mut object = json!({"list": vec![json!({}); 10_000]});
        defaults(&mut object, &schema);
        let bytes = object.to_string().len();
        assert!((2 << 20..5 << 20).contains(&bytes), "{bytes}: too much to be kept, and not more than that");
    }
}
