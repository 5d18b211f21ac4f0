//! What the schema says of a place in an object: whether there is one value, or several that each may have an owner.

use serde_json::{Map, Value};

use super::element::Element;
use crate::object::Kind;
use crate::object::custom::{Schema, Type};
use crate::object::kinds::CUSTOM;
use crate::object::schema::{self, Field, ListType, Shape, Struct};

/// A place, by what it may hold.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// One value: a scalar, or a list or map that is atomic.
    Leaf,
    /// An object with known fields.
    Struct(&'static Struct),
    /// An object with free keys, and what is in each.
    Map(&'static Shape),
    /// A list whose elements are told apart, and what each is.
    List(&'static Shape, &'static ListType),
    /// The whole of an object of a user's kind: its metadata is known, the rest is as the schema says.
    Root(&'a Schema),
    /// An object of a user's kind, or a list whose elements are told apart.
    Custom(&'a Schema),
    /// What a schema says nothing of: maps are taken apart.
    Any,
}

static ATOMIC: ListType = ListType::Atomic;

impl<'a> Place<'a> {
    /// The whole of an object; of a kind that users define, by its schema.
    pub fn root(kind: &Kind, schema: Option<&'a Schema>) -> Self {
        schema.map_or_else(|| Self::Struct(schema::of(kind)), Self::Root)
    }

    fn of_schema(schema: &'a Schema) -> Self {
        match schema.kind {
            Some(Type::Object) if schema.atomic => Self::Leaf,
            Some(Type::Object) if schema.properties.is_empty() && schema.values.is_none() => Self::Any,
            Some(Type::Object) => Self::Custom(schema),
            Some(Type::Array) if schema.list != ListType::Atomic && schema.items.is_some() => Self::Custom(schema),
            None if schema.preserves => Self::Any,
            _ => Self::Leaf,
        }
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
            (Self::Root(_), Element::Field(name)) if schema::definition(CUSTOM)?.field(name).is_some() => {
                schema::definition(CUSTOM)?.field(name).map(Self::of_field)
            }
            (Self::Root(schema) | Self::Custom(schema), Element::Field(name)) => match schema.member(name) {
                Some(inner) => Some(Self::of_schema(inner)),
                None => schema.preserves.then_some(Self::Any),
            },
            (Self::Custom(schema), _) => schema.items.as_deref().map(Self::of_schema),
            (Self::Any, Element::Field(_)) => Some(Self::Any),
            _ => None,
        }
    }

    /// Returns the place of a member; a leaf if none is known.
    pub fn member(self, element: &Element) -> Self {
        self.step(element).unwrap_or(Self::Leaf)
    }

    /// Tells whether `element` is a known field.
    pub fn names(self, element: &Element) -> bool {
        match (self, element) {
            (Self::Struct(shape), Element::Field(name)) => shape.field(name).is_some(),
            (Self::Root(schema), Element::Field(name)) => name == "metadata" || schema.properties.contains_key(name),
            (Self::Custom(schema), Element::Field(name)) => schema.properties.contains_key(name),
            _ => false,
        }
    }

    /// Tells whether an object's keys are free: then who makes a member owns it, and not only what is in it.
    pub fn is_free(self) -> bool {
        match self {
            Self::Map(_) | Self::Any => true,
            Self::Custom(schema) => schema.properties.is_empty(),
            _ => false,
        }
    }

    /// Tells whether `value` is something to look into.
    pub fn branches(self, value: &Value) -> bool {
        match self {
            Self::Leaf => false,
            Self::Struct(_) | Self::Map(_) | Self::Root(_) | Self::Any => value.is_object(),
            Self::List(..) => value.is_array(),
            Self::Custom(schema) if schema.kind == Some(Type::Array) => value.is_array(),
            Self::Custom(_) => value.is_object(),
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
        let keys: &[String] = match self {
            Self::List(_, ListType::Map(keys)) => keys,
            Self::Custom(Schema { list: ListType::Map(keys), .. }) => keys,
            _ => return Ok(Element::Value(item.to_string())),
        };
        let default = |name: &str| match self {
            Self::List(inner, _) => default_of(inner, name),
            Self::Custom(schema) => schema.items.as_ref()?.properties.get(name)?.default.clone(),
            _ => None,
        };
        let mut key = Map::new();
        for name in keys {
            let value = item.get(name).cloned().or_else(|| default(name)).ok_or_else(|| name.clone())?;
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
