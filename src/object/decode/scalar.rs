//! Values that are no objects or lists: checks and canonical forms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Number, Value, json};

use crate::object::quantity::Quantity;
use crate::object::raw::Raw;
use crate::object::schema::Shape;

/// Why a value does not do.
pub enum Bad {
    /// It has another type; what Go's JSON decoder calls it.
    Type(String),
    /// Its text has a wrong form; the whole message.
    Value(String),
}

/// Reads a scalar of `shape` into its canonical form.
pub fn read(raw: Raw, shape: &Shape) -> Result<Value, Bad> {
    match (shape, raw) {
        (Shape::String, Raw::String(s)) => Ok(s.into()),
        (Shape::Bool, Raw::Bool(b)) => Ok(b.into()),
        (Shape::Int32, Raw::Number(n)) => integer(&n, i32::MIN.into(), i32::MAX.into()),
        (Shape::Int64, Raw::Number(n)) => integer(&n, i64::MIN, i64::MAX),
        (Shape::Double, Raw::Number(n)) => Ok(n.into()),
        (Shape::Bytes, Raw::String(s)) => bytes(&s),
        (Shape::Quantity, raw) => quantity(&raw),
        (Shape::IntOrString, raw) => int_or_string(raw),
        (Shape::Time, raw) => time(&raw, "2006-01-02T15:04:05Z07:00").map(|t| rfc3339(t, 0)),
        (Shape::MicroTime, raw) => time(&raw, "2006-01-02T15:04:05.000000Z07:00").map(|t| rfc3339(t, 6)),
        (_, other) => Err(Bad::Type(go_value(&other))),
    }
}

/// Returns Go's zero value, which stands for a null in a list or map.
pub fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Struct(_) | Shape::Map(_) => json!({}),
        Shape::List(_) => json!([]),
        Shape::Time | Shape::MicroTime | Shape::Opaque => Value::Null,
    }
}

/// What Go's JSON decoder calls a value in its messages.
pub fn go_value(raw: &Raw) -> String {
    let name = match raw {
        Raw::Null => "null",
        Raw::Bool(_) => "bool",
        Raw::Number(_) => "number",
        Raw::String(_) => "string",
        Raw::List(_) => "array",
        Raw::Object(_) => "object",
    };
    name.into()
}

fn integer(n: &Number, min: i64, max: i64) -> Result<Value, Bad> {
    match n.as_i64() {
        Some(i) if (min..=max).contains(&i) => Ok(i.into()),
        _ => Err(Bad::Type(format!("number {n}"))),
    }
}

fn bytes(text: &str) -> Result<Value, Bad> {
    // Go skips line breaks, which `base64` without -w0 leaves in.
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&packed) {
        Ok(decoded) => Ok(STANDARD.encode(decoded).into()),
        Err(e) => Err(Bad::Value(format!("illegal base64 data at input byte {}", offset(&e, &packed)))),
    }
}

fn offset(e: &base64::DecodeError, text: &str) -> usize {
    match e {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}

fn quantity(raw: &Raw) -> Result<Value, Bad> {
    let text = match raw {
        Raw::String(text) => text.trim().to_owned(),
        Raw::Number(n) => n.to_string(),
        // Upstream reads the JSON text itself, and an object's text is as little a quantity as any.
        _ => String::from("-"),
    };
    let quantity: Quantity =
        text.parse().map_err(|e: crate::object::quantity::BadQuantity| Bad::Value(e.to_string()))?;
    Ok(quantity.to_string().into())
}

fn int_or_string(raw: Raw) -> Result<Value, Bad> {
    let bad = |found: &str| Bad::Value(format!("json: cannot unmarshal {found} into Go value of type int32"));
    match raw {
        Raw::String(s) => Ok(s.into()),
        Raw::Number(n) => integer(&n, i32::MIN.into(), i32::MAX.into()).map_err(|e| match e {
            Bad::Type(found) => bad(&found),
            other => other,
        }),
        other => Err(bad(&go_value(&other))),
    }
}

fn time(raw: &Raw, layout: &str) -> Result<Timestamp, Bad> {
    let Some(text) = raw.as_str() else {
        return Err(Bad::Value(format!("json: cannot unmarshal {} into Go value of type string", go_value(raw))));
    };
    let parsed = if is_rfc3339(text) { text.parse().ok() } else { None };
    parsed.ok_or_else(|| {
        Bad::Value(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as {:?}", "2006"))
    })
}

/// Tells whether `text` has the form of RFC 3339; the parser takes much more.
fn is_rfc3339(text: &str) -> bool {
    let form = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
    };
    let Some((start, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let zone = rest.strip_prefix('.').map_or(rest, |f| f.trim_start_matches(|c: char| c.is_ascii_digit()));
    let fraction = rest.len() - zone.len();
    form(start, "0000-00-00T00:00:00") && fraction != 1 && (zone == "Z" || form(zone, "+00:00") || form(zone, "-00:00"))
}

fn rfc3339(time: Timestamp, digits: u8) -> Value {
    let precision = usize::from(digits);
    format!("{time:.precision$}").into()
}
