//! JSON patch (RFC 6902), with upstream's bounds.

use std::collections::BTreeSet;

use json_patch::jsonptr::Pointer;
use json_patch::{PatchOperation, patch_unsafe};
use serde_json::Value;

use super::{BadPatch, Patched};
use crate::object::raw::{MAX_DEPTH, Raw, report};

/// Upstream's bound.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes `copy` may add in all. Without a bound, thirty copies of an object into itself fill the memory.
const MAX_COPIED: usize = 3 << 20;

pub(super) fn apply(current: &Value, patch: &[u8]) -> Result<Patched, BadPatch> {
    let malformed = |why: &dyn std::fmt::Display| BadPatch::Malformed(format!("error decoding patch: {why}"));
    let raw = Raw::json(patch).map_err(|e| malformed(&e))?;
    let faults = faults(&raw);
    let Raw::List(operations) = raw else {
        return Err(malformed(&"json: cannot unmarshal into Go value of type []handlers.jsonPatchOp"));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(BadPatch::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let operations: Vec<PatchOperation> = operations
        .into_iter()
        .map(|operation| serde_json::from_value(operation.into_value()).map_err(|e| malformed(&e)))
        .collect::<Result<_, _>>()?;
    let mut value = current.clone();
    let mut copied = 0;
    for operation in &operations {
        if tests_for_nothing(&value, operation) {
            continue;
        }
        check(&value, operation, &mut copied)?;
        patch_unsafe(&mut value, std::slice::from_ref(operation)).map_err(|e| unfit(operation, &e.kind))?;
    }
    let resource_version = operations.iter().rev().find_map(set_version);
    Ok(Patched { shown: value.to_string(), value, faults, resource_version })
}

/// Tells whether an operation tests that a member is null which is not there: upstream's library takes both for the same, and
/// clients test so that nobody has added it yet.
fn tests_for_nothing(value: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let holder = test.path.parent().and_then(|parent| value.pointer(parent.as_str()));
    test.value.is_null() && holder.is_some_and(Value::is_object) && value.pointer(test.path.as_str()).is_none()
}

/// Keeps an operation from making the object larger or deeper than any body could be.
fn check(value: &Value, operation: &PatchOperation, copied: &mut usize) -> Result<(), BadPatch> {
    let (path, moved) = match operation {
        PatchOperation::Add(op) => (&op.path, Some(&op.value)),
        PatchOperation::Replace(op) => (&op.path, Some(&op.value)),
        PatchOperation::Copy(op) => (&op.path, charged(value, &op.from, copied)?),
        // Measuring costs as much as copying; what moves no deeper needs none.
        PatchOperation::Move(op) if op.path.count() > op.from.count() => (&op.path, charged(value, &op.from, copied)?),
        PatchOperation::Move(_) | PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    if path.count() + moved.map_or(0, depth) > MAX_DEPTH {
        return Err(BadPatch::TooLarge("exceeded max depth".into()));
    }
    Ok(())
}

/// Finds what is to be copied and counts its bytes.
fn charged<'a>(value: &'a Value, from: &Pointer, copied: &mut usize) -> Result<Option<&'a Value>, BadPatch> {
    let source = value.pointer(from.as_str());
    *copied += source.map_or(0, |source| source.to_string().len());
    if *copied > MAX_COPIED {
        return Err(BadPatch::TooLarge(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit \
             {MAX_COPIED}"
        )));
    }
    Ok(source)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn unfit(operation: &PatchOperation, kind: &json_patch::PatchErrorKind) -> BadPatch {
    let (name, path) = (name(operation), operation.path());
    BadPatch::Unfit(match kind {
        json_patch::PatchErrorKind::TestFailed => format!("testing value {path} failed: test failed"),
        _ => format!("{name} operation does not apply: doc is missing path: {:?}: {kind}", path.as_str()),
    })
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

/// Finds what strict validation reports: members that no operation has, and those that come twice.
fn faults(patch: &Raw) -> Vec<String> {
    let mut found = Vec::new();
    let Raw::List(operations) = patch else { return found };
    for (i, operation) in operations.iter().enumerate() {
        let Raw::Object(members) = operation else { continue };
        let mut seen = BTreeSet::new();
        for (name, _) in members {
            let path = format!("[{i}].{name}");
            if !["op", "path", "from", "value"].contains(&name.as_str()) {
                report(&mut found, "json patch unknown field", &path);
            } else if !seen.insert(name) {
                report(&mut found, "json patch duplicate field", &path);
            }
        }
    }
    found
}

/// The resourceVersion that an operation sets or tests: either means that the object must be at it.
fn set_version(operation: &PatchOperation) -> Option<String> {
    let (path, value) = match operation {
        PatchOperation::Add(op) => (&op.path, &op.value),
        PatchOperation::Replace(op) => (&op.path, &op.value),
        PatchOperation::Test(op) => (&op.path, &op.value),
        _ => return None,
    };
    let version = match path.as_str() {
        "/metadata/resourceVersion" => value,
        "/metadata" => &value["resourceVersion"],
        _ => return None,
    };
    version.as_str().map(str::to_owned)
}
