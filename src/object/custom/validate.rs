//! Whether an object is as its definition's schema asks, in upstream's words.

use serde_json::{Map, Value};

use super::formats;
use super::schema::{Range, Rules, Schema, Type};
use crate::object::schema::ListType;
use crate::object::validation::{Cause, CauseReason, shown};

/// How many faults of one object are told.
const MOST: usize = 100;

/// Judges `object`, all but its apiVersion, kind and metadata.
pub fn validate(object: &Value, schema: &Schema) -> Vec<Cause> {
    let mut found = Found::default();
    found.value(schema, "", object);
    found.lists(schema, "", object);
    found.embedded(schema, "", object);
    found.0.truncate(MOST);
    found.0
}

/// Judges a value that is to stand somewhere in an object: a default.
pub fn validate_value(value: &Value, schema: &Schema) -> Vec<Cause> {
    let mut found = Found::default();
    found.value(schema, "", value);
    found.0
}

#[derive(Default)]
struct Found(Vec<Cause>);

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What upstream's validator calls the type of a value.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of(value: &Value, kind: Type) -> bool {
    match kind {
        Type::Number => value.is_number(),
        other => type_name(value) == other.name(),
    }
}

impl Found {
    fn add(&mut self, reason: CauseReason, path: &str, message: String) {
        // What is told in the end is less; this keeps the rest in bounds.
        if self.0.len() < 10 * MOST {
            self.0.push(Cause { reason, field: path.to_owned(), message });
        }
    }

    fn invalid(&mut self, path: &str, value: &str, why: &str) {
        let message = format!("Invalid value: {value}: {path} in body {why}");
        self.add(CauseReason::FieldValueInvalid, path, message);
    }

    /// What several schemas together say is about no field, as upstream has it.
    fn composite(&mut self, path: &str, why: &str) {
        self.add(CauseReason::FieldValueInvalid, "<nil>", format!("Invalid value: \"\": {path:?} must {why}"));
    }

    fn mismatch(&mut self, path: &str, expected: &str, found: &str) {
        let message = format!("Invalid value: {found:?}: {path} in body must be of type {expected}: {found:?}");
        self.add(CauseReason::FieldValueTypeInvalid, path, message);
    }

    fn value(&mut self, schema: &Schema, path: &str, value: &Value) {
        if value.is_null() && schema.nullable {
            return;
        }
        if schema.int_or_string && !matches!(type_name(value), "integer" | "string") {
            return self.mismatch(path, "integer,string", type_name(value));
        }
        if let Some(kind) = schema.kind.filter(|kind| !is_of(value, *kind)) {
            return self.mismatch(path, kind.name(), type_name(value));
        }
        let rules = &schema.rules;
        if let Some(allowed) = rules.one.as_ref().filter(|allowed| !allowed.contains(value)) {
            let allowed: Vec<_> = allowed
                .iter()
                .map(|v| v.as_str().map_or_else(|| format!("{:?}", v.to_string()), |s| format!("{s:?}")))
                .collect();
            let message = format!("Unsupported value: {}: supported values: {}", shown(value), allowed.join(", "));
            self.add(CauseReason::FieldValueNotSupported, path, message);
        }
        match value {
            Value::String(text) => self.text(rules, path, text),
            Value::Number(number) => self.number(rules, path, number),
            Value::Array(items) => self.items(schema, path, items),
            Value::Object(members) => self.members(schema, path, members),
            Value::Null | Value::Bool(_) => {}
        }
        self.several(rules, path, value);
    }

