//! create, get, update, patch, delete, and their subresources.

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{Cluster, DEPLOYMENTS, MAPS, PODS, config_map, deployment, pod};

fn at(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
    let cluster = Cluster::new().await;
    let media = [("content-type", "application/json")];
    let (code, text) = cluster.send(Method::POST, MAPS, &media, &config_map("a", "x").to_string()).await;
    assert_eq!(code, 201);
    assert!(
        text.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"#) && text.ends_with("}\n"),
        "{text}"
    );

    let (code, mut read) = cluster.get(&at(MAPS, "a")).await;
    assert_eq!((code, &read["data"]["k"]), (200, &json!("v")));
    read["data"]["k"] = json!("w");
    let (code, updated) = cluster.put(&at(MAPS, "a"), &read).await;
    assert_eq!((code, &updated["data"]["k"]), (200, &json!("w")));
    assert_eq!(updated["metadata"]["uid"], read["metadata"]["uid"]);
    assert_ne!(updated["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);

    for (form, patch, key, value) in [
        ("merge", json!({"data": {"l": "1"}}), "l", "1"),
        ("strategic-merge", json!({"data": {"l": "2"}}), "l", "2"),
        ("json", json!([{"op": "replace", "path": "/data/l", "value": "3"}]), "l", "3"),
    ] {
        let (code, patched) = cluster.patch(form, &at(MAPS, "a"), &patch).await;
        assert_eq!(
            (code, &patched["data"][key], &patched["data"]["k"]),
            (200, &json!(value), &json!("w")),
            "{patched}"
        );
    }

    let (code, deleted) = cluster.delete(&at(MAPS, "a"), &json!({"propagationPolicy": "Background"})).await;
    assert_eq!((code, &deleted["kind"], &deleted["status"]), (200, &json!("Status"), &json!("Success")));
    let details = json!({"name": "a", "kind": "configmaps", "uid": read["metadata"]["uid"]});
    assert_eq!(deleted["details"], details);
    let (code, gone) = cluster.get(&at(MAPS, "a")).await;
    assert_eq!((code, &gone["message"]), (404, &json!("configmaps \"a\" not found")));
    assert_eq!(cluster.delete(&at(MAPS, "a"), &Value::Null).await.0, 404);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_in_upstreams_words() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let mut unplaced = config_map("b", "x");
    unplaced["metadata"]["namespace"] = json!("other");
    let mut unknown = config_map("b", "x");
    unknown["dta"] = json!({});
    let strict = format!("{MAPS}?fieldValidation=Strict");
    for (path, body, code, reason, message) in [
        (MAPS, config_map("a", "x"), 409, "AlreadyExists", "configmaps \"a\" already exists"),
        (
            "/api/v1/namespaces/nowhere/configmaps",
            config_map("a", "x"),
            404,
            "NotFound",
            "namespaces \"nowhere\" not found",
        ),
        (
            MAPS,
            unplaced,
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (&strict, unknown.clone(), 400, "BadRequest", "unknown field \"dta\""),
        (MAPS, config_map("A_b", "x"), 422, "Invalid", "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value"),
        (&format!("{MAPS}?dryRun=Some"), config_map("b", "x"), 422, "Invalid", "dryRun: Unsupported value"),
    ] {
        let (found, status) = cluster.post(path, &body).await;
        assert_eq!((found, &status["reason"]), (code, &json!(reason)), "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
        assert_eq!(status["code"], code);
    }
    let invalid = cluster.post(MAPS, &config_map("A_b", "x")).await.1;
    assert_eq!(invalid["details"]["kind"], "ConfigMap");
    assert_eq!(invalid["details"]["causes"][0]["field"], "metadata.name");
    assert_eq!(invalid["details"]["causes"][0]["reason"], "FieldValueInvalid");

    let request = Request::post(MAPS).header("content-type", "application/json");
    let response = cluster.answer(request.body(Body::from(unknown.to_string())).unwrap()).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], r#"299 - "unknown field \"dta\"""#);
}

#[tokio::test]
async fn yaml_is_taken_and_given() {
    let cluster = Cluster::new().await;
    let yaml = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {k: v}\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let (code, text) = cluster.send(Method::POST, MAPS, &headers, yaml).await;
    assert_eq!(code, 201);
    let made: Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(made["data"]["k"], "v");
}

#[tokio::test]
async fn a_name_is_generated() {
    let cluster = Cluster::new().await;
    let mut map = config_map("", "x");
    map["metadata"] = json!({"generateName": "web-"});
    let names = [cluster.post(MAPS, &map).await.1, cluster.post(MAPS, &map).await.1];
    let names = names.map(|m| m["metadata"]["name"].as_str().unwrap().to_owned());
    assert!(names.iter().all(|n| n.starts_with("web-") && n.len() == 9), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let cluster = Cluster::new().await;
    let before = cluster.handle.snapshot().revision();
    let (code, made) = cluster.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("web")).await;
    assert_eq!((code, &made["spec"]["strategy"]["type"]), (201, &json!("RollingUpdate")));
    assert_eq!(cluster.get(&at(DEPLOYMENTS, "web")).await.0, 404);
    cluster.config_map("a", "x").await;
    let dry = format!("{}?dryRun=All", at(MAPS, "a"));
    let (code, patched) = cluster.patch("merge", &dry, &json!({"data": {"k": "w"}})).await;
    assert_eq!((code, &patched["data"]["k"]), (200, &json!("w")));
    assert_eq!(cluster.delete(&at(MAPS, "a"), &json!({"dryRun": ["All"]})).await.0, 200);
    let (code, read) = cluster.get(&at(MAPS, "a")).await;
    assert_eq!((code, &read["data"]["k"]), (200, &json!("v")));
    assert_eq!(cluster.handle.snapshot().revision().0, before.0 + (10 << 16), "one change: the ConfigMap");
}

#[tokio::test]
async fn a_client_that_names_an_old_revision_is_told() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", "x").await;
    cluster.patch("merge", &at(MAPS, "a"), &json!({"data": {"k": "w"}})).await;
    let words = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                 changes to the latest version and try again";
    let (code, status) = cluster.put(&at(MAPS, "a"), &first).await;
    assert_eq!((code, &status["reason"], &status["message"]), (409, &json!("Conflict"), &json!(words)));
    let patch = json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "z"}});
    assert_eq!(cluster.patch("merge", &at(MAPS, "a"), &patch).await.0, 409);
    let mut unversioned = first.clone();
    unversioned["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(cluster.put(&at(MAPS, "a"), &unversioned).await.0, 200);
    let mut other = unversioned.clone();
    other["metadata"]["uid"] = json!("11111111-1111-8111-8111-111111111111");
    let (code, status) = cluster.put(&at(MAPS, "a"), &other).await;
    assert_eq!(code, 409);
    assert!(status["message"].as_str().unwrap().contains("Precondition failed: UID in precondition: 11111111"));
}

