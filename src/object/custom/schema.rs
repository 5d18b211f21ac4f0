//! A definition's schema, read: which values a place in an object may hold (`openAPIV3Schema`, structural).
//!
//! It is read leniently: what a definition may say is judged when it is written (`object::validation`), and one that came
//! from elsewhere must not take anything down.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::object::schema::ListType;

/// The most bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;
/// How deep a schema is read; what is below may be anything. As deep as an object may be.
const MAX_DEPTH: usize = 100;

/// What a place may hold.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The type, `None` for any.
    pub kind: Option<Type>,
    /// Whether null is a value.
    pub nullable: bool,
    /// Whether a number or a text may be here.
    pub int_or_string: bool,
    /// Whether fields that are not known are kept.
    pub preserves: bool,
    /// Whether an object with apiVersion, kind and metadata is here.
    pub embedded: bool,
    /// The known fields of an object.
    pub properties: BTreeMap<String, Schema>,
    /// What each free key of an object holds.
    pub values: Option<Box<Schema>>,
    /// What each element of a list is.
    pub items: Option<Box<Schema>>,
    /// Which fields must be there.
    pub required: Vec<String>,
    /// What stands for nothing.
    pub default: Option<Value>,
    /// How many bytes that takes as JSON.
    pub default_bytes: usize,
    /// How the elements of a list are told apart.
    pub list: ListType,
    /// Whether an object is one value, whose fields have no owners of their own.
    pub atomic: bool,
    /// What else a value must be.
    pub rules: Rules,
}

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Of members.
    Object,
    /// Of elements.
    Array,
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

impl Type {
    /// Finds a type by its name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What a value must be besides its type.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// One of these.
    pub one: Option<Vec<Value>>,
    /// A form that has a name, as `date-time`.
    pub format: Option<String>,
    /// A form that is written down.
    pub pattern: Option<Pattern>,
    /// At least this; whether more than it.
    pub minimum: Option<(f64, bool)>,
    /// At most this; whether less than it.
    pub maximum: Option<(f64, bool)>,
    /// A multiple of it.
    pub multiple_of: Option<f64>,
    /// The fewest and most characters.
    pub length: Range,
    /// The fewest and most elements.
    pub items: Range,
    /// The fewest and most members.
    pub members: Range,
    /// Each of these.
    pub all_of: Vec<Schema>,
    /// At least one of these.
    pub any_of: Vec<Schema>,
    /// Exactly one of these.
    pub one_of: Vec<Schema>,
    /// Not this.
    pub not: Option<Box<Schema>>,
}

/// A form that is written down. It is compiled when it is first asked for: a definition may have thousands.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The text, as the definition has it.
    pub text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Tells whether a text has the form. Any has one that is no form, which validation prevents.
    pub fn fits(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| pattern(&self.text).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// A least and a most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub least: Option<u64>,
    /// The most.
    pub most: Option<u64>,
}

/// Compiles a pattern, as clients of upstream write them.
///
/// # Errors
/// Why it is none.
pub fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_PATTERN).build().map_err(|e| e.to_string())
}

impl Schema {
    /// Reads a schema.
    pub fn of(json: &Value) -> Self {
        Self::at(json, 0)
    }

    fn at(json: &Value, depth: usize) -> Self {
        if depth > MAX_DEPTH || !json.is_object() {
            return Self { preserves: true, ..Self::default() };
        }
        let inner = |json: &Value| Self::at(json, depth + 1);
        let boxed = |json: &Value| Some(Box::new(inner(json)));
        let all = |json: &Value| json.as_array().into_iter().flatten().map(inner).collect::<Vec<_>>();
        let flag = |name: &str| json[name] == true;
        Self {
            kind: json["type"].as_str().and_then(Type::of),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: json["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), inner(v)))
                .collect(),
            values: match &json["additionalProperties"] {
                Value::Null | Value::Bool(false) => None,
                schema => boxed(schema),
            },
            items: if json["items"].is_null() { None } else { boxed(&json["items"]) },
            required: texts(&json["required"]),
            default: json.get("default").cloned(),
            default_bytes: json.get("default").map_or(0, |default| default.to_string().len()),
            list: match json["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(texts(&json["x-kubernetes-list-map-keys"]).into()),
                _ => ListType::Atomic,
            },
            atomic: json["x-kubernetes-map-type"] == "atomic",
            rules: Rules {
                one: json["enum"].as_array().cloned(),
                format: json["format"].as_str().map(str::to_owned),
                pattern: json["pattern"].as_str().map(Pattern::of),
                minimum: json["minimum"].as_f64().map(|n| (n, flag("exclusiveMinimum"))),
                maximum: json["maximum"].as_f64().map(|n| (n, flag("exclusiveMaximum"))),
                multiple_of: json["multipleOf"].as_f64().filter(|n| *n > 0.0),
                length: Range { least: json["minLength"].as_u64(), most: json["maxLength"].as_u64() },
                items: Range { least: json["minItems"].as_u64(), most: json["maxItems"].as_u64() },
                members: Range { least: json["minProperties"].as_u64(), most: json["maxProperties"].as_u64() },
                all_of: all(&json["allOf"]),
                any_of: all(&json["anyOf"]),
                one_of: all(&json["oneOf"]),
                not: if json["not"].is_null() { None } else { boxed(&json["not"]) },
            },
        }
    }

    /// Returns what a member holds, if that is known.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.values.as_deref())
    }

    /// Tells whether some place in it has a default.
    pub fn has_defaults(&self) -> bool {
        self.default.is_some()
            || self
                .properties
                .values()
                .chain(self.values.as_deref())
                .chain(self.items.as_deref())
                .any(Self::has_defaults)
    }
}

fn texts(json: &Value) -> Vec<String> {
    json.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