    fn text(&mut self, rules: &Rules, path: &str, text: &str) {
        let value = shown(&text.into());
        let length = text.chars().count() as u64;
        if rules.length.least.is_some_and(|least| length < least) {
            let least = rules.length.least.unwrap_or_default();
            self.invalid(path, &value, &format!("should be at least {least} chars long"));
        }
        if let Some(most) = rules.length.most.filter(|most| length > *most) {
            let unit = if most == 1 { "byte" } else { "bytes" };
            self.add(CauseReason::FieldValueTooLong, path, format!("Too long: may not be more than {most} {unit}"));
        }
        if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.fits(text)) {
            self.invalid(path, &value, &format!("should match '{}'", pattern.text));
        }
        if let Some(format) = rules.format.as_ref().filter(|format| !formats::text_fits(format, text)) {
            self.invalid(path, &value, &format!("must be of type {format}: {text:?}"));
        }
    }

    fn number(&mut self, rules: &Rules, path: &str, number: &serde_json::Number) {
        let (value, float) = (number.to_string(), number.as_f64().unwrap_or_default());
        match rules.minimum {
            Some((least, true)) if float <= least => {
                self.invalid(path, &value, &format!("should be greater than {least}"));
            }
            Some((least, false)) if float < least => {
                self.invalid(path, &value, &format!("should be greater than or equal to {least}"));
            }
            _ => {}
        }
        match rules.maximum {
            Some((most, true)) if float >= most => self.invalid(path, &value, &format!("should be less than {most}")),
            Some((most, false)) if float > most => {
                self.invalid(path, &value, &format!("should be less than or equal to {most}"));
            }
            _ => {}
        }
        if let Some(factor) = rules.multiple_of
            && (float / factor).fract() != 0.0
        {
            self.invalid(path, &value, &format!("should be a multiple of {factor}"));
        }
        if let Some(format) = rules.format.as_ref().filter(|format| !formats::number_fits(format, number)) {
            self.invalid(path, &value, &format!("must be of type {format}: {value:?}"));
        }
    }

    fn items(&mut self, schema: &Schema, path: &str, items: &[Value]) {
        self.bounds(schema.rules.items, path, items.len(), "items");
        if let Some(inner) = schema.items.as_deref() {
            for (at, item) in items.iter().enumerate() {
                self.value(inner, &format!("{path}[{at}]"), item);
            }
        }
    }

    fn members(&mut self, schema: &Schema, path: &str, members: &Map<String, Value>) {
        self.bounds(schema.rules.members, path, members.len(), "properties");
        for name in schema.required.iter().filter(|name| !members.contains_key(*name)) {
            self.add(CauseReason::FieldValueRequired, &child(path, name), "Required value".into());
        }
        for (name, value) in members {
            let is_meta = path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
            if let Some(inner) = schema.member(name).filter(|_| !is_meta) {
                self.value(inner, &child(path, name), value);
            }
            // Of the metadata a definition may restrict name and generateName.
            if let Some(inner) = schema.properties.get(name).filter(|_| is_meta && name == "metadata") {
                for field in ["name", "generateName"] {
                    if let (Some(inner), Some(value)) = (inner.properties.get(field), value.get(field)) {
                        self.value(inner, &format!("metadata.{field}"), value);
                    }
                }
            }
        }
    }

    fn bounds(&mut self, range: Range, path: &str, count: usize, what: &str) {
        let count = count as u64;
        if let Some(least) = range.least.filter(|least| count < *least) {
            self.invalid(path, &count.to_string(), &format!("should have at least {least} {what}"));
        }
        if let Some(most) = range.most.filter(|most| count > *most) {
            let message = format!("Too many: {count}: must have at most {most} items");
            self.add(CauseReason::FieldValueTooMany, path, message);
        }
    }

    fn several(&mut self, rules: &Rules, path: &str, value: &Value) {
        let tried = |schemas: &[Schema]| -> Vec<Vec<Cause>> {
            let judge = |schema: &Schema| {
                let mut found = Self::default();
                found.value(schema, path, value);
                found.0
            };
            schemas.iter().map(judge).collect()
        };
        let best = |found: Vec<Vec<Cause>>, to: &mut Self| {
            to.0.extend(found.into_iter().min_by_key(Vec::len).unwrap_or_default());
        };
        if !rules.any_of.is_empty() {
            let found = tried(&rules.any_of);
            if !found.iter().any(Vec::is_empty) {
                self.composite(path, "validate at least one schema (anyOf)");
                best(found, self);
            }
        }
        if !rules.one_of.is_empty() {
            let found = tried(&rules.one_of);
            match found.iter().filter(|f| f.is_empty()).count() {
                1 => {}
                0 => {
                    self.composite(path, "validate one and only one schema (oneOf). Found none valid");
                    best(found, self);
                }
                n => self.composite(
                    path,
                    &format!("validate one and only one schema (oneOf). Found {n} valid alternatives"),
                ),
            }
        }
        if !rules.all_of.is_empty() {
            let found = tried(&rules.all_of);
            if !found.iter().all(Vec::is_empty) {
                let none = if found.iter().any(Vec::is_empty) { "" } else { ". None validated" };
                self.composite(path, &format!("validate all the schemas (allOf){none}"));
                self.0.extend(found.into_iter().flatten());
            }
        }
        if let Some(not) = &rules.not
            && tried(std::slice::from_ref(not))[0].is_empty()
        {
            self.composite(path, "not validate the schema (not)");
        }
    }

    /// Looks whether the elements of sets and keyed lists are told apart.
    fn lists(&mut self, schema: &Schema, path: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    if let Some(inner) = schema.member(name) {
                        self.lists(inner, &child(path, name), value);
                    }
                }
            }
            Value::Array(items) => {
                let key = |item: &Value| match &schema.list {
                    ListType::Atomic => None,
                    ListType::Set => Some(item.clone()),
                    ListType::Map(keys) => Some(
                        keys.iter()
                            .filter_map(|k| Some((k.clone(), item.get(k)?.clone())))
                            .collect::<Map<_, _>>()
                            .into(),
                    ),
                };
                let keys: Vec<Option<Value>> = items.iter().map(key).collect();
                for (at, this) in keys.iter().enumerate() {
                    let Some(value) = this.as_ref().filter(|_| keys[..at].contains(this)) else { continue };
                    let message =
                        format!("Duplicate value: {}", if value.is_object() { go_object(value) } else { shown(value) });
                    self.add(CauseReason::FieldValueDuplicate, &format!("{path}[{at}]"), message);
                }
                if let Some(inner) = schema.items.as_deref() {
                    for (at, item) in items.iter().enumerate() {
                        self.lists(inner, &format!("{path}[{at}]"), item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Looks whether embedded objects say what they are.
    fn embedded(&mut self, schema: &Schema, path: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                if schema.embedded {
                    for name in ["apiVersion", "kind"] {
                        if value[name].as_str().unwrap_or_default().is_empty() {
                            let message = "Required value: must not be empty".into();
                            self.add(CauseReason::FieldValueRequired, &child(path, name), message);
                        }
                    }
                }
                for (name, value) in members {
                    if let Some(inner) = schema.member(name) {
                        self.embedded(inner, &child(path, name), value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(inner) = schema.items.as_deref() {
                    for (at, item) in items.iter().enumerate() {
                        self.embedded(inner, &format!("{path}[{at}]"), item);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Writes an object of scalars as Go's `%#v` does.
fn go_object(value: &Value) -> String {
    let members = value.as_object().into_iter().flatten();
    let members: Vec<_> = members.map(|(k, v)| format!("{k:?}:{}", shown(v))).collect();
    format!("map[string]interface {{}}{{{}}}", members.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(schema: &Value, value: &Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": schema}});
        validate(&json!({"spec": value}), &Schema::of(&schema)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_are_in_upstreams_words() {
        for (schema, value, fault) in [
            (
                json!({"type": "integer"}),
                json!("x"),
                "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string"}),
                json!(null),
                "spec: Invalid value: \"null\": spec in body must be of type string: \"null\"",
            ),
            (
                json!({"type": "integer"}),
                json!(1.5),
                "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"type": "string", "pattern": "^a+$"}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should match '^a+$'",
            ),
            (
                json!({"type": "string", "minLength": 3}),
                json!("b"),
                "spec: Invalid value: \"b\": spec in body should be at least 3 chars long",
            ),
            (json!({"type": "string", "maxLength": 1}), json!("bb"), "spec: Too long: may not be more than 1 byte"),
            (
                json!({"type": "string", "format": "date-time"}),
                json!("x"),
                "spec: Invalid value: \"x\": spec in body must be of type date-time: \"x\"",
            ),
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
            ),
            (
                json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true}),
                json!(1.5),
                "spec: Invalid value: 1.5: spec in body should be less than 1.5",
            ),
            (
                json!({"type": "integer", "multipleOf": 2}),
                json!(3),
                "spec: Invalid value: 3: spec in body should be a multiple of 2",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
                json!([]),
                "spec: Invalid value: 0: spec in body should have at least 1 items",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
                json!(["a", "b"]),
                "spec: Too many: 2: must have at most 1 items",
            ),
            (json!({"type": "object", "required": ["a"]}), json!({}), "spec.a: Required value"),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}}),
                json!([{"n": 1}]),
                "spec[0].n: Invalid value: \"integer\": spec[0].n in body must be of type string: \"integer\"",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                json!(["a", "a"]),
                "spec[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object"}}),
                json!([{"n": "a"}, {"n": "a"}]),
                "spec[1]: Duplicate value: map[string]interface {}{\"n\":\"a\"}",
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                json!({"kind": "Pod"}),
                "spec.apiVersion: Required value: must not be empty",
            ),
            (
                json!({"type": "string", "not": {"enum": ["a"]}}),
                json!("a"),
                "<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)",
            ),
        ] {
            assert_eq!(told(&schema, &value), [fault]);
        }
    }

    #[test]
    fn of_several_schemas_the_right_number_must_fit() {
        let one = json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(told(&one, &json!({"a": 1})), Vec::<String>::new());
        let none = told(&one, &json!({}));
        assert_eq!(
            none[0],
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid"
        );
        assert_eq!(none[1], "spec.a: Required value");
        let two = told(&one, &json!({"a": 1, "b": 1}));
        assert!(two[0].ends_with("Found 2 valid alternatives"), "{two:?}");
        let any = json!({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert!(told(&any, &json!({"b": 1})).is_empty());
        assert!(told(&any, &json!({}))[0].contains("(anyOf)"));
        let all = json!({"type": "object", "allOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert!(told(&all, &json!({"a": 1}))[0].ends_with("must validate all the schemas (allOf)"));
    }

    #[test]
    fn what_may_be_null_may_be_null() {
        assert!(told(&json!({"type": "string", "nullable": true}), &json!(null)).is_empty());
        assert!(told(&json!({"x-kubernetes-int-or-string": true}), &json!("80%")).is_empty());
        assert!(told(&json!({"type": "number"}), &json!(3)).is_empty());
        assert!(told(&json!({"type": "integer"}), &json!(3.0)).is_empty());
    }
}
