//! The roles that every cluster has, and those that are put together.

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::authorization::defaults;
use crate::object::Key;
use crate::object::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING};
use crate::store::Propagation;

fn role(name: &str) -> Key {
    Key::cluster(&CLUSTER_ROLE, name)
}

fn may(cluster: &Cluster, name: &str, resource: &str, verb: &str) -> bool {
    let role = cluster.value(&role(name));
    let has =
        |rule: &Value, part: &str, wanted: &str| rule[part].as_array().is_some_and(|l| l.iter().any(|v| v == wanted));
    role["rules"].as_array().unwrap().iter().any(|rule| has(rule, "resources", resource) && has(rule, "verbs", verb))
}

#[test]
fn every_cluster_has_the_default_roles_and_they_are_made_again() {
    let mut c = Cluster::new(1);
    for key in defaults::all().keys() {
        assert!(c.exists(key), "{key}");
    }
    let binding = Key::cluster(&CLUSTER_ROLE_BINDING, "system:discovery");
    for key in [&role("view"), &binding] {
        c.delete(key, Propagation::Background);
        c.settle();
        assert!(c.exists(key), "{key}");
    }
}

#[test]
fn view_edit_and_admin_are_put_together_of_each_other() {
    let mut c = Cluster::new(2);
    assert!(may(&c, "view", "pods/log", "get") && !may(&c, "view", "secrets", "get"));
    assert!(!may(&c, "view", "pods", "create"));
    assert!(may(&c, "edit", "pods", "get") && may(&c, "edit", "pods", "create") && may(&c, "edit", "secrets", "get"));
    assert!(!may(&c, "edit", "rolebindings", "create"));
    assert!(may(&c, "admin", "rolebindings", "create") && may(&c, "admin", "pods/log", "get"));
    // A role that somebody adds is in those above it as well.
    let more = c.create(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "crontabs", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["stable.example.com"], "resources": ["crontabs"], "verbs": ["get"]}],
    }));
    c.settle();
    for name in ["view", "edit", "admin"] {
        assert!(may(&c, name, "crontabs", "get"), "{name}");
    }
    c.delete(&more, Propagation::Background);
    c.settle();
    for name in ["view", "edit", "admin"] {
        assert!(!may(&c, name, "crontabs", "get"), "{name}");
    }
}

#[test]
fn what_is_written_into_an_aggregate_is_replaced_and_what_a_default_lacks_is_put_back() {
    let mut c = Cluster::new(3);
    let rule = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]});
    c.edit(&role("view"), |view| view["rules"] = json!([rule]));
    c.edit(&role("system:basic-user"), |basic| basic["rules"] = json!([rule]));
    c.settle();
    assert!(!may(&c, "view", "nodes", "delete") && may(&c, "view", "pods", "get"));
    assert!(may(&c, "system:basic-user", "nodes", "delete"), "what was added stays");
    assert!(may(&c, "system:basic-user", "selfsubjectaccessreviews", "create"));
    c.edit(&role("system:basic-user"), |basic| {
        basic["rules"] = json!([rule]);
        basic["metadata"]["annotations"][defaults::AUTOUPDATE] = "false".into();
    });
    c.settle();
    assert!(!may(&c, "system:basic-user", "selfsubjectaccessreviews", "create"), "left alone");
}
