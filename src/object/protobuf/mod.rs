//! Reads protobuf bodies (`application/vnd.kubernetes.protobuf`), which typed clients send: kubectl's generators, helm's
//! secrets.
//!
//! What comes out is [`Raw`], as if the client had sent JSON, so that all else is as with JSON. Nothing here knows a
//! kind: the fields' numbers are a table that `generate.py` makes of upstream's messages. Reading is bounded in depth
//! and in what it makes of little bytes.

mod message;
mod numbers;
#[cfg(test)]
mod tests;
mod values;
mod wire;

use super::raw::{MAX_DEPTH, Raw};

use message::Reader;
use wire::Fields;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What a body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// A body's message, and what it says it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `group/version`, or the version alone for core; may be empty.
    pub api_version: &'a str,
    /// The kind; may be empty.
    pub kind: &'a str,
    /// The object's bytes.
    message: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Opens a body: upstream's `runtime.Unknown` behind four bytes.
    ///
    /// # Errors
    /// The reason in one sentence.
    pub fn open(body: &'a [u8]) -> Result<Self, String> {
        let rest = body.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
        let mut envelope = Envelope { api_version: "", kind: "", message: &[] };
        for field in Fields::of(rest) {
            match field? {
                (1, value) => envelope.tell(value.bytes()?)?,
                (2, value) => envelope.message = value.bytes()?,
                // Upstream knows no encoding, and nobody sends one.
                (3, value) if !value.bytes()?.is_empty() => return Err("unknown content encoding".into()),
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn tell(&mut self, type_meta: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(type_meta) {
            match field? {
                (1, value) => self.api_version = value.text()?,
                (2, value) => self.kind = value.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the message as the definition of that name, as `io.k8s.api.core.v1.Pod`; apiVersion and kind are the
    /// envelope's.
    ///
    /// # Errors
    /// The reason in one sentence: it is broken, too deep, or makes too much of too little.
    pub fn read(&self, definition: &str) -> Result<Raw, String> {
        let mut members = vec![("kind".to_owned(), Raw::String(self.kind.to_owned()))];
        members.push(("apiVersion".to_owned(), Raw::String(self.api_version.to_owned())));
        if let Raw::Object(read) = Reader::new(self.message.len()).object(definition, self.message)? {
            members.extend(read);
        }
        let object = Raw::Object(members);
        // Lists and JSON within messages nest too.
        if nesting(&object) > MAX_DEPTH { Err("exceeded max depth".into()) } else { Ok(object) }
    }

    /// Returns what the envelope alone says: an object of apiVersion and kind.
    pub fn type_meta(&self) -> Raw {
        let text = |text: &str| Raw::String(text.to_owned());
        Raw::Object(vec![("kind".into(), text(self.kind)), ("apiVersion".into(), text(self.api_version))])
    }
}

fn nesting(raw: &Raw) -> usize {
    match raw {
        Raw::List(items) => 1 + items.iter().map(nesting).max().unwrap_or_default(),
        Raw::Object(members) => 1 + members.iter().map(|(_, value)| nesting(value)).max().unwrap_or_default(),
        _ => 0,
    }
}
