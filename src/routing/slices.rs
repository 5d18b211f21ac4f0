//! EndpointSlices: which pods are behind a Service that has a selector.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ids::Uid;
use crate::object::{Key, kinds};
use crate::store::class::{MANAGED_BY, MANAGER};
use crate::store::{Entry, Snapshot, WatchEvent};

/// The label that names a slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The most endpoints in one slice, as upstream's default.
pub const MAX_ENDPOINTS: usize = 100;

const HEADLESS: &str = "service.kubernetes.io/headless";

/// Computes the EndpointSlices of a Service: none if it is gone, has no selector or is an ExternalName; else at
/// least one, which is empty if no pod matches.
///
/// All but the resourceVersion is set. Names, uids and times derive from the Service, so that every node computes
/// the same objects.
pub fn endpoint_slices(view: &Snapshot, service: &Key) -> Vec<Value> {
    let Some(subject) = view.get(service).and_then(|entry| Subject::of(entry)) else { return Vec::new() };
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for entry in subject.pods(view) {
        if let Some((ports, endpoint)) = entry.typed().and_then(|pod: Pod| subject.endpoint(&pod)) {
            groups.entry(ports).or_default().push(endpoint);
        }
    }
    if groups.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    let mut slices = Vec::new();
    for (ports, endpoints) in groups {
        // `chunks` of nothing is nothing, and a Service without pods still has one slice.
        let mut rest = endpoints.as_slice();
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(MAX_ENDPOINTS));
            slices.push(subject.slice(slices.len(), &ports, chunk));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    slices
}

/// Returns the Services whose slices may differ after `event`. Empty for what changes no slice, such as a pod's
/// status that keeps its address and readiness.
pub fn affected(view: &Snapshot, event: &WatchEvent) -> Vec<Key> {
    let key = event.key();
    if key.kind == &kinds::SERVICE {
        return vec![key.clone()];
    }
    if key.kind != &kinds::POD {
        return Vec::new();
    }
    let (old, new) = (event.old.as_deref(), event.new.as_deref());
    if old.map(Trace::of) == new.map(Trace::of) {
        return Vec::new();
    }
    let sides = [old, new];
    view.list(&kinds::SERVICE, Some(&key.namespace))
        .filter(|entry| {
            Subject::of(entry).is_some_and(|subject| sides.iter().flatten().any(|pod| subject.selects(pod)))
        })
        .map(|entry| entry.key.clone())
        .collect()
}

/// What of a pod its slices show; a pod's ports and host name never change.
#[derive(PartialEq)]
struct Trace {
    uid: Uid,
    labels: Arc<BTreeMap<String, String>>,
    node: Option<String>,
    address: Option<Ipv4Addr>,
    ready: bool,
    terminating: bool,
}

impl Trace {
    fn of(entry: &Entry) -> Self {
        let pod = entry.typed::<Pod>().unwrap_or_default();
        Self {
            uid: entry.uid,
            labels: Arc::clone(&entry.labels),
            node: entry.node.clone(),
            address: address(&pod),
            ready: is_ready(&pod),
            terminating: entry.terminating,
        }
    }
}

/// A port as a slice lists it: name, protocol, number, application protocol.
type Port = (String, String, i32, Option<String>);

/// A Service that has a selector.
struct Subject<'a> {
    entry: &'a Entry,
    service: Service,
    selector: BTreeMap<String, String>,
}

impl<'a> Subject<'a> {
    fn of(entry: &'a Entry) -> Option<Self> {
        if entry.key.kind != &kinds::SERVICE {
            return None;
        }
        let service: Service = entry.typed()?;
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let selector = spec.selector.clone().filter(|s| !s.is_empty())?;
        Some(Self { entry, service, selector })
    }

    fn selects(&self, pod: &Entry) -> bool {
        self.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    fn pods<'v>(&'v self, view: &'v Snapshot) -> impl Iterator<Item = &'v Entry> {
        let all = view.list(&kinds::POD, Some(&self.entry.key.namespace));
        all.map(|entry| &**entry).filter(|entry| self.selects(entry))
    }

    /// The pod as an endpoint, with its ports; `None` if it has no address yet or runs no more.
    fn endpoint(&self, pod: &Pod) -> Option<(Vec<Port>, Endpoint)> {
        let address = address(pod)?;
        let spec = pod.spec.as_ref()?;
        let ports = self.ports().iter().filter_map(|port| resolve(port, pod)).collect();
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let serving = is_ready(pod);
        let subdomain = spec.subdomain.as_deref();
        let endpoint = Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(self.publishes_unready() || (serving && !terminating)),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hostname: spec.hostname.clone().filter(|_| subdomain == Some(&self.entry.key.name)),
            node_name: spec.node_name.clone(),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".into()),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        };
        Some((ports, endpoint))
    }

    fn ports(&self) -> &[ServicePort] {
        self.service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default()
    }

    fn publishes_unready(&self) -> bool {
        self.service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or_default()
    }

    fn slice(&self, index: usize, ports: &[Port], endpoints: &[Endpoint]) -> Value {
        let ports = ports.iter().map(|(name, protocol, number, app)| EndpointPort {
            name: Some(name.clone()),
            protocol: Some(protocol.clone()),
            port: Some(*number),
            app_protocol: app.clone(),
        });
        let slice = EndpointSlice {
            address_type: "IPv4".into(),
            endpoints: endpoints.to_vec(),
            metadata: self.metadata(index),
            ports: Some(ports.collect()),
        };
        serde_json::to_value(slice).expect("an EndpointSlice serialises")
    }

    fn metadata(&self, index: usize) -> ObjectMeta {
        let Entry { key, uid, .. } = self.entry;
        let name = format!("{}-{}", key.name, suffix(*uid, index));
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Service".into(),
            name: key.name.clone(),
            uid: uid.to_string(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        ObjectMeta {
            creation_timestamp: self.service.metadata.creation_timestamp.clone(),
            generate_name: Some(format!("{}-", key.name)),
            labels: Some(self.labels()),
            namespace: Some(key.namespace.clone()),
            owner_references: Some(vec![owner]),
            uid: Some(Uid::derived(&[b"endpointslice", &uid.0, name.as_bytes()]).to_string()),
            name: Some(name),
            ..ObjectMeta::default()
        }
    }

    /// The Service's own labels and those that mark the slice as its.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::clone(&self.entry.labels);
        labels.remove(HEADLESS);
        if self.service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
            labels.insert(HEADLESS.into(), String::new());
        }
        labels.insert(SERVICE_NAME.into(), self.entry.key.name.clone());
        labels.insert(MANAGED_BY.into(), MANAGER.into());
        labels
    }
}

/// Five characters of the alphabet of Kubernetes' generated names.
fn suffix(service: Uid, index: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::new().chain_update(service.0).chain_update((index as u64).to_be_bytes()).finalize();
    digest.iter().take(5).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// The pod's address, while it has one and has not run to its end.
fn address(pod: &Pod) -> Option<Ipv4Addr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    status.pod_ip.as_deref()?.parse().ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The port of `pod` that a Service's port means; `None` for a name that no container gives to a port.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name, protocol)?,
    };
    Some((port.name.clone().unwrap_or_default(), protocol.to_owned(), number, port.app_protocol.clone()))
}

/// Containers first, then sidecars, as upstream looks.
fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let fits = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
        p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(fits).map(|p| p.container_port)
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
