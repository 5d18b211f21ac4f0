//! The table of kinds: adding a kind to Skein starts, and mostly ends, in `kinds/table.rs`.
//!
//! A kind may be served in several forms, as HorizontalPodAutoscalers of two versions and Events of two groups are. One is
//! the *stored* kind, which keys, the store and controllers know; the others are *views* of it (`object::view`), which only
//! the API's edge knows.

mod table;

use std::cmp::Ordering;
use std::fmt;

pub use table::*;

/// One served kind, as discovery describes it.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// The version.
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
    /// The kind as which its objects are stored, if that is another.
    pub view_of: Option<&'static Kind>,
    /// Whether DELETE answers with the object that is gone, and not with a Status.
    pub is_shown_when_deleted: bool,
    /// Whether its objects are meant to make something happen and nothing of ours acts on them yet: who creates one is
    /// warned.
    pub is_inert: bool,
    /// The feature level with which it came: older builds cannot read its records.
    pub since: u32,
}

/// A part of an object, or a thing done to it, with a URL of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// `/status`: written apart from the spec.
    Status,
    /// `/scale`: the replica count in autoscaling/v1 form.
    Scale,
    /// `/approval` of a CertificateSigningRequest: the conditions that decide about it.
    Approval,
    /// `/log` of a Pod.
    Log,
    /// `/exec` of a Pod: a command in a container.
    Exec,
    /// `/attach` of a Pod: a container's first process.
    Attach,
    /// `/portforward` of a Pod: connections to its ports.
    PortForward,
    /// `/ephemeralcontainers` of a Pod: containers that are added to look at it.
    EphemeralContainers,
    /// `/eviction` of a Pod: its deletion, if its disruption budget allows that.
    Eviction,
    /// `/proxy/...` of a Pod, Service or Node: HTTP requests that are passed on to it.
    Proxy,
    /// `/token` of a ServiceAccount: a token is made.
    Token,
}

/// What stands for the definition of a kind that users define: of its schema, this house knows the metadata.
pub const CUSTOM: &str = "dev.skein.CustomObject";

impl Kind {
    /// Tells whether users defined it (`object::custom`), and it is not in the table.
    pub fn is_custom(&self) -> bool {
        self.definition == CUSTOM
    }

    /// Returns `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns the kind as which its objects are stored.
    pub fn stored(&'static self) -> &'static Kind {
        self.view_of.unwrap_or(self)
    }

    /// Tells whether it is the form of another kind.
    pub fn is_view(&self) -> bool {
        self.view_of.is_some()
    }

    /// Says what a client is to know that creates an object on which nothing acts.
    pub fn warning(&self) -> Option<String> {
        self.is_inert.then(|| format!("{} is stored, but nothing acts on it yet", self.kind))
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

/// Returns the served group versions. The versions of a group are together, the preferred one first.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (group, version) in SERVED.iter().map(|kind| (kind.group, kind.version)) {
        if !found.contains(&(group, version)) {
            let after = found.iter().rposition(|(g, _)| *g == group).map_or(found.len(), |at| at + 1);
            found.insert(after, (group, version));
        }
    }
    found
}

/// Finds a served kind, perhaps a view, by its place in a URL.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    SERVED.iter().copied().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// Finds a served kind, perhaps a view, by a manifest's `apiVersion` and `kind`.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    SERVED.iter().copied().find(|k| k.group == group && k.version == version && k.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::schema;

    #[test]
    fn kinds_are_found_both_ways() {
        for kind in SERVED {
            assert_eq!(by_plural(kind.group, kind.version, kind.plural), Some(*kind));
            assert_eq!(by_api_version(&kind.api_version(), kind.kind), Some(*kind));
            assert!(schema::definition(kind.definition).is_some(), "{}", kind.definition);
            assert!(KINDS.contains(&kind.stored()));
        }
        assert_eq!(by_plural("", "v1", "potatoes"), None);
        assert!(KINDS.iter().all(|kind| !kind.is_view()) && KINDS.len() < SERVED.len());
    }

    #[test]
    fn the_docs_list_the_kinds_on_which_nothing_acts() {
        let docs = include_str!("../../docs/kinds.md");
        let list = docs.split_once("with the table of kinds. -->").expect("the list is marked").1;
        let list = list.split_once(".\n").expect("it ends with a full stop").0;
        let documented: Vec<&str> = list.split(',').map(str::trim).collect();
        let mut inert: Vec<&str> = KINDS.iter().filter(|kind| kind.is_inert).map(|kind| kind.kind).collect();
        inert.sort_unstable();
        assert_eq!(documented, inert);
    }

    #[test]
    fn a_kind_that_acts_is_no_inert_one() {
        for kind in [&POD, &DEPLOYMENT, &REPLICA_SET, &SERVICE, &NAMESPACE, &CONFIG_MAP, &LEASE] {
            assert_eq!(kind.warning(), None);
        }
        assert_eq!(STATEFUL_SET.warning().as_deref(), Some("StatefulSet is stored, but nothing acts on it yet"));
    }
}
