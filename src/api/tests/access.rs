//! Who may: every route and verb with no, bad and too narrow credentials; tokens; acting for others; giving away rights.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::api::{discovery, now};
use crate::trust::service_account::{Bound, Claims, ISSUER, Kubernetes};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn jane() -> User {
    User { name: "jane".into(), ..User::default() }
}

impl Cluster {
    /// Makes a ClusterRole of these rules, or changes it.
    async fn role(&self, name: &str, rules: &Value) {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules});
        if self.put(&format!("{RBAC}/clusterroles/{name}"), &role).await.0 == 404 {
            let (code, made) = self.post(&format!("{RBAC}/clusterroles"), &role).await;
            assert_eq!(code, 201, "{made}");
        }
    }

    /// Binds a ClusterRole to a user, everywhere.
    async fn bind(&self, user: &str, role: &str) {
        let group = "rbac.authorization.k8s.io";
        let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": user.replace(':', "-")}, "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}]});
        let (code, made) = self.post(&format!("{RBAC}/clusterrolebindings"), &binding).await;
        assert!(code == 201 || code == 409, "{made}");
    }

    /// Lets a user read pods.
    pub(super) async fn bind_view(&self, user: &str) {
        let read = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
        self.role("view", &read).await;
        self.bind(user, "view").await;
    }

    /// Makes a ServiceAccount and returns a token of it that lives so long, counted from `age` ago.
    async fn token(&self, name: &str, age: Duration, life: Duration) -> String {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
        let made = self.get(&format!("/api/v1/namespaces/default/serviceaccounts/{name}")).await.1;
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        let kubernetes = Kubernetes {
            namespace: "default".into(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: Bound { name: name.into(), uid },
        };
        let then = crate::time::Wall(now().0 - i64::try_from(age.as_micros()).unwrap());
        issuer().sign(&Claims::new(issuer().id(), kubernetes, vec![ISSUER.into()], then, Some(life)))
    }
}

/// A request that can be made of the API: method, path, and the right that it takes.
struct Door {
    method: Method,
    path: String,
    rule: Value,
}

fn method(verb: &str) -> Method {
    match verb {
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" | "deletecollection" => Method::DELETE,
        _ => Method::GET,
    }
}

