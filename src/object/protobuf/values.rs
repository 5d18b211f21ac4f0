//! Messages that are values of their own in JSON: times, amounts, numbers or texts, JSON within.

use jiff::Timestamp;

use super::message::Reader;
use super::wire::Fields;
use crate::object::raw::Raw;

/// The package of the schemas of custom kinds.
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// Reads such a message; `None` if the message is an object with fields.
pub fn read(reader: &mut Reader, definition: &str, message: &[u8]) -> Option<Result<Raw, String>> {
    match definition.rsplit('.').next()? {
        "Time" => Some(time(message, 0)),
        "MicroTime" => Some(time(message, 6)),
        "Quantity" => Some(quantity(reader, message)),
        "IntOrString" => Some(int_or_string(reader, message)),
        "FieldsV1" | "RawExtension" | "JSON" => Some(inner_json(reader, message)),
        "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
            Some(either(reader, message, definition))
        }
        _ => None,
    }
}

/// Seconds and nanoseconds; none of them is no time at all.
fn time(message: &[u8], digits: u8) -> Result<Raw, String> {
    if message.is_empty() {
        return Ok(Raw::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, wire) => seconds = wire.int()?,
            (2, wire) => nanos = i32::try_from(wire.int()?).map_err(|e| e.to_string())?,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanos).map_err(|e| format!("proto: no time: {e}"))?;
    let precision = usize::from(digits);
    Ok(Raw::String(format!("{time:.precision$}")))
}

fn quantity(reader: &mut Reader, message: &[u8]) -> Result<Raw, String> {
    let mut text = "0";
    for field in Fields::of(message) {
        if let (1, wire) = field? {
            text = wire.text()?;
        }
    }
    reader.spend(text.len())?;
    Ok(Raw::String(text.to_owned()))
}

fn int_or_string(reader: &mut Reader, message: &[u8]) -> Result<Raw, String> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Fields::of(message) {
        match field? {
            (1, wire) => is_text = wire.int()? != 0,
            (2, wire) => number = wire.int()?,
            (3, wire) => text = wire.text()?,
            _ => {}
        }
    }
    reader.spend(text.len())?;
    Ok(if is_text { Raw::String(text.to_owned()) } else { Raw::Number(number.into()) })
}

/// JSON as text, within the message.
fn inner_json(reader: &mut Reader, message: &[u8]) -> Result<Raw, String> {
    let mut text: &[u8] = b"null";
    for field in Fields::of(message) {
        if let (1, wire) = field? {
            text = wire.bytes()?;
        }
    }
    reader.spend(text.len())?;
    if text.is_empty() { Ok(Raw::Null) } else { Raw::json(text) }
}

/// A schema or something simpler: the one that is there.
fn either(reader: &mut Reader, message: &[u8], definition: &str) -> Result<Raw, String> {
    let (mut schema, mut flag, mut list) = (None, true, Vec::new());
    for field in Fields::of(message) {
        match (field?, definition.rsplit("Or").next()) {
            ((1, wire), Some("Bool")) => flag = wire.int()? != 0,
            ((2, wire), Some("Bool")) | ((1, wire), _) => schema = Some(reader.object(EXTENSIONS, wire.bytes()?)?),
            ((2, wire), Some("StringArray")) => list.push(Raw::String(wire.text()?.to_owned())),
            ((2, wire), _) => list.push(reader.object(EXTENSIONS, wire.bytes()?)?),
            _ => {}
        }
        reader.spend(1)?;
    }
    Ok(match schema {
        Some(schema) => schema,
        None if definition.ends_with("Bool") => Raw::Bool(flag),
        None => Raw::List(list),
    })
}
