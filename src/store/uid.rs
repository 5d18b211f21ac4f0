//! Where uids come from: those of things that two sides may make at once are derived, so that they make one thing.

use serde_json::{Map, Value};

use crate::ids::Uid;
use crate::object::{Key, Kind, kinds};

use super::displaced;

/// The annotation by which a Node names its member's key.
pub(super) const NODE_ID: &str = "skein.dev/node-id";
/// The label by which a ReplicaSet names its template.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The ServiceAccount that every namespace has.
const DEFAULT_ACCOUNT: &str = "default";

/// The Service that leads to the API: namespace and name. Every node makes it if it is not there.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// Returns what the uid of an object derives from, `None` for an object whose uid is random.
pub fn origin(key: &Key, intent: &Map<String, Value>, namespace: Option<Uid>) -> Option<Uid> {
    let meta = intent.get("metadata").unwrap_or(&Value::Null);
    let home: &[u8] = namespace.as_ref().map_or(&[], |uid| &uid.0);
    if *key.kind == kinds::NAMESPACE {
        return Some(Uid::derived(&[b"namespace", key.name.as_bytes()]));
    }
    if *key.kind == kinds::SERVICE_ACCOUNT && key.name == DEFAULT_ACCOUNT {
        return Some(Uid::derived(&[b"serviceaccount", home, key.name.as_bytes()]));
    }
    if *key.kind == kinds::SERVICE && (&*key.namespace, &*key.name) == API_SERVICE {
        return Some(Uid::derived(&[b"service", home, key.name.as_bytes()]));
    }
    if let Some(of) = displaced::of_intent(intent) {
        return Some(Uid::derived(&[b"displaced", home, &of.0]));
    }
    if *key.kind == kinds::NODE {
        let id = hex::decode(meta["annotations"][NODE_ID].as_str()?).ok()?;
        return Some(Uid::derived(&[b"node", &id]));
    }
    if *key.kind == kinds::REPLICA_SET {
        let owners = meta["ownerReferences"].as_array()?;
        let owner: Uid = owners.iter().find(|o| o["controller"] == true)?["uid"].as_str()?.parse().ok()?;
        let hash = meta["labels"][TEMPLATE_HASH].as_str()?;
        return Some(Uid::derived(&[b"replicaset", &owner.0, hash.as_bytes()]));
    }
    None
}

/// Tells whether the origin of a kind's objects is their name, so that their highest turn is remembered for ever; else
/// it is their owner, whose uid is never given again.
pub fn is_by_name(kind: &Kind) -> bool {
    *kind != kinds::REPLICA_SET
}

/// Returns the uid of the `turn`th object of an origin.
pub fn of_turn(origin: Uid, turn: u64) -> Uid {
    Uid::derived(&[b"turn", &origin.0, &turn.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_two_sides_may_make_at_once_has_an_origin() {
        let map = |v: Value| v.as_object().cloned().unwrap();
        let none = map(json!({}));
        let home = Some(Uid([1; 16]));
        assert!(origin(&Key::cluster(&kinds::NAMESPACE, "shop"), &none, None).is_some());
        assert!(origin(&Key::new(&kinds::SERVICE_ACCOUNT, "shop", "default"), &none, home).is_some());
        assert!(origin(&Key::new(&kinds::SERVICE_ACCOUNT, "shop", "ci"), &none, home).is_none());
        assert!(origin(&Key::new(&kinds::SERVICE, "default", "kubernetes"), &none, home).is_some());
        assert!(origin(&Key::new(&kinds::SERVICE, "shop", "kubernetes"), &none, home).is_none());
        assert!(origin(&Key::cluster(&kinds::NODE, "n1"), &none, None).is_none());
        let node = map(json!({"metadata": {"annotations": {NODE_ID: "00ff"}}}));
        assert!(origin(&Key::cluster(&kinds::NODE, "n1"), &node, None).is_some());
        let key = Key::new(&kinds::REPLICA_SET, "shop", "web-1");
        let owned = |hash: &str| {
            map(json!({"metadata": {"labels": {TEMPLATE_HASH: hash},
                "ownerReferences": [{"controller": true, "uid": Uid([7; 16])}]}}))
        };
        assert_eq!(origin(&key, &owned("a"), home), origin(&key, &owned("a"), home));
        assert_ne!(origin(&key, &owned("a"), home), origin(&key, &owned("b"), home));
        assert!(origin(&key, &none, home).is_none());
    }
}
