//! Where a rule looks, and what it finds wrong there: fields with their paths, causes in upstream's words.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use serde_json::Value;

/// What is wrong with one field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The sort of fault.
    pub reason: CauseReason,
    /// The field, as `spec.containers[0].image`; empty for the whole object.
    pub field: String,
    /// The sentence for people, without the field's name.
    pub message: String,
}

/// `spec.containers[0].image: Required value`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The sort of fault: the `reason` of a cause in a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseReason {
    /// What it refers to is not there.
    FieldValueNotFound,
    /// It is missing.
    FieldValueRequired,
    /// Another has the same value, and may not.
    FieldValueDuplicate,
    /// The value has not the right form.
    FieldValueInvalid,
    /// The value is none of those allowed.
    FieldValueNotSupported,
    /// It may not be set, or not be changed.
    FieldValueForbidden,
    /// It has too many bytes.
    FieldValueTooLong,
    /// It has too many items.
    FieldValueTooMany,
    /// The value has not the type that the schema asks for.
    FieldValueTypeInvalid,
    /// It could not be judged.
    InternalError,
}

impl CauseReason {
    /// Returns the word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldValueNotFound => "FieldValueNotFound",
            Self::FieldValueRequired => "FieldValueRequired",
            Self::FieldValueDuplicate => "FieldValueDuplicate",
            Self::FieldValueInvalid => "FieldValueInvalid",
            Self::FieldValueNotSupported => "FieldValueNotSupported",
            Self::FieldValueForbidden => "FieldValueForbidden",
            Self::FieldValueTooLong => "FieldValueTooLong",
            Self::FieldValueTooMany => "FieldValueTooMany",
            Self::FieldValueTypeInvalid => "FieldValueTypeInvalid",
            Self::InternalError => "InternalError",
        }
    }
}

/// A field of an object and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

impl<'a> Field<'a> {
    /// The object itself.
    pub(super) fn root(object: &'a Value) -> Self {
        Self { value: object, path: String::new() }
    }

    /// A member, absent ones included.
    pub(super) fn child(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { value: &self.value[name], path }
    }

    /// A member of a map that users name the keys of: `limits[cpu]`.
    pub(super) fn key(&self, key: &str) -> Self {
        Self { value: &self.value[key], path: format!("{}[{key}]", self.path) }
    }

    /// The same value under another path: upstream does not always name the field it means.
    pub(super) fn named(&self, path: impl Into<String>) -> Self {
        Self { value: self.value, path: path.into() }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(i, value)| Self { value, path: format!("{}[{i}]", self.path) })
    }

    /// The members of a map that users name the keys of.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.as_str(), Self { value, path: format!("{}[{key}]", self.path) }))
    }

    /// How many items or members it has.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        }
    }

    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text; empty if there is none, which upstream's types cannot tell apart.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    /// Tells whether a member is set to something.
    pub(super) fn has(&self, name: &str) -> bool {
        !self.value[name].is_null()
    }
}

/// What is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Causes(pub(super) Vec<Cause>);

impl Causes {
    /// Returns what was found, each fault once.
    pub(super) fn distinct(self) -> Vec<Cause> {
        let mut seen = BTreeSet::new();
        self.0.into_iter().filter(|cause| seen.insert(cause.to_string())).collect()
    }

    fn add(&mut self, reason: CauseReason, field: &Field<'_>, kind: &str, value: Option<&str>, detail: &str) {
        let mut message = kind.to_owned();
        for part in value.into_iter().chain(Some(detail).filter(|d| !d.is_empty())) {
            message.push_str(": ");
            message.push_str(part);
        }
        self.0.push(Cause { reason, field: field.path.clone(), message });
    }

    pub(super) fn required(&mut self, field: &Field<'_>, detail: &str) {
        self.add(CauseReason::FieldValueRequired, field, "Required value", None, detail);
    }

    pub(super) fn forbidden(&mut self, field: &Field<'_>, detail: &str) {
        self.add(CauseReason::FieldValueForbidden, field, "Forbidden", None, detail);
    }

    pub(super) fn invalid(&mut self, field: &Field<'_>, detail: &str) {
        self.invalid_as(field, &shown(field.value), detail);
    }

    /// As [`Causes::invalid`], but the value is shown as `value`, ready written.
    pub(super) fn invalid_as(&mut self, field: &Field<'_>, value: &str, detail: &str) {
        self.add(CauseReason::FieldValueInvalid, field, "Invalid value", Some(value), detail);
    }

    /// Adds a cause for each fault that a rule of `names` has found in the field's text.
    pub(super) fn invalid_each(&mut self, field: &Field<'_>, faults: Vec<String>) {
        let value = if field.is_set() { shown(field.value) } else { quoted("") };
        for fault in faults {
            self.invalid_as(field, &value, &fault);
        }
    }

    pub(super) fn duplicate(&mut self, field: &Field<'_>) {
        self.duplicate_as(field, &shown(field.value), "");
    }

    /// As [`Causes::duplicate`], but the value is shown as `value`, ready written.
    pub(super) fn duplicate_as(&mut self, field: &Field<'_>, value: &str, detail: &str) {
        self.add(CauseReason::FieldValueDuplicate, field, "Duplicate value", Some(value), detail);
    }

    pub(super) fn not_found(&mut self, field: &Field<'_>) {
        self.add(CauseReason::FieldValueNotFound, field, "Not found", Some(&quoted(field.text())), "");
    }

    pub(super) fn not_supported(&mut self, field: &Field<'_>, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|s| quoted(s)).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        let value = if field.is_set() { shown(field.value) } else { quoted("") };
        self.add(CauseReason::FieldValueNotSupported, field, "Unsupported value", Some(&value), &detail);
    }

