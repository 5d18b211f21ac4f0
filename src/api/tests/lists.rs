//! list: selectors, chunks, views.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Cluster, MAPS, PODS, pod};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

async fn with_maps(count: usize) -> Cluster {
    let cluster = Cluster::new().await;
    for i in 0..count {
        cluster.config_map(&format!("m{i}"), if i % 2 == 0 { "even" } else { "odd" }).await;
    }
    cluster
}

#[tokio::test]
async fn a_list_names_its_kind_once() {
    let cluster = with_maps(2).await;
    let (code, text) = cluster.send(Method::GET, MAPS, &[], "").await;
    assert_eq!(code, 200);
    let revision = cluster.handle.snapshot().revision();
    let head = format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{revision}"}},"items":[{{"metadata":"#
    );
    assert!(text.starts_with(&head) && text.ends_with("]}\n"), "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert!(list["items"][0].get("kind").is_none());
    let nowhere = cluster.get("/api/v1/namespaces/nowhere/configmaps").await.1;
    assert_eq!(nowhere["items"], json!([]));
    assert_eq!(names(&cluster.get("/api/v1/configmaps").await.1), ["m0", "m1"]);
}

#[tokio::test]
async fn selectors_select() {
    let cluster = with_maps(5).await;
    for (query, expected) in [
        ("labelSelector=app%3Dodd", vec!["m1", "m3"]),
        ("labelSelector=app+in+(odd,x)", vec!["m1", "m3"]),
        ("labelSelector=!app", vec![]),
        ("fieldSelector=metadata.name%3Dm2", vec!["m2"]),
        ("fieldSelector=metadata.name!%3Dm2&labelSelector=app%3Deven", vec!["m0", "m4"]),
    ] {
        assert_eq!(names(&cluster.get(&format!("{MAPS}?{query}")).await.1), expected, "{query}");
    }
    for query in ["labelSelector=a%20b%20c", "fieldSelector=spec.color%3Dred", "limit=x", "fieldSelector=name"] {
        let (code, status) = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{query}");
    }
}

#[tokio::test]
async fn pods_are_selected_by_node_and_phase() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        assert_eq!(cluster.post(PODS, &pod(name)).await.0, 201);
    }
    let (code, answer) =
        cluster.patch("merge", &format!("{PODS}/a/status"), &json!({"status": {"phase": "Running"}})).await;
    assert_eq!(code, 200, "{answer}");
    let list = |query: &str| format!("{PODS}?fieldSelector={query}");
    assert_eq!(names(&cluster.get(&list("status.phase%3DRunning")).await.1), ["a"]);
    assert_eq!(names(&cluster.get(&list("spec.nodeName%3D")).await.1), ["a", "b"]);
    assert_eq!(names(&cluster.get(&list("spec.nodeName%3Dn1")).await.1), Vec::<&str>::new());
}

#[tokio::test]
async fn chunks_come_from_one_snapshot() {
    let cluster = with_maps(5).await;
    let first = cluster.get(&format!("{MAPS}?limit=2")).await.1;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["m0", "m1"], &json!(3)));
    cluster.delete(&format!("{MAPS}/m3"), &Value::Null).await;
    cluster.config_map("m1a", "new").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await.1;
    assert_eq!(names(&second), ["m2", "m3"], "as it was at the first chunk");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await.1;
    assert_eq!(names(&third), ["m4"]);
    assert!(third["metadata"].get("continue").is_none());
    let exact = format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion=");
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(names(&cluster.get(&format!("{exact}{revision}")).await.1), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(cluster.get(&format!("{exact}101")).await.0, 410);
    let both = format!("{MAPS}?continue={token}&resourceVersion={revision}");
    assert_eq!(cluster.get(&both).await.0, 400);
}

#[tokio::test]
async fn a_chunk_with_a_selector_does_not_count_the_rest() {
    let cluster = with_maps(5).await;
    let first = cluster.get(&format!("{MAPS}?limit=2&labelSelector=app%3Deven")).await.1;
    assert_eq!(names(&first), ["m0", "m2"]);
    assert!(first["metadata"]["continue"].is_string());
    assert!(first["metadata"].get("remainingItemCount").is_none());
    let all = cluster.get(&format!("{MAPS}?limit=3&labelSelector=app%3Deven")).await.1;
    assert!(all["metadata"].get("continue").is_none(), "nothing is left");
}

#[tokio::test]
async fn a_token_that_is_forgotten_or_forged_is_refused() {
    let cluster = with_maps(1).await;
    let key = crate::object::Key::new(&crate::object::kinds::CONFIG_MAP, "default", "m0");
    let old = super::super::lists::Token::new(crate::ids::Revision(3), &key).text();
    let (code, status) = cluster.get(&format!("{MAPS}?limit=1&continue={old}")).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    assert_eq!(cluster.get(&format!("{MAPS}?limit=1&continue=rubbish")).await.0, 400);
}

#[tokio::test]
async fn a_revision_may_be_asked_for() {
    let cluster = with_maps(1).await;
    let now = cluster.handle.snapshot().revision().0;
    for (query, code) in [
        ("resourceVersion=0".to_owned(), 200),
        (format!("resourceVersion={now}"), 200),
        (format!("resourceVersion={now}&resourceVersionMatch=NotOlderThan"), 200),
        ("resourceVersionMatch=NotOlderThan".to_owned(), 422),
        ("resourceVersionMatch=Exact&resourceVersion=0".to_owned(), 422),
        ("resourceVersionMatch=Roughly&resourceVersion=5".to_owned(), 422),
        ("resourceVersion=old".to_owned(), 422),
        (format!("resourceVersion={}", now + (1 << 16)), 504),
        // The number of another node says nothing of what this one has.
        (format!("resourceVersion={}", now - 1), 410),
    ] {
        let (found, answer) = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(found, code, "{query}: {answer}");
    }
    let (_, status) = cluster.get(&format!("{MAPS}/m0?resourceVersion={}", now + (1 << 16))).await;
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn tables_have_columns_and_rows() {
    let cluster = with_maps(2).await;
    let (code, table) = cluster.json(Method::GET, &format!("{MAPS}?limit=1"), &[("accept", TABLE)], "").await;
    assert_eq!((code, &table["kind"], &table["apiVersion"]), (200, &json!("Table"), &json!("meta.k8s.io/v1")));
    assert!(table["metadata"]["continue"].is_string());
    assert_eq!(table["metadata"]["remainingItemCount"], 1);
    assert_eq!(table["columnDefinitions"][1]["name"], "Data");
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..2], [json!("m0"), json!(1)]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["namespace"], "default");
    let whole = format!("{MAPS}/m0?includeObject=Object");
    let one = cluster.json(Method::GET, &whole, &[("accept", TABLE)], "").await.1;
    assert_eq!(one["rows"][0]["object"]["data"]["k"], "v");
    assert_eq!(one["metadata"]["resourceVersion"], one["rows"][0]["object"]["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn metadata_alone_may_be_asked_for() {
    let cluster = with_maps(2).await;
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = cluster.json(Method::GET, MAPS, &[("accept", accept)], "").await.1;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1")));
    assert_eq!(names(&list), ["m0", "m1"]);
    assert!(list["items"][0].get("data").is_none());
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let one = cluster.json(Method::GET, &format!("{MAPS}/m0"), &[("accept", accept)], "").await.1;
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("m0")));
}
