//! Bodies of protobuf, which typed clients send.

use axum::http::Method;
use serde_json::json;

use super::*;

const PROTOBUF: &[(&str, &str)] = &[
    ("content-type", "application/vnd.kubernetes.protobuf"),
    ("accept", "application/vnd.kubernetes.protobuf,application/json"),
];

/// What `kubectl create configmap cap2 --from-literal=a=b` sends.
const CONFIG_MAP: &str = "k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x1e\n\x14\n\x04cap2\x12\0\x1a\0\"\0*\x002\08\0B\0\
    \x12\x06\n\x01a\x12\x01b\x1a\0\"\0";

/// DeleteOptions for a group's version: in the background, and only for show.
const DELETE_OPTIONS: &str = "k8s\0\n\x18\n\x07apps/v1\x12\rDeleteOptions\x12\x11\"\nBackground*\x03All";

#[tokio::test]
async fn an_object_is_made_and_replaced_from_protobuf_and_answered_in_json() {
    let cluster = Cluster::new().await;
    let (code, made) = cluster.json(Method::POST, MAPS, PROTOBUF, CONFIG_MAP).await;
    assert_eq!((code, &made["data"], &made["kind"]), (201, &json!({"a": "b"}), &json!("ConfigMap")), "{made}");
    let names: Vec<_> = made["metadata"].as_object().unwrap().keys().cloned().collect();
    assert!(!names.contains(&"generateName".to_owned()), "what Go leaves out of JSON is not there: {names:?}");

    let other = CONFIG_MAP.replace("\x01b", "\x01c");
    let (code, put) = cluster.json(Method::PUT, &format!("{MAPS}/cap2"), PROTOBUF, &other).await;
    assert_eq!((code, &put["data"], &put["metadata"]["uid"]), (200, &json!({"a": "c"}), &made["metadata"]["uid"]));
}

#[tokio::test]
async fn options_of_a_deletion_come_as_protobuf() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let path = format!("{MAPS}/a");
    assert_eq!(cluster.json(Method::DELETE, &path, PROTOBUF, DELETE_OPTIONS).await.0, 200);
    assert_eq!(cluster.get(&path).await.0, 200, "it was a dry run");
    let (code, status) = cluster.json(Method::DELETE, &path, PROTOBUF, CONFIG_MAP).await;
    assert_eq!((code, &status["message"]), (400, &json!("invalid object: expected DeleteOptions, got \"ConfigMap\"")));
    let real = DELETE_OPTIONS.replace("\x12\x11\"\nBackground*\x03All", "\x12\x0c\"\nBackground");
    assert_eq!(cluster.json(Method::DELETE, &path, PROTOBUF, &real).await.0, 200);
    assert_eq!(cluster.get(&path).await.0, 404);
}

#[tokio::test]
async fn protobuf_of_another_kind_or_broken_is_refused() {
    let cluster = Cluster::new().await;
    for body in ["k8s", "{}", "", "k8s\0\x12\x7f", "k8s\0\n\x0e\n\x02v1\x12\x08ConfigMa\x12\0"] {
        let (code, status) = cluster.json(Method::POST, MAPS, PROTOBUF, body).await;
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{body:?}: {status}");
    }
    let (code, status) = cluster.json(Method::POST, PODS, PROTOBUF, CONFIG_MAP).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().contains("cannot be handled as a Pod"), "{status}");
}
