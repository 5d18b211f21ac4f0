//! Bad input: refused as Kubernetes refuses it, the field named, and nothing stored.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// A Deployment with one thing wrong.
fn with(pointer: &str, value: Value) -> Value {
    let mut object = deployment("bad", 1);
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("it is there")[name] = value;
    object
}

#[tokio::test]
async fn bad_manifests_are_refused_and_nothing_is_stored() {
    let cluster = Cluster::new().await;
    let at = |field: &str| format!("{CONTAINER}/{field}");
    let mut no_image = deployment("bad", 1);
    no_image.pointer_mut(CONTAINER).unwrap().as_object_mut().unwrap().remove("image");
    let twice = json!([{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}]);
    let more = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    let at_container = |field: &str| format!("spec.template.spec.containers[0].{field}");
    for (object, code, field) in [
        (with("/spec/replica", json!(3)), 400, "unknown field \"spec.replica\"".to_owned()),
        (with(&at("imagePolicy"), json!("x")), 400, format!("unknown field \"{}\"", at_container("imagePolicy"))),
        (with("/spec/replicas", json!("three")), 400, "spec.replicas".to_owned()),
        (with(&at("ports"), json!({"containerPort": 80})), 400, "ports".to_owned()),
        (with(&at("resources"), json!({"limits": {"memory": "12x"}})), 400, "quantities must match".to_owned()),
        (no_image, 422, at_container("image")),
        (with(&at("ports"), twice), 422, at_container("ports[1].name")),
        (with(&at("resources"), more), 422, at_container("resources.requests")),
        (with("/spec/replicas", json!(-1)), 422, "spec.replicas".to_owned()),
        (with("/spec/selector", json!({"matchLabels": {"app": "x"}})), 422, "spec.template.metadata.labels".to_owned()),
        (with("/metadata/name", json!("Bad_Name")), 422, "metadata.name".to_owned()),
    ] {
        let before = cluster.get(DEPLOYMENTS).await.1;
        let (found, status) = cluster.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &object).await;
        assert_eq!((found, &status["kind"]), (code, &json!("Status")), "{field}: {status}");
        assert!(status["message"].as_str().unwrap().contains(&field), "{field}: {status}");
        if code == 422 {
            let causes = status["details"]["causes"].as_array().expect("causes");
            assert!(causes.iter().any(|cause| cause["field"] == *field), "{field}: {status}");
        }
        assert_eq!(cluster.get(DEPLOYMENTS).await.1["items"], before["items"], "{field}");
    }
}

#[tokio::test]
async fn a_port_that_is_named_twice_in_a_service_is_refused() {
    let cluster = Cluster::new().await;
    let services = "/api/v1/namespaces/default/services";
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 80}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": {"ports": ports}});
    let (code, status) = cluster.post(services, &service).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
    let cause = &status["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueDuplicate"), &json!("spec.ports[1]")));
    assert_eq!(cluster.get(&format!("{services}/bad")).await.0, 404);
}

