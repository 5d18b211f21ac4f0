//! watch: what comes, in which order, and how it ends.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, Response};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{Cluster, MAPS};

/// A watch, read line by line.
pub(super) struct Lines {
    stream: BodyDataStream,
    rest: Vec<u8>,
}

impl Lines {
    pub(super) async fn of(cluster: &Cluster, query: &str) -> Self {
        Self::accepting(cluster, query, "application/json").await
    }

    async fn accepting(cluster: &Cluster, query: &str, accept: &str) -> Self {
        let request = Request::get(format!("{MAPS}?watch=true&{query}")).header("accept", accept);
        let response = cluster.answer(request.body(Body::empty()).unwrap()).await;
        Self::reading(response)
    }

    /// Reads the lines of an answer.
    pub(super) fn reading(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        Self { stream: response.into_body().into_data_stream(), rest: Vec::new() }
    }

    /// The next line; `None` at the clean end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
            match piece.expect("something happens within 10 s") {
                Some(piece) => self.rest.extend_from_slice(&piece.unwrap()),
                None => {
                    assert!(self.rest.is_empty(), "ends between two lines");
                    return None;
                }
            }
        }
    }

    /// The next line as type and name.
    async fn step(&mut self) -> (String, String) {
        let line = self.next().await.expect("a line");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&line["type"]), text(&line["object"]["metadata"]["name"]))
    }
}

fn step(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

async fn relabel(cluster: &Cluster, name: &str, label: &str) {
    let patch = json!({"metadata": {"labels": {"app": label}}});
    assert_eq!(cluster.patch("merge", &format!("{MAPS}/{name}"), &patch).await.0, 200);
}

#[tokio::test]
async fn a_watch_from_nothing_begins_with_what_is_there() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    for query in ["", "resourceVersion=0"] {
        let mut lines = Lines::of(&cluster, query).await;
        let first = lines.next().await.unwrap();
        assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("ConfigMap")));
        let name = format!("b{}", query.len());
        cluster.config_map(&name, "x").await;
        assert_eq!(lines.step().await, step("ADDED", &name));
        cluster.delete(&format!("{MAPS}/{name}"), &Value::Null).await;
        assert_eq!(lines.step().await, step("DELETED", &name));
    }
}

#[tokio::test]
async fn a_watch_from_a_list_misses_and_repeats_nothing() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let revision = cluster.get(MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    relabel(&cluster, "a", "y").await;
    cluster.config_map("b", "x").await;
    let mut lines = Lines::of(&cluster, &format!("resourceVersion={revision}")).await;
    assert_eq!(lines.step().await, step("MODIFIED", "a"));
    assert_eq!(lines.step().await, step("ADDED", "b"));
    let (_, deleted) = cluster.delete(&format!("{MAPS}/b"), &Value::Null).await;
    assert_eq!(deleted["status"], "Success");
    let line = lines.next().await.unwrap();
    assert_eq!(line["type"], "DELETED");
    let shown = line["object"]["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(shown, cluster.handle.snapshot().revision().to_string(), "the revision at which it went");
}

#[tokio::test]
async fn what_comes_to_match_is_added_and_what_ceases_to_is_deleted() {
    let cluster = Cluster::new().await;
    let mut labels = Lines::of(&cluster, "labelSelector=app%3Dx").await;
    let mut name = Lines::of(&cluster, "fieldSelector=metadata.name%3Db").await;
    cluster.config_map("a", "y").await;
    relabel(&cluster, "a", "x").await;
    assert_eq!(labels.step().await, step("ADDED", "a"));
    let patch = json!({"data": {"k": "w"}});
    cluster.patch("merge", &format!("{MAPS}/a"), &patch).await;
    assert_eq!(labels.step().await, step("MODIFIED", "a"));
    relabel(&cluster, "a", "z").await;
    let line = labels.next().await.unwrap();
    assert_eq!((&line["type"], &line["object"]["metadata"]["labels"]["app"]), (&json!("DELETED"), &json!("x")));
    cluster.config_map("b", "z").await;
    assert_eq!(name.step().await, step("ADDED", "b"), "of the watch by name, nothing of the other");
}

#[tokio::test]
async fn a_watch_is_of_one_namespace_or_of_all() {
    let cluster = Cluster::new().await;
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}});
    cluster.post("/api/v1/namespaces", &namespace).await;
    let mut here = Lines::of(&cluster, "").await;
    cluster.post("/api/v1/namespaces/shop/configmaps", &super::config_map("there", "x")).await;
    cluster.config_map("here", "x").await;
    assert_eq!(here.step().await, step("ADDED", "here"));
}

