//! Roles and bindings of a Snapshot, by whom they are about.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use crate::ids::Revision;
use crate::object::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::object::{Key, Kind};
use crate::store::Snapshot;
use crate::trust::User;

use super::{Attributes, Decision, rule};

static KINDS: [&Kind; 4] = [&CLUSTER_ROLE, &CLUSTER_ROLE_BINDING, &ROLE, &ROLE_BINDING];

/// When the kinds that rules are read from were last changed: rules of the same versions are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions([Revision; 4]);

impl Versions {
    /// Reads them.
    pub fn of(view: &Snapshot) -> Self {
        Self(KINDS.map(|kind| view.last_change(kind)))
    }
}

/// What all bindings grant.
#[derive(Debug, Default)]
pub struct Rules {
    everywhere: Grants,
    within: BTreeMap<String, Grants>,
    roles: BTreeMap<RoleName, Arc<[PolicyRule]>>,
}

/// A role's namespace (empty for a ClusterRole) and name.
type RoleName = (String, String);

/// Whom a binding names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(String),
    Group(String),
}

type Grants = BTreeMap<Who, Vec<Grant>>;

/// What one binding grants to one subject.
#[derive(Debug)]
struct Grant {
    /// `None` if the role is not there.
    rules: Option<Arc<[PolicyRule]>>,
    /// The binding, as `ClusterRoleBinding "admins"`.
    binding: String,
    /// The role's kind and name.
    role: (String, String),
    /// The subject, as the binding writes it.
    subject: String,
}

/// What somebody may do in a namespace.
#[derive(Debug, Default)]
pub struct Listed {
    /// The rules.
    pub rules: Vec<PolicyRule>,
    /// What could not be looked at; empty if nothing.
    pub trouble: String,
}

impl Rules {
    /// Reads the roles and bindings of a Snapshot.
    pub fn of(view: &Snapshot) -> Self {
        let mut all = Self::default();
        for entry in view.list(&CLUSTER_ROLE, None) {
            let rules = entry.typed().and_then(|role: ClusterRole| role.rules).unwrap_or_default();
            all.roles.insert((String::new(), entry.key.name.clone()), rules.into());
        }
        for entry in view.list(&ROLE, None) {
            let rules = entry.typed().and_then(|role: Role| role.rules).unwrap_or_default();
            all.roles.insert((entry.key.namespace.clone(), entry.key.name.clone()), rules.into());
        }
        for entry in view.list(&CLUSTER_ROLE_BINDING, None) {
            let Some(binding) = entry.typed::<ClusterRoleBinding>() else { continue };
            let name = format!("ClusterRoleBinding {:?}", entry.key.name);
            all.bind(&entry.key, &name, &binding.role_ref, binding.subjects.as_deref().unwrap_or_default());
        }
        for entry in view.list(&ROLE_BINDING, None) {
            let Some(binding) = entry.typed::<RoleBinding>() else { continue };
            let name = format!("RoleBinding \"{}/{}\"", entry.key.name, entry.key.namespace);
            all.bind(&entry.key, &name, &binding.role_ref, binding.subjects.as_deref().unwrap_or_default());
        }
        all
    }

    fn bind(&mut self, binding: &Key, name: &str, role: &RoleRef, subjects: &[Subject]) {
        let rules = self.role(&binding.namespace, role);
        let grants = if binding.namespace.is_empty() {
            &mut self.everywhere
        } else {
            self.within.entry(binding.namespace.clone()).or_default()
        };
        for subject in subjects {
            let Some((who, text)) = who(subject, &binding.namespace) else { continue };
            grants.entry(who).or_default().push(Grant {
                rules: rules.clone(),
                binding: name.to_owned(),
                role: (role.kind.clone(), role.name.clone()),
                subject: text,
            });
        }
    }

    /// Returns the rules of a role that a binding in `namespace` names.
    pub fn role(&self, namespace: &str, role: &RoleRef) -> Option<Arc<[PolicyRule]>> {
        let namespace = if role.kind == "Role" { namespace } else { "" };
        self.roles.get(&(namespace.to_owned(), role.name.clone())).cloned()
    }

    /// Tells whether `user` may do what is asked.
    pub fn decide(&self, user: &User, asked: &Attributes<'_>) -> Decision {
        if user.is_admin() {
            return Decision { allowed: true, reason: String::new() };
        }
        let namespace = if asked.path.is_some() { "" } else { asked.namespace };
        let mut missing = Vec::new();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Some(rules) if rules.iter().any(|rule| rule::allows(rule, asked)) => {
                    return Decision { allowed: true, reason: grant.reason() };
                }
                Some(_) => {}
                None => missing.push(grant.missing()),
            }
        }
        Decision { allowed: false, reason: trouble(missing) }
    }

    /// Lists what `user` may do in a namespace, and with paths.
    pub fn list(&self, user: &User, namespace: &str) -> Listed {
        let mut listed = Listed::default();
        if user.is_admin() {
            let all = || Some(vec!["*".to_owned()]);
            let verbs = || vec!["*".to_owned()];
            listed.rules =
                vec![PolicyRule { api_groups: all(), resources: all(), verbs: verbs(), ..PolicyRule::default() }];
            listed.rules.push(PolicyRule { non_resource_urls: all(), verbs: verbs(), ..PolicyRule::default() });
        }
        let mut missing = Vec::new();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Some(rules) => listed.rules.extend(rules.iter().cloned()),
                None => missing.push(grant.missing()),
            }
        }
        listed.trouble = trouble(missing);
        listed
    }

    /// Everything that is granted to a user, cluster-wide first.
    fn grants<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Grant> + 'a {
        let within = self.within.get(namespace);
        let places = [Some(&self.everywhere), within].into_iter().flatten();
        places.flat_map(move |grants| {
            let own = grants.get(&Who::User(user.name.clone()));
            let groups = user.groups.iter().filter_map(|group| grants.get(&Who::Group(group.clone())));
            own.into_iter().chain(groups).flatten()
        })
    }
}

impl Grant {
    fn reason(&self) -> String {
        let (kind, name) = &self.role;
        format!("RBAC: allowed by {} of {kind} {name:?} to {}", self.binding, self.subject)
    }

    fn missing(&self) -> String {
        let (kind, name) = &self.role;
        format!("{}.rbac.authorization.k8s.io {name:?} not found", kind.to_lowercase())
    }
}

fn trouble(mut missing: Vec<String>) -> String {
    missing.sort();
    missing.dedup();
    match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

/// Reads a subject: whom it names, and how upstream writes it. A ServiceAccount is the user that its tokens name.
fn who(subject: &Subject, namespace: &str) -> Option<(Who, String)> {
    let name = &subject.name;
    let text = format!("{} {name:?}", subject.kind);
    match subject.kind.as_str() {
        "User" => Some((Who::User(name.clone()), text)),
        "Group" => Some((Who::Group(name.clone()), text)),
        "ServiceAccount" => {
            let given = subject.namespace.as_deref().filter(|given| !given.is_empty());
            let home = given.or(Some(namespace).filter(|own| !own.is_empty()))?;
            let text = format!("ServiceAccount \"{name}/{home}\"");
            Some((Who::User(format!("system:serviceaccount:{home}:{name}")), text))
        }
        _ => None,
    }
}
