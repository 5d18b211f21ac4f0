//! Jobs and evictions, from the request to what runs on the host.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use skein::runtime::fake::{Image, Life};

use crate::cluster::{Cluster, condition, deployment};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn job(name: &str, image: &str, spec: &Value) -> Value {
    let container = json!({"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"});
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
    json_patch::merge(&mut job["spec"], spec);
    job
}

fn ends(cluster: &Cluster, image: &str, code: i32) {
    let life = Life::Exit { after: Duration::from_millis(200), code, message: String::new() };
    cluster.machine().docker.set_image(image, Image { life, ..Image::default() });
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_goes_with_its_pods() {
    let cluster = Cluster::new().await;
    ends(&cluster, "pi:1", 0);
    let made = cluster.create(JOBS, &job("pi", "pi:1", &json!({"completions": 3, "parallelism": 2}))).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["batch.kubernetes.io/controller-uid"], &labels["job-name"]), (&json!(uid), &json!("pi")));
    let one = format!("{JOBS}/pi");
    let done = cluster.until(&one, |job| condition(job, "Complete") == "True").await;
    assert_eq!((&done["status"]["succeeded"], &done["status"]["uncountedTerminatedPods"]), (&json!(3), &json!({})));
    let pods = cluster.get(&format!("{PODS}?labelSelector=job-name%3Dpi")).await.1;
    let phases: Vec<String> = items(&pods).iter().map(|p| p["status"]["phase"].as_str().unwrap().to_owned()).collect();
    assert_eq!(phases, ["Succeeded"; 3]);
    assert!(items(&pods).iter().all(|pod| pod["metadata"]["finalizers"].is_null()));

    assert_eq!(cluster.delete(&one).await.0, 200);
    cluster.until(PODS, |list| items(list).is_empty()).await;
}

#[tokio::test]
async fn a_job_that_fails_too_often_is_failed() {
    let cluster = Cluster::new().await;
    ends(&cluster, "bad:1", 3);
    cluster.create(JOBS, &job("bad", "bad:1", &json!({"backoffLimit": 0}))).await;
    let failed = cluster.until(&format!("{JOBS}/bad"), |job| condition(job, "Failed") == "True").await;
    assert_eq!((&failed["status"]["failed"], condition(&failed, "FailureTarget")), (&json!(1), "True"));
}

async fn evict(cluster: &Cluster, pod: &str, options: &Value) -> (u16, Value) {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"},
        "deleteOptions": options});
    cluster.send(Method::POST, &format!("{PODS}/{pod}/eviction"), "application/json", &body).await
}

/// Runs two pods of which one must stay, and returns the names of both.
async fn guarded(cluster: &Cluster) -> Vec<String> {
    cluster.create("/apis/apps/v1/namespaces/default/deployments", &deployment("web", 2)).await;
    let selector = json!({"matchLabels": {"app": "web"}});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": selector}});
    cluster.create("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget).await;
    until_allowed(cluster).await;
    let pods = cluster.get(PODS).await.1;
    items(&pods).iter().map(|pod| pod["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn until_allowed(cluster: &Cluster) {
    let budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web";
    cluster.until(budget, |b| b["status"]["disruptionsAllowed"] == 1).await;
}

#[tokio::test]
async fn a_budget_lets_no_more_go_than_it_allows() {
    let cluster = Cluster::new().await;
    let pods = guarded(&cluster).await;
    assert_eq!(evict(&cluster, &pods[0], &json!({"dryRun": ["All"]})).await.0, 201);
    let (code, status) = evict(&cluster, &pods[0], &json!({})).await;
    assert_eq!((code, &status["status"], &status["code"]), (201, &json!("Success"), &json!(201)));
    let (code, status) = evict(&cluster, &pods[1], &json!({})).await;
    assert_eq!((code, &status["reason"]), (429, &json!("TooManyRequests")), "{status}");
    assert_eq!(status["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(status["details"]["causes"][0]["reason"], "DisruptionBudget");
    cluster.until_gone(&format!("{PODS}/{}", pods[0])).await;

    assert_eq!(evict(&cluster, "nobody", &json!({})).await.0, 404);
    let other = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}});
    let path = format!("{PODS}/{}/eviction", pods[0]);
    assert_eq!(cluster.send(Method::POST, &path, "application/json", &other).await.0, 400);
    assert_eq!(cluster.get(&path).await.0, 405);
}

#[tokio::test]
async fn two_evictions_at_once_do_not_both_spend_the_last_disruption() {
    let cluster = Cluster::new().await;
    let pods = guarded(&cluster).await;
    let none = json!({});
    let (one, other) = tokio::join!(evict(&cluster, &pods[0], &none), evict(&cluster, &pods[1], &none));
    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [201, 429], "{one:?} {other:?}");
}

#[tokio::test]
async fn a_pod_of_two_budgets_is_an_error_and_one_of_none_goes() {
    let cluster = Cluster::new().await;
    let pods = guarded(&cluster).await;
    let all = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"maxUnavailable": 0, "selector": {}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    cluster.create(budgets, &all).await;
    let (code, status) = evict(&cluster, &pods[0], &json!({})).await;
    assert_eq!((code, &status["reason"]), (500, &json!("InternalError")), "{status}");
    for name in ["all", "web"] {
        assert_eq!(cluster.delete(&format!("{budgets}/{name}")).await.0, 200);
    }
    for pod in &pods {
        assert_eq!(evict(&cluster, pod, &json!({"gracePeriodSeconds": 0})).await.0, 201);
    }
}

#[tokio::test]
async fn a_kind_on_which_nothing_acts_is_stored_with_a_warning() {
    let cluster = Cluster::new().await;
    let warnings = |body: Value, path: &str| {
        let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string()));
        let cluster = &cluster;
        async move {
            let response = cluster.answer(request.expect("it is well-formed")).await;
            assert_eq!(response.status(), 201);
            response.headers().get("warning").map(|value| value.to_str().expect("text").to_owned())
        }
    };
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7});
    let said = warnings(class, "/apis/scheduling.k8s.io/v1/priorityclasses").await;
    assert_eq!(said.as_deref(), Some("299 - \"PriorityClass is stored, but nothing acts on it yet\""));
    assert_eq!(warnings(job("pi", "pi:1", &json!({"suspend": true})), JOBS).await, None);
}