/// All that discovery lists, and every path that is no resource.
fn doors() -> Vec<Door> {
    let mut doors = Vec::new();
    for (group, version) in discovery::group_versions() {
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        for resource in discovery::resources(group, version)["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let (plural, sub) = name.split_once('/').unwrap_or((name, ""));
            let home = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            let is_object = discovery::resources(group, version)["resources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r["name"] == plural && r["verbs"].as_array().unwrap().iter().any(|v| v == "get"));
            for verb in resource["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()) {
                let many =
                    sub.is_empty() && (!is_object || ["list", "watch", "create", "deletecollection"].contains(&verb));
                let object = match (many, sub) {
                    (true, _) => String::new(),
                    (false, "") => "/x".to_owned(),
                    (false, sub) => format!("/x/{sub}"),
                };
                let query = if verb == "watch" { "?watch=true" } else { "" };
                let rule = json!([{"apiGroups": [group], "resources": [name], "verbs": [verb]}]);
                doors.push(Door { method: method(verb), path: format!("{root}{home}/{plural}{object}{query}"), rule });
            }
        }
    }
    for (method, path) in PATHS {
        let verb = method.to_lowercase();
        let rule = json!([{"nonResourceURLs": [path], "verbs": [verb]}]);
        doors.push(Door { method: method.parse().unwrap(), path: (*path).into(), rule });
    }
    doors
}

/// Paths that are no resources.
const PATHS: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/api"),
    ("GET", "/api/v1"),
    ("GET", "/apis"),
    ("GET", "/apis/apps"),
    ("GET", "/apis/apps/v1"),
    ("GET", "/openapi/v2"),
    ("GET", "/openapi/v3"),
    ("GET", "/openapi/v3/api/v1"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/openid/v1/jwks"),
    ("GET", "/skein.dev/partitions"),
    ("POST", "/skein.dev/recover"),
    ("GET", "/nothing/is/here"),
];

/// Paths that anybody may see.
const OPEN: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

fn request(door: &Door) -> axum::http::request::Builder {
    Request::builder().method(door.method.clone()).uri(&door.path).header("content-type", "application/json")
}

fn with_token(door: &Door, token: &str) -> Request<Body> {
    request(door).header("authorization", format!("Bearer {token}")).body(Body::from("{}")).unwrap()
}

#[tokio::test]
async fn every_door_opens_to_its_own_right_and_to_no_other() {
    let cluster = Cluster::new().await;
    cluster.role("key", &json!([])).await;
    cluster.bind("jane", "key").await;
    let expired = cluster.token("robot", Duration::from_secs(7200), Duration::from_secs(3600)).await;
    let doors = doors();
    assert!(doors.len() > 120, "{} doors", doors.len());
    for door in &doors {
        let name = format!("{} {}", door.method, door.path);
        let plain = || request(door).body(Body::from("{}")).unwrap();
        let nobody = cluster.ask_as(None, plain()).await;
        assert_eq!((nobody.0, &nobody.1["reason"]), (403, &json!("Forbidden")), "{name}: {}", nobody.1);
        assert!(nobody.1["message"].as_str().unwrap().contains("\"system:anonymous\" cannot"), "{}", nobody.1);
        assert_eq!(cluster.ask_as(None, with_token(door, &expired)).await.0, 401, "{name}, expired");
        assert_eq!(cluster.ask_as(None, with_token(door, "rubbish")).await.0, 401, "{name}, rubbish");
        // Made anew: some of the doors have deleted all accounts, or all bindings.
        cluster.bind("jane", "key").await;
        let robot = cluster.token("robot", Duration::ZERO, Duration::from_secs(3600)).await;
        assert_eq!(cluster.ask_as(None, with_token(door, &robot)).await.0, 403, "{name}, without a role");
        // A right to something else.
        let mut other = door.rule.clone();
        other[0]["verbs"] = json!(["other"]);
        cluster.role("key", &other).await;
        assert_eq!(cluster.ask_as(Some(&jane()), plain()).await.0, 403, "{name}, wrong verb");
        let mut other = door.rule.clone();
        for part in ["resources", "nonResourceURLs"] {
            if door.rule[0][part].is_array() {
                other[0][part] = json!(["other", "*/other", "/other/*"]);
            }
        }
        cluster.role("key", &other).await;
        assert_eq!(cluster.ask_as(Some(&jane()), plain()).await.0, 403, "{name}, wrong thing");
        cluster.role("key", &door.rule).await;
        let (code, answer) = cluster.ask_as(Some(&jane()), plain()).await;
        assert!(code != 401 && code != 403, "{name}: {code} {answer}");
    }
    for path in OPEN {
        let request = || Request::get(*path).body(Body::empty()).unwrap();
        assert_eq!(cluster.ask_as(None, request()).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn every_path_that_is_served_is_walked() {
    let root = discovery::root();
    let versions = discovery::group_versions();
    let of_groups = |path: &str| {
        path.starts_with("/api")
            && versions.iter().any(|(g, v)| {
                let root = if g.is_empty() { format!("/api/{v}") } else { format!("/apis/{g}/{v}") };
                root.starts_with(path)
            })
    };
    for path in root["paths"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()) {
        let known = OPEN.contains(&path) || PATHS.iter().any(|(_, p)| *p == path) || of_groups(path);
        assert!(known, "{path} has no line in PATHS");
    }
}

#[tokio::test]
async fn a_refusal_is_in_upstreams_words() {
    let cluster = Cluster::new().await;
    let ask = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        cluster.ask_as(Some(&jane()), request).await
    };
    let (code, status) = ask("GET", PODS).await;
    let words = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \
                 \"default\"";
    assert_eq!((code, &status["message"]), (403, &json!(words)));
    assert_eq!(status["details"], json!({"kind": "pods"}));
    let (_, status) = ask("PATCH", &format!("{DEPLOYMENTS}/web/scale")).await;
    let words = "deployments.apps \"web\" is forbidden: User \"jane\" cannot patch resource \"deployments/scale\" in \
                 API group \"apps\" in the namespace \"default\"";
    assert_eq!(status["message"], words);
    assert_eq!(status["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
    let (_, status) = ask("GET", "/api/v1/nodes").await;
    let words =
        "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
    assert_eq!(status["message"], words);
    let (_, status) = ask("GET", "/skein.dev/partitions").await;
    assert_eq!(status["message"], "forbidden: User \"jane\" cannot get path \"/skein.dev/partitions\"");
}

#[tokio::test]
async fn sessions_take_the_right_to_create_or_to_get_them() {
    let cluster = Cluster::new().await;
    cluster.role("key", &json!([])).await;
    cluster.bind("jane", "key").await;
    for verb in ["get", "create"] {
        cluster.role("key", &json!([{"apiGroups": [""], "resources": ["pods/exec"], "verbs": [verb]}])).await;
        let request = Request::get(format!("{PODS}/web/exec?command=ls&stdout=true")).body(Body::empty()).unwrap();
        assert_eq!(cluster.ask_as(Some(&jane()), request).await.0, 404, "{verb}");
        let request = Request::get(format!("{PODS}/web/log")).body(Body::empty()).unwrap();
        assert_eq!(cluster.ask_as(Some(&jane()), request).await.0, 403, "{verb}");
    }
}

#[tokio::test]
async fn a_token_is_made_and_proves_its_account_until_that_is_gone() {
    let cluster = Cluster::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    assert_eq!(cluster.post(accounts, &account).await.0, 201);
    let ask = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec});
    let path = format!("{accounts}/robot/token");
    let (code, made) = cluster.post(&path, &ask(json!({"audiences": null}))).await;
    assert_eq!(code, 201, "{made}");
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    assert!(made["status"]["expirationTimestamp"].is_string());
    let (code, short) = cluster.post(&path, &ask(json!({"audiences": ["a"], "expirationSeconds": 5}))).await;
    let words = "TokenRequest.authentication.k8s.io \"robot\" is invalid: spec.expirationSeconds: Invalid value: 5: \
                 may not specify a duration less than 10 minutes";
    assert_eq!((code, &short["message"]), (422, &json!(words)));
    assert_eq!(cluster.post(&format!("{accounts}/none/token"), &ask(json!({}))).await.0, 404);

    let who = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let as_robot = |token: &str| {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let request = Request::post(path).header("authorization", format!("Bearer {token}"));
        request.header("content-type", "application/json").body(Body::from(who.to_string())).unwrap()
    };
    let everybody = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["*"], "verbs": ["create"]}]);
    cluster.role("everybody", &everybody).await;
    cluster.bind("system:serviceaccount:default:robot", "everybody").await;
    let (code, answer) = cluster.ask_as(None, as_robot(&token)).await;
    assert_eq!((code, &answer["status"]["userInfo"]["username"]), (201, &json!("system:serviceaccount:default:robot")));
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(answer["status"]["userInfo"]["groups"], groups);

    let review = async |spec: Value| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &body).await.1["status"].clone()
    };
    let status = review(json!({"token": token})).await;
    assert_eq!(
        (&status["authenticated"], &status["user"]["uid"]),
        (&json!(true), &cluster.get(&format!("{accounts}/robot")).await.1["metadata"]["uid"])
    );
    assert_eq!(review(json!({"token": token, "audiences": ["else"]})).await["authenticated"], false);
    // One for somebody else does not open this API.
    let (_, made) = cluster.post(&path, &ask(json!({"audiences": ["vault"]}))).await;
    let elsewhere = made["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(cluster.ask_as(None, as_robot(&elsewhere)).await.0, 401);
    assert_eq!(review(json!({"token": elsewhere, "audiences": ["vault"]})).await["audiences"], json!(["vault"]));

    assert_eq!(cluster.delete(&format!("{accounts}/robot"), &Value::Null).await.0, 200);
    assert_eq!(cluster.ask_as(None, as_robot(&token)).await.0, 401);
    // Another account of the name is another account.
    assert_eq!(cluster.post(accounts, &account).await.0, 201);
    assert_eq!(cluster.ask_as(None, as_robot(&token)).await.0, 401);
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_pod_dies_with_it() {
    let cluster = Cluster::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    assert_eq!(cluster.post(accounts, &account).await.0, 201);
    let mut web = pod("web");
    web["spec"]["serviceAccountName"] = "robot".into();
    let (code, web) = cluster.post(PODS, &web).await;
    assert_eq!(code, 201, "{web}");
    let bound = |uid: &str| {
        let to = json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid});
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": to,
            "audiences": []}})
    };
    let path = format!("{accounts}/robot/token");
    let (code, made) = cluster.post(&path, &bound(web["metadata"]["uid"].as_str().unwrap())).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(cluster.post(&path, &bound("00000000-0000-4000-8000-000000000000")).await.0, 409);
    let token = made["status"]["token"].as_str().unwrap();
    let ask = async || {
        let request = Request::get("/apis").header("authorization", format!("Bearer {token}"));
        cluster.ask_as(None, request.body(Body::empty()).unwrap()).await.0
    };
    assert_eq!(ask().await, 403, "known, and without rights");
    cluster.delete(&format!("{PODS}/web"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn acting_for_others_is_a_right_of_its_own() {
    let cluster = Cluster::new().await;
    let ask = async |user: &User, headers: &[(&str, &str)]| {
        let mut request = Request::get(PODS);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        cluster.ask_as(Some(user), request.body(Body::empty()).unwrap()).await
    };
    cluster.bind_view("jane").await;
    let bob = User { name: "bob".into(), ..User::default() };
    assert_eq!(ask(&admin(), &[("impersonate-user", "jane")]).await.0, 200);
    assert_eq!(ask(&admin(), &[("impersonate-user", "john")]).await.0, 403, "as little as john may");
    assert_eq!(ask(&admin(), &[("impersonate-user", "john"), ("impersonate-group", ADMINS)]).await.0, 200);
    let (code, status) = ask(&bob, &[("impersonate-user", "jane")]).await;
    let words = "users \"jane\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at \
                 the cluster scope";
    assert_eq!((code, &status["message"]), (403, &json!(words)));
    let users =
        json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate"]}]);
    cluster.role("act", &users).await;
    cluster.bind("bob", "act").await;
    assert_eq!(ask(&bob, &[("impersonate-user", "jane")]).await.0, 200);
    for (name, value) in [("impersonate-group", ADMINS), ("impersonate-uid", "7"), ("impersonate-extra-scopes", "all")]
    {
        assert_eq!(ask(&bob, &[("impersonate-user", "jane"), (name, value)]).await.0, 403, "{name}");
        assert_eq!(ask(&admin(), &[(name, value)]).await.0, 400, "{name} of nobody");
    }
    let robot = [("impersonate-user", "system:serviceaccount:default:robot")];
    assert_eq!(ask(&bob, &robot).await.0, 403);
    let (code, status) = ask(&admin(), &robot).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().contains("\"system:serviceaccount:default:robot\" cannot list"));
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let cluster = Cluster::new().await;
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]);
    cluster.role("own", &rules).await;
    cluster.bind("jane", "own").await;
    let send = async |method: &str, path: &str, media: &str, body: &Value| {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        cluster.ask_as(Some(&jane()), request.body(Body::from(body.to_string())).unwrap()).await
    };
    let json = "application/json";
    let role = |verb: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    };
    let roles = format!("{RBAC}/namespaces/default/roles");
    let (code, status) = send("POST", &roles, json, &role("delete")).await;
    assert_eq!(code, 403, "{status}");
    let start = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) \
                 is attempting to grant RBAC permissions not currently held:\n";
    assert!(status["message"].as_str().unwrap().starts_with(start), "{status}");
    assert_eq!(send("POST", &roles, json, &role("get")).await.0, 201);
    let one = format!("{roles}/r");
    let patch = json!({"rules": role("delete")["rules"]});
    assert_eq!(send("PATCH", &one, "application/merge-patch+json", &patch).await.0, 403);
    assert_eq!(send("PUT", &one, json, &role("delete")).await.0, 403);
    let apply = format!("{one}?fieldManager=x&force=true");
    assert_eq!(send("PATCH", &apply, "application/apply-patch+yaml", &role("delete")).await.0, 403);
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let binding = |role: &str| {
        let group = "rbac.authorization.k8s.io";
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}]})
    };
    cluster.role("more", &json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])).await;
    assert_eq!(send("POST", &bindings, json, &binding("more")).await.0, 403);
    assert_eq!(send("POST", &bindings, json, &binding("none")).await.0, 404);
    assert_eq!(send("POST", &bindings, json, &binding("own")).await.0, 201);
}

#[tokio::test]
async fn what_is_applied_into_being_takes_the_right_to_create() {
    let cluster = Cluster::new().await;
    cluster.role("key", &json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}])).await;
    cluster.bind("jane", "key").await;
    let apply = async || {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string();
        let request =
            Request::patch(format!("{MAPS}/a?fieldManager=x")).header("content-type", "application/apply-patch+yaml");
        cluster.ask_as(Some(&jane()), request.body(Body::from(map)).unwrap()).await.0
    };
    assert_eq!(apply().await, 403);
    cluster.config_map("a", "x").await;
    assert_eq!(apply().await, 200);
}

#[tokio::test]
async fn the_keys_of_tokens_are_published() {
    let cluster = Cluster::new().await;
    let found = cluster.get("/.well-known/openid-configuration").await.1;
    assert_eq!(found["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    let keys = cluster.get("/openid/v1/jwks").await.1;
    assert_eq!(keys["keys"][0]["kid"], issuer().id().to_string());
}