#[tokio::test]
async fn a_watch_ends_cleanly_at_its_timeout_with_a_bookmark() {
    let cluster = Cluster::new().await;
    let mut lines = Lines::of(&cluster, "timeoutSeconds=1&allowWatchBookmarks=true").await;
    let line = lines.next().await.unwrap();
    assert_eq!((&line["type"], &line["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    let revision = cluster.handle.snapshot().revision().to_string();
    assert_eq!(line["object"]["metadata"]["resourceVersion"], revision);
    assert_eq!(lines.next().await, None);
    let mut without = Lines::of(&cluster, "timeoutSeconds=1").await;
    assert_eq!(without.next().await, None);
}

#[tokio::test]
async fn initial_events_end_with_a_mark() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let all = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut lines = Lines::of(&cluster, all).await;
    assert_eq!(lines.step().await, step("ADDED", "a"));
    let mark = lines.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let mut none = Lines::of(&cluster, "sendInitialEvents=false&resourceVersionMatch=NotOlderThan").await;
    cluster.config_map("b", "x").await;
    assert_eq!(none.step().await, step("ADDED", "b"));
    for query in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan"] {
        assert_eq!(cluster.get(&format!("{MAPS}?watch=true&{query}")).await.0, 422);
    }
}

#[tokio::test]
async fn a_watch_from_what_is_forgotten_is_told_to_list_again() {
    let cluster = Cluster::new().await;
    let foreign = cluster.handle.snapshot().revision().0 - 1;
    let future = cluster.handle.snapshot().revision().0 + (1 << 16);
    for revision in [99, foreign, future] {
        let mut lines = Lines::of(&cluster, &format!("resourceVersion={revision}")).await;
        let line = lines.next().await.unwrap();
        assert_eq!((&line["type"], &line["object"]["kind"]), (&json!("ERROR"), &json!("Status")));
        assert_eq!((&line["object"]["code"], &line["object"]["reason"]), (&json!(410), &json!("Expired")));
        assert_eq!(lines.next().await, None);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_to_list_again() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let revision = cluster.handle.snapshot().revision();
    let mut lines = Lines::of(&cluster, &format!("resourceVersion={revision}")).await;
    for i in 0..=crate::store::snapshot::HISTORY_PER_KIND {
        relabel(&cluster, "a", &format!("x{i}")).await;
    }
    assert_eq!(lines.next().await.unwrap()["object"]["code"], 410);
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn a_table_describes_its_columns_once() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    cluster.config_map("b", "x").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut lines = Lines::accepting(&cluster, "", accept).await;
    let (first, second) = (lines.next().await.unwrap(), lines.next().await.unwrap());
    assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut lines = Lines::accepting(&cluster, "", accept).await;
    let line = lines.next().await.unwrap();
    assert_eq!((&line["object"]["kind"], line["object"].get("data")), (&json!("PartialObjectMetadata"), None));
}

#[tokio::test]
async fn the_end_of_the_server_ends_watches_between_two_lines() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let mut lines = Lines::of(&cluster, "").await;
    assert_eq!(lines.step().await, step("ADDED", "a"));
    cluster.shutdown.cancel();
    assert_eq!(lines.next().await, None);
}
