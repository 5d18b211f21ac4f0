//! Calls between members, many at a time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::world::{Node, PATIENCE, pair};
use crate::handle::{Call, Calls};
use crate::mesh::Event;

fn target() -> Call {
    Call::Tcp("10.240.0.2:80".parse().unwrap())
}

/// Answers every call with what it says, until it has said it.
fn echo(node: &mut Node) {
    let events = std::mem::replace(&mut node.events, mpsc::channel(1).1);
    tokio::spawn(serve(events));
}

async fn serve(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if let Event::Call { mut stream, .. } = event {
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                    let _ = stream.flush().await;
                }
                let _ = stream.shutdown().await;
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_nobody_fails_at_once() {
    let (one, _two) = pair().await;
    let error = one.mesh.call("n7", target()).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_a_time_each_hear_their_own_echo() {
    let (one, mut two) = pair().await;
    echo(&mut two);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..1_000_u32 {
        let call = one.mesh.call("n2", target());
        calls.spawn(async move {
            let mut stream = call.await.unwrap();
            stream.write_all(&n.to_be_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(stream.read_u32().await.unwrap(), n);
            stream
        });
    }
    let open = timeout(PATIENCE, calls.join_all()).await.expect("all are answered in time");
    assert_eq!(open.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_close_by_halves() {
    let (one, mut two) = pair().await;
    echo(&mut two);
    let mut stream = one.mesh.call("n2", target()).await.unwrap();
    stream.write_all(b"all of it").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, "all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_calls_are_refused_and_the_connection_lives() {
    let (one, mut two) = pair().await;
    echo(&mut two);
    let mut open = Vec::new();
    let error = loop {
        match one.mesh.call("n2", target()).await {
            Ok(stream) => open.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded);
    assert_eq!(open.len(), crate::mesh::limits::CALLS);
    open.clear();
    // The far side has to notice first that they have ended.
    let until = Instant::now() + PATIENCE;
    let mut heard = None;
    while heard != Some(b'x') && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Ok(mut stream) = one.mesh.call("n2", target()).await else { continue };
        stream.write_all(b"x").await.unwrap();
        heard = timeout(PATIENCE, stream.read_u8()).await.unwrap().ok();
    }
    assert_eq!(heard, Some(b'x'));
}

/// Prints figures; judges nothing. Worth running in an optimised build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, judges nothing"]
async fn figures() {
    let (one, mut two) = pair().await;
    let mut events = std::mem::replace(&mut two.events, mpsc::channel(1).1);
    let mut times = Vec::new();
    let (done_in, mut done) = mpsc::channel::<usize>(1);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Call { mut stream, .. } = event {
                let done = done_in.clone();
                tokio::spawn(async move {
                    let _ = stream.write_u8(1).await;
                    let _ = stream.flush().await;
                    let (mut bytes, mut sum) = (vec![0; 262_144], 0);
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        sum += read;
                    }
                    let _ = done.send(sum).await;
                });
            }
        }
    });
    for _ in 0..200 {
        let start = Instant::now();
        let mut stream = one.mesh.call("n2", target()).await.unwrap();
        let opened = start.elapsed();
        stream.read_u8().await.unwrap();
        times.push((opened, start.elapsed()));
        drop(stream);
        done.recv().await;
    }
    times.sort();
    let answered = {
        let mut t: Vec<Duration> = times.iter().map(|t| t.1).collect();
        t.sort();
        t
    };
    println!(
        "call open p50 {:?} p99 {:?}; first byte back p50 {:?} p99 {:?}",
        times[100].0, times[198].0, answered[100], answered[198]
    );
    for writers in [1, 8] {
        let (chunk, each) = (vec![0; 262_144], 4_000 / writers);
        let start = Instant::now();
        for _ in 0..writers {
            let (call, chunk) = (one.mesh.call("n2", target()), chunk.clone());
            tokio::spawn(async move {
                let mut stream = call.await.unwrap();
                for _ in 0..each {
                    stream.write_all(&chunk).await.unwrap();
                }
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
        let mut sum = 0;
        for _ in 0..writers {
            sum += done.recv().await.unwrap();
        }
        let bits = f64::from(u32::try_from(sum / 1_000).unwrap()) * 8_000.0;
        println!("{writers} streams: {:.2} Gbit/s", bits / start.elapsed().as_secs_f64() / 1e9);
    }
}
