//! What nodes and pods use.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::handle::{Amounts, ContainerUsage, Usage};
use crate::time::Wall;

use super::{Cluster, PODS, pod};

/// What the nodes of these tests use: n1 measures itself, the others do not answer.
pub fn usage(node: &str) -> Result<Usage, String> {
    if node != "n1" {
        return Err(format!("node {node} does not answer"));
    }
    let amounts = |nano_cores| Amounts { nano_cores, bytes: 5 << 20 };
    let container = |name: &str| ContainerUsage {
        namespace: "default".into(),
        pod: "web".into(),
        name: name.into(),
        amounts: amounts(100_000_000),
    };
    Ok(Usage {
        at: Wall::from_secs(1_763_882_730),
        window: Duration::from_millis(10_500),
        node: amounts(1_500_000_000),
        containers: vec![container("web"), container("side")],
    })
}

async fn cluster() -> Cluster {
    let cluster = Cluster::new().await;
    for (name, node) in [("web", "n1"), ("other", "n1"), ("far", "n2"), ("unbound", "")] {
        let mut object = pod(name);
        object["spec"]["nodeName"] = node.into();
        object["metadata"]["labels"] = json!({"app": name});
        assert_eq!(cluster.post(PODS, &object).await.0, 201);
    }
    for name in ["n1", "n2"] {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": {"zone": "a"}}});
        assert_eq!(cluster.post("/api/v1/nodes", &node).await.0, 201);
    }
    cluster
}

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nodes_that_measure_themselves_are_listed() {
    let cluster = cluster().await;
    let list = cluster.get(&format!("{METRICS}/nodes")).await.1;
    assert_eq!((&list["kind"], names(&list)), (&json!("NodeMetricsList"), vec!["n1"]));
    let expected = json!({
        "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "n1", "creationTimestamp": "2025-11-23T07:25:30Z", "labels": {"zone": "a"}},
        "timestamp": "2025-11-23T07:25:30Z", "window": "10.500s", "usage": {"cpu": "1500000000n", "memory": "5120Ki"},
    });
    assert_eq!(cluster.get(&format!("{METRICS}/nodes/n1")).await, (200, expected));
    assert_eq!(cluster.get(&format!("{METRICS}/nodes/n2")).await.0, 404);
    assert_eq!(cluster.get(&format!("{METRICS}/nodes?labelSelector=zone%3Db")).await.1["items"], json!([]));
}

#[tokio::test]
async fn pods_are_measured_where_they_run() {
    let cluster = cluster().await;
    let list = cluster.get(&format!("{METRICS}/namespaces/default/pods")).await.1;
    assert_eq!(names(&list), ["web"], "one of which no container runs is left out, and those of a silent node");
    let containers = &list["items"][0]["containers"];
    assert_eq!(containers[1], json!({"name": "side", "usage": {"cpu": "100000000n", "memory": "5120Ki"}}));
    assert_eq!(names(&cluster.get(&format!("{METRICS}/pods?labelSelector=app%3Dother")).await.1), [""; 0]);
    assert_eq!(names(&cluster.get(&format!("{METRICS}/pods?fieldSelector=metadata.name%3Dweb")).await.1), ["web"]);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = cluster.json(Method::GET, &format!("{METRICS}/pods"), &table, "").await.1;
    assert_eq!(table["rows"][0]["cells"], json!(["web", "200m", "10Mi", "10.500s"]));
}

#[tokio::test]
async fn measures_are_read_only_and_told_of() {
    let cluster = cluster().await;
    for method in [Method::POST, Method::DELETE] {
        assert_eq!(cluster.json(method, &format!("{METRICS}/nodes"), &[], "{}").await.0, 405);
    }
    assert_eq!(cluster.get(&format!("{METRICS}/nodes?watch=true")).await.0, 405);
    let resources = cluster.get(METRICS).await.1;
    let verbs = resources["resources"].as_array().unwrap().iter().map(|r| (r["name"].clone(), r["verbs"].clone()));
    assert_eq!(
        verbs.collect::<Vec<_>>(),
        [(json!("nodes"), json!(["get", "list"])), (json!("pods"), json!(["get", "list"]))]
    );
}
