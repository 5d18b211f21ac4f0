//! Server-side apply, and who is noted to own what.

use axum::http::Method;
use serde_json::json;

use super::*;

const MAP: &str = "/api/v1/namespaces/default/configmaps/a";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

impl Cluster {
    async fn apply(&self, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let media = [("content-type", "application/apply-patch+yaml")];
        self.json(Method::PATCH, &format!("{path}?{query}"), &media, &body.to_string()).await
    }
}

fn map(data: &Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": data})
}

/// Each manager with its operation, and the subresource if there is one.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    entries
        .map(|e| {
            format!("{} {} {}", text(&e["manager"]), text(&e["operation"]), text(&e["subresource"])).trim().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn an_apply_makes_then_changes_then_does_nothing() {
    let cluster = Cluster::new().await;
    let (code, made) = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "1", "y": "1"}))).await;
    assert_eq!(
        (code, &made["data"], managers(&made)),
        (201, &json!({"x": "1", "y": "1"}), vec!["me Apply".into()]),
        "{made}"
    );
    let (code, again) = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "1", "y": "1"}))).await;
    assert_eq!((code, &again), (200, &made), "not even another version");
    let (code, less) = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &less["data"], &less["metadata"]["uid"]), (200, &json!({"x": "2"}), &made["metadata"]["uid"]));
    assert_eq!(cluster.get(MAP).await.1, less);

    let yaml = [("content-type", "application/apply-patch+yaml")];
    let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: '3' # YAML\n";
    let (code, answer) = cluster.json(Method::PATCH, &format!("{MAP}?fieldManager=me"), &yaml, text).await;
    assert_eq!((code, &answer["data"]), (200, &json!({"x": "3"})), "{answer}");
}

#[tokio::test]
async fn a_conflict_names_manager_and_field_and_yields_to_force() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.post(&format!("{MAPS}?fieldManager=maker"), &map(&json!({"x": "1"}))).await.0, 201);
    let (code, status) = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"maker\" using v1: .data.x");
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"maker\" using v1", "field": ".data.x"}])
    );
    let (code, forced) = cluster.apply(MAP, "fieldManager=me&force=true", &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &forced["data"]), (200, &json!({"x": "2"})));
    assert_eq!(managers(&forced), ["me Apply", "maker Update"]);
}

#[tokio::test]
async fn every_write_is_noted_under_its_manager() {
    let cluster = Cluster::new().await;
    let agent = [("content-type", "application/json"), ("user-agent", "curl/8.1 (linux)")];
    let (_, made) = cluster.json(Method::POST, DEPLOYMENTS, &agent, &deployment("web").to_string()).await;
    assert_eq!(managers(&made), ["curl Update"], "by default what the client calls itself");
    let put = |query: &str| format!("{WEB}{query}");
    let mut body = made.clone();
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2".into();
    assert_eq!(cluster.put(&put("?fieldManager=putter"), &body).await.0, 200);
    let (code, patched) =
        cluster.patch("merge", &put("?fieldManager=patcher"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!((code, managers(&patched).len()), (200, 3), "{patched}");
    let (code, _) = cluster.patch("merge", &put("/scale?fieldManager=scaler"), &json!({"spec": {"replicas": 9}})).await;
    assert_eq!(code, 200);
    let shown = cluster.get(WEB).await.1;
    assert!(managers(&shown).contains(&"scaler Update scale".into()), "{:?}", managers(&shown));
    let (_, status) = cluster.apply(WEB, "fieldManager=me", &deployment("web")).await;
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("conflicts with \"scaler\" with subresource \"scale\" using apps/v1:\n- .spec.replicas"),
        "{message}"
    );
    assert!(message.contains("conflicts with \"putter\" using apps/v1:"), "{message}");
}

#[tokio::test]
async fn a_status_is_applied_apart_and_its_owner_noted() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.apply(WEB, "fieldManager=me", &deployment("web")).await.0, 201);
    let mut status = deployment("web");
    status["status"] = json!({"replicas": 2});
    let (code, answer) = cluster.apply(&format!("{WEB}/status"), "fieldManager=op", &status).await;
    assert_eq!((code, &answer["status"]["replicas"]), (200, &json!(2)), "{answer}");
    assert_eq!(managers(&answer), ["me Apply", "op Apply status"]);
    let missing = WEB.replace("web", "none");
    assert_eq!(cluster.apply(&format!("{missing}/status"), "fieldManager=op", &status).await.0, 404);
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let cluster = Cluster::new().await;
    let (code, shown) = cluster.apply(MAP, "fieldManager=me&dryRun=All", &map(&json!({"x": "1"}))).await;
    assert_eq!((code, managers(&shown)), (201, vec!["me Apply".into()]));
    assert_eq!(cluster.get(MAP).await.0, 404);
    let made = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "1"}))).await.1;
    let (code, shown) = cluster.apply(MAP, "fieldManager=me&dryRun=All", &map(&json!({}))).await;
    assert_eq!((code, shown.get("data")), (200, None));
    assert_eq!(cluster.get(MAP).await.1, made);
}

