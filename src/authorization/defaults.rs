//! The roles and bindings that every cluster has.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::object::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING};
use crate::object::{Key, Kind};

/// The annotation that says, with the value `false`, that what is missing of a default is not put back.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

static DEFAULTS: LazyLock<BTreeMap<Key, Value>> = LazyLock::new(|| {
    let all: Value = serde_yaml_ng::from_str(include_str!("defaults.yaml")).expect("the file is part of the program");
    let list = |name: &str| all[name].as_array().cloned().unwrap_or_default();
    let roles = list("roles").into_iter().map(|given| role(&given));
    let bindings = list("bindings").into_iter().map(|given| binding(&given));
    roles.chain(bindings).collect()
});

/// Returns every default, by its key.
pub fn all() -> &'static BTreeMap<Key, Value> {
    &DEFAULTS
}

fn role(given: &Value) -> (Key, Value) {
    let mut object = object(&CLUSTER_ROLE, given);
    object["rules"] = given.get("rules").cloned().unwrap_or_else(|| json!([]));
    if let Some(to) = given["aggregate"].as_str() {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    }
    (key(&CLUSTER_ROLE, given), object)
}

fn binding(given: &Value) -> (Key, Value) {
    let mut object = object(&CLUSTER_ROLE_BINDING, given);
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": given["name"]});
    let groups = given["groups"].as_array().into_iter().flatten();
    let subjects = groups.map(|name| json!({"apiGroup": GROUP, "kind": "Group", "name": name}));
    object["subjects"] = subjects.collect();
    (key(&CLUSTER_ROLE_BINDING, given), object)
}

fn key(kind: &'static Kind, given: &Value) -> Key {
    Key::cluster(kind, given["name"].as_str().unwrap_or_default())
}

fn object(kind: &Kind, given: &Value) -> Value {
    let mut labels = given.get("labels").cloned().unwrap_or_else(|| json!({}));
    labels["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
    let metadata = json!({"name": given["name"], "labels": labels, "annotations": {AUTOUPDATE: "true"}});
    json!({"apiVersion": VERSION, "kind": kind.kind, "metadata": metadata})
}

/// Puts back what of the default `wanted` is missing in `found`: labels, annotations, rules, subjects, the selectors of
/// an aggregation. What was added stays. `None` if nothing is missing, or its annotation forbids it.
pub fn completed(found: &Value, wanted: &Value) -> Option<Value> {
    if found["metadata"]["annotations"][AUTOUPDATE] == "false" || found.get("roleRef") != wanted.get("roleRef") {
        return None;
    }
    let mut object = found.clone();
    for part in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            object["metadata"][part][name] = value.clone();
        }
    }
    if wanted.get("aggregationRule").is_some() {
        if object.get("aggregationRule").is_none() {
            object["aggregationRule"] = wanted["aggregationRule"].clone();
        }
    } else {
        add(&mut object, wanted, "rules");
    }
    add(&mut object, wanted, "subjects");
    (object != *found).then_some(object)
}

fn add(object: &mut Value, wanted: &Value, list: &str) {
    let Some(wanted) = wanted[list].as_array() else { return };
    let mut all = object[list].as_array().cloned().unwrap_or_default();
    all.extend(wanted.iter().filter(|one| !has(&all, one)).cloned().collect::<Vec<_>>());
    object[list] = all.into();
}

/// Whether a list has an element that says what `one` does.
fn has(list: &[Value], one: &Value) -> bool {
    list.contains(one)
}