    pub(super) fn too_long(&mut self, field: &Field<'_>, most: usize) {
        let detail = format!("may not be more than {most} bytes");
        self.add(CauseReason::FieldValueTooLong, field, "Too long", None, &detail);
    }

    pub(super) fn too_many(&mut self, field: &Field<'_>, most: usize) {
        let (count, detail) = (field.len().to_string(), format!("must have at most {most} items"));
        self.add(CauseReason::FieldValueTooMany, field, "Too many", Some(&count), &detail);
    }

    /// The field must be one of `supported`, and be there.
    pub(super) fn one_of(&mut self, field: &Field<'_>, supported: &[&str]) {
        if field.text().is_empty() && (!field.is_set() || field.value.is_string()) {
            self.required(field, "");
        } else if !supported.contains(&field.text()) {
            self.not_supported(field, supported);
        }
    }

    /// The field must not be a negative number.
    pub(super) fn not_negative(&mut self, field: &Field<'_>) {
        if field.number().is_some_and(|n| n < 0) {
            self.invalid(field, "must be greater than or equal to 0");
        }
    }

    /// The field must be as it was.
    pub(super) fn immutable(&mut self, new: &Field<'_>, old: &Field<'_>) {
        if !same(new.value, old.value) {
            self.invalid(new, "field is immutable");
        }
    }
}

/// Compares as upstream's semantic equality does: what is empty equals what is absent.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || same(&Value::Null, v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
    }
}

/// Writes a value as an error shows it: texts quoted, the rest as JSON.
pub(in crate::object) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Quotes as Go's `%q` does.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", c as u32).expect("a String takes all"),
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes a map of texts as Go's `%#v` does, which is how upstream shows labels.
pub(super) fn go_map(map: &Value) -> String {
    let entries = map.as_object().into_iter().flatten();
    let entries: Vec<_> = entries.map(|(k, v)| format!("{}:{}", quoted(k), shown(v))).collect();
    if map.is_null() { "map[string]string(nil)".into() } else { format!("map[string]string{{{}}}", entries.join(", ")) }
}

/// Writes a list of texts as Go's `%#v` does.
pub(super) fn go_list(list: &Value) -> String {
    match list.as_array() {
        Some(texts) => format!("[]string{{{}}}", texts.iter().map(shown).collect::<Vec<_>>().join(", ")),
        None => "[]string(nil)".into(),
    }
}

/// Writes a label selector as Go's `%#v` does.
pub(super) fn go_selector(selector: &Value) -> String {
    let requirement = |e: &Value| {
        format!(
            "v1.LabelSelectorRequirement{{Key:{}, Operator:{}, Values:{}}}",
            quoted(e["key"].as_str().unwrap_or_default()),
            quoted(e["operator"].as_str().unwrap_or_default()),
            go_list(&e["values"])
        )
    };
    let expressions = match selector["matchExpressions"].as_array() {
        Some(list) => format!("{{{}}}", list.iter().map(requirement).collect::<Vec<_>>().join(", ")),
        None => "(nil)".into(),
    };
    format!(
        "v1.LabelSelector{{MatchLabels:{}, MatchExpressions:[]v1.LabelSelectorRequirement{expressions}}}",
        go_map(&selector["matchLabels"])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn causes_read_as_upstreams_do() {
        let object = json!({"spec": {"ports": [{"name": "http", "port": 80}]}, "kind": "A\"\n"});
        let root = Field::root(&object);
        let port = root.child("spec").child("ports").items().next().unwrap();
        let mut causes = Causes::default();
        causes.required(&port.child("protocol"), "");
        causes.required(&port.child("x"), "must be set");
        causes.duplicate(&port.child("name"));
        causes.invalid(&port.child("port"), "is odd");
        causes.not_supported(&root.child("kind"), &["B", "C"]);
        causes.forbidden(&root, "no");
        causes.too_long(&root.child("data"), 7);
        causes.not_found(&port.child("name"));
        let lines: Vec<_> = causes.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "spec.ports[0].protocol: Required value",
                "spec.ports[0].x: Required value: must be set",
                "spec.ports[0].name: Duplicate value: \"http\"",
                "spec.ports[0].port: Invalid value: 80: is odd",
                "kind: Unsupported value: \"A\\\"\\n\": supported values: \"B\", \"C\"",
                ": Forbidden: no",
                "data: Too long: may not be more than 7 bytes",
                "spec.ports[0].name: Not found: \"http\"",
            ]
        );
        assert_eq!(causes.0[2].reason.as_str(), "FieldValueDuplicate");
    }

    #[test]
    fn what_is_empty_equals_what_is_absent() {
        let table = [
            (json!({"a": []}), json!({}), true),
            (json!({"a": {"b": null}}), json!(null), true),
            (json!({"a": 0, "b": false, "c": ""}), json!({}), true),
            (json!({"a": [1]}), json!({"a": [1, 2]}), false),
            (json!({"a": 1}), json!({}), false),
            (json!({}), json!({"a": true}), false),
            (json!({"a": 1, "b": []}), json!({"a": 1}), true),
        ];
        for (a, b, equal) in table {
            assert_eq!(same(&a, &b), equal, "{a} {b}");
            assert_eq!(same(&b, &a), equal, "{b} {a}");
        }
    }

    #[test]
    fn selectors_are_shown_as_go_shows_them() {
        let web = json!({"matchLabels": {"app": "web"}});
        assert_eq!(
            go_selector(&web),
            "v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"web\"}, \
             MatchExpressions:[]v1.LabelSelectorRequirement(nil)}"
        );
    }
}
