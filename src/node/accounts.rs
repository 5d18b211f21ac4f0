//! Whose name a new pod acts in, and the credentials it is given for that: what upstream's ServiceAccount admission does.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::features::Feature;
use crate::object::{Key, kinds, write};
use crate::store::class::ROOT_CA;
use crate::store::{Change, Rejected, Snapshot};
use crate::time::Now;

use super::Node;

/// Where containers find their credentials.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the names of volumes with them begin.
const VOLUME: &str = "kube-api-access-";
/// How long a pod's tokens live, as upstream has it. They are renewed long before.
const LIFE: i64 = 3607;
/// The account of pods that name none.
const DEFAULT: &str = "default";
/// Marks a pod of a kubelet's own files.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl Node {
    /// Completes a new pod: its account, that account's pull secrets, its credentials.
    ///
    /// # Errors
    /// [`Rejected::Forbidden`] if it names an account that is not there.
    pub(super) fn with_credentials(&self, now: Now, change: Change) -> Result<Change, Rejected> {
        match change {
            Change::Create { key, object } if *key.kind == kinds::POD && self.may_use(Feature::ServiceAccounts) => {
                let object = completed(self.store.snapshot(), &key, object, now.wall.0)?;
                Ok(Change::Create { key, object })
            }
            other => Ok(other),
        }
    }
}

fn completed(view: &Snapshot, key: &Key, mut pod: Value, seed: i64) -> Result<Value, Rejected> {
    if pod["metadata"]["annotations"].get(MIRROR).is_some() || !pod["spec"].is_object() {
        return Ok(pod);
    }
    let name = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
    let account = Key::new(&kinds::SERVICE_ACCOUNT, key.namespace.as_str(), name.as_str());
    let account = match view.get(&account) {
        Some(entry) => entry.value(),
        // The leader makes it for every namespace, soon: the kubelet waits for it.
        None if name == DEFAULT => Value::Null,
        None => {
            let home = &key.namespace;
            let message = format!("error looking up service account {home}/{name}: serviceaccount {name:?} not found");
            return Err(Rejected::Forbidden { key: key.clone(), message });
        }
    };
    let spec = &mut pod["spec"];
    spec["serviceAccountName"] = name.as_str().into();
    spec["serviceAccount"] = name.as_str().into();
    let mounts = |object: &Value| object["automountServiceAccountToken"].as_bool();
    if mounts(spec).or(mounts(&account)).unwrap_or(true) {
        mount(spec, key, seed);
    }
    let pulls = |object: &Value| object["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty());
    if !pulls(spec) && pulls(&account) {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(pod)
}

/// Mounts the credentials in every container that has nothing mounted there.
fn mount(spec: &mut Value, key: &Key, seed: i64) {
    let known = spec["volumes"].as_array().into_iter().flatten();
    let known = known.filter_map(|volume| volume["name"].as_str()).find(|name| name.starts_with(VOLUME));
    let name = known.map_or_else(|| fresh(key, seed), str::to_owned);
    let is_new = known.is_none();
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        // To index what is not there would make it.
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
                continue;
            }
            let own = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
            container["volumeMounts"] = mounts.into_iter().chain([own]).collect();
            needed = true;
        }
    }
    if needed && is_new {
        let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
        spec["volumes"] = volumes.into_iter().chain([volume(&name)]).collect();
    }
}

fn fresh(key: &Key, seed: i64) -> String {
    let hash = Sha256::digest([key.to_string().as_bytes(), &seed.to_be_bytes()].concat());
    let seed = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    format!("{VOLUME}{}", write::suffix(seed))
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": LIFE, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::{Revision, Uid};
    use crate::store::Entry;

    fn view(account: &Value) -> Snapshot {
        let mut view = Snapshot::starting_at(Revision(1));
        if account.is_object() {
            let mut account = account.clone();
            account["metadata"]["uid"] = Uid::derived(&[b"a"]).to_string().into();
            let name = account["metadata"]["name"].as_str().unwrap();
            let key = Key::new(&kinds::SERVICE_ACCOUNT, "shop", name);
            view.show(&key, Some(Arc::new(Entry::of(key.clone(), Revision(2), &account))), Revision(2));
        }
        view
    }

    fn made(account: &Value, spec: &Value) -> Result<Value, Rejected> {
        let key = Key::new(&kinds::POD, "shop", "web");
        Ok(completed(&view(account), &key, json!({"metadata": {"name": "web"}, "spec": spec}), 7)?["spec"].clone())
    }

    fn account(more: Value) -> Value {
        let mut account = more;
        account["metadata"] = json!({"name": "robot"});
        account
    }

    #[test]
    fn every_container_gets_the_credentials_of_the_default_account() {
        let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b",
            "volumeMounts": [{"name": "own", "mountPath": MOUNT}]}]});
        // Also where the account is not there yet.
        let spec = made(&Value::Null, &spec).unwrap();
        let name = spec["volumes"][0]["name"].as_str().unwrap();
        assert!(name.starts_with(VOLUME) && name.len() == VOLUME.len() + write::SUFFIX_LENGTH, "{name}");
        let mount = json!([{"name": name, "readOnly": true, "mountPath": MOUNT}]);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], "own");
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["volumes"][0]["projected"]["sources"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn who_wants_none_gets_none() {
        let containers = json!([{"name": "a"}]);
        let without = json!({"containers": containers, "automountServiceAccountToken": false});
        assert!(made(&Value::Null, &without).unwrap().get("volumes").is_none());
        let plain = made(&Value::Null, &json!({"containers": containers})).unwrap();
        assert!(plain.get("initContainers").is_none() && plain.get("imagePullSecrets").is_none(), "{plain}");
        let quiet = account(json!({"automountServiceAccountToken": false}));
        let of = |more: &Value| {
            let mut spec = json!({"containers": containers, "serviceAccountName": "robot"});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            made(&quiet, &spec).unwrap()
        };
        assert!(of(&json!({})).get("volumes").is_none());
        assert!(of(&json!({"automountServiceAccountToken": true})).get("volumes").is_some());
    }

    #[test]
    fn pull_secrets_are_the_accounts_unless_the_pod_has_its_own() {
        let robot = account(json!({"imagePullSecrets": [{"name": "theirs"}]}));
        let spec = json!({"containers": [], "serviceAccountName": "robot"});
        assert_eq!(made(&robot, &spec).unwrap()["imagePullSecrets"][0]["name"], "theirs");
        let mut own = spec;
        own["imagePullSecrets"] = json!([{"name": "own"}]);
        assert_eq!(made(&robot, &own).unwrap()["imagePullSecrets"], json!([{"name": "own"}]));
    }

    #[test]
    fn an_account_that_is_not_there_is_named() {
        let Err(Rejected::Forbidden { message, .. }) = made(&Value::Null, &json!({"serviceAccountName": "robot"}))
        else {
            panic!("nobody acts in a name that is not there");
        };
        assert_eq!(message, "error looking up service account shop/robot: serviceaccount \"robot\" not found");
    }
}
