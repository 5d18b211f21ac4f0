//! The copy that is kept of an object which gave its name to an older one.
//!
//! Two sides made the same name and only one can have it. What the other one was asked to be stays readable: a
//! ConfigMap (of a Secret, a Secret) in the same namespace, labelled [`LABEL`]. Its name and uid follow from the
//! object's uid, so that two leaders make one copy.

use serde_json::{Map, Value, json};

use crate::ids::Uid;
use crate::object::{Key, kinds};

use super::parts::Parts;
use super::render::render;

/// The label of a copy: the kind of what it is a copy of, in small letters.
pub const LABEL: &str = "skein.dev/displaced";
/// The annotation with the uid of what it is a copy of.
pub const UID: &str = "skein.dev/displaced-uid";
/// The annotation with its name.
const NAME: &str = "skein.dev/displaced-name";
/// The annotation with its namespace.
const NAMESPACE: &str = "skein.dev/displaced-namespace";
/// The annotation with labels and annotations of a ConfigMap or Secret, as JSON.
const METADATA: &str = "skein.dev/displaced-metadata";
/// The key under which the manifest of anything else is.
const MANIFEST: &str = "manifest.json";
/// The most bytes of the original's labels and annotations.
const MOST_METADATA: usize = 64 << 10;
/// The most characters of the original's name in the copy's.
const MOST_NAME: usize = 200;

/// Tells whether an object is called as copies are.
pub fn is_called_copy(key: &Key) -> bool {
    (*key.kind == kinds::CONFIG_MAP || *key.kind == kinds::SECRET) && key.name.starts_with("displaced-")
}

/// Returns where the copy of the object `uid` at `key` is, in `namespace`.
pub fn copy_key(key: &Key, uid: Uid, namespace: &str) -> Key {
    let kind = if *key.kind == kinds::SECRET { &kinds::SECRET } else { &kinds::CONFIG_MAP };
    let stem: String = key.name.chars().take(MOST_NAME).collect();
    // A name may end in a letter or digit only; so does the uid's beginning.
    let name = format!("displaced-{}-{stem}-{}", key.kind.singular, &uid.to_string()[..8]);
    Key::new(kind, namespace, name)
}

/// Makes the copy of an object, for `copy`.
pub fn copy(key: &Key, uid: Uid, parts: &Parts, copy: &Key) -> Value {
    let mut original = bare(render(uid, parts, None));
    let mut annotations = json!({UID: uid.to_string(), NAME: key.name});
    if key.kind.namespaced {
        annotations[NAMESPACE] = key.namespace.clone().into();
    }
    let mut object = json!({
        "apiVersion": copy.kind.api_version(), "kind": copy.kind.kind,
        "metadata": {"name": copy.name, "namespace": copy.namespace, "labels": {LABEL: key.kind.singular}},
    });
    if *key.kind == kinds::CONFIG_MAP || *key.kind == kinds::SECRET {
        let meta =
            json!({"labels": original["metadata"]["labels"], "annotations": original["metadata"]["annotations"]});
        let meta = meta.to_string();
        if meta.len() <= MOST_METADATA {
            annotations[METADATA] = meta.into();
        }
        for field in ["type", "data", "binaryData"] {
            if let Some(value) = original.get_mut(field) {
                object[field] = value.take();
            }
        }
    } else {
        let manifest = serde_json::to_string_pretty(&original).expect("a JSON value serialises");
        object["data"] = json!({MANIFEST: manifest + "\n"});
    }
    object["metadata"]["annotations"] = annotations;
    object
}

/// Takes from an object what only the cluster says of it, so that it can be applied again.
fn bare(mut object: Value) -> Value {
    const GIVEN: [&str; 8] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
    ];
    let mut strip = |part: &str, fields: &[&str]| {
        if let Some(map) = object.get_mut(part).and_then(Value::as_object_mut) {
            map.retain(|field, _| !fields.contains(&&**field));
        }
    };
    strip("metadata", &GIVEN);
    if object["kind"] == "Service" && object["spec"]["clusterIP"] != "None" {
        // Another has it by now.
        if let Some(Value::Object(spec)) = object.get_mut("spec") {
            spec.retain(|field, _| !["clusterIP", "clusterIPs"].contains(&&**field));
        }
    }
    if let Value::Object(object) = &mut object {
        object.remove("status");
    }
    object
}

/// Reads of which object something is the copy, from its intent.
pub fn of_intent(intent: &Map<String, Value>) -> Option<Uid> {
    let meta = intent.get("metadata")?;
    meta["labels"].get(LABEL)?;
    meta["annotations"][UID].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::parts::Birth;
    use super::*;
    use crate::object::write;
    use crate::time::Wall;

    fn copied(key: &Key, intent: &Value) -> Value {
        let birth = Birth { key: key.clone(), created: Wall(0), turn: 0, origin: None, namespace: None };
        let uid = Uid([7; 16]);
        let at = copy_key(key, uid, &key.namespace);
        write::create_value(at.kind, &at.namespace, copy(key, uid, &Parts::new(birth, intent), &at)).unwrap().object
    }

    #[test]
    fn a_secret_is_copied_into_a_secret_and_nowhere_else() {
        let key = Key::new(&kinds::SECRET, "shop", "db");
        let copy = copied(&key, &json!({"type": "Opaque", "data": {"password": "b2xk"}}));
        assert_eq!((&copy["kind"], &copy["data"]["password"]), (&json!("Secret"), &json!("b2xk")));
        assert_eq!(copy["metadata"]["name"], "displaced-secret-db-07070707");
        assert_eq!(copy["metadata"]["labels"][LABEL], "secret");
    }

    #[test]
    fn a_config_map_keeps_its_data_and_anything_else_becomes_a_manifest() {
        let key = Key::new(&kinds::CONFIG_MAP, "shop", "conf");
        let copy = copied(&key, &json!({"metadata": {"labels": {"a": "b"}}, "data": {"k": "v"}}));
        assert_eq!(copy["data"], json!({"k": "v"}));
        assert_eq!(copy["metadata"]["annotations"][METADATA], r#"{"annotations":null,"labels":{"a":"b"}}"#);

        let key = Key::new(&kinds::SERVICE, "shop", "s".repeat(63));
        let intent =
            json!({"metadata": {"ownerReferences": []}, "spec": {"clusterIP": "10.96.0.7", "type": "ClusterIP"}});
        let manifest: Value = serde_json::from_str(copied(&key, &intent)["data"][MANIFEST].as_str().unwrap()).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "ClusterIP"},
            "metadata": {"name": "s".repeat(63), "namespace": "shop"}});
        assert_eq!(manifest, expected);
    }

    #[test]
    fn a_copys_uid_follows_from_what_it_is_a_copy_of() {
        let key = Key::new(&kinds::CONFIG_MAP, "shop", "conf");
        let copy = copied(&key, &json!({}));
        assert_eq!(of_intent(copy.as_object().unwrap()), Some(Uid([7; 16])));
        assert_eq!(of_intent(&Map::new()), None);
    }
}
