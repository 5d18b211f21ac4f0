//! Who may do what: roles, bindings, and the answer to one question.
//!
//! [`Rules`] are read off a Snapshot once and asked often: an index from a subject (a user or a group) to what its
//! bindings grant. A question is a verb on a resource, or on a path that is no resource. The meaning of roles and
//! bindings is upstream's, its words of refusal too.
//!
//! - rights only add up: what one binding grants, no other takes away
//! - the group `system:masters` may do everything, whatever roles say
//! - a RoleBinding grants within its namespace only, also what a ClusterRole lists
//! - nobody gives away what they do not have ([`escalation`]), unless they have the verb `escalate` or `bind`
//!
//! The room reads objects and decides; who somebody is, is for others to prove.

pub mod defaults;
pub mod escalation;
mod index;
mod rule;
#[cfg(test)]
mod tests;

pub use index::{Listed, Rules, Versions};
pub use rule::{compact, covers};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, or for a path the method in small letters.
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// The resource's plural name.
    pub resource: &'a str,
    /// The part of it; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for all, or for what is in none.
    pub namespace: &'a str,
    /// The object's name; empty for many, or for a new one.
    pub name: &'a str,
    /// A path that is no resource; then only the verb counts besides.
    pub path: Option<&'a str>,
}

impl Attributes<'_> {
    /// Returns `pods`, `pods/log`.
    pub fn combined(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// Says what is refused, as upstream does: `User "jane" cannot list resource "pods" in API group "" in the
    /// namespace "shop"`.
    pub fn refusal(&self, user: &str) -> String {
        if let Some(path) = self.path {
            return format!("User {user:?} cannot {} path {path:?}", self.verb);
        }
        let place = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        let (verb, resource, group) = (self.verb, self.combined(), self.group);
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
    }
}

/// The answer, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Which binding allows it, or what kept bindings from being looked at; often empty.
    pub reason: String,
}
