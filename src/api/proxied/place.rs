//! Where a request is passed on to: `[SCHEME:]NAME[:PORT]`, found in the cluster.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use rand::seq::IndexedRandom as _;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::api::sessions::running;
use crate::api::status::Status;
use crate::handle::{Containers, Session, Stream};
use crate::object::Key;
use crate::object::kinds::{ENDPOINT_SLICE, NODE, POD, SERVICE};
use crate::routing::slices::SERVICE_NAME;
use crate::store::Snapshot;

use super::carry::{carry, encrypted};

/// A place that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    way: Way,
    /// What it is called in the request.
    pub host: String,
    tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// A port of the pod that a container on a node belongs to.
    Pod { node: String, container: String, port: u16 },
    /// What this machine can reach.
    Address(SocketAddrV4),
}

impl Place {
    /// Connects to it.
    ///
    /// # Errors
    /// One sentence: nobody listens there, or the node does not answer.
    pub async fn connect(&self, containers: &Arc<dyn Containers>) -> Result<Stream, String> {
        let stream: Stream = match &self.way {
            Way::Pod { node, container, port } => {
                let session = Session::Forward { container: container.clone(), port: *port };
                carry(containers.begin(node, session).await?)
            }
            Way::Address(address) => {
                Box::new(TcpStream::connect(address).await.map_err(|e| format!("dial tcp {address}: {e}"))?)
            }
        };
        if self.tls { encrypted(stream).await.map_err(|e| e.to_string()) } else { Ok(stream) }
    }
}

/// What a URL names: a scheme, an object, a port.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

/// Reads upstream's `SplitSchemeNamePort`.
fn named(text: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    match *parts.as_slice() {
        [name] => Some(Named { tls: false, name, port: "" }),
        [name, port] => Some(Named { tls: false, name, port }),
        ["http" | "", name, port] => Some(Named { tls: false, name, port }),
        ["https", name, port] => Some(Named { tls: true, name, port }),
        _ => None,
    }
    .filter(|named| !named.name.is_empty())
}

/// Finds the place that a proxy URL means.
///
/// # Errors
/// 404 without the object, 400 for a name or a pod that cannot be, 503 without an endpoint or port.
pub fn find(view: &Snapshot, key: &Key) -> Result<Place, Status> {
    let invalid = || Status::bad_request(format!("invalid {} request {:?}", key.kind.singular, &*key.name));
    let Named { tls, name, port } = named(&key.name).ok_or_else(invalid)?;
    let key = Key::new(key.kind, &*key.namespace, name);
    let object = view.get(&key).ok_or_else(|| Status::not_found(&key))?.value();
    let (way, host) = match key.kind {
        kind if *kind == POD => pod(&key, &object, port)?,
        kind if *kind == SERVICE => service(view, &key, &object, port)?,
        kind if *kind == NODE => node(&object, port)?,
        _ => return Err(invalid()),
    };
    Ok(Place { way, host, tls })
}

fn pod(key: &Key, pod: &Value, port: &str) -> Result<(Way, String), Status> {
    let number = if port.is_empty() {
        let ports = pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["ports"][0]["containerPort"].as_u64());
        ports.into_iter().next().and_then(|port| port.try_into().ok()).unwrap_or(80)
    } else {
        port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?} of pod {}", key.name)))?
    };
    let host = pod["status"]["podIP"].as_str().unwrap_or(&key.name);
    Ok((into(key, pod, number)?, format!("{host}:{number}")))
}

/// The way into a pod that runs.
fn into(key: &Key, pod: &Value, port: u16) -> Result<Way, Status> {
    let node = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| Status::bad_request(format!("pod {} does not have a host assigned", key.name)))?;
    let container =
        running(pod, None).ok_or_else(|| Status::unavailable(format!("no container of pod {} runs", key.name)))?;
    Ok(Way::Pod { node: node.to_owned(), container, port })
}

fn service(view: &Snapshot, key: &Key, service: &Value, port: &str) -> Result<(Way, String), Status> {
    let ports = || service["spec"]["ports"].as_array().into_iter().flatten();
    let number = port.parse::<u64>().ok();
    let wanted = ports().find(|p| port.is_empty() || p["name"] == port || number.is_some_and(|n| p["port"] == n));
    let unknown = || Status::unavailable(format!("no service port {port:?} found for service {:?}", &*key.name));
    let wanted = wanted.ok_or_else(unknown)?["name"].as_str().unwrap_or_default();
    let endpoints = ready(view, key, wanted);
    let chosen = endpoints.choose(&mut rand::rng());
    let none = || Status::unavailable(format!("no endpoints available for service {:?}", &*key.name));
    let (address, number, pod) = chosen.ok_or_else(none)?;
    let host = format!("{address}:{number}");
    let found = pod.as_ref().and_then(|pod| view.get(pod));
    match (pod, found) {
        (Some(pod), Some(entry)) => Ok((into(pod, &entry.value(), *number)?, host)),
        _ => Ok((Way::Address(SocketAddrV4::new(*address, *number)), host)),
    }
}

