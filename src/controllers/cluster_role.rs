//! The roles and bindings that every cluster has, and ClusterRoles that are put together from others.
//!
//! A default that is missing is made, and one that lacks something of what it should have gets that back, unless its
//! annotation `rbac.authorization.kubernetes.io/autoupdate` is `false`. What was added to one stays. The rules of a role
//! with an `aggregationRule` are those of all roles that its selectors match, whatever was written there.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::{Value, json};

use crate::authorization::defaults;
use crate::object::Key;
use crate::object::kinds::CLUSTER_ROLE;
use crate::store::{Change, Entry, Precondition, Snapshot};

use super::{Plan, owner};

/// Makes the default at `key` if it is missing, puts back what it lacks, and puts together what is to be.
pub fn reconcile(view: &Snapshot, key: &Key) -> Plan {
    let mut plan = Plan::default();
    let wanted = defaults::all().get(key);
    match (view.get(key), wanted) {
        (None, Some(wanted)) => {
            plan.changes.push(Change::Create { key: key.clone(), object: wanted.clone() });
        }
        (Some(entry), wanted) if !entry.terminating => {
            let found = entry.value();
            let completed = wanted.and_then(|wanted| defaults::completed(&found, wanted));
            let object = aggregated(view, entry, completed.unwrap_or_else(|| found.clone()));
            if object != found {
                let when = Precondition::unchanged(entry);
                plan.changes.push(Change::Update { key: key.clone(), object, when });
            }
        }
        _ => {}
    }
    plan
}

/// Names the roles that are put together, of which one may have to be anew after another has changed.
pub fn aggregates(view: &Snapshot) -> impl Iterator<Item = &Key> {
    let asks = |entry: &&std::sync::Arc<Entry>| is_aggregate(entry);
    view.list(&CLUSTER_ROLE, None).filter(asks).map(|entry| &entry.key)
}

fn is_aggregate(entry: &Entry) -> bool {
    const MARK: &[u8] = b"\"aggregationRule\"";
    entry.json.windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// Writes the rules of all roles that `object`'s selectors match, in the order of their names, each once.
fn aggregated(view: &Snapshot, entry: &Entry, mut object: Value) -> Value {
    let role: Option<ClusterRole> = serde_json::from_value(object.clone()).ok();
    let Some(aggregation) = role.and_then(|role| role.aggregation_rule) else { return object };
    let selectors = aggregation.cluster_role_selectors.unwrap_or_default();
    let selectors: Vec<_> = selectors.iter().filter_map(owner::selector).collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for other in view.list(&CLUSTER_ROLE, None) {
        if other.key == entry.key || !selectors.iter().any(|selector| selector.matches(&other.labels)) {
            continue;
        }
        for rule in other.typed().and_then(|role: ClusterRole| role.rules).unwrap_or_default() {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let known: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone()).unwrap_or_default();
    if known != rules {
        object["rules"] = json!(rules);
    }
    object
}
