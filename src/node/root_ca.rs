//! The ConfigMap `kube-root-ca.crt` of every namespace, by which pods know the API for the real one. Every node computes
//! it for itself: it needs no disk, no leader and no traffic.

use serde_json::json;

use crate::ids::Uid;
use crate::object::{Key, kinds};
use crate::store::class::ROOT_CA;
use crate::time::Now;

use super::Node;

impl Node {
    /// Shows it in every namespace.
    pub(super) fn show_root_cas(&mut self, now: Now) {
        let namespaces: Vec<Key> =
            self.store.snapshot().list(&kinds::NAMESPACE, None).map(|entry| entry.key.clone()).collect();
        for namespace in namespaces {
            self.show_root_ca(now, &namespace);
        }
    }

    /// Shows it in a namespace, or no more if that is gone.
    pub(super) fn show_root_ca(&mut self, now: Now, namespace: &Key) {
        let home = self.store.snapshot().get(namespace).filter(|_| !self.authority.is_empty());
        let map = home.map(|home| {
            json!({
                "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {
                    "name": ROOT_CA, "namespace": namespace.name,
                    "uid": Uid::derived(&[b"root-ca", &home.uid.0]),
                    "creationTimestamp": home.value()["metadata"]["creationTimestamp"],
                    "annotations": {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the \
                        kube-apiserver when using internal endpoints such as the internal service IP or \
                        kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
                        clusters."},
                },
                "data": {"ca.crt": self.authority},
            })
        });
        self.store.project(now, &Key::new(&kinds::CONFIG_MAP, namespace.name.as_str(), ROOT_CA), map);
    }
}
