//! What upstream's schema says of a kind: which fields it has, of what type, and how its lists are merged.
//!
//! Everything that depends on the shape of an object asks here: strict decoding, strategic merge, the store's
//! documents, OpenAPI. The schema is upstream's own, made compact by `generate.py`; to serve another version or
//! group, change that and run it. The compact form is made at its first use, in about 10 ms, and takes about 0.4 MB.

mod load;

use std::sync::OnceLock;

use super::Kind;

pub use load::{Text, references, text};

#[cfg(test)]
mod tests;

/// The version of Kubernetes the schema is from.
pub const VERSION: &str = "v1.33.0";

struct Schema {
    /// Sorted by name.
    structs: Box<[Struct]>,
}

/// A definition: an object with known fields.
#[derive(Debug)]
pub struct Struct {
    /// Full name, as `io.k8s.api.apps.v1.DeploymentSpec`.
    pub name: Box<str>,
    /// Sorted by name.
    fields: Box<[(Box<str>, Field)]>,
    /// Whether it is one value wherever it is used.
    atomic_map: bool,
}

/// A field of a [`Struct`].
#[derive(Debug)]
pub struct Field {
    /// What it holds.
    pub shape: Shape,
    /// How a list is told apart into elements (`x-kubernetes-list-type`); atomic for all that is no list.
    pub list: ListType,
    /// Whether the map or struct is one value (`x-kubernetes-map-type: atomic`); see [`Field::is_atomic_map`].
    atomic_map: bool,
    /// Whether a strategic merge patch merges the list (`x-kubernetes-patch-strategy`).
    pub merge: bool,
    /// Whether a strategic merge patch replaces the map.
    pub replace: bool,
    /// By what a strategic merge patch tells elements apart (`x-kubernetes-patch-merge-key`); `None` if the
    /// elements are scalars.
    pub merge_key: Option<Box<str>>,
    /// Whether the schema requires it; upstream writes such a field even when it is empty.
    pub required: bool,
}

/// How the elements of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not at all: the list is one value. The default.
    #[default]
    Atomic,
    /// Each scalar is there once.
    Set,
    /// Elements are objects, each with other values of these fields.
    Map(Box<[String]>),
}

/// What a place in an object can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    String,
    /// Bytes, in base64.
    Bytes,
    /// True or false.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// An RFC 3339 time, whole seconds.
    Time,
    /// An RFC 3339 time with microseconds.
    MicroTime,
    /// An amount, as `500m`.
    Quantity,
    /// A 32-bit integer or a text, as a port or a percentage.
    IntOrString,
    /// Any JSON, whose inside is not looked at.
    Opaque,
    /// An object with known fields.
    Struct(StructId),
    /// A list.
    List(Box<Shape>),
    /// An object with free keys.
    Map(Box<Shape>),
}

/// Refers to a [`Struct`]; types may hold themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructId(usize);

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(load::schema)
}

/// Finds a definition by its full name.
pub fn definition(name: &str) -> Option<&'static Struct> {
    let structs = &schema().structs;
    structs.binary_search_by(|s| (*s.name).cmp(name)).ok().map(|i| &structs[i])
}

/// Returns the definition of a kind.
///
/// # Panics
/// If the table of kinds names one that is not in the schema, which a test rules out.
pub fn of(kind: &Kind) -> &'static Struct {
    definition(kind.definition).expect("every kind's definition is in the schema; a test looks")
}

/// Finds the field at `path`, through lists and the keys of maps: `["spec", "template", "spec", "containers"]`,
/// without the elements' keys. `None` if there is no such field, or only a free key of a map.
pub fn field(kind: &Kind, path: &[&str]) -> Option<&'static Field> {
    let (last, before) = path.split_last()?;
    let mut inside = of(kind);
    for name in before {
        inside = inside.field(name)?.shape.inner_struct()?;
    }
    inside.field(last)
}

/// Returns how the elements of the list at `path` are told apart; see [`field`]. `None` if no list is there.
pub fn list_type(kind: &Kind, path: &[&str]) -> Option<&'static ListType> {
    field(kind, path).filter(|f| matches!(f.shape, Shape::List(_))).map(|f| &f.list)
}

/// Returns the fields whose values tell apart the elements of the list at `path`; see [`field`]. `None` if it is
/// no list, or one without keys.
pub fn list_map_keys(kind: &Kind, path: &[&str]) -> Option<&'static [String]> {
    match list_type(kind, path)? {
        ListType::Map(keys) => Some(keys),
        _ => None,
    }
}

impl Struct {
    /// Finds a field.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|i| &self.fields[i].1)
    }

    /// Returns all fields and their names, sorted.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(name, field)| (&**name, field))
    }

    /// Tells whether it is one value wherever it is used.
    pub fn is_atomic(&self) -> bool {
        self.atomic_map
    }

    /// Returns the last part of the name, as `DeploymentSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Returns the name as Go has it, as `v1.DeploymentSpec`.
    pub fn go_name(&self) -> &str {
        let package = self.name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[package..]
    }
}

impl Field {
    /// Tells whether the map or struct here is one value, as a selector is: two changes of it are not merged.
    pub fn is_atomic_map(&self) -> bool {
        match self.shape {
            Shape::Struct(id) => self.atomic_map || id.get().atomic_map,
            _ => self.atomic_map,
        }
    }
}

impl StructId {
    /// Returns the definition.
    pub fn get(self) -> &'static Struct {
        &schema().structs[self.0]
    }
}

impl Shape {
    /// Returns the struct that is here, or in the elements of the list or map that is here.
    pub fn inner_struct(&self) -> Option<&'static Struct> {
        match self {
            Self::Struct(id) => Some(id.get()),
            Self::List(inner) | Self::Map(inner) => inner.inner_struct(),
            _ => None,
        }
    }

    /// Returns the type as Go has it, as `[]v1.Container`: part of upstream's error messages.
    pub fn go_type(&self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Bytes => "[]uint8".into(),
            Self::Bool => "bool".into(),
            Self::Int32 => "int32".into(),
            Self::Int64 => "int64".into(),
            Self::Double => "float64".into(),
            Self::Time => "v1.Time".into(),
            Self::MicroTime => "v1.MicroTime".into(),
            Self::Quantity => "resource.Quantity".into(),
            Self::IntOrString => "intstr.IntOrString".into(),
            Self::Opaque => "interface {}".into(),
            Self::Struct(id) => id.get().go_name().into(),
            Self::List(inner) => format!("[]{}", inner.go_type()),
            // The one map that Go gives a name.
            Self::Map(inner) if **inner == Self::Quantity => "v1.ResourceList".into(),
            Self::Map(inner) => format!("map[string]{}", inner.go_type()),
        }
    }
}