/// The ready endpoints of a Service's port: address, port, and the pod if it is one.
fn ready(view: &Snapshot, service: &Key, port: &str) -> Vec<(Ipv4Addr, u16, Option<Key>)> {
    let slices = view.list(&ENDPOINT_SLICE, Some(&service.namespace));
    let own = slices.filter(|slice| slice.labels.get(SERVICE_NAME).is_some_and(|name| **name == *service.name));
    let mut found = Vec::new();
    for slice in own.map(|slice| slice.value()) {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports.find(|p| p["name"].as_str().unwrap_or_default() == port).and_then(|p| p["port"].as_u64());
        let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let is_ready = endpoint["conditions"]["ready"] != false;
            let pod = endpoint["targetRef"]["name"].as_str().filter(|_| endpoint["targetRef"]["kind"] == "Pod");
            let pod = pod.map(|name| Key::new(&POD, &*service.namespace, name));
            let address = endpoint["addresses"][0].as_str().and_then(|a| a.parse().ok()).filter(|_| is_ready);
            found.extend(address.map(|address| (address, number, pod)));
        }
    }
    found
}

fn node(node: &Value, port: &str) -> Result<(Way, String), Status> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let needed = || Status::bad_request(format!("node {name:?} has no kubelet here: name a port, as in {name}:9100"));
    let port = port.parse().map_err(|_| needed())?;
    let mut addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let address = addresses.find(|a| a["type"] == "InternalIP").and_then(|a| a["address"].as_str()?.parse().ok());
    let address: Ipv4Addr =
        address.ok_or_else(|| Status::unavailable(format!("no address of node {name:?} is known")))?;
    Ok((Way::Address(SocketAddrV4::new(address, port)), format!("{address}:{port}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::Revision;
    use crate::store::Entry;

    fn view(objects: &[Value]) -> Snapshot {
        let mut view = Snapshot::starting_at(Revision(1 << 16));
        for (n, object) in objects.iter().enumerate() {
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{n:012}"));
            let key = Key::of(&object).expect("a known kind");
            let revision = Revision((n as u64 + 2) << 16);
            let entry = Arc::new(Entry::of(key.clone(), revision, &object));
            view.show(&key, Some(entry), revision);
        }
        view
    }

    fn shop() -> Snapshot {
        let meta = |name: &str| json!({"name": name, "namespace": "shop"});
        view(&[
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("web"), "spec": {"nodeName": "n2", "containers": [
                {"name": "web", "ports": [{"containerPort": 8080}]}]}, "status": {"podIP": "10.240.1.2",
                "containerStatuses": [{"name": "web", "containerID": "docker://c1", "state": {"running": {}}}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {"ports": [
                {"name": "http", "port": 80}, {"name": "admin", "port": 81}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "web-1", "namespace": "shop", "labels": {SERVICE_NAME: "web"}},
                "ports": [{"name": "http", "port": 8080}], "endpoints": [
                    {"addresses": ["10.240.1.2"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "web"}},
                    {"addresses": ["10.240.1.3"], "conditions": {"ready": false}}]}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [
                {"type": "InternalIP", "address": "192.0.2.7"}]}}),
        ])
    }

    fn pod_way(port: u16) -> Way {
        Way::Pod { node: "n2".into(), container: "c1".into(), port }
    }

    #[test]
    fn names_have_schemes_and_ports() {
        assert_eq!(named("https:web:443"), Some(Named { tls: true, name: "web", port: "443" }));
        assert_eq!(named("web:http"), Some(Named { tls: false, name: "web", port: "http" }));
        assert_eq!((named("ftp:web:1"), named(":80"), named("a:b:c:d")), (None, None, None));
    }

    #[test]
    fn pods_services_and_nodes_are_found() {
        let view = shop();
        let find =
            |kind, name: &str| find(&view, &Key::new(kind, "shop", name)).map(|place| place.way).map_err(|s| s.message);
        assert_eq!(find(&POD, "web"), Ok(pod_way(8080)), "its first port");
        assert_eq!(find(&POD, "web:9"), Ok(pod_way(9)));
        for name in ["web", "web:80", "web:http", "http:web:http"] {
            assert_eq!(find(&SERVICE, name), Ok(pod_way(8080)), "{name}: the one that is ready");
        }
        assert_eq!(find(&SERVICE, "web:admin").unwrap_err(), "no endpoints available for service \"web\"");
        assert_eq!(find(&SERVICE, "web:x").unwrap_err(), "no service port \"x\" found for service \"web\"");
        assert_eq!(find(&POD, "none:80").unwrap_err(), "pods \"none\" not found");
        let node = super::find(&view, &Key::cluster(&NODE, "n1:9100")).unwrap();
        assert_eq!((node.way, &*node.host), (Way::Address("192.0.2.7:9100".parse().unwrap()), "192.0.2.7:9100"));
    }
}
