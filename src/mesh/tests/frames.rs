//! Frames between members.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::world::{Node, directory, free, name, pair};
use crate::mesh::{Event, limits};
use crate::node::message::Lane;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_connect_and_exchange_frames_on_both_lanes() {
    let (mut one, mut two) = pair().await;
    one.mesh.send(two.id, Lane::Control, Bytes::from_static(b"hello"));
    assert_eq!(two.frame(one.id).await.as_ref(), b"hello");
    two.mesh.send(one.id, Lane::Bulk, Bytes::from(vec![7; limits::BULK_FRAME]));
    assert_eq!(one.frame(two.id).await, vec![7; limits::BULK_FRAME]);
    for n in 0..100_u8 {
        one.mesh.send(two.id, Lane::Control, Bytes::from(vec![n; usize::from(n)]));
    }
    for n in 0..100_u8 {
        assert_eq!(two.frame(one.id).await, vec![n; usize::from(n)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_over_the_cap_are_refused_and_those_after_them_arrive() {
    let (one, mut two) = pair().await;
    one.mesh.send(two.id, Lane::Control, Bytes::from(vec![0; limits::CONTROL_FRAME + 1]));
    one.mesh.send(two.id, Lane::Control, Bytes::from_static(b"short"));
    assert_eq!(two.frame(one.id).await.as_ref(), b"short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_cut_off_at_once() {
    let (mut one, mut two) = pair().await;
    one.mesh.set_directory(Arc::default());
    assert!(!one.gone(two.id).await);
    assert!(two.gone(one.id).await);
    two.mesh.send(one.id, Lane::Control, Bytes::from_static(b"let me in"));
    let heard = tokio::time::timeout(Duration::from_millis(1_500), one.events.recv()).await;
    assert!(heard.is_err(), "{}", heard.unwrap().map_or_else(String::new, |e| name(&e)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_which_the_address_becomes_known_is_dialled_at_once() {
    let (a, b) = (free(), free());
    let mut one = Node::start(1, a, directory(&[(2, None)])).await;
    let mut two = Node::start(2, b, directory(&[(1, None)])).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    one.mesh.set_directory(Arc::new(directory(&[(2, Some(b))])));
    one.connected(two.id).await;
    two.connected(one.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_events_holds_up_its_peer_and_loses_no_control_of_others() {
    let (one, mut two) = pair().await;
    // More than the events' channel and the lane's window hold.
    for _ in 0..40 {
        one.mesh.send(two.id, Lane::Bulk, Bytes::from(vec![1; 1024 * 1024]));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut bulk = 0;
    while bulk < 16 {
        match two.next().await {
            Event::Frame { frame, .. } => bulk += usize::from(frame.len() > 100),
            other => panic!("unexpected: {}", name(&other)),
        }
    }
}
