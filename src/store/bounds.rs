//! What a record may say at most, whoever signed it: named caps, each a function of the record alone.

use super::epoch::MOST_RUNS;
use super::graves::MOST_SEALED;
use super::leaves::MAX_DEPTH;
use super::parts::Birth;
use super::plan::MAX_OBJECT_BYTES;
use super::record::{Body, Record};
use super::scan::MAX_PARENTS;

/// The most bytes of an object's name, as upstream has it.
pub const MAX_NAME: usize = 253;
/// The most bytes of a namespace's name, as upstream has it.
pub const MAX_NAMESPACE: usize = 63;
/// The most fields and conditions of a status that one record says something about.
pub const MAX_FIELDS: usize = 4_096;
/// The most finalizers of an object.
pub const MAX_FINALIZERS: usize = 1_024;

/// Checks a record, all but an Event's object and a change's chunk.
///
/// # Errors
/// What is out of bounds, or why it cannot be read.
pub fn within(record: &Record) -> Result<(), String> {
    check(&record.body, &record.raw).map_err(|reason| record.body.reason().unwrap_or(reason).to_owned())
}

fn check(body: &Body, raw: &[u8]) -> Result<(), &'static str> {
    match body {
        Body::Change { parents: Some(parents), .. } if parents.len() > MAX_PARENTS => Err("it builds on too many"),
        Body::Change { birth: Some(birth), .. } | Body::Tombstone { birth, .. } => check_birth(birth),
        Body::Epoch { birth, decision, .. } => {
            let clock = &decision.clock;
            if clock.runs.len() > MOST_RUNS || clock.ended.len() > MOST_RUNS || decision.heads.len() > 1 {
                return Err("a decision that counts too much");
            }
            check_birth(birth)
        }
        Body::Register { value, .. } => check_value(&raw[value.clone()]),
        Body::Told { fields, .. } => {
            if fields.len() > MAX_FIELDS {
                return Err("too many fields");
            }
            fields.iter().filter_map(|(_, value)| value.as_ref()).try_for_each(|value| check_value(value))
        }
        Body::Mark { mark, .. } if mark.finalizers.len() > MAX_FINALIZERS => Err("too many finalizers"),
        Body::Event { key, .. } => check_key(&key.namespace, &key.name, true),
        Body::Unreadable { .. } => Err("it cannot be read"),
        Body::Sealed { uids, .. } if uids.len() > MOST_SEALED => Err("too many tombstones"),
        Body::Change { birth: None, .. }
        | Body::Mark { .. }
        | Body::Ceiling { .. }
        | Body::Sealed { .. }
        | Body::Acked { .. }
        | Body::Forgotten { .. } => Ok(()),
    }
}

fn check_birth(birth: &Birth) -> Result<(), &'static str> {
    check_key(&birth.key.namespace, &birth.key.name, birth.key.kind.namespaced)
}

/// A name is a segment of a path; kinds differ in what else they ask of theirs.
fn check_key(namespace: &str, name: &str, namespaced: bool) -> Result<(), &'static str> {
    let segment =
        |text: &str| !text.contains(|c: char| c == '/' || c == '%' || c.is_control()) && text != "." && text != "..";
    if name.is_empty() || name.len() > MAX_NAME || !segment(name) {
        return Err("a name that no object has");
    }
    let label = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if namespaced == namespace.is_empty() || namespace.len() > MAX_NAMESPACE || !label(namespace) {
        return Err("a namespace that no object has");
    }
    Ok(())
}

fn check_value(json: &[u8]) -> Result<(), &'static str> {
    if json.len() > MAX_OBJECT_BYTES {
        return Err("too large a value");
    }
    if depth(json) > MAX_DEPTH {
        return Err("a value that is nested too deep");
    }
    Ok(())
}

/// Returns how deep JSON is, without parsing it; of what is no JSON, some number.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_the_brackets_outside_of_strings() {
        assert_eq!(depth(br#"{"a":[1,{"b":"[[[\"[["}]}"#), 3);
        assert_eq!((depth(b"7"), depth(b""), depth(b"]]]["), depth(b"\"[")), (0, 0, 1, 0));
        assert_eq!(depth("[".repeat(100_000).as_bytes()), 100_000);
    }

    #[test]
    fn names_that_cannot_be_in_a_path_are_refused() {
        for (namespace, name, namespaced) in [
            ("a", "", true),
            ("", "x", true),
            ("a", "x", false),
            ("a", "x/y", true),
            ("a", "..", true),
            ("A", "x", true),
        ] {
            assert!(check_key(namespace, name, namespaced).is_err(), "{namespace}/{name}");
        }
        assert!(check_key("", "system:node", false).is_ok());
        assert!(check_key("a", &"x".repeat(254), true).is_err());
    }
}
