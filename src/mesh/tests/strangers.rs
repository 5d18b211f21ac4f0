//! What strangers get: nothing, but a call to ask for admission.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{Node, PATIENCE, directory, free, id, name, pair};
use crate::handle::Call;
use crate::mesh::{Directory, Event};
use crate::node::message::Lane;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_connection_is_closed_and_hears_nothing_of_the_cluster() {
    let mut one = Node::start(1, free(), Directory::new()).await;
    let mut raw = TcpStream::connect(one.address).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    let _ = timeout(PATIENCE, raw.read_to_end(&mut heard)).await.expect("it is closed");
    assert!(heard.len() < 64, "{heard:?}");
    assert!(one.events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_ask_to_join_and_nothing_else() {
    let mut one = Node::start(1, free(), Directory::new()).await;
    let two = Node::start(2, free(), Directory::new()).await;
    let target = Call::Tcp("10.240.0.2:80".parse().unwrap());
    let refused = two.mesh.call_stranger(&[one.address], None, target, PATIENCE).await;
    if let Ok((_, mut stream)) = refused {
        let mut nothing = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut nothing)).await.expect("the call is dropped");
        assert!(nothing.is_empty());
    }
    let (reached, mut stream) =
        two.mesh.call_stranger(&[one.address], Some(one.id), Call::Join, PATIENCE).await.unwrap();
    assert_eq!(reached, one.id);
    stream.write_all(b"please").await.unwrap();
    let Event::Call { from, call: Call::Join, stream: mut asked } = one.next().await else { panic!("a call to join") };
    assert_eq!(from, two.id);
    let mut please = [0; 6];
    asked.read_exact(&mut please).await.unwrap();
    asked.write_all(b"welcome").await.unwrap();
    asked.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "welcome");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_takes_itself_for_a_member_gets_no_frame_in_or_out() {
    let mut one = Node::start(1, free(), Directory::new()).await;
    let mut two = Node::start(2, free(), directory(&[(1, Some(one.address))])).await;
    one.mesh.send(two.id, Lane::Control, Bytes::from_static(b"secret"));
    two.mesh.send(one.id, Lane::Control, Bytes::from_static(b"poison"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for node in [&mut one, &mut two] {
        if let Ok(event) = node.events.try_recv() {
            panic!("{}", name(&event));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_is_admitted_becomes_a_member_on_the_connection_it_has() {
    let mut one = Node::start(1, free(), Directory::new()).await;
    let mut two = Node::start(2, free(), Directory::new()).await;
    let call = two.mesh.call_stranger(&[one.address], Some(one.id), Call::Join, PATIENCE).await.unwrap();
    let asked = one.next().await;
    one.mesh.set_directory(Arc::new(directory(&[(2, Some(two.address))])));
    two.mesh.set_directory(Arc::new(directory(&[(1, Some(one.address))])));
    one.connected(two.id).await;
    two.connected(one.id).await;
    drop((call, asked));
    one.mesh.send(two.id, Lane::Bulk, Bytes::from_static(b"all records"));
    assert_eq!(two.frame(one.id).await.as_ref(), b"all records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_than_the_expected_one_is_refused_in_a_sentence() {
    let one = Node::start(1, free(), Directory::new()).await;
    let two = Node::start(2, free(), Directory::new()).await;
    let nobody = free();
    let addresses = [nobody, one.address];
    let Err(why) = two.mesh.call_stranger(&addresses, Some(id(9)), Call::Join, PATIENCE).await else {
        panic!("another node is not taken for the expected one")
    };
    assert!(why.contains(&format!("{nobody}: ")) && why.contains("refused"), "{why}");
    assert!(why.contains(&format!("another node answers there, {}", one.id)), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_can_be_called_as_strangers_too() {
    let (one, mut two) = pair().await;
    let (reached, _stream) = one.mesh.call_stranger(&[two.address], Some(two.id), Call::Join, PATIENCE).await.unwrap();
    assert_eq!(reached, two.id);
    assert!(matches!(two.next().await, Event::Call { call: Call::Join, .. }));
}
