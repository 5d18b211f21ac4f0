//! The plug is pulled: what was acknowledged is there, as it was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, admin, deployment, version};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_right_after() {
    let mut cluster = Cluster::new().await;
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let mut newest = 0;
    for round in 0..5 {
        let maps: Vec<_> = (0..10).map(|i| config_map(&format!("m{round}-{i}"))).collect();
        for (code, made) in join_all(maps.iter().map(|map| cluster.post(MAPS, map))).await {
            assert_eq!(code, 201, "{made}");
            acknowledged.insert(made["metadata"]["name"].as_str().unwrap().to_owned(), made);
        }
        let (first, second) = (format!("{MAPS}/m{round}-0"), format!("m{round}-1"));
        let (_, patched) = cluster.patch("merge", &first, &json!({"data": {"k": "w"}})).await;
        acknowledged.insert(format!("m{round}-0"), patched);
        assert_eq!(cluster.delete(&format!("{MAPS}/{second}")).await.0, 200);
        acknowledged.remove(&second);

        cluster.crash(round * 7).await;
        let (_, list) = cluster.get(MAPS).await;
        assert!(version(&list) > newest, "versions go on growing");
        newest = version(&list);
        let found: BTreeMap<String, Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| (o["metadata"]["name"].as_str().unwrap().to_owned(), o.clone()))
            .collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), acknowledged.keys().collect::<Vec<_>>());
        for (name, object) in &acknowledged {
            assert_eq!(found[name]["data"], object["data"]);
            assert_eq!(found[name]["metadata"]["uid"], object["metadata"]["uid"]);
            assert_eq!(found[name]["metadata"]["creationTimestamp"], object["metadata"]["creationTimestamp"]);
        }
    }
}

#[tokio::test]
async fn a_request_that_dies_with_the_agent_is_not_acknowledged() {
    let mut cluster = Cluster::new().await;
    // Handed in, but the loop has not come to it.
    let request = Request::post(MAPS).header("content-type", "application/json");
    let request = request.body(Body::from(config_map("lost").to_string())).unwrap();
    let (api, admin) = (Arc::clone(&cluster.api), admin());
    let post = async move { api.answer(request, Some(&admin)).await.status().as_u16() };
    let (code, ()) = tokio::join!(post, cluster.crash(0));
    assert_eq!(code, 503);
    assert_eq!(cluster.get(&format!("{MAPS}/lost")).await.0, 404);
}

#[tokio::test]
async fn pods_stay_where_they_are_through_a_crash() {
    let mut cluster = Cluster::new().await;
    cluster.create(DEPLOYMENTS, &deployment("web", 3)).await;
    let web = format!("{DEPLOYMENTS}/web");
    cluster.until(&web, |d| d["status"]["readyReplicas"] == 3).await;
    let starts = cluster.machine().docker.starts().len();
    let what = |list: &Value| -> Vec<[Value; 4]> {
        let of = |p: &Value| {
            let container = &p["status"]["containerStatuses"][0];
            [&p["metadata"]["uid"], &p["status"]["podIP"], &container["containerID"], &container["restartCount"]]
                .map(Value::clone)
        };
        list["items"].as_array().unwrap().iter().map(of).collect()
    };
    let before = what(&cluster.get(PODS).await.1);
    cluster.crash(0).await;
    cluster.until(&web, |d| d["status"]["readyReplicas"] == 3).await;
    cluster.until(PODS, |list| what(list) == before).await;
    // Ten seconds later still.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(what(&cluster.get(PODS).await.1), before);
    assert_eq!(cluster.machine().docker.starts().len(), starts);
}