#[tokio::test]
async fn what_is_missing_or_stale_is_refused() {
    let cluster = Cluster::new().await;
    let (code, status) = cluster.apply(MAP, "", &map(&json!({}))).await;
    let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    assert_eq!((code, &status["message"]), (422, &json!(message)));
    let long = format!("fieldManager={}", "x".repeat(129));
    assert_eq!(cluster.apply(MAP, &long, &map(&json!({}))).await.0, 422);
    assert_eq!(cluster.patch("merge", &format!("{MAP}?force=true"), &json!({})).await.0, 422);

    let made = cluster.apply(MAP, "fieldManager=me", &map(&json!({"x": "1"}))).await.1;
    let with = |name: &str, value: &str| {
        let mut config = map(&json!({"x": "2"}));
        config["metadata"][name] = value.into();
        config
    };
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(cluster.apply(MAP, "fieldManager=me", &with("resourceVersion", "7")).await.0, 409);
    assert_eq!(cluster.apply(MAP, "fieldManager=me", &with("uid", "another")).await.0, 409);
    assert_eq!(cluster.apply(MAP, "fieldManager=me", &with("name", "b")).await.0, 400);
    assert_eq!(cluster.apply(MAP, "fieldManager=me", &with("resourceVersion", version)).await.0, 200);
    let none = MAP.replace("maps/a", "maps/none");
    assert_eq!(cluster.apply(&none, "fieldManager=me", &with("name", "none")).await.0, 201);
    let missing = MAP.replace("default", "nowhere");
    assert_eq!(cluster.apply(&missing, "fieldManager=me", &map(&json!({}))).await.0, 404, "no such namespace");
}

/// What kubectl does when an object that it applied on the client's side is applied on the server's.
#[tokio::test]
async fn kubectl_goes_over_from_the_clients_side() {
    let cluster = Cluster::new().await;
    let mut body = map(&json!({"x": "1", "y": "1"}));
    body["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": map(&json!({"x": "1", "y": "1"})).to_string()});
    assert_eq!(cluster.post(&format!("{MAPS}?fieldManager=kubectl-client-side-apply"), &body).await.0, 201);
    let (code, after) = cluster.apply(MAP, "fieldManager=kubectl", &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &after["data"]), (200, &json!({"x": "2", "y": "1"})), "{after}");
    // It rewrites the entries: what it owned by updates it owns by applies.
    let mut entries = after["metadata"]["managedFields"].clone();
    entries[1]["operation"] = "Apply".into();
    entries[1]["manager"] = "kubectl".into();
    let merged = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": after["metadata"]["resourceVersion"]}]);
    let (code, migrated) = cluster.patch("json", MAP, &merged).await;
    assert_eq!((code, managers(&migrated)), (200, vec!["kubectl Apply".to_owned()]), "{migrated}");
    let (code, last) = cluster.apply(MAP, "fieldManager=kubectl", &map(&json!({"x": "2"}))).await;
    assert_eq!((code, &last["data"]), (200, &json!({"x": "2"})), "what it applied then and does not now is gone");
    assert_eq!(managers(&last), ["kubectl Apply"]);
}