#[tokio::test]
async fn patches_that_race_all_arrive() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let path = at(MAPS, "a");
    let bodies: Vec<_> = (0..15).map(|i| json!({"data": {format!("k{i}"): "v"}})).collect();
    let patches = bodies.iter().map(|body| cluster.patch("merge", &path, body));
    for (code, answer) in futures_util::future::join_all(patches).await {
        assert_eq!(code, 200, "{answer}");
    }
    assert_eq!(cluster.get(&at(MAPS, "a")).await.1["data"].as_object().unwrap().len(), 16);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::new().await;
    let (code, made) = cluster.post(DEPLOYMENTS, &deployment("web")).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("{DEPLOYMENTS}/web/status");
    let both = json!({"status": {"replicas": 2}, "spec": {"replicas": 9}});
    let (code, answer) = cluster.patch("merge", &path, &both).await;
    assert_eq!((code, &answer["status"]["replicas"], &answer["spec"]["replicas"]), (200, &json!(2), &json!(3)));
    let (_, answer) = cluster.patch("merge", &at(DEPLOYMENTS, "web"), &json!({"status": {"replicas": 7}})).await;
    assert_eq!(answer["status"]["replicas"], 2);
    assert_eq!(cluster.get(&path).await.1["status"]["replicas"], 2);
}

