//! What every cluster has: the system namespaces, this node's Node, its lease, the `kubernetes` Service.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ids::{NodeId, Uid};
use crate::object::{Key, kinds, write};
use crate::routing::slices::SERVICE_NAME;
use crate::store::class::{MANAGED_BY, MANAGER, NODE_LEASES};
use crate::store::{Author, Change, Precondition};
use crate::time::Now;

use super::peers::MESH_ADDRESS;
use super::{Node, Waiter};

/// Namespaces that are made if they are not there.
pub const NAMESPACES: [&str; 4] = ["default", NODE_LEASES, "kube-public", "kube-system"];

/// How often they are looked after, and the node's lease renewed, as the kubelet does.
const UPKEEP: Duration = Duration::from_secs(10);

/// How soon it is tried again while something is under way.
const SOON: Duration = Duration::from_millis(100);

/// The taint of a node that runs no pods.
pub const WITNESS: &str = "skein.dev/witness";
/// Its label.
pub const WITNESS_ROLE: &str = "node-role.kubernetes.io/witness";

/// The Lease that shows who leads.
pub const LEADER: &str = "skein-leader";

/// The Lease that shows who is caretaker of the side of a cut that this node is on, while no leader is heard.
pub const CARETAKER: &str = "skein-caretaker";

/// Tells whether a Service is the one that leads to the API.
pub(super) fn is_api_service(service: &Key) -> bool {
    service.namespace == "default" && service.name == "kubernetes"
}

impl Node {
    /// Makes what is missing and renews the lease.
    pub(super) fn upkeep(&mut self, now: Now) {
        self.next_upkeep = now.mono + UPKEEP;
        self.show_leader(now);
        if !self.may_found() || self.is_too_old() {
            // The first exchange brings what the cluster has.
            self.next_upkeep = now.mono + SOON;
            return;
        }
        for name in NAMESPACES {
            self.ensure(now, &Key::cluster(&kinds::NAMESPACE, name), json!({}));
        }
        self.ensure(now, &Key::cluster(&kinds::NODE, &self.name), self.node_object());
        self.ensure(now, &Key::new(&kinds::SERVICE, "default", "kubernetes"), self.api_service());
        self.say_where_the_mesh_is(now);
        let here: Vec<String> = self.peers.here(self.store.node_id()).map(|member| member.name.clone()).collect();
        for name in here {
            self.renew_lease(now, &name);
        }
    }

    /// Whether this node may make what every cluster has: its founder may, and who has seen that it is there.
    fn may_found(&self) -> bool {
        let sole = self.peers.members.iter().all(|member| member.id == self.store.node_id());
        sole || self.store.snapshot().get(&Key::cluster(&kinds::NAMESPACE, "default")).is_some()
    }

    /// Keeps the annotation by which other members find this node.
    fn say_where_the_mesh_is(&mut self, now: Now) {
        let key = Key::cluster(&kinds::NODE, &self.name);
        let Some(entry) = self.store.snapshot().get(&key) else { return };
        let (mut object, place) = (entry.value(), self.mesh_address());
        if object["metadata"]["annotations"][MESH_ADDRESS] == place.as_str() {
            return;
        }
        object["metadata"]["annotations"][MESH_ADDRESS] = place.into();
        let change = Change::Update { key: key.clone(), object, when: Precondition::same(entry) };
        if let Err(rejected) = self.commit(now, Author::Client, change, Waiter::Nobody) {
            // A write to it is under way: the next look will tell.
            tracing::debug!(%key, %rejected, "not told yet where the mesh is");
            self.next_upkeep = now.mono + SOON;
        }
    }

    fn mesh_address(&self) -> String {
        std::net::SocketAddrV4::new(self.address, self.mesh_port).to_string()
    }

    /// Shows who leads, as this node sees it, and since when: a Lease beside those of the nodes.
    pub(super) fn show_leader(&mut self, now: Now) {
        let leader = self.leading.leader(self.store.node_id()).map(|id| self.peers.name_of(&id));
        let acquired = self.leading.noticed(self.term, now.wall);
        let spec = leader.map(|leader| {
            json!({"holderIdentity": leader, "leaseTransitions": self.term.0, "acquireTime": acquired.micro_time()})
        });
        self.show_office(now, LEADER, spec);
    }

    /// Shows who holds an office as a Lease beside those of the nodes; nobody without `spec`.
    pub(super) fn show_office(&mut self, now: Now, name: &str, spec: Option<Value>) {
        let home = self.store.snapshot().get(&Key::cluster(&kinds::NAMESPACE, NODE_LEASES)).map(|entry| entry.value());
        let lease = spec.zip(home).map(|(spec, home)| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": name, "namespace": NODE_LEASES, "uid": Uid::derived(&[b"lease", name.as_bytes()]),
                    "creationTimestamp": home["metadata"]["creationTimestamp"],
                },
                "spec": spec,
            })
        });
        self.store.project(now, &Key::new(&kinds::LEASE, NODE_LEASES, name), lease);
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
        let mut object = json!({"metadata": {
            "annotations": {
                "skein.dev/node-id": self.store.node_id().to_string(),
                MESH_ADDRESS: self.mesh_address(),
            },
            "labels": {
                "kubernetes.io/hostname": self.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(),
                "node-role.kubernetes.io/member": "",
            },
        }, "spec": {"podCIDR": self.pod_range.to_string(), "podCIDRs": [self.pod_range.to_string()]}});
        if self.witness {
            object["metadata"]["labels"][WITNESS_ROLE] = "".into();
            object["spec"]["taints"] = json!([{"key": WITNESS, "effect": "NoSchedule"}]);
        }
        object
    }

    /// Lists the members that run no pods, as far as their Nodes tell.
    pub(super) fn witnesses(&self) -> BTreeSet<NodeId> {
        let nodes = self.store.snapshot().list(&kinds::NODE, None);
        let names = nodes.filter(|node| node.labels.contains_key(WITNESS_ROLE)).map(|node| node.key.name.as_str());
        names.filter_map(|name| self.peers.members.named(name)).map(|member| member.id).collect()
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

    fn renew_lease(&mut self, now: Now, name: &str) {
        let Some(node) = self.store.snapshot().get(&Key::cluster(&kinds::NODE, name)) else { return };
        let created = node.value()["metadata"]["creationTimestamp"].take();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": name, "namespace": NODE_LEASES,
                "uid": Uid::derived(&[b"lease", &node.uid.0]), "creationTimestamp": created,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid}],
            },
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now.wall.micro_time()},
        });
        self.store.project(now, &Key::new(&kinds::LEASE, NODE_LEASES, name), Some(lease));
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
