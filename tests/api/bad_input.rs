//! Bodies that nobody should send: refused with the field or the reason, nothing stored, no memory kept.

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// A request, the code that it must get, and what the answer must name.
struct Bad {
    method: Method,
    path: String,
    media: &'static str,
    body: Vec<u8>,
    code: u16,
    names: &'static str,
}

fn bad(
    method: Method,
    path: &str,
    media: &'static str,
    body: impl Into<Vec<u8>>,
    code: u16,
    names: &'static str,
) -> Bad {
    Bad { method, path: path.into(), media, body: body.into(), code, names }
}

fn map(name: &str, data: &Value) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).to_string().into_bytes()
}

/// A body with so many levels of lists in a field that any kind has.
fn deep(levels: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{open}{close}}}"#).into_bytes()
}

fn deep_yaml(levels: usize) -> Vec<u8> {
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: ");
    text.push_str(&"[".repeat(levels));
    text.push_str(&"]".repeat(levels));
    text.into_bytes()
}

/// Aliases that unfold to 10^9 strings.
fn laughing_yaml() -> Vec<u8> {
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 [lol]\n");
    for at in 1..10 {
        let aliases = vec![format!("*x{}", at - 1); 10].join(",");
        text.push_str(&format!("x{at}: &x{at} [{aliases}]\n"));
    }
    text.into_bytes()
}

fn replicas(number: &str) -> Vec<u8> {
    deployment("web", 1).to_string().replacen("\"replicas\":1", &format!("\"replicas\":{number}"), 1).into_bytes()
}

fn inputs() -> Vec<Bad> {
    let (post, patch, put) = (Method::POST, Method::PATCH, Method::PUT);
    let one = format!("{MAPS}/there");
    let broken =
        map("a", &json!({"k": "XX"})).into_iter().map(|b| if b == b'X' { 0xff } else { b }).collect::<Vec<_>>();
    vec![
        bad(post.clone(), MAPS, JSON, map("large", &json!({"k": "x".repeat(1_600_000)})), 422, "Too long"),
        bad(patch.clone(), &one, MERGE, json!({"data": {"k": "x".repeat(1_600_000)}}).to_string(), 422, "Too long"),
        bad(post.clone(), MAPS, JSON, " ".repeat(4 << 20), 413, "limit"),
        bad(post.clone(), MAPS, JSON, map("Not_A_Label", &json!({})), 422, "metadata.name"),
        bad(post.clone(), MAPS, JSON, map(&"x".repeat(254), &json!({})), 422, "metadata.name"),
        bad(post.clone(), MAPS, JSON, map("", &json!({})), 422, "metadata.name"),
        bad(post.clone(), MAPS, JSON, deep(100_000), 400, "max depth"),
        bad(post.clone(), MAPS, YAML, deep_yaml(100_000), 400, "max depth"),
        bad(Method::DELETE, &one, YAML, deep_yaml(100_000), 400, "max depth"),
        bad(post.clone(), MAPS, YAML, laughing_yaml(), 400, ""),
        bad(patch.clone(), &one, MERGE, deep(100_000), 400, ""),
        bad(put, &one, JSON, deep(100_000), 400, "max depth"),
        bad(Method::DELETE, &one, JSON, deep(100_000), 400, ""),
        bad(post.clone(), MAPS, JSON, broken.clone(), 400, ""),
        bad(post.clone(), MAPS, YAML, broken, 400, ""),
        bad(post.clone(), MAPS, JSON, b"\xff\xfe{}".to_vec(), 400, ""),
        bad(post.clone(), DEPLOYMENTS, JSON, replicas("2147483648"), 400, "replicas"),
        bad(post.clone(), DEPLOYMENTS, JSON, replicas("99999999999999999999999"), 400, "replicas"),
        bad(post.clone(), DEPLOYMENTS, JSON, replicas("1e999"), 400, ""),
        bad(post.clone(), DEPLOYMENTS, JSON, replicas("1.5"), 400, "replicas"),
        bad(post, DEPLOYMENTS, JSON, replicas("-1"), 422, "spec.replicas"),
        bad(patch, &one, JSON_PATCH, r#"[{"op":"copy","from":"","path":"/data/k"}]"#, 422, ""),
    ]
}

async fn refuse_all(cluster: &Cluster) {
    let mut wrong = Vec::new();
    for Bad { method, path, media, body, code, names } in inputs() {
        let start = String::from_utf8_lossy(&body[..body.len().min(90)]).into_owned();
        let request = Request::builder().method(method.clone()).uri(&path).header("content-type", media);
        let response = cluster.answer(request.body(Body::from(body)).expect("a request")).await;
        let found = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        let answer = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
        if found != code || !answer.contains(names) || bytes.len() > 64 << 10 {
            wrong.push(format!("{method} {path} {media} {start}: {found}, not {code} with {names:?}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_nobody_should_send_is_refused_and_nothing_is_stored() {
    let cluster = Cluster::new().await;
    cluster
        .create(
            MAPS,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there"}, "data": {"k": "v"}}),
        )
        .await;
    let all = async || (cluster.get(MAPS).await.1["items"].clone(), cluster.get(DEPLOYMENTS).await.1["items"].clone());
    let before = all().await;
    refuse_all(&cluster).await;
    assert_eq!(all().await, before);
}

#[tokio::test]
#[ignore = "long: measures memory, so alone in its process"]
async fn long_bad_input_leaves_no_memory_behind() {
    let cluster = Cluster::new().await;
    let there = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there"}, "data": {"k": "v"}});
    cluster.create(MAPS, &there).await;
    refuse_all(&cluster).await;
    let before = resident();
    for _ in 0..50 {
        refuse_all(&cluster).await;
    }
    let grown = resident().saturating_sub(before);
    println!("after 50 rounds of bad input: {} KB more", grown >> 10);
    assert!(grown < 32 << 20, "{grown} bytes");
}

/// What the process has in memory, in bytes, without what is read from files.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}
