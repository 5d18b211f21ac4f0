//! What every cluster has: the system namespaces, this node's Node, its lease, the `kubernetes` Service.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::{Key, kinds, write};
use crate::routing::slices::SERVICE_NAME;
use crate::store::class::{MANAGED_BY, MANAGER, NODE_LEASES};
use crate::store::{Author, Change};
use crate::time::Now;

use super::{Node, Waiter};

/// Namespaces that are made if they are not there.
pub const NAMESPACES: [&str; 4] = ["default", NODE_LEASES, "kube-public", "kube-system"];

/// How often they are looked after, and the node's lease renewed, as the kubelet does.
const UPKEEP: Duration = Duration::from_secs(10);

/// Tells whether a Service is the one that leads to the API.
pub(super) fn is_api_service(service: &Key) -> bool {
    service.namespace == "default" && service.name == "kubernetes"
}

impl Node {
    /// Makes what is missing and renews the lease.
    pub(super) fn upkeep(&mut self, now: Now) {
        self.next_upkeep = now.mono + UPKEEP;
        for name in NAMESPACES {
            self.ensure(now, &Key::cluster(&kinds::NAMESPACE, name), json!({}));
        }
        self.ensure(now, &Key::cluster(&kinds::NODE, &self.name), self.node_object());
        self.ensure(now, &Key::new(&kinds::SERVICE, "default", "kubernetes"), self.api_service());
        self.renew_lease(now);
    }

    fn ensure(&mut self, now: Now, key: &Key, mut object: Value) {
        if self.store.snapshot().get(key).is_some() {
            return;
        }
        object["apiVersion"] = key.kind.api_version().into();
        object["kind"] = key.kind.kind.into();
        object["metadata"]["name"] = key.name.clone().into();
        let written = match write::create_value(key.kind, &key.namespace, object) {
            Ok(written) => written,
            Err(error) => return tracing::error!(%key, %error, "cannot be made"),
        };
        let change = Change::Create { key: key.clone(), object: written.object };
        if let Err(rejected) = self.commit(now, Author::Leader, change, Waiter::Nobody) {
            // Under way already, or its namespace is: the next look will tell.
            tracing::debug!(%key, %rejected, "not made yet");
        }
    }

    fn node_object(&self) -> Value {
        json!({"metadata": {
            "annotations": {"skein.dev/node-id": self.store.node_id().to_string()},
            "labels": {
                "kubernetes.io/hostname": self.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(),
                "node-role.kubernetes.io/member": "",
            },
        }, "spec": {"podCIDR": self.pod_range.to_string(), "podCIDRs": [self.pod_range.to_string()]}})
    }

    fn api_service(&self) -> Value {
        json!({
            "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": self.api_address.to_string(), "clusterIPs": [self.api_address.to_string()],
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": self.api_port}],
            },
        })
    }

    /// The API's endpoint: this node.
    pub(super) fn api_slice(&self, service: &Key) -> Option<Value> {
        let entry = self.store.snapshot().get(service)?;
        let object = entry.value();
        Some(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "uid": Uid::derived(&[b"endpointslice", &entry.uid.0]),
                "creationTimestamp": object["metadata"]["creationTimestamp"],
                "labels": {SERVICE_NAME: "kubernetes", MANAGED_BY: MANAGER},
            },
            "endpoints": [{"addresses": [self.address.to_string()], "conditions": {"ready": true},
                "nodeName": self.name}],
            "ports": [{"name": "https", "port": self.api_port, "protocol": "TCP"}],
        }))
    }

    fn renew_lease(&mut self, now: Now) {
        let Some(node) = self.store.snapshot().get(&Key::cluster(&kinds::NODE, &self.name)) else { return };
        let created = node.value()["metadata"]["creationTimestamp"].take();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.name, "namespace": NODE_LEASES,
                "uid": Uid::derived(&[b"lease", &node.uid.0]), "creationTimestamp": created,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node.uid}],
            },
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now.wall.micro_time()},
        });
        self.store.project(now, &Key::new(&kinds::LEASE, NODE_LEASES, &self.name), Some(lease));
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
