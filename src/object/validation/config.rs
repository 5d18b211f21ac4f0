//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::field::{Causes, Field, quoted, same};
use super::names;

/// All values of an object together.
const SIZE_LIMIT: usize = 1 << 20;

/// Checks a ConfigMap.
pub(super) fn config_map(root: &Field<'_>, causes: &mut Causes) {
    let (data, binary) = (root.child("data"), root.child("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        key_of(key, &value, causes);
        if binary.has(key) {
            causes.invalid_as(&value, &quoted(key), "duplicate of key present in binaryData");
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        key_of(key, &value, causes);
        size += decoded_len(&value);
    }
    if size > SIZE_LIMIT {
        causes.too_long(root, SIZE_LIMIT);
    }
}

/// Checks a Secret.
pub(super) fn secret(root: &Field<'_>, causes: &mut Causes) {
    let data = root.child("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        key_of(key, &value, causes);
        size += decoded_len(&value);
    }
    if size > SIZE_LIMIT {
        causes.too_long(&data, SIZE_LIMIT);
    }
    secret_type(root, &data, causes);
}

fn secret_type(root: &Field<'_>, data: &Field<'_>, causes: &mut Causes) {
    let needs = |keys: &[&str], causes: &mut Causes| {
        for key in keys.iter().filter(|key| !data.has(key)) {
            causes.required(&data.key(key), "");
        }
    };
    match root.child("type").text() {
        "kubernetes.io/service-account-token" => {
            let name = root.child("metadata").child("annotations").key("kubernetes.io/service-account.name");
            if name.text().is_empty() {
                causes.required(&name, "");
            }
        }
        "kubernetes.io/dockercfg" => json_text(&data.key(".dockercfg"), causes),
        "kubernetes.io/dockerconfigjson" => json_text(&data.key(".dockerconfigjson"), causes),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            needs(&["username", "password"], causes);
        }
        "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").text().is_empty() => {
            causes.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => needs(&["tls.crt", "tls.key"], causes),
        _ => {}
    }
}

fn json_text(value: &Field<'_>, causes: &mut Causes) {
    if !value.is_set() {
        return causes.required(value, "");
    }
    let bytes = BASE64.decode(value.text()).unwrap_or_default();
    if let Err(why) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
        causes.invalid_as(value, &quoted("<secret contents redacted>"), &why.to_string());
    }
}

fn key_of(key: &str, value: &Field<'_>, causes: &mut Causes) {
    for fault in names::config_key(key) {
        causes.invalid_as(value, &quoted(key), &fault);
    }
}

/// How many bytes a base64 text holds.
fn decoded_len(value: &Field<'_>) -> usize {
    let text = value.text().trim_end_matches('=');
    text.len() / 4 * 3 + text.len() % 4 * 3 / 4
}

/// Checks what may become of a ConfigMap or Secret: nothing, once it is immutable; never its type.
pub(super) fn on_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    causes.immutable(&new.child("type"), &old.child("type"));
    if !old.child("immutable").is_true() {
        return;
    }
    if !new.child("immutable").is_true() {
        causes.forbidden(&new.child("immutable"), "field is immutable when `immutable` is set");
    }
    for name in ["data", "binaryData"] {
        if !same(new.child(name).value, old.child(name).value) {
            causes.forbidden(&new.child(name), "field is immutable when `immutable` is set");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::validation::{on_create, on_update};
    use crate::object::{Kind, kinds};

    fn faults(kind: &'static Kind, mut object: Value) -> Vec<String> {
        object["metadata"] = json!({"name": "x", "namespace": "shop"});
        on_create(kind, &object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_sizes_and_types_are_checked() {
        let big = "x".repeat((1 << 20) + 1);
        let key = "must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
                   'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        let table = [
            (&kinds::CONFIG_MAP, json!({"data": {"a.b": "1"}, "binaryData": {"c": "eA=="}}), vec![]),
            (&kinds::CONFIG_MAP, json!({}), vec![]),
            (
                &kinds::CONFIG_MAP,
                json!({"data": {"a/b": "1"}}),
                vec![format!("data[a/b]: Invalid value: \"a/b\": a valid config key {key}")],
            ),
            (
                &kinds::CONFIG_MAP,
                json!({"data": {"a": "1"}, "binaryData": {"a": ""}}),
                vec!["data[a]: Invalid value: \"a\": duplicate of key present in binaryData".into()],
            ),
            (
                &kinds::CONFIG_MAP,
                json!({"data": {"a": big}}),
                vec![": Too long: may not be more than 1048576 bytes".into()],
            ),
            (&kinds::SECRET, json!({"type": "Opaque", "data": {"a": "eA=="}}), vec![]),
            (
                &kinds::SECRET,
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="}}),
                vec!["data[tls.key]: Required value".into()],
            ),
            (
                &kinds::SECRET,
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}),
                vec![],
            ),
        ];
        for (kind, object, words) in table {
            assert_eq!(faults(kind, object), words);
        }
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"metadata": {"name": "x", "namespace": "shop"}, "data": {"a": "1"}, "immutable": true});
        let mut new = old.clone();
        assert_eq!(on_update(&kinds::CONFIG_MAP, &new, &old), []);
        new["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(on_update(&kinds::CONFIG_MAP, &new, &old), []);
        new["data"]["a"] = json!("2");
        new["immutable"] = json!(false);
        let words: Vec<_> = on_update(&kinds::CONFIG_MAP, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
        let (a, b) = (json!({"type": "Opaque"}), json!({"type": "x"}));
        let words: Vec<_> = on_update(&kinds::SECRET, &b, &a).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["type: Invalid value: \"x\": field is immutable"]);
    }
}
