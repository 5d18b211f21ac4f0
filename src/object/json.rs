//! JSON as Kubernetes writes it: compact, `kind`, `apiVersion` and `metadata` first, then the other members by name.
//!
//! Clients compare whole documents as text, so the order matters. Objects are kept in it, so that to answer with one is
//! to copy it, and a list is a concatenation.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Kind;

/// The members that come first, in this order.
const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];

/// Writes a document.
pub fn write(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(2_048);
    match document {
        Value::Object(members) => write_members(&mut out, members),
        other => append(&mut out, other),
    }
    out
}

fn write_members(out: &mut Vec<u8>, members: &Map<String, Value>) {
    let first = FIRST.iter().filter_map(|name| members.get_key_value(*name));
    let rest = members.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    for (at, (name, value)) in first.chain(rest).enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        append(out, name);
        out.push(b':');
        append(out, value);
    }
    out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
}

fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a JSON value serialises");
}

/// Returns what every object of a kind begins with.
pub fn head(kind: &Kind) -> String {
    format!(r#"{{"kind":"{}","apiVersion":"{}","#, kind.kind, kind.api_version())
}

/// Appends an object of a kind, as it was written, as an item of a list, which names neither kind nor apiVersion. `head`
/// is the kind's.
pub fn write_item(out: &mut Vec<u8>, head: &str, json: &[u8]) {
    out.push(b'{');
    out.extend_from_slice(json.strip_prefix(head.as_bytes()).unwrap_or(json.get(1..).unwrap_or_default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(write(value)).unwrap()
    }

    #[test]
    fn kind_api_version_and_metadata_come_first() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "aaa": [1, {"x": "y"}]});
        assert_eq!(text(&pod), r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"aaa":[1,{"x":"y"}]}"#);
        assert_eq!((text(&json!({})), text(&json!([1]))), ("{}".into(), "[1]".into()));
        assert_eq!(text(&json!({"b\"": 1, "kind": "é"})), r#"{"kind":"é","b\"":1}"#);
    }

    #[test]
    fn an_item_names_neither_kind_nor_api_version() {
        let pod = json!({"apiVersion": "v1", "data": {"kind": "x"}, "kind": "Pod", "metadata": {}});
        let mut out = Vec::new();
        write_item(&mut out, &head(&kinds::POD), &write(&pod));
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"metadata":{},"data":{"kind":"x"}}"#);
    }
}
