//! From a message to the object that its client would have sent as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Number;

use super::numbers::{self, Field, INLINE, Kind, Often, WRAPPED};
use super::values;
use super::wire::{Fields, Wire};
use crate::object::raw::{MAX_DEPTH, Raw};

/// What a message may become at most, if it is not larger itself: members, elements and bytes of text together.
const MAX_EXPANSION: usize = 4 << 20;

/// What is in an object, by name; a field that comes again replaces the one before.
type Members = BTreeMap<&'static str, Raw>;

/// Reads messages, as much as it may.
pub struct Reader {
    /// How many members, elements and bytes may still come.
    left: usize,
    depth: usize,
}

impl Reader {
    /// Makes one for a message of so many bytes.
    pub fn new(length: usize) -> Self {
        Self { left: MAX_EXPANSION.max(length), depth: 0 }
    }

    /// Reads a message as an object.
    ///
    /// # Errors
    /// The reason in one sentence.
    pub fn object(&mut self, definition: &str, message: &[u8]) -> Result<Raw, String> {
        let fields = numbers::fields(definition).ok_or_else(|| format!("proto: no message {definition} is known"))?;
        let mut members = Members::new();
        self.members(fields, message, &mut members)?;
        // A wrapper is its one field.
        if fields.len() == 1 && &*fields[0].name == WRAPPED {
            return Ok(members.remove(WRAPPED).unwrap_or_else(|| Raw::List(Vec::new())));
        }
        Ok(Raw::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    fn members(&mut self, fields: &'static [Field], message: &[u8], out: &mut Members) -> Result<(), String> {
        if self.depth == MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        self.depth += 1;
        for read in Fields::of(message) {
            let (number, wire) = read?;
            // What a later version has is passed over, as by upstream.
            if let Some(field) = numbers::field(fields, number) {
                self.member(field, wire, out)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn member(&mut self, field: &'static Field, wire: Wire<'_>, out: &mut Members) -> Result<(), String> {
        let name = &*field.name;
        self.spend(1 + name.len())?;
        match (field.often, &field.kind) {
            (Often::Once, Kind::Message(inner)) if name == INLINE => {
                let fields = numbers::fields(inner).ok_or_else(|| format!("proto: no message {inner} is known"))?;
                return self.members(fields, wire.bytes()?, out);
            }
            (Often::Once, kind) => {
                let value = self.value(kind, wire)?;
                if field.keep_zero || !is_zero(&value) {
                    out.insert(name, value);
                } else {
                    out.remove(name);
                }
            }
            (Often::List, kind) => {
                let items = self.items(kind, wire)?;
                if let Raw::List(list) = out.entry(name).or_insert_with(|| Raw::List(Vec::new())) {
                    list.extend(items);
                }
            }
            (Often::Map, kind) => {
                let (key, value) = self.entry(kind, wire.bytes()?)?;
                if let Raw::Object(map) = out.entry(name).or_insert_with(|| Raw::Object(Vec::new())) {
                    map.push((key, value));
                }
            }
        }
        Ok(())
    }

    /// Numbers may come packed.
    fn items(&mut self, kind: &Kind, wire: Wire<'_>) -> Result<Vec<Raw>, String> {
        match (kind, wire) {
            (Kind::Int | Kind::Bool, Wire::Bytes(mut packed)) => {
                let mut items = Vec::new();
                while !packed.is_empty() {
                    let number = prost::encoding::decode_varint(&mut packed).map_err(|e| format!("proto: {e}"))?;
                    items.push(self.value(kind, Wire::Varint(number))?);
                }
                Ok(items)
            }
            _ => Ok(vec![self.value(kind, wire)?]),
        }
    }

    /// An entry of a map is a message of a key and a value; what is missing is empty.
    fn entry(&mut self, kind: &Kind, entry: &[u8]) -> Result<(String, Raw), String> {
        let (mut key, mut value) = ("", None);
        for field in Fields::of(entry) {
            match field? {
                (1, wire) => key = wire.text()?,
                (2, wire) => value = Some(self.value(kind, wire)?),
                _ => {}
            }
        }
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Kind::Text | Kind::Bytes) => Raw::String(String::new()),
            (None, Kind::Message(_)) => self.value(kind, Wire::Bytes(&[]))?,
            (None, Kind::Bool | Kind::Int | Kind::Double) => self.value(kind, Wire::Varint(0))?,
        };
        self.spend(key.len())?;
        Ok((key.to_owned(), value))
    }

    fn value(&mut self, kind: &Kind, wire: Wire<'_>) -> Result<Raw, String> {
        self.spend(1)?;
        Ok(match kind {
            Kind::Text => {
                let text = wire.text()?;
                self.spend(text.len())?;
                Raw::String(text.to_owned())
            }
            Kind::Bytes => {
                let bytes = wire.bytes()?;
                self.spend(bytes.len())?;
                Raw::String(STANDARD.encode(bytes))
            }
            Kind::Bool => Raw::Bool(wire.int()? != 0),
            Kind::Int => Raw::Number(wire.int()?.into()),
            Kind::Double => Raw::Number(Number::from_f64(wire.double()?).ok_or("proto: a number is not finite")?),
            Kind::Message(definition) => {
                let message = wire.bytes()?;
                match values::read(self, definition, message) {
                    Some(value) => value?,
                    None => self.object(definition, message)?,
                }
            }
        })
    }

    /// Accounts for what is made.
    ///
    /// # Errors
    /// If that is too much.
    pub fn spend(&mut self, cost: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(cost).ok_or("the message makes too large an object")?;
        Ok(())
    }
}

/// Tells whether Go leaves a value out of the JSON that it writes.
fn is_zero(value: &Raw) -> bool {
    match value {
        Raw::Null | Raw::Bool(false) => true,
        Raw::String(text) => text.is_empty(),
        Raw::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}