#[tokio::test]
async fn a_workload_is_scaled() {
    let cluster = Cluster::new().await;
    cluster.post(DEPLOYMENTS, &deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let (code, mut scale) = cluster.get(&path).await;
    assert_eq!((code, &scale["kind"], &scale["spec"]["replicas"]), (200, &json!("Scale"), &json!(3)));
    assert_eq!(scale["status"]["selector"], "app=web");
    // kubectl names no Content-Type here.
    scale["spec"]["replicas"] = json!(5);
    let (code, answer) = cluster.json(Method::PUT, &path, &[], &scale.to_string()).await;
    assert_eq!((code, &answer["spec"]["replicas"]), (200, &json!(5)), "{answer}");
    assert_eq!(cluster.json(Method::PUT, &path, &[], &scale.to_string()).await.0, 409, "its revision is old now");
    let (code, answer) = cluster.patch("merge", &path, &json!({"spec": {"replicas": 0}})).await;
    assert_eq!((code, &answer["kind"], &answer["spec"]["replicas"]), (200, &json!("Scale"), &json!(0)));
    assert_eq!(cluster.get(&at(DEPLOYMENTS, "web")).await.1["spec"]["replicas"], 0);
    let (code, status) = cluster.patch("merge", &path, &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(code, 422);
    let words = "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal \
                 to 0";
    assert_eq!(status["message"], words);
}

#[tokio::test]
async fn a_deletion_is_answered_as_upstream_does() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.post(PODS, &pod("web")).await.0, 201);
    let (code, answer) = cluster.delete(&at(PODS, "web"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!((code, &answer["kind"]), (200, &json!("Pod")), "a pod is answered with the pod");

    let mut held = config_map("held", "x");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    cluster.post(MAPS, &held).await;
    let (code, answer) = cluster.delete(&at(MAPS, "held"), &Value::Null).await;
    assert_eq!((code, &answer["kind"]), (200, &json!("ConfigMap")), "marked only: the object");
    assert!(answer["metadata"]["deletionTimestamp"].is_string());
    let path = format!("{}?orphanDependents=false", at(MAPS, "held"));
    assert_eq!(cluster.delete(&path, &Value::Null).await.0, 202);

    let (code, answer) = cluster.delete(&at(MAPS, "held"), &json!({"propagationPolicy": "Sideways"})).await;
    assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
    let wrong_kind = config_map("held", "x");
    assert_eq!(cluster.delete(&at(MAPS, "held"), &wrong_kind).await.0, 400);
}

#[tokio::test]
async fn the_clusters_own_namespaces_stay() {
    let cluster = Cluster::new().await;
    let path = "/api/v1/namespaces/default";
    let (code, status) = cluster.delete(path, &Value::Null).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(status["message"], "namespaces \"default\" is forbidden: this namespace may not be deleted");
    assert!(cluster.get(path).await.1["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_deletion_keeps_to_its_preconditions() {
    let cluster = Cluster::new().await;
    let made = cluster.config_map("a", "x").await;
    let path = at(MAPS, "a");
    for (preconditions, words) in [
        (json!({"uid": "11111111-1111-8111-8111-111111111111"}), "the UID in the precondition (11111111"),
        (json!({"uid": "rubbish"}), "the UID in the precondition (rubbish)"),
        (json!({"resourceVersion": "1"}), "the ResourceVersion in the precondition (1)"),
    ] {
        let (code, status) = cluster.delete(&path, &json!({"preconditions": preconditions})).await;
        assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
        assert!(status["message"].as_str().unwrap().contains(words), "{status}");
    }
    let meta = &made["metadata"];
    let fitting = json!({"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]});
    assert_eq!(cluster.delete(&path, &json!({"preconditions": fitting})).await.0, 200);
}

#[tokio::test]
async fn a_deletion_that_races_with_another_change_is_tried_again() {
    let cluster = Cluster::new().await;
    let unsettled = |name: &str| {
        let mut map = config_map(name, "x");
        map["metadata"]["annotations"] = json!({"unsettled": "yes"});
        map
    };
    cluster.post(MAPS, &unsettled("a")).await;
    let (code, answer) = cluster.delete(&at(MAPS, "a"), &Value::Null).await;
    assert_eq!((code, &answer["status"]), (200, &json!("Success")), "{answer}");

    let made = cluster.post(MAPS, &unsettled("b")).await.1;
    let when = json!({"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}});
    let (code, answer) = cluster.delete(&at(MAPS, "b"), &when).await;
    assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")), "it is not what the client knew: {answer}");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::new().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        cluster.config_map(name, label).await;
    }
    let (code, answer) = cluster.delete(&format!("{MAPS}?labelSelector=app%3Dx"), &Value::Null).await;
    assert_eq!((code, &answer["kind"]), (200, &json!("ConfigMapList")));
    assert_eq!(answer["items"].as_array().unwrap().len(), 2);
    let left = cluster.get(MAPS).await.1;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(cluster.delete("/api/v1/namespaces", &Value::Null).await.0, 405);
    assert_eq!(cluster.delete("/api/v1/configmaps", &Value::Null).await.0, 405);
}

#[tokio::test]
async fn wrong_methods_paths_and_bodies_have_their_codes() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let map = config_map("b", "x").to_string();
    let a = at(MAPS, "a");
    for (method, path, media, body, code) in [
        (Method::POST, a.as_str(), "application/json", map.as_str(), 405),
        (Method::PUT, MAPS, "application/json", &map, 405),
        (Method::POST, "/api/v1/configmaps", "application/json", &map, 405),
        (Method::POST, "/version", "application/json", "", 405),
        (Method::GET, "/apis/potato.example/v1", "", "", 404),
        (Method::GET, "/openapi/v4", "", "", 404),
        (Method::POST, MAPS, "application/vnd.kubernetes.protobuf", "k8s", 400),
        (Method::POST, MAPS, "application/cbor", "x", 415),
        (Method::PATCH, &a, "application/apply-patch+cbor", "{}", 415),
        (Method::PATCH, &a, "application/apply-patch+yaml", "{}", 422),
        (Method::PATCH, &a, "application/json", "{}", 415),
        (Method::POST, MAPS, "application/json", "{", 400),
        (Method::DELETE, &a, "text/plain", "x", 415),
        (Method::PUT, "/api/v1/namespaces/default/configmaps/x", "application/json", &map, 404),
    ] {
        let (found, status) = cluster.json(method.clone(), path, &[("content-type", media)], body).await;
        assert_eq!((found, &status["kind"]), (code, &json!("Status")), "{method} {path} {media}: {status}");
        assert_eq!(status["code"], code);
    }
    let html = [("accept", "text/html")];
    assert_eq!(cluster.send(Method::GET, MAPS, &html, "").await.0, 406);
    let long = " ".repeat(super::super::MAX_BODY + 1);
    assert_eq!(cluster.send(Method::POST, MAPS, &[], &long).await.0, 413);
}

#[tokio::test]
async fn anybody_may_see_version_and_health_and_nothing_else() {
    let cluster = Cluster::new().await;
    for (path, code) in [
        ("/version", 200),
        ("/version?timeout=5s", 200),
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz?verbose", 200),
        ("/api", 403),
        ("/apis", 403),
        ("/openapi/v3", 403),
        (MAPS, 403),
        ("/nothing", 403),
    ] {
        let response = cluster.api.answer(Request::get(path).body(Body::empty()).unwrap(), None).await;
        assert_eq!(response.status(), code, "{path}");
    }
    assert_eq!(cluster.send(Method::GET, "/readyz", &[], "").await, (200, "ok".into()));
    assert!(cluster.send(Method::GET, "/readyz?verbose", &[], "").await.1.ends_with("readyz check passed\n"));
}

#[tokio::test]
async fn aggregated_discovery_says_what_it_is() {
    let cluster = Cluster::new().await;
    let accept = "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/json";
    let request = Request::get("/apis").header("accept", accept).body(Body::empty()).unwrap();
    let response = cluster.answer(request).await;
    let media = response.headers()["content-type"].to_str().unwrap();
    assert_eq!(media, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    assert_eq!(cluster.get("/apis").await.1["kind"], "APIGroupList");
    assert_eq!(cluster.get("/api").await.1["versions"], json!(["v1"]));
    assert_eq!(cluster.get("/apis/apps/v1").await.1["kind"], "APIResourceList");
    assert_eq!(cluster.get("/apis/apps").await.1["kind"], "APIGroup");
}

#[tokio::test]
async fn a_log_is_that_of_the_container_in_the_status() {
    let cluster = Cluster::new().await;
    cluster.post(PODS, &pod("web")).await;
    let log = format!("{PODS}/web/log");
    let (code, status) = cluster.get(&log).await;
    assert_eq!((code, &status["message"]), (400, &json!("pod web does not have a host assigned")));
    let running = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "web", "image": "nginx:1", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": "docker://abc", "state": {"running": {}}}]}});
    let (code, answer) = cluster.patch("merge", &format!("{PODS}/web/status"), &running).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(cluster.send(Method::GET, &format!("{log}?tailLines=5"), &[], "").await, (200, "abc Some(5)\n".into()));
    assert_eq!(cluster.get(&format!("{log}?previous=true")).await.0, 400);
    assert_eq!(cluster.get(&format!("{PODS}/none/log")).await.0, 404);

    // A followed log ends with the server.
    let follow = Request::get(format!("{log}?follow=true")).body(Body::empty()).unwrap();
    let mut pieces = cluster.answer(follow).await.into_body().into_data_stream();
    assert_eq!(&*pieces.next().await.unwrap().unwrap(), b"abc None\n");
    cluster.shutdown.cancel();
    let end = tokio::time::timeout(std::time::Duration::from_secs(5), pieces.next());
    assert!(end.await.unwrap().is_none());
}
