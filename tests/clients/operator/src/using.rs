//! What clients do, each with what it must find.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{
    AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

/// Tries everything; the first that fails ends it.
pub async fn run() -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    objects(&client).await.context("objects")?;
    println!("objects: ok");
    watches(&client).await.context("watches")?;
    println!("watches: ok");
    caches(&client).await.context("caches")?;
    println!("caches: ok");
    streams(&client).await.context("streams")?;
    println!("streams: ok");
    scales(&client).await.context("scales")?;
    println!("scales: ok");
    identities(&client).await.context("identities")?;
    println!("identities: ok");
    discovery(&client).await.context("discovery")?;
    println!("discovery: ok");
    Ok(())
}

fn map(name: &str) -> ConfigMap {
    let value = json!({"metadata": {"name": name, "labels": {"made": "here"}}, "data": {"a": "1"}});
    serde_json::from_value(value).expect("a ConfigMap")
}

async fn objects(client: &Client) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let made = maps.create(&PostParams::default(), &map("objects")).await?;
    let again = maps.create(&PostParams::default(), &map("objects")).await;
    ensure!(matches!(&again, Err(kube::Error::Api(s)) if s.reason == "AlreadyExists"), "{again:?}");
    let merged = maps.patch("objects", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "2"}}))).await?;
    ensure!(merged.data.as_ref().is_some_and(|d| d.len() == 2), "{merged:?}");
    let stale = maps.replace("objects", &PostParams::default(), &made).await;
    ensure!(matches!(&stale, Err(kube::Error::Api(s)) if s.code == 409), "{stale:?}");
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "objects"}, "data": {"c": "3"}});
    let applied = maps.patch("objects", &PatchParams::apply("kube-rs"), &Patch::Apply(applied)).await?;
    ensure!(applied.managed_fields().iter().any(|m| m.manager.as_deref() == Some("kube-rs")), "{applied:?}");
    let meta = maps.get_metadata("objects").await?;
    ensure!(meta.metadata.labels == made.metadata.labels, "{meta:?}");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("dry")).await?;
    ensure!(maps.get_opt("dry").await?.is_none(), "a dry run leaves nothing");
    for n in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("page-{n}"))).await?;
    }
    let mut found = 0;
    let mut params = ListParams::default().labels("made=here").limit(2);
    loop {
        let page = maps.list(&params).await?;
        found += page.items.len();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    ensure!(found == 6, "{found} in pages");
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("made=here")).await?;
    ensure!(maps.list(&ListParams::default().labels("made=here")).await?.items.is_empty(), "all are gone");
    Ok(())
}

async fn watches(client: &Client) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let from = maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().labels("watched=yes").timeout(20);
    let mut events = maps.watch(&params, &from).await?.boxed();
    maps.create(&PostParams::default(), &map("watched")).await?;
    for labels in [json!({"watched": "yes"}), json!({"watched": "yes", "more": "1"}), json!({"watched": "no"})] {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        maps.patch("watched", &PatchParams::default(), &patch).await?;
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match timeout(SOON, events.next()).await?.context("the watch ended")?? {
            WatchEvent::Added(_) => seen.push("added"),
            WatchEvent::Modified(_) => seen.push("modified"),
            WatchEvent::Deleted(_) => seen.push("deleted"),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(error) => anyhow::bail!("{error:?}"),
        }
    }
    ensure!(seen == ["added", "modified", "deleted"], "what enters and leaves the selector: {seen:?}");
    maps.delete("watched", &DeleteParams::default()).await?;
    Ok(())
}

/// The library's informer, by a list and by a watch that begins with everything.
async fn caches(client: &Client) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    for (name, config) in [("listed", watcher::Config::default()), ("streamed", watcher::Config::default().streaming_lists())] {
        maps.create(&PostParams::default(), &map(name)).await?;
        let stream = watcher(maps.clone(), config.labels("made=here")).applied_objects().boxed();
        let mut stream = stream;
        let first = timeout(SOON, stream.next()).await?.context("the cache ended")??;
        ensure!(first.name_any() == name, "{first:?}");
        maps.patch(name, &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "2"}}))).await?;
        let next = timeout(SOON, stream.next()).await?.context("the cache ended")??;
        ensure!(next.data.is_some_and(|d| d.contains_key("b")), "the change is seen");
        maps.delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

