//! The table of kinds: adding a kind to Skein starts, and mostly ends, here.

use std::cmp::Ordering;
use std::fmt;

/// One served kind, as discovery describes it.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// The one served version.
    pub version: &'static str,
    /// CamelCase singular, as in manifests.
    pub kind: &'static str,
    /// The resource's name in URLs.
    pub plural: &'static str,
    /// The name kubectl prints for one.
    pub singular: &'static str,
    /// What kubectl accepts for short.
    pub short_names: &'static [&'static str],
    /// Groups such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Which subresources are served.
    pub subresources: &'static [Subresource],
    /// The key of its definition in the upstream schema.
    pub definition: &'static str,
}

/// A part of an object, or a thing done to it, with a URL of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// `/status`: written apart from the spec.
    Status,
    /// `/scale`: the replica count in autoscaling/v1 form.
    Scale,
    /// `/log` of a Pod.
    Log,
    /// `/exec` of a Pod: a command in a container.
    Exec,
    /// `/attach` of a Pod: a container's first process.
    Attach,
    /// `/portforward` of a Pod: connections to its ports.
    PortForward,
}

impl Kind {
    /// Returns `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Tells whether `subresource` is served for this kind.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        // The table is static, so this nearly always says it; keys are compared at every look-up.
        std::ptr::eq(self, other) || (self.group, self.plural) == (other.group, other.plural)
    }
}

impl Eq for Kind {}

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.group, self.plural).hash(state);
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        if std::ptr::eq(self, other) {
            return Ordering::Equal;
        }
        (self.group, self.plural).cmp(&(other.group, other.plural))
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `pods`, `deployments.apps`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// Finds a served kind by its place in a URL.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// Finds a served kind by a manifest's `apiVersion` and `kind`.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KINDS.iter().copied().find(|k| k.group == group && k.version == version && k.kind == kind)
}

use Subresource::{Attach, Exec, Log, PortForward, Scale, Status};

macro_rules! kinds {
    ($($name:ident = $kind:expr;)*) => {
        $(#[doc = concat!("The kind `", stringify!($name), "`.")] pub static $name: Kind = $kind;)*
        /// Every served kind, in the order in which discovery lists them.
        pub static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    CONFIG_MAP = Kind { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", singular: "configmap",
        short_names: &["cm"], categories: &[], namespaced: true, subresources: &[],
        definition: "io.k8s.api.core.v1.ConfigMap" };
    EVENT = Kind { group: "", version: "v1", kind: "Event", plural: "events", singular: "event",
        short_names: &["ev"], categories: &[], namespaced: true, subresources: &[],
        definition: "io.k8s.api.core.v1.Event" };
    NAMESPACE = Kind { group: "", version: "v1", kind: "Namespace", plural: "namespaces", singular: "namespace",
        short_names: &["ns"], categories: &[], namespaced: false, subresources: &[Status],
        definition: "io.k8s.api.core.v1.Namespace" };
    NODE = Kind { group: "", version: "v1", kind: "Node", plural: "nodes", singular: "node",
        short_names: &["no"], categories: &[], namespaced: false, subresources: &[Status],
        definition: "io.k8s.api.core.v1.Node" };
    POD = Kind { group: "", version: "v1", kind: "Pod", plural: "pods", singular: "pod",
        short_names: &["po"], categories: &["all"], namespaced: true, subresources: &[Status, Log, Exec, Attach, PortForward],
        definition: "io.k8s.api.core.v1.Pod" };
    SECRET = Kind { group: "", version: "v1", kind: "Secret", plural: "secrets", singular: "secret",
        short_names: &[], categories: &[], namespaced: true, subresources: &[],
        definition: "io.k8s.api.core.v1.Secret" };
    SERVICE_ACCOUNT = Kind { group: "", version: "v1", kind: "ServiceAccount", plural: "serviceaccounts",
        singular: "serviceaccount", short_names: &["sa"], categories: &[], namespaced: true, subresources: &[],
        definition: "io.k8s.api.core.v1.ServiceAccount" };
    SERVICE = Kind { group: "", version: "v1", kind: "Service", plural: "services", singular: "service",
        short_names: &["svc"], categories: &["all"], namespaced: true, subresources: &[Status],
        definition: "io.k8s.api.core.v1.Service" };
    DEPLOYMENT = Kind { group: "apps", version: "v1", kind: "Deployment", plural: "deployments",
        singular: "deployment", short_names: &["deploy"], categories: &["all"], namespaced: true,
        subresources: &[Status, Scale], definition: "io.k8s.api.apps.v1.Deployment" };
    REPLICA_SET = Kind { group: "apps", version: "v1", kind: "ReplicaSet", plural: "replicasets",
        singular: "replicaset", short_names: &["rs"], categories: &["all"], namespaced: true,
        subresources: &[Status, Scale], definition: "io.k8s.api.apps.v1.ReplicaSet" };
    LEASE = Kind { group: "coordination.k8s.io", version: "v1", kind: "Lease", plural: "leases", singular: "lease",
        short_names: &[], categories: &[], namespaced: true, subresources: &[],
        definition: "io.k8s.api.coordination.v1.Lease" };
    ENDPOINT_SLICE = Kind { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice",
        plural: "endpointslices", singular: "endpointslice", short_names: &[], categories: &[], namespaced: true,
        subresources: &[], definition: "io.k8s.api.discovery.v1.EndpointSlice" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_both_ways() {
        for kind in KINDS {
            assert_eq!(by_plural(kind.group, kind.version, kind.plural), Some(*kind));
            assert_eq!(by_api_version(&kind.api_version(), kind.kind), Some(*kind));
        }
        assert_eq!(by_plural("", "v1", "potatoes"), None);
    }
}
