//! Watches of what controllers, scheduler and kubelet do: in order, and nothing missed.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::cluster::{Cluster, condition, deployment, version};

/// A watch, read line by line.
pub struct Watch {
    stream: BodyDataStream,
    rest: Vec<u8>,
}

impl Watch {
    /// Begins a watch of a collection at the revision at which it is now.
    pub async fn of(cluster: &Cluster, collection: &str) -> Self {
        let (code, list) = cluster.get(collection).await;
        assert_eq!(code, 200, "{collection}: {list}");
        Self::from(cluster, collection, version(&list)).await
    }

    /// Begins a watch of a collection at a revision.
    pub async fn from(cluster: &Cluster, collection: &str, revision: u64) -> Self {
        let path = format!("{collection}?watch=true&resourceVersion={revision}");
        let response = cluster.answer(Request::get(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(response.status(), 200);
        Self { stream: response.into_body().into_data_stream(), rest: Vec::new() }
    }

    /// Returns the next event.
    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).expect("a JSON document a line");
            }
            let piece = tokio::time::timeout(Duration::from_secs(30), self.stream.next()).await;
            let piece = piece.expect("an event within 30 s").expect("the watch goes on");
            self.rest.extend_from_slice(&piece.expect("a piece"));
        }
    }

    /// Returns the events about an object, up to its deletion.
    pub async fn life_of(&mut self, name: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Value| event["type"] != "DELETED") {
            let event = self.next().await;
            if event["object"]["metadata"]["name"] == name {
                events.push(event);
            }
        }
        events
    }
}

/// Asserts that an object was added, changed and deleted, each time at a higher revision.
pub fn assert_is_a_life(events: &[Value]) {
    let types: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap_or_default()).collect();
    let (first, last) = (types.first(), types.last());
    assert_eq!((first, last), (Some(&"ADDED"), Some(&"DELETED")), "{types:?}");
    assert!(types[1..types.len() - 1].iter().all(|t| *t == "MODIFIED"), "{types:?}");
    let versions: Vec<u64> = events.iter().map(|e| version(&e["object"])).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test]
async fn a_pods_life_is_seen_step_by_step() {
    let cluster = Cluster::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut watch = Watch::of(&cluster, pods).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.create(deployments, &deployment("web", 1)).await;
    let list = cluster.until(pods, |list| condition(&list["items"][0], "Ready") == "True").await;
    let name = list["items"][0]["metadata"]["name"].as_str().unwrap();
    cluster.delete(&format!("{deployments}/web")).await;
    let events = watch.life_of(name).await;
    assert_is_a_life(&events);
    let mut seen: Vec<&str> = Vec::new();
    for event in &events {
        let pod = &event["object"];
        let step = if pod["metadata"]["deletionTimestamp"].is_string() {
            "terminating"
        } else if condition(pod, "Ready") == "True" {
            "ready"
        } else if pod["spec"]["nodeName"].is_string() {
            "bound"
        } else {
            "new"
        };
        if seen.last() != Some(&step) {
            seen.push(step);
        }
    }
    assert_eq!(seen, ["new", "bound", "ready", "terminating"]);
}

#[tokio::test]
async fn a_watch_from_an_old_list_sees_what_one_from_then_on_saw() {
    let cluster = Cluster::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let before = version(&cluster.get(pods).await.1);
    let mut live = Watch::from(&cluster, pods, before).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.create(deployments, &deployment("web", 3)).await;
    cluster.until(&format!("{deployments}/web"), |d| d["status"]["readyReplicas"] == 3).await;
    let mut late = Watch::from(&cluster, pods, before).await;
    let mut ready = 0;
    while ready < 3 {
        let (one, other) = (live.next().await, late.next().await);
        assert_eq!(one, other);
        ready += usize::from(condition(&one["object"], "Ready") == "True");
    }
}
