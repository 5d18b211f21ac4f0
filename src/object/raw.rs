//! A document as its client wrote it: members in their order, duplicates and nulls kept.
//!
//! serde_json's `Value` forgets what strict validation has to report, so bodies are read into [`Raw`] first.
//! Reading is bounded in depth and, where a format lets a little text stand for much, in size.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep objects and lists may nest. Less than serde_json's own limit of 128, so that what is stored can be read
/// again, also inside a watch event or a table.
pub const MAX_DEPTH: usize = 100;

/// What the aliases of a YAML document may make of it at most: members, elements and bytes of text together.
const MAX_EXPANSION: usize = 4 << 20;

/// How many brackets a YAML text may leave open. The parser's time grows with the square of their depth: a hundred
/// thousand cost it ten seconds.
const MAX_OPEN: usize = 5_000;

/// Refuses a YAML text that would keep the parser busy by its brackets alone. Those in strings count too: only the
/// parser could tell them apart.
///
/// # Errors
/// The reason in one sentence.
fn check_yaml(body: &[u8]) -> Result<(), String> {
    let mut open = 0_usize;
    for byte in body {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_OPEN {
            return Err(format!("exceeded max depth: more than {MAX_OPEN} brackets are open"));
        }
    }
    Ok(())
}

/// A JSON value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Raw>),
    /// An object; a name may come twice.
    Object(Vec<(String, Raw)>),
}

impl Raw {
    /// Reads JSON.
    ///
    /// # Errors
    /// The reason in one sentence: a syntax error, or too deep.
    pub fn json(body: &[u8]) -> Result<Self, String> {
        let left = Cell::new(usize::MAX);
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let seed = Seed { depth: 0, left: &left };
        let raw = seed.deserialize(&mut deserializer).map_err(|e| e.to_string())?;
        deserializer.end().map_err(|e| e.to_string())?;
        Ok(raw)
    }

    /// Reads YAML, one document.
    ///
    /// # Errors
    /// The reason in one sentence: a syntax error, too deep, or too large once its aliases are resolved.
    pub fn yaml(body: &[u8]) -> Result<Self, String> {
        check_yaml(body)?;
        let left = Cell::new(MAX_EXPANSION.max(body.len()));
        let seed = Seed { depth: 0, left: &left };
        seed.deserialize(serde_yaml_ng::Deserializer::from_slice(body)).map_err(|e| e.to_string())
    }

    /// Finds a member of an object; of duplicates the last, as JSON readers do.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Forgets order and duplicates; the last one wins.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Number(n) => Value::Number(n),
            Self::String(s) => Value::String(s),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Object(members) => {
                Value::Object(members.into_iter().map(|(n, v)| (n, v.into_value())).collect::<Map<_, _>>())
            }
        }
    }

    /// Reports the names that come twice in one object, as upstream words it: `duplicate field "spec.replicas"`.
    pub fn duplicates(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_duplicates(&mut String::new(), &mut found);
        found
    }

    fn collect_duplicates(&self, path: &mut String, found: &mut Vec<String>) {
        let base = path.len();
        match self {
            Self::Object(members) => {
                let mut seen = BTreeSet::new();
                for (name, value) in members {
                    push_name(path, name);
                    if !seen.insert(name) {
                        report(found, "duplicate field", path);
                    }
                    value.collect_duplicates(path, found);
                    path.truncate(base);
                }
            }
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    push_index(path, i);
                    item.collect_duplicates(path, found);
                    path.truncate(base);
                }
            }
            _ => {}
        }
    }
}

/// How many faults of one document are reported; upstream's bound.
const MAX_REPORTED: usize = 100;

/// Adds `unknown field "spec.x"` and the like to `found`, each once.
pub(in crate::object) fn report(found: &mut Vec<String>, what: &str, path: &str) {
    let text = format!("{what} {path:?}");
    if found.len() < MAX_REPORTED && !found.contains(&text) {
        found.push(text);
    }
}

/// Appends a member's name to a path.
pub(in crate::object) fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Appends an element's place to a path.
pub(in crate::object) fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => Self::Number(n),
            Value::String(s) => Self::String(s),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => Self::Object(members.into_iter().map(|(n, v)| (n, v.into())).collect()),
        }
    }
}

/// Reads one value at a depth.
#[derive(Clone, Copy)]
struct Seed<'a> {
    depth: usize,
    /// How many members, elements and bytes of text may still come.
    left: &'a Cell<usize>,
}

impl Seed<'_> {
    fn spend<E: Error>(self, cost: usize) -> Result<(), E> {
        let left =
            self.left.get().checked_sub(cost).ok_or_else(|| E::custom("document contains excessive aliasing"))?;
        self.left.set(left);
        Ok(())
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("exceeded max depth"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Raw;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(b))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Raw, E> {
        Ok(Raw::Number(n.into()))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Raw, E> {
        Ok(Raw::Number(n.into()))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Raw, E> {
        Number::from_f64(n).map(Raw::Number).ok_or_else(|| E::custom(format!("{n} is not a JSON number")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        self.spend(text.len())?;
        Ok(Raw::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            self.spend(1)?;
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let inner = self.deeper()?;
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            self.spend(1 + name.len())?;
            members.push((name, map.next_value_seed(inner)?));
        }
        Ok(Raw::Object(members))
    }
}

/// Reads a member's name; YAML lets it be a number or a truth value.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<String, E> {
        Ok(b.to_string())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<String, E> {
        Ok(n.to_string())
    }
}

/// Returns the media type of a `Content-Type`, without parameters, in lower case.
pub fn media_type(content_type: &str) -> Cow<'_, str> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.bytes().any(|b| b.is_ascii_uppercase()) { kind.to_ascii_lowercase().into() } else { kind.into() }
}
