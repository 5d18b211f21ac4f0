//! Where an object lives: kind, namespace, name.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::kinds::{self, Kind};

/// The address of one object. Ordered by group, plural, namespace and name, so that a list is a range.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The kind, from the one table of kinds.
    pub kind: &'static Kind,
    /// The namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// Makes the key of a namespaced object.
    pub fn new(kind: &'static Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Makes the key of a cluster-scoped object.
    pub fn cluster(kind: &'static Kind, name: impl Into<String>) -> Self {
        Self::new(kind, String::new(), name)
    }

    /// Returns the key under which the object is stored, if this is that of a view.
    #[must_use]
    pub fn stored(&self) -> Self {
        Self { kind: self.kind.stored(), ..self.clone() }
    }

    /// Reads the key of `object` from its apiVersion, kind and metadata. `None` for a kind that is not served
    /// or an object without a name.
    pub fn of(object: &Value) -> Option<Self> {
        let kind = kinds::by_api_version(object["apiVersion"].as_str()?, object["kind"].as_str()?)?.stored();
        let namespace = if kind.namespaced { object["metadata"]["namespace"].as_str()? } else { "" };
        Some(Self::new(kind, namespace, object["metadata"]["name"].as_str()?))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.kind, &self.namespace, &self.name).cmp(&(other.kind, &other.namespace, &other.name))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `deployments.apps/shop/web`, `nodes/n1`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_read_from_an_object() {
        let web = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "shop", "name": "web"}});
        assert_eq!(Key::of(&web).map(|k| k.to_string()).as_deref(), Some("deployments.apps/shop/web"));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        assert_eq!(Key::of(&node), Some(Key::cluster(&kinds::NODE, "n1")));
        assert_eq!(Key::of(&json!({"apiVersion": "v1", "kind": "Potato", "metadata": {"name": "x"}})), None);
    }
}