async fn a_pod(client: &Client) -> anyhow::Result<(Api<Pod>, String)> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let found = pods.list(&ListParams::default().labels("app=shop")).await?;
    let running = |p: &&Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let pod = found.iter().find(running).context("no pod of the shop runs")?.name_any();
    Ok((pods, pod))
}

async fn streams(client: &Client) -> anyhow::Result<()> {
    let (pods, pod) = a_pod(client).await?;
    let log = pods.logs(&pod, &LogParams { tail_lines: Some(1), ..LogParams::default() }).await?;
    ensure!(log.lines().count() == 1, "{log:?}");
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.exec(&pod, ["cat"], &params).await?;
    let (mut stdin, mut stdout) = (process.stdin().context("stdin")?, process.stdout().context("stdout")?);
    stdin.write_all(b"echo").await?;
    let mut heard = [0; 4];
    timeout(SOON, stdout.read_exact(&mut heard)).await??;
    ensure!(&heard == b"echo", "{heard:?}");
    drop(stdin);
    let mut failing = pods.exec(&pod, ["sh", "-c", "exit 4"], &AttachParams::default()).await?;
    let status = timeout(SOON, failing.take_status().context("status")?).await?.context("no status")?;
    ensure!(status.reason.as_deref() == Some("NonZeroExitCode"), "{status:?}");
    let mut forward = pods.portforward(&pod, &[80]).await?;
    let mut port = forward.take_stream(80).context("the port's stream")?;
    port.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    timeout(SOON, port.read_to_string(&mut page)).await??;
    ensure!(page.contains("web version"), "{page}");
    Ok(())
}

async fn scales(client: &Client) -> anyhow::Result<()> {
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    let scale = deployments.get_scale("shop").await?;
    let wanted = scale.spec.and_then(|s| s.replicas).context("replicas")?;
    let patch = Patch::Merge(json!({"spec": {"replicas": wanted}}));
    let after = deployments.patch_scale("shop", &PatchParams::default(), &patch).await?;
    ensure!(after.spec.and_then(|s| s.replicas) == Some(wanted), "the same number");
    let status = deployments.get_status("shop").await?;
    ensure!(status.status.is_some_and(|s| s.ready_replicas == Some(wanted)), "all are ready");
    Ok(())
}

async fn identities(client: &Client) -> anyhow::Result<()> {
    let me: SelfSubjectReview = Api::all(client.clone()).create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    ensure!(me.status.and_then(|s| s.user_info).and_then(|u| u.username).is_some(), "I am somebody");
    let accounts = Api::<ServiceAccount>::default_namespaced(client.clone());
    let request: TokenRequest = serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 600}}))?;
    let token = accounts.create_token_request("default", &PostParams::default(), &request).await?;
    let token = token.status.context("a token")?.token;
    let review: TokenReview = serde_json::from_value(json!({"metadata": {}, "spec": {"token": token}}))?;
    let review: TokenReview = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.context("a verdict")?;
    ensure!(status.authenticated == Some(true), "{status:?}");
    let roles = Api::<ClusterRole>::all(client.clone());
    ensure!(roles.get_opt("cluster-admin").await?.is_some(), "cluster-admin is there");
    Ok(())
}

async fn discovery(client: &Client) -> anyhow::Result<()> {
    let found = kube::discovery::Discovery::new(client.clone()).run().await?;
    ensure!(found.has_group("apps") && found.has_group("batch"), "the groups are listed");
    let version = client.apiserver_version().await?;
    ensure!(version.minor == "33", "{version:?}");
    Ok(())
}