#[tokio::test]
async fn what_is_immutable_stays() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 0)).await;
    cluster
        .create(
            "/api/v1/namespaces/default/pods",
            &json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p"}, "spec": {"nodeSelector": {"disk": "none"},
            "containers": [{"name": "main", "image": "app:1"}]}}),
        )
        .await;
    cluster
        .create(
            "/api/v1/namespaces/default/configmaps",
            &json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c"}, "immutable": true, "data": {"k": "v"}}),
        )
        .await;
    cluster
        .create(
            "/api/v1/namespaces/default/services",
            &json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}),
        )
        .await;
    for (path, patch, field) in [
        (
            format!("{DEPLOYMENTS}/web"),
            json!({"spec": {"selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}}}}),
            "spec.selector",
        ),
        ("/api/v1/namespaces/default/pods/p".into(), json!({"spec": {"hostNetwork": true}}), "spec"),
        ("/api/v1/namespaces/default/configmaps/c".into(), json!({"data": {"k": "w"}}), "data"),
        (
            "/api/v1/namespaces/default/services/s".into(),
            json!({"spec": {"clusterIP": "10.96.7.7"}}),
            "spec.clusterIPs[0]",
        ),
    ] {
        let before = cluster.get(&path).await.1;
        let (code, status) = cluster.patch("merge", &path, &patch).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{path}: {status}");
        let causes = status["details"]["causes"].as_array().unwrap();
        assert!(causes.iter().any(|cause| cause["field"] == field), "{path}: {status}");
        assert_eq!(cluster.get(&path).await.1["spec"], before["spec"], "{path}");
        assert_eq!(cluster.get(&path).await.1["data"], before["data"], "{path}");
    }
}

/// How much memory this process has resident, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is resident");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[tokio::test]
async fn bodies_that_would_cost_much_are_refused_and_cost_little() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let (json, yaml) = ("application/json", "application/yaml");
    let map = |data: Value| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, "data": data});
        map.to_string().into_bytes()
    };
    let of_name =
        |name: &str| String::from_utf8(map(json!({}))).unwrap().replace("\"bad\"", &format!("{name:?}")).into_bytes();
    let replicas =
        |number: &str| deployment("bad", 7).to_string().replace("\"replicas\":7", &format!("\"replicas\":{number}"));
    let quantity = |text: &str| {
        with(&format!("{CONTAINER}/resources"), json!({"limits": {"memory": text}})).to_string().into_bytes()
    };
    let deep =
        |open: &str| [br#"{"apiVersion":"v1","kind":"ConfigMap","data":"#, open.repeat(100_000).as_bytes()].concat();
    let mut laughs = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\na0: &a0 [lol]\n".to_owned();
    for n in 1..40 {
        laughs += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
    }
    let block: String = (0..100_000).map(|_| "- ").collect();
    let no_text = [&map(json!({"a": "b"}))[..40], &[0xff, 0xfe], b"\"}}"].concat();
    let bad: Vec<(&str, &str, &str, Vec<u8>, &str)> = vec![
        ("over 1.5 MB", MAPS, json, map(json!({"a": "x".repeat(1_600_000)})), "bad"),
        ("over the limit of a request", MAPS, json, map(json!({"a": "x".repeat(4_000_000)})), "too large"),
        ("no DNS label", MAPS, json, of_name("Not_A_Label"), "metadata.name"),
        ("a name of 300 characters", MAPS, json, of_name(&"x".repeat(300)), "metadata.name"),
        ("deep lists in JSON", MAPS, json, deep("["), ""),
        ("deep objects in JSON", MAPS, json, deep("{\"a\":"), ""),
        ("deep lists in YAML", MAPS, yaml, deep("["), ""),
        ("deep objects in YAML", MAPS, yaml, deep("{a: "), ""),
        ("deep blocks in YAML", MAPS, yaml, [b"data:\n  ".to_vec(), block.into_bytes()].concat(), ""),
        ("a billion laughs", MAPS, yaml, laughs.into_bytes(), ""),
        ("invalid UTF-8 in JSON", MAPS, json, no_text.clone(), ""),
        ("invalid UTF-8 in YAML", MAPS, yaml, no_text, ""),
        ("beyond int32", DEPLOYMENTS, json, replicas("2147483648").into_bytes(), "replicas"),
        ("beyond int64", DEPLOYMENTS, json, replicas("99999999999999999999").into_bytes(), "replicas"),
        ("beyond a float", DEPLOYMENTS, json, replicas("1e999").into_bytes(), ""),
        ("a broken number", DEPLOYMENTS, json, replicas("1.5").into_bytes(), "replicas"),
        ("a quantity of words", DEPLOYMENTS, json, quantity("lots"), "quantit"),
        ("a negative quantity", DEPLOYMENTS, json, quantity("-1Gi"), "memory"),
    ];
    let cluster = Cluster::new().await;
    let before = resident();
    for (what, path, media, body, named) in bad {
        let request = Request::post(path).header("content-type", media).body(Body::from(body)).unwrap();
        let response = cluster.answer(request).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!((400..500).contains(&code), "{what}: {code}");
        let status: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{what}");
        assert!(bytes.len() < 10_000, "{what}: the answer repeats {} bytes", bytes.len());
        assert!(status["message"].as_str().unwrap().contains(named), "{what}: {status}");
        assert_eq!(cluster.get(&format!("{path}/bad")).await.0, 404, "{what}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 10, "grown by {grown} KiB");
}
