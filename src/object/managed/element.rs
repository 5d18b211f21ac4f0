//! One step of a path through an object, and how `fieldsV1` writes it.

use std::fmt;

use serde_json::Value;

/// A step: into a member of an object, or to an element of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:NAME`: a member.
    Field(String),
    /// `k:{...}`: the element whose key fields have these values; compact JSON, sorted by name.
    Key(String),
    /// `v:VALUE`: the element of a set that is this scalar, as JSON.
    Value(String),
    /// `i:N`: the element at this place, where nothing else tells elements apart.
    Index(u64),
}

/// A path from an object's root.
pub type Path = Vec<Element>;

impl Element {
    /// Reads what `fieldsV1` writes.
    ///
    /// # Errors
    /// The text, if it is no element.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("no element of a field path: {text:?}");
        let json = |json: &str| serde_json::from_str::<Value>(json).map_err(|_| bad());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "f" => Ok(Self::Field(rest.to_owned())),
            "k" => match json(rest)? {
                key @ Value::Object(_) => Ok(Self::Key(key.to_string())),
                _ => Err(bad()),
            },
            "v" => Ok(Self::Value(json(rest)?.to_string())),
            "i" => rest.parse().map(Self::Index).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }

    /// Writes it as `fieldsV1` has it.
    pub fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(place) => format!("i:{place}"),
        }
    }
}

/// As messages show it: `.spec`, `[containerPort=80,protocol="TCP"]`, `[="a"]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(place) => write!(f, "[{place}]"),
            Self::Key(key) => {
                let members = serde_json::from_str::<serde_json::Map<String, Value>>(key).unwrap_or_default();
                let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", members.join(","))
            }
        }
    }
}

/// Writes a path as messages show it: `.spec.containers[name="web"].image`.
pub fn show(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}
