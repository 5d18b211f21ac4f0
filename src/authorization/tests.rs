//! What roles and bindings allow, in upstream's words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::escalation::{self, Refused};
use super::*;
use crate::ids::{Revision, Uid};
use crate::object::Key;
use crate::object::kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE};
use crate::store::{Entry, Snapshot};
use crate::trust::User;

const RBAC: &str = "rbac.authorization.k8s.io";

fn view(objects: &[Value]) -> Snapshot {
    let mut view = Snapshot::starting_at(Revision(1));
    for (at, object) in objects.iter().enumerate() {
        let mut object = object.clone();
        object["apiVersion"] = format!("{RBAC}/v1").into();
        let key = Key::of(&object).unwrap();
        object["metadata"]["uid"] = Uid::derived(&[key.to_string().as_bytes()]).to_string().into();
        let revision = Revision(2 + at as u64);
        let entry = Arc::new(Entry::of(key.clone(), revision, &object));
        view.show(&key, Some(entry), revision);
    }
    view
}

fn rules(objects: &[Value]) -> Rules {
    Rules::of(&view(objects))
}

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
}

fn role(kind: &str, namespace: &str, name: &str, rules: &Value) -> Value {
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn bind(kind: &str, namespace: &str, role: (&str, &str), subjects: &Value) -> Value {
    json!({"kind": kind, "metadata": {"namespace": namespace, "name": "b"},
        "roleRef": {"apiGroup": RBAC, "kind": role.0, "name": role.1}, "subjects": subjects})
}

fn jane() -> Value {
    json!([{"apiGroup": RBAC, "kind": "User", "name": "jane"}])
}

fn asked<'a>(verb: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes { verb, resource, subresource, namespace, name, ..Attributes::default() }
}

