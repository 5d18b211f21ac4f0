//! Between the mesh and the node: reads frames off the loop, since checking signatures takes time, and hands calls on.
//!
//! Bulk is read by a task of its own: a heartbeat never waits for records. If that cannot keep up, records are dropped,
//! and repaired later by the exchange.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ids::NodeId;
use crate::mesh::Event;
use crate::node::Input;
use crate::node::message::{BadFrame, Lane, Message, decode_on};

use super::callee::Callee;

/// How many events of the mesh may wait to be read.
pub const EVENTS: usize = 256;
/// How many urgent inputs may wait for the loop.
pub const URGENT: usize = 256;
/// How many frames of records may wait to be read, and read ones for the loop.
pub const BULK: usize = 32;

/// Where what members say goes.
#[derive(Clone)]
pub struct Inlets {
    /// Small and urgent.
    pub urgent: mpsc::Sender<Input>,
    /// Records.
    pub bulk: mpsc::Sender<Input>,
}

/// Hands on what the mesh says, until `shutdown` or the loop is gone.
pub async fn run(
    mut events: mpsc::Receiver<Event>,
    inlets: Inlets,
    callee: Callee,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let (bulk, frames) = mpsc::channel(BULK);
    tasks.spawn(read_bulk(frames, inlets.bulk));
    let mut reader = Reader::default();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.recv() => event,
        };
        let input = match event {
            None => return,
            Some(Event::Connected { peer }) => Some(Input::Connected(peer)),
            Some(Event::Gone { peer, reset }) => Some(Input::Gone { peer, reset }),
            Some(Event::Refused { peer }) => Some(Input::Refused(peer)),
            Some(Event::Frame { from, lane: Lane::Control, frame }) => reader.read(from, Lane::Control, &frame),
            Some(Event::Frame { from, lane: Lane::Bulk, frame }) => {
                if bulk.try_send((from, frame)).is_err() {
                    tracing::debug!(?from, "more records come than can be read; some are dropped");
                }
                None
            }
            Some(Event::Call { from, call, stream }) => {
                callee.serve(from, call, stream);
                None
            }
        };
        if let Some(input) = input
            && inlets.urgent.send(input).await.is_err()
        {
            return;
        }
    }
}

async fn read_bulk(mut frames: mpsc::Receiver<(NodeId, Bytes)>, inlet: mpsc::Sender<Input>) {
    let mut reader = Reader::default();
    while let Some((from, frame)) = frames.recv().await {
        let read = tokio::task::spawn_blocking(move || {
            let input = reader.read(from, Lane::Bulk, &frame);
            (reader, input)
        });
        let Ok((again, input)) = read.await else { return };
        reader = again;
        if let Some(input) = input
            && inlet.send(input).await.is_err()
        {
            return;
        }
    }
}

/// Reads frames and complains of each peer once.
#[derive(Default)]
struct Reader {
    complained: BTreeSet<NodeId>,
}

impl Reader {
    fn read(&mut self, from: NodeId, lane: Lane, frame: &[u8]) -> Option<Input> {
        match safely(lane, frame) {
            Ok(messages) => Some(Input::Received { from, messages }),
            Err(error) => {
                if self.complained.insert(from) {
                    tracing::warn!(?from, %error, "a member says what is not understood: is its agent of another version?");
                }
                None
            }
        }
    }
}

/// What a peer sends never ends this agent, not even by a mistake of ours.
fn safely(lane: Lane, frame: &[u8]) -> Result<Vec<Message>, BadFrame> {
    catch_unwind(AssertUnwindSafe(|| decode_on(lane, frame)))
        .unwrap_or_else(|_| Err(BadFrame("reading it has failed".into())))
}
