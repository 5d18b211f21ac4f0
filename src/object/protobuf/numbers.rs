//! The table of field numbers: `numbers-1.33.json.gz`, which `generate.py` writes and describes.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

static PACKED: &[u8] = include_bytes!("numbers-1.33.json.gz");

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    number: u32,
    /// What it is called in JSON; see [`INLINE`] and [`WRAPPED`].
    pub name: Box<str>,
    /// How often it comes.
    pub often: Often,
    /// What it holds.
    pub kind: Kind,
    /// Whether it is written even when it is zero.
    pub keep_zero: bool,
}

/// The name of a field whose own fields belong to the message around it.
pub const INLINE: &str = "";
/// The name of a field that its message is nothing but.
pub const WRAPPED: &str = "*";

/// How often a field comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    /// At most once.
    Once,
    /// Any number of times: a list.
    List,
    /// Any number of times, each with a text for a key.
    Map,
}

/// What a field holds.
#[derive(Debug)]
pub enum Kind {
    /// Text.
    Text,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A truth value.
    Bool,
    /// A whole number.
    Int,
    /// A floating-point number.
    Double,
    /// A message, by its definition's name.
    Message(Box<str>),
}

/// Number, name and type, as the table has them.
type Row = (u32, Box<str>, String);
type Table = BTreeMap<Box<str>, Box<[Field]>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(load)
}

/// Returns the fields of a message; `None` for one that is not in the table.
pub fn fields(definition: &str) -> Option<&'static [Field]> {
    table().get(definition).map(|fields| &**fields)
}

/// Returns every message, for the tests that look at all.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = (&'static str, &'static [Field])> {
    table().iter().map(|(name, fields)| (&**name, &**fields))
}

/// Finds a field by its number.
pub fn field(fields: &'static [Field], number: u32) -> Option<&'static Field> {
    fields.binary_search_by_key(&number, |f| f.number).ok().map(|at| &fields[at])
}

/// Unpacks the table: 0.1 MB of text, about 2 ms, at the first body of protobuf.
fn load() -> Table {
    let mut text = String::new();
    GzDecoder::new(PACKED).read_to_string(&mut text).expect("the committed table is gzipped text");
    let rows: BTreeMap<Box<str>, Vec<Row>> =
        serde_json::from_str(&text).expect("the committed table is valid; a test reads it");
    rows.into_iter().map(|(name, rows)| (name, rows.into_iter().map(parse).collect())).collect()
}

fn parse((number, name, kind): Row) -> Field {
    let (kind, keep_zero) = kind.strip_suffix('!').map_or((kind.as_str(), false), |kind| (kind, true));
    let (often, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(kind), _) => (Often::List, kind),
        (_, Some(kind)) => (Often::Map, kind),
        _ => (Often::Once, kind),
    };
    let kind = match kind {
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "double" => Kind::Double,
        message => Kind::Message(message.into()),
    };
    Field { number, name, often, kind, keep_zero }
}
