//! Watchers that do not read, or have nothing to read: what they cost, and how far they know.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::api::filter::Filter;
use crate::api::now;
use crate::api::params::Params;
use crate::api::present::Lens;
use crate::api::server::UNREAD;
use crate::api::watch::{self, Options, Scope};
use crate::object::kinds::CONFIG_MAP;
use crate::store::snapshot::HISTORY_PER_KIND;

use super::connections::serving;
use super::watches::Lines;
use super::{Cluster, MAPS};

impl Cluster {
    /// Begins a watch of ConfigMaps that is told every 10 ms how far it is.
    fn watch_with_bookmarks(&self, query: &str) -> Lines {
        let params = Params::parse(&format!("allowWatchBookmarks=true&{query}"));
        let options = Options::parse(&params).unwrap().with_bookmarks_every(Duration::from_millis(10));
        let lens = Lens::of(&CONFIG_MAP, &HeaderMap::new(), &params, now()).unwrap();
        let scope = Scope { kind: &CONFIG_MAP, namespace: None, filter: Filter::parse(&CONFIG_MAP, &params).unwrap() };
        Lines::reading(watch::watch(&self.api.hub, scope, options, lens, self.shutdown.clone()))
    }

    /// Makes or changes a ConfigMap of some size.
    async fn large_map(&self, name: &str, round: usize) {
        let text = "x".repeat(20_000);
        let data = json!({"data": {"round": round.to_string(), "text": text}});
        let (code, answer) = self.patch("merge", &format!("{MAPS}/{name}"), &data).await;
        assert_eq!(code, 200, "{answer}");
    }
}

#[tokio::test]
async fn bookmarks_tell_a_quiet_watch_how_far_it_is_and_can_be_gone_on_from() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", "x").await;
    let mut quiet = cluster.watch_with_bookmarks("labelSelector=app%3Dnone");
    for round in 0..3 {
        // Of the kind, but not in the scope; then of another kind.
        cluster.config_map(&format!("b{round}"), "x").await;
        let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": format!("n{round}")}});
        cluster.post("/api/v1/namespaces", &namespace).await;
        let newest = cluster.handle.snapshot().revision().to_string();
        let found = async { while quiet.next().await.unwrap()["object"]["metadata"]["resourceVersion"] != newest {} };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("a bookmark of the newest revision");
        let mut next = Lines::of(&cluster, &format!("resourceVersion={newest}")).await;
        cluster.config_map(&format!("c{round}"), "x").await;
        assert_eq!(next.next().await.unwrap()["object"]["metadata"]["name"], format!("c{round}"));
    }
}

#[tokio::test]
async fn a_socket_that_does_not_read_is_cut_off_and_holds_nothing() {
    let served = serving(Cluster::with_patience(Duration::from_millis(300)).await).await;
    let cluster = &served.cluster;
    cluster.config_map("a", "x").await;
    let mut slow = served.ask(&format!("{MAPS}?watch=true")).await;
    let mut first = [0; 16];
    slow.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    let watcher = cluster.api.hub.all().pop().expect("a watch");
    // More than sockets and buffers take: the watcher stands still.
    let began = Instant::now();
    let (mut round, mut most) = (0, 0);
    while began.elapsed() < Duration::from_secs(30) && !watcher.is_ended() {
        cluster.large_map("a", round).await;
        (round, most) = (round + 1, most.max(watcher.waiting()));
    }
    assert!(watcher.is_ended(), "cut off after {round} events");
    assert!(most <= HISTORY_PER_KIND, "{most} lines were held");
    assert_eq!(watcher.waiting(), 1, "the word that it is cut off");
    drop(watcher);
    // Whoever reads at last finds what was sent, then the error, and the end.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), async {
        let mut piece = vec![0; 1 << 16];
        while !rest.ends_with(b"0\r\n\r\n") {
            let count = slow.read(&mut piece).await.unwrap();
            assert!(count > 0, "ends as it should");
            rest.extend_from_slice(&piece[..count]);
        }
    });
    read.await.expect("the end");
    let tail = String::from_utf8_lossy(&rest[rest.len().saturating_sub(600)..]).into_owned();
    assert!(tail.contains(r#""type":"ERROR""#) && tail.contains("\"code\":410"), "{tail}");
}

/// What the process has in memory, in bytes, without what is read from files.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}

#[tokio::test]
#[ignore = "long: waits for more than a minute; measures memory, so alone in its process"]
async fn long_two_hundred_sockets_that_do_not_read_cost_little_and_are_closed() {
    const SLOW: usize = 200;
    let served = serving(Cluster::with_patience(Duration::from_secs(5)).await).await;
    let cluster = &served.cluster;
    for at in 0..500 {
        cluster.config_map(&format!("m{at}"), "x").await;
        cluster.large_map(&format!("m{at}"), 0).await;
    }
    let before = resident();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(served.ask(&format!("{MAPS}?watch=true")).await);
    }
    let mut most = 0;
    for round in 0..2_000 {
        cluster.large_map(&format!("m{}", round % 500), round).await;
        most = most.max(resident().saturating_sub(before));
    }
    println!("{SLOW} sockets that do not read, 10 MB each to begin with and 40 MB later: at most {} MB", most >> 20);
    assert!(most < 200 << 20, "{most} bytes");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(cluster.api.hub.all().iter().all(|watcher| watcher.is_ended() && watcher.waiting() <= 1));
    // The kernel gives up on who does not read, or its own probes take a little longer.
    tokio::time::sleep(UNREAD * 2).await;
    assert_eq!(cluster.api.hub.all().len(), 0, "their connections are closed");
}
