//! What becomes of what is asked for: a Deployment runs, scales, rolls and goes.

use serde_json::{Value, json};
use skein::runtime::fake::Image;

use crate::cluster::{Cluster, condition, deployment};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn items(list: &Value) -> &Vec<Value> {
    list["items"].as_array().expect("a list")
}

/// The containers that run on the host, by image.
fn running(cluster: &Cluster) -> Vec<String> {
    let machine = cluster.machine();
    let pods = machine.docker.listed();
    let containers = pods.iter().flat_map(|pod| &pod.containers);
    let running = containers.filter(|c| matches!(c.state, skein::kubelet::action::ContainerState::Running { .. }));
    running.map(|c| c.image.clone()).collect()
}

#[tokio::test]
async fn a_deployment_leads_to_running_pods() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let web = cluster.until(WEB, |d| d["status"]["availableReplicas"] == 3).await;
    assert_eq!(condition(&web, "Available"), "True");
    let status = &web["status"];
    assert_eq!((&status["replicas"], &status["updatedReplicas"]), (&json!(3), &json!(3)));
    assert_eq!(status["observedGeneration"], web["metadata"]["generation"]);
    let pods = cluster.get(PODS).await.1;
    let mut addresses = std::collections::BTreeSet::new();
    for pod in items(&pods) {
        assert_eq!((&pod["status"]["phase"], &pod["spec"]["nodeName"]), (&json!("Running"), &json!("n1")));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        addresses.insert(pod["status"]["podIP"].as_str().unwrap().to_owned());
    }
    assert_eq!((items(&pods).len(), addresses.len()), (3, 3));
    assert_eq!(running(&cluster), ["app:1", "app:1", "app:1"]);
}

#[tokio::test]
async fn a_deployment_is_scaled_up_down_and_to_nothing() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 1)).await;
    for replicas in [4, 2, 0] {
        let scale = json!({"spec": {"replicas": replicas}});
        let (code, answer) = cluster.patch("merge", &format!("{WEB}/scale"), &scale).await;
        assert_eq!((code, &answer["kind"], &answer["spec"]["replicas"]), (200, &json!("Scale"), &json!(replicas)));
        let ready = |d: &Value| d["status"]["readyReplicas"].as_i64().unwrap_or(0) == replicas;
        cluster.until(WEB, |d| ready(d) && d["spec"]["replicas"] == replicas).await;
        cluster.until(PODS, |list| items(list).len() == usize::try_from(replicas).unwrap()).await;
        assert_eq!(running(&cluster).len(), usize::try_from(replicas).unwrap());
    }
}

#[tokio::test]
async fn a_new_image_rolls_and_the_old_pods_go() {
    let cluster = Cluster::new().await;
    cluster.machine().docker.set_image("app:2", Image::default());
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    cluster.until(WEB, |d| d["status"]["readyReplicas"] == 3).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}}});
    assert_eq!(cluster.patch("strategic-merge", WEB, &image).await.0, 200);
    let new = |d: &Value| d["status"]["updatedReplicas"] == 3 && d["status"]["readyReplicas"] == 3;
    cluster.until(WEB, |d| new(d) && d["status"]["replicas"] == 3).await;
    cluster.until(PODS, |list| items(list).len() == 3).await;
    assert_eq!(running(&cluster), ["app:2", "app:2", "app:2"]);
}

#[tokio::test]
async fn a_service_has_the_ready_pods_as_endpoints() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 2)).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    let made = cluster.create("/api/v1/namespaces/default/services", &service).await;
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{made}");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slices = format!("{slices}?labelSelector=kubernetes.io%2Fservice-name%3Dweb");
    let ready = |list: &Value| {
        let endpoints = list["items"][0]["endpoints"].as_array();
        endpoints.into_iter().flatten().filter(|e| e["conditions"]["ready"] == true).count()
    };
    cluster.until(&slices, |list| ready(list) == 2).await;
}

#[tokio::test]
async fn a_deleted_deployment_takes_all_that_was_its_own_along() {
    let cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 2)).await;
    cluster.until(WEB, |d| d["status"]["readyReplicas"] == 2).await;
    assert_eq!(cluster.delete(WEB).await.0, 200);
    cluster.until(PODS, |list| items(list).is_empty()).await;
    cluster.until("/apis/apps/v1/namespaces/default/replicasets", |list| items(list).is_empty()).await;
    assert_eq!(cluster.get(WEB).await.0, 404);
    assert_eq!(running(&cluster), Vec::<String>::new());
}
