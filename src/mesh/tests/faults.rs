//! Restarts, dead lines, and dials that cross.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::world::{Line, Node, directory, free, id, name, ordered, pair};
use crate::mesh::Event;
use crate::mesh::limits;
use crate::node::message::Lane;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_gone_by_reset_and_back_within_two_seconds() {
    let (mut one, two) = pair().await;
    let (peer, address) = (two.id, two.address);
    let start = Instant::now();
    drop(two);
    assert!(one.gone(peer).await);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    tokio::time::sleep(Duration::from_millis(100)).await;
    // It knows no address of the first, which must dial it.
    let mut two = Node::start(2, address, directory(&[(1, None)])).await;
    let start = Instant::now();
    one.connected(peer).await;
    two.connected(one.id).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    one.mesh.send(peer, Lane::Control, Bytes::from_static(b"again"));
    assert_eq!(two.frame(one.id).await.as_ref(), b"again");
}

/// Returns whether a refusal of `peer` comes within so many seconds.
async fn is_refused(node: &mut Node, seconds: u64) -> bool {
    let refusal = async {
        loop {
            match node.events.recv().await {
                Some(Event::Refused { peer }) => return peer,
                Some(_) => {}
                None => panic!("the mesh runs"),
            }
        }
    };
    match timeout(Duration::from_secs(seconds), refusal).await {
        Ok(peer) => peer == id(2),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_an_agent_refuses_and_one_that_does_not_answer_or_is_another_does_not() {
    let (mut one, two) = pair().await;
    let address = two.address;
    drop(two);
    assert!(is_refused(&mut one, 5).await);
    assert!(is_refused(&mut one, 5).await, "again and again");
    // Another agent listens there now: of the one that is looked for its host says nothing.
    let _three = Node::start(3, address, directory(&[])).await;
    while is_refused(&mut one, 2).await {}
    // One that listens and never says a word.
    let mute = free();
    let _listens = std::net::TcpListener::bind(mute).unwrap();
    let mut alone = Node::start(1, free(), directory(&[(2, Some(mute))])).await;
    assert!(!is_refused(&mut alone, 3).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_gone_without_reset_and_redialled_when_the_line_is_mended() {
    let (a, b) = (free(), free());
    let line = Line::to(b).await;
    let mut one = Node::start(1, a, directory(&[(2, Some(line.address))])).await;
    let mut two = Node::start(2, b, directory(&[(1, None)])).await;
    one.connected(two.id).await;
    two.connected(one.id).await;
    let _beats = (one.beat(two.id), two.beat(one.id));
    // As long as something comes, the connection stays.
    let quiet = tokio::time::sleep(Duration::from_millis(2_500));
    tokio::pin!(quiet);
    loop {
        tokio::select! {
            event = one.events.recv() => assert!(matches!(event, Some(Event::Frame { .. }))),
            () = &mut quiet => break,
        }
    }
    line.set(false);
    let start = Instant::now();
    assert!(!one.gone(two.id).await);
    let took = start.elapsed();
    assert!((1_700..3_000).contains(&took.as_millis()), "{took:?}");
    assert!(!two.gone(one.id).await);
    line.set(true);
    let start = Instant::now();
    one.connected(two.id).await;
    two.connected(one.id).await;
    assert!(start.elapsed() < Duration::from_millis(3_500), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_cross_settle_without_a_gap() {
    for _ in 0..3 {
        let (a, b) = (free(), free());
        let (n, m) = ordered();
        let (mut one, mut two) =
            tokio::join!(Node::start(n, a, directory(&[(m, Some(b))])), Node::start(m, b, directory(&[(n, Some(a))])),);
        one.connected(id(m)).await;
        two.connected(id(n)).await;
        let _beats = (one.beat(two.id), two.beat(one.id));
        let until = Instant::now() + limits::SETTLE + 3 * limits::TICK;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let event = timeout(left, async {
                tokio::select! { e = one.events.recv() => e, e = two.events.recv() => e }
            });
            match event.await {
                Ok(Some(Event::Frame { .. })) | Err(_) => {}
                Ok(Some(other)) => panic!("it flaps: {}", name(&other)),
                Ok(None) => panic!("a mesh has ended"),
            }
        }
        let live = |node: &Node, peer| node.mesh.shared.roster.load().members[&peer].links().len();
        assert_eq!((live(&one, two.id), live(&two, one.id)), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_refused_in_a_sentence() {
    let one = Node::start(1, free(), directory(&[])).await;
    let config = crate::mesh::Config { key: super::world::key(2), listen: one.address, discover: false };
    let (events, _keep) = tokio::sync::mpsc::channel(1);
    let refused = crate::mesh::Mesh::start(config, directory(&[]), events, one.stop.child_token()).await;
    assert!(refused.err().unwrap().to_string().contains("cannot be listened on"));
}
