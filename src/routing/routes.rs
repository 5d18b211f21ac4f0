//! What the proxy and the DNS server know of the cluster: nothing but this.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;

/// The data path's whole configuration at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Where to listen, and whom to connect a client to.
    pub listeners: BTreeMap<Listen, Arc<Backends>>,
    /// What names mean. Keys are lower-case and fully qualified, without the last dot
    /// (`web.shop.svc.cluster.local`).
    pub names: BTreeMap<String, Arc<Name>>,
    /// Whose pods are where: each node's range, and its name.
    pub pod_ranges: BTreeMap<Ipv4Net, String>,
}

impl Routes {
    /// Returns the node to whose range `address` belongs.
    pub fn node_of(&self, address: Ipv4Addr) -> Option<&str> {
        // Ranges do not overlap, so only the last that begins at or before it can hold it.
        let (range, node) = self.pod_ranges.range(..=Ipv4Net::from(address)).next_back()?;
        range.contains(&address).then_some(node)
    }
}

/// A place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// A Service's virtual address and port, in the agent's own namespace.
    Virtual {
        /// TCP or UDP.
        protocol: Protocol,
        /// ClusterIP and port.
        address: SocketAddrV4,
    },
    /// A NodePort on the host's addresses.
    Node {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Whom a listener may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// `namespace/name:port` of the Service, for logs and metrics.
    pub service: String,
    /// Ready endpoints, sorted. Empty: connections are refused at once.
    pub endpoints: Vec<Endpoint>,
    /// `sessionAffinity: ClientIP`: for how many seconds a client keeps its endpoint.
    pub affinity_seconds: Option<u32>,
}

/// One ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address and port of the pod.
    pub address: SocketAddrV4,
    /// The node it is on; `None` for one outside the cluster.
    pub node: Option<String>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Addresses (A records): a ClusterIP, or a headless Service's ready endpoints. Empty: the name exists and has
    /// no address just now.
    Addresses(Vec<Ipv4Addr>),
    /// An ExternalName Service (CNAME record).
    Alias(String),
    /// A named port (SRV records): target name and port.
    Service(Vec<(String, u16)>),
    /// The name of an address (PTR records); its key ends in `in-addr.arpa`.
    Pointer(String),
}
