//! Nobody gives away rights that they do not have.
//!
//! Who writes a role must have all that it grants, or the verb `escalate` on it; who binds a role must have all that it
//! grants where the binding grants it, or the verb `bind` on it.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use serde_json::Value;

use crate::object::Key;
use crate::object::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use crate::trust::User;

use super::rule::one_line;
use super::{Attributes, Rules, compact, covers};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Why a role or binding may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More would be granted than its writer has; in upstream's words, what follows "is forbidden: ".
    Escalation(String),
    /// The role that is bound is not there.
    NoRole {
        /// `clusterroles` or `roles`.
        resource: &'static str,
        /// Its name.
        name: String,
    },
}

/// Tells whether `user` may write `after` where there was `before`. Objects that are no roles or bindings may always.
///
/// # Errors
/// [`Refused`].
pub fn check(rules: &Rules, user: &User, key: &Key, before: Option<&Value>, after: &Value) -> Result<(), Refused> {
    if user.is_admin() {
        return Ok(());
    }
    if *key.kind == ROLE || *key.kind == CLUSTER_ROLE {
        return role(rules, user, key, before, after);
    }
    if *key.kind == ROLE_BINDING || *key.kind == CLUSTER_ROLE_BINDING {
        return binding(rules, user, key, before, after);
    }
    Ok(())
}

fn role(rules: &Rules, user: &User, key: &Key, before: Option<&Value>, after: &Value) -> Result<(), Refused> {
    let same = |field: &str| before.is_some_and(|before| before.get(field) == after.get(field));
    if same("rules") && same("aggregationRule") || may(rules, user, key, "escalate", key.kind.plural, &key.name) {
        return Ok(());
    }
    let wanted: Vec<PolicyRule> = serde_json::from_value(after["rules"].clone()).unwrap_or_default();
    confirm(rules, user, &key.namespace, &wanted)?;
    if after["aggregationRule"].is_object() && !same("aggregationRule") {
        let all = || Some(vec!["*".to_owned()]);
        let verbs = vec!["*".to_owned()];
        let everything = [
            PolicyRule { api_groups: all(), resources: all(), verbs: verbs.clone(), ..PolicyRule::default() },
            PolicyRule { non_resource_urls: all(), verbs, ..PolicyRule::default() },
        ];
        if !covers(&rules.list(user, "").rules, &everything).is_empty() {
            return Err(Refused::Escalation("must have cluster-admin privileges to use an aggregationRule".into()));
        }
    }
    Ok(())
}

fn binding(rules: &Rules, user: &User, key: &Key, before: Option<&Value>, after: &Value) -> Result<(), Refused> {
    let same = |field: &str| before.is_some_and(|before| before.get(field) == after.get(field));
    if same("roleRef") && same("subjects") {
        return Ok(());
    }
    let Ok(reference) = serde_json::from_value::<RoleRef>(after["roleRef"].clone()) else { return Ok(()) };
    let resource = if reference.kind == "Role" { "roles" } else { "clusterroles" };
    if may(rules, user, key, "bind", resource, &reference.name) {
        return Ok(());
    }
    let Some(wanted) = rules.role(&key.namespace, &reference) else {
        return Err(Refused::NoRole { resource, name: reference.name });
    };
    confirm(rules, user, &key.namespace, &wanted)
}

fn may(rules: &Rules, user: &User, key: &Key, verb: &str, resource: &str, name: &str) -> bool {
    let namespace = key.namespace.as_str();
    let asked = Attributes { verb, group: GROUP, resource, namespace, name, ..Attributes::default() };
    rules.decide(user, &asked).allowed
}

fn confirm(rules: &Rules, user: &User, namespace: &str, wanted: &[PolicyRule]) -> Result<(), Refused> {
    let listed = rules.list(user, namespace);
    let missing = covers(&listed.rules, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = compact(missing).iter().map(one_line).collect();
    lines.sort();
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let mut text = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    );
    if !listed.trouble.is_empty() {
        text.push_str("; resolution errors: ");
        text.push_str(&listed.trouble);
    }
    Err(Refused::Escalation(text))
}