#[test]
fn rules_allow_what_they_list_and_nothing_else() {
    let read = json!([
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get"]},
        {"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]},
    ]);
    let rules =
        rules(&[role("Role", "shop", "reader", &read), bind("RoleBinding", "shop", ("Role", "reader"), &jane())]);
    let jane = user("jane", &["system:authenticated"]);
    for (asked, allowed) in [
        (asked("get", "pods", "shop", "web"), true),
        (asked("list", "pods", "shop", ""), true),
        (asked("watch", "pods", "shop", ""), false),
        (asked("get", "pods/log", "shop", "web"), true),
        (asked("get", "pods/exec", "shop", "web"), false),
        (asked("get", "pods", "other", "web"), false),
        (asked("list", "pods", "", ""), false),
        (asked("get", "configmaps", "shop", "one"), true),
        (asked("get", "configmaps", "shop", "two"), false),
        (asked("get", "configmaps", "shop", ""), false),
        (Attributes { group: "apps", ..asked("patch", "deployments/scale", "shop", "web") }, true),
        (Attributes { group: "apps", ..asked("patch", "deployments", "shop", "web") }, false),
        (Attributes { group: "apps", ..asked("get", "pods", "shop", "web") }, false),
        (Attributes { verb: "get", path: Some("/version"), ..Attributes::default() }, false),
    ] {
        assert_eq!(rules.decide(&jane, &asked).allowed, allowed, "{asked:?}");
        assert!(!rules.decide(&user("john", &[]), &asked).allowed, "{asked:?}");
    }
    let why = rules.decide(&jane, &asked("get", "pods", "shop", "web")).reason;
    assert_eq!(why, r#"RBAC: allowed by RoleBinding "b/shop" of Role "reader" to User "jane""#);
}

#[test]
fn a_cluster_role_counts_where_it_is_bound() {
    let all = json!([{"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["/api/*"], "verbs": ["get"]}]);
    let within = [role("ClusterRole", "", "all", &all), bind("RoleBinding", "shop", ("ClusterRole", "all"), &jane())];
    let everywhere =
        [role("ClusterRole", "", "all", &all), bind("ClusterRoleBinding", "", ("ClusterRole", "all"), &jane())];
    let path = Attributes { verb: "get", path: Some("/api/v1"), ..Attributes::default() };
    let jane = user("jane", &[]);
    for (objects, place, nodes, paths) in [(&within, true, false, false), (&everywhere, true, true, true)] {
        let rules = rules(objects);
        assert_eq!(rules.decide(&jane, &asked("delete", "pods/status", "shop", "web")).allowed, place);
        assert_eq!(rules.decide(&jane, &asked("list", "nodes", "", "")).allowed, nodes);
        assert_eq!(rules.decide(&jane, &path).allowed, paths);
        assert!(!rules.decide(&jane, &Attributes { path: Some("/apis"), ..path }).allowed);
        assert!(!rules.decide(&jane, &Attributes { verb: "post", ..path }).allowed);
    }
}

#[test]
fn subjects_are_users_groups_and_service_accounts() {
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let get = asked("get", "pods", "shop", "web");
    for (subject, who) in [
        (json!({"kind": "Group", "name": "system:serviceaccounts:shop"}), user("x", &["system:serviceaccounts:shop"])),
        (json!({"kind": "ServiceAccount", "name": "robot"}), user("system:serviceaccount:shop:robot", &[])),
        (
            json!({"kind": "ServiceAccount", "name": "robot", "namespace": "ci"}),
            user("system:serviceaccount:ci:robot", &[]),
        ),
    ] {
        let rules =
            rules(&[role("Role", "shop", "r", &pods), bind("RoleBinding", "shop", ("Role", "r"), &json!([subject]))]);
        assert!(rules.decide(&who, &get).allowed, "{subject}");
        assert!(!rules.decide(&user("system:serviceaccount:else:robot", &["system:serviceaccounts"]), &get).allowed);
    }
}

#[test]
fn masters_need_no_rules_and_a_role_that_is_gone_is_named() {
    let rules = rules(&[bind("ClusterRoleBinding", "", ("ClusterRole", "gone"), &jane())]);
    let get = asked("get", "pods", "shop", "web");
    assert!(rules.decide(&user("root", &["system:masters"]), &get).allowed);
    let decision = rules.decide(&user("jane", &[]), &get);
    assert!(!decision.allowed);
    assert_eq!(decision.reason, "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
}

#[test]
fn refusals_are_upstreams() {
    let list = asked("list", "pods", "default", "");
    let words = r#"User "jane" cannot list resource "pods" in API group "" in the namespace "default""#;
    assert_eq!(list.refusal("jane"), words);
    let scale = Attributes { group: "apps", ..asked("get", "deployments/scale", "", "web") };
    let words = r#"User "jane" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#;
    assert_eq!(scale.refusal("jane"), words);
    let path = Attributes { verb: "get", path: Some("/api"), ..Attributes::default() };
    assert_eq!(path.refusal("system:anonymous"), r#"User "system:anonymous" cannot get path "/api""#);
}

#[test]
fn rules_are_read_again_when_a_role_changes_and_not_before() {
    let mut view = view(&[role("Role", "shop", "r", &json!([]))]);
    let before = Versions::of(&view);
    let put = |view: &mut Snapshot, object: &Value, at: u64| {
        let key = Key::of(object).unwrap();
        view.show(&key, Some(Arc::new(Entry::of(key.clone(), Revision(at), object))), Revision(at));
    };
    let uid = Uid::derived(&[b"x"]).to_string();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "c", "uid": uid}});
    put(&mut view, &map, 10);
    assert_eq!(Versions::of(&view), before);
    let other = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role",
        "metadata": {"namespace": "shop", "name": "s", "uid": Uid::derived(&[b"y"]).to_string()}});
    put(&mut view, &other, 11);
    assert_ne!(Versions::of(&view), before);
}

#[test]
fn defaults_let_anybody_see_the_version_and_users_discover() {
    let all: Vec<Value> = defaults::all().values().cloned().collect();
    let rules = rules(&all);
    let anybody = user("system:anonymous", &["system:unauthenticated"]);
    let jane = user("jane", &["system:authenticated"]);
    let path = |path| Attributes { verb: "get", path: Some(path), ..Attributes::default() };
    assert!(rules.decide(&anybody, &path("/version")).allowed);
    assert!(!rules.decide(&anybody, &path("/api")).allowed);
    assert!(rules.decide(&jane, &path("/apis/apps/v1")).allowed);
    assert!(!rules.decide(&jane, &path("/skein.dev/recover")).allowed);
    let ask = Attributes { group: "authorization.k8s.io", ..asked("create", "selfsubjectaccessreviews", "", "") };
    assert!(rules.decide(&jane, &ask).allowed && !rules.decide(&anybody, &ask).allowed);
}

#[test]
fn a_default_is_completed_and_what_was_added_stays() {
    let wanted = &defaults::all()[&Key::cluster(&CLUSTER_ROLE, "system:discovery")];
    assert_eq!(defaults::completed(wanted, wanted), None);
    let mut found = wanted.clone();
    found["rules"] = json!([{"nonResourceURLs": ["/more"], "verbs": ["get"]}]);
    let again = defaults::completed(&found, wanted).unwrap();
    assert_eq!(again["rules"].as_array().unwrap().len(), 2);
    assert_eq!(again["rules"][0], found["rules"][0]);
    found["metadata"]["annotations"][defaults::AUTOUPDATE] = "false".into();
    assert_eq!(defaults::completed(&found, wanted), None);
    let binding = &defaults::all()[&Key::cluster(&CLUSTER_ROLE_BINDING, "cluster-admin")];
    let mut emptied = binding.clone();
    emptied["subjects"] = json!([]);
    assert_eq!(defaults::completed(&emptied, binding).as_ref(), Some(binding));
}

#[test]
fn nobody_gives_away_more_than_they_have() {
    let own = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]},
    ]);
    let objects = |more: Value| {
        let mut all = vec![
            role("Role", "shop", "own", &own),
            role(
                "ClusterRole",
                "",
                "cluster-admin",
                &json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
            ),
            bind("RoleBinding", "shop", ("Role", "own"), &jane()),
        ];
        all.extend(more.as_array().unwrap().iter().cloned());
        all
    };
    let jane_is = user("jane", &["system:authenticated"]);
    let key = Key::new(&ROLE, "shop", "new");
    let made = |verbs: Value| {
        role("Role", "shop", "new", &json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]))
    };
    let plain = rules(&objects(json!([])));
    assert_eq!(escalation::check(&plain, &jane_is, &key, None, &made(json!(["get"]))), Ok(()));
    let Err(Refused::Escalation(text)) =
        escalation::check(&plain, &jane_is, &key, None, &made(json!(["get", "delete", "watch"])))
    else {
        panic!("jane gives away what she does not have");
    };
    assert_eq!(
        text,
        "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently \
         held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}"
    );
    // What was there already may be written again.
    let before = made(json!(["*"]));
    assert_eq!(escalation::check(&plain, &jane_is, &key, Some(&before), &before), Ok(()));
    let root = user("root", &["system:masters"]);
    assert_eq!(escalation::check(&plain, &root, &key, None, &before), Ok(()));

    let binding = Key::new(&crate::object::kinds::ROLE_BINDING, "shop", "b");
    let of = |role: (&str, &str)| bind("RoleBinding", "shop", role, &jane());
    assert_eq!(escalation::check(&plain, &jane_is, &binding, None, &of(("Role", "own"))), Ok(()));
    let refused = escalation::check(&plain, &jane_is, &binding, None, &of(("ClusterRole", "cluster-admin")));
    assert!(matches!(refused, Err(Refused::Escalation(_))), "{refused:?}");
    let gone = escalation::check(&plain, &jane_is, &binding, None, &of(("ClusterRole", "gone")));
    assert_eq!(gone, Err(Refused::NoRole { resource: "clusterroles", name: "gone".into() }));

    let verbs = json!([{"apiGroups": [RBAC], "resources": ["roles", "clusterroles"], "verbs": ["escalate", "bind"]}]);
    let more =
        [role("ClusterRole", "", "more", &verbs), bind("ClusterRoleBinding", "", ("ClusterRole", "more"), &jane())];
    let may = rules(&objects(json!(more)));
    assert_eq!(escalation::check(&may, &jane_is, &key, None, &before), Ok(()));
    assert_eq!(escalation::check(&may, &jane_is, &binding, None, &of(("ClusterRole", "cluster-admin"))), Ok(()));
}
