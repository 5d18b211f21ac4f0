//! Gives every namespace the ServiceAccount `default`, which pods use that name none.

use serde_json::json;

use crate::object::{Key, kinds};
use crate::store::{Change, Snapshot};

use super::{Plan, open};

/// The name every namespace has a ServiceAccount of.
pub const DEFAULT: &str = "default";

/// Makes the ServiceAccount of the namespace at `key` if it is missing.
pub fn reconcile(view: &Snapshot, key: &Key) -> Plan {
    let mut plan = Plan::default();
    let account = Key::new(&kinds::SERVICE_ACCOUNT, key.name.clone(), DEFAULT);
    if open(view, &key.name) && view.get(&account).is_none() {
        let metadata = json!({"name": DEFAULT, "namespace": key.name});
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        plan.changes.push(Change::Create { key: account, object });
    }
    plan
}
