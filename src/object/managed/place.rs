//! What the schema says of a place in an object: whether there is one value, or several that each may have an owner.

use serde_json::{Map, Value};

use super::element::Element;
use crate::object::Kind;
use crate::object::schema::{self, Field, ListType, Shape, Struct};

/// A place, by what it may hold.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// One value: a scalar, or a list or map that is atomic.
    Leaf,
    /// An object with known fields.
    Struct(&'static Struct),
    /// An object with free keys, and what is in each.
    Map(&'static Shape),
    /// A list whose elements are told apart, and what each is.
    List(&'static Shape, &'static ListType),
}

static ATOMIC: ListType = ListType::Atomic;

impl Place {
    /// The whole of an object.
    pub fn root(kind: &Kind) -> Self {
        Self::Struct(schema::of(kind))
    }

    fn of_field(field: &'static Field) -> Self {
        if field.is_atomic_map() { Self::Leaf } else { Self::of(&field.shape, &field.list) }
    }

    fn of(shape: &'static Shape, list: &'static ListType) -> Self {
        match (shape, list) {
            (Shape::Struct(id), _) if id.get().is_atomic() => Self::Leaf,
            (Shape::Struct(id), _) => Self::Struct(id.get()),
            (Shape::Map(inner), _) => Self::Map(inner),
            (Shape::List(_), ListType::Atomic) => Self::Leaf,
            (Shape::List(inner), list) => Self::List(inner, list),
            _ => Self::Leaf,
        }
    }

    /// Returns the place of a member, or of an element.
    pub fn step(self, element: &Element) -> Option<Self> {
        match (self, element) {
            (Self::Struct(shape), Element::Field(name)) => shape.field(name).map(Self::of_field),
            (Self::Map(inner), Element::Field(_)) => Some(Self::of(inner, &ATOMIC)),
            (Self::List(inner, _), _) => Some(Self::of(inner, &ATOMIC)),
            _ => None,
        }
    }

    /// Returns the place of a member; a leaf if none is known.
    pub fn member(self, element: &Element) -> Self {
        self.step(element).unwrap_or(Self::Leaf)
    }

    /// Tells whether `element` is a known field.
    pub fn names(self, element: &Element) -> bool {
        matches!((self, element), (Self::Struct(shape), Element::Field(name)) if shape.field(name).is_some())
    }

    /// Tells whether `value` is something to look into.
    pub fn branches(self, value: &Value) -> bool {
        match self {
            Self::Leaf => false,
            Self::Struct(_) | Self::Map(_) => value.is_object(),
            Self::List(..) => value.is_array(),
        }
    }

    /// Returns what tells each element of a list apart. One that lacks a key field is told apart by where it is.
    pub fn elements(self, items: &[Value]) -> Vec<Element> {
        let index = |at: usize| Element::Index(u64::try_from(at).expect("a list in memory"));
        items.iter().enumerate().map(|(at, item)| self.element(item).unwrap_or_else(|_| index(at))).collect()
    }

    /// Returns what tells an element of the list that is here apart.
    ///
    /// # Errors
    /// The key field that it lacks.
    pub fn element(self, item: &Value) -> Result<Element, String> {
        let Self::List(inner, ListType::Map(keys)) = self else { return Ok(Element::Value(item.to_string())) };
        let mut key = Map::new();
        for name in keys {
            let value = item.get(name).cloned().or_else(|| default_of(inner, name)).ok_or_else(|| name.clone())?;
            key.insert(name.clone(), value);
        }
        Ok(Element::Key(Value::Object(key).to_string()))
    }
}

/// The key fields that upstream's schema gives a default. Without it, who applies a port without its protocol would not
/// be seen to mean the port that is there.
fn default_of(item: &'static Shape, field: &str) -> Option<Value> {
    match (item.inner_struct()?.short_name(), field) {
        ("ContainerPort" | "ServicePort", "protocol") => Some("TCP".into()),
        ("LocalObjectReference", "name") => Some("".into()),
        _ => None,
    }
}
