//! JSON as Kubernetes writes it: compact, `kind`, `apiVersion` and `metadata` first, a newline after each document.
//!
//! Entries hold compact JSON with sorted keys. Clients compare whole documents as text, so the order matters; parsing
//! and writing 500 pods anew for it would not be cheap, so the members are moved as bytes.

use serde_json::Value;

/// The members that come first, in this order.
const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];

/// Appends the document `json` with its first members first.
pub fn write_object(out: &mut Vec<u8>, json: &[u8]) {
    write_members(out, json, &FIRST, &[]);
}

/// Appends the document `json` as an item of a list, which names neither kind nor apiVersion.
pub fn write_item(out: &mut Vec<u8>, json: &[u8]) {
    write_members(out, json, &["metadata"], &["kind", "apiVersion"]);
}

/// Writes `value` with its first members first.
pub fn object(value: &Value) -> Vec<u8> {
    let json = value.to_string();
    let mut out = Vec::with_capacity(json.len());
    write_object(&mut out, json.as_bytes());
    out
}

fn write_members(out: &mut Vec<u8>, json: &[u8], first: &[&str], without: &[&str]) {
    let members = members(json);
    out.push(b'{');
    let start = out.len();
    let mut write = |member: &Member<'_>| {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(member.text);
    };
    for name in first {
        members.iter().filter(|m| m.is(name)).for_each(&mut write);
    }
    let rest = members.iter().filter(|m| !first.iter().chain(without).any(|name| m.is(name)));
    rest.for_each(&mut write);
    out.push(b'}');
}

/// One member of a JSON object, as `"name":value`.
struct Member<'a> {
    text: &'a [u8],
    name: &'a [u8],
}

impl Member<'_> {
    fn is(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }
}

/// Splits a compact JSON object into its members.
fn members(json: &[u8]) -> Vec<Member<'_>> {
    let mut members = Vec::with_capacity(8);
    let (mut start, mut depth, mut quoted, mut escaped) = (1, 0_u32, false, false);
    for (at, byte) in json.iter().enumerate() {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if (depth == 1 && *byte == b',') || (depth == 0 && *byte == b'}') {
            members.extend(member(&json[start..at]));
            start = at + 1;
        }
    }
    members
}

/// Names of Kubernetes' fields need no escapes, so the first closing quote ends the name.
fn member(text: &[u8]) -> Option<Member<'_>> {
    let end = 1 + text.get(1..)?.iter().position(|b| *b == b'"')?;
    Some(Member { text, name: &text[1..end] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(object(value)).unwrap()
    }

    #[test]
    fn kind_api_version_and_metadata_come_first() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "aaa": [1, {"x": "y"}]});
        assert_eq!(text(&pod), r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"aaa":[1,{"x":"y"}]}"#);
        assert_eq!(text(&json!({})), "{}");
    }

    #[test]
    fn quotes_braces_and_backslashes_in_strings_are_no_structure() {
        for nasty in ["}", "{", "\"", "\\", "\\\"", "a\",\"kind\":\"b", "\\\\", "é\u{1}\u{2028}", ",", "]["] {
            let value = json!({"apiVersion": "v1", "data": {nasty: nasty}, "kind": "ConfigMap", "z": nasty});
            let written = text(&value);
            assert!(written.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","data":"#), "{written}");
            assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
        }
    }

    #[test]
    fn an_item_names_neither_kind_nor_api_version() {
        let mut out = Vec::new();
        write_item(&mut out, br#"{"apiVersion":"v1","data":{"kind":"x"},"kind":"Pod","metadata":{}}"#);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"metadata":{},"data":{"kind":"x"}}"#);
    }
}
