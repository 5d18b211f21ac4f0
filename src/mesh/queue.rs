//! Frames that wait for a peer: bounded, and what is too much is dropped, never waited for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::limits;
use crate::node::message::Lane;

/// The frames that wait for one peer.
#[derive(Default)]
pub(super) struct Outbox {
    control: Queue,
    bulk: Queue,
}

#[derive(Default)]
struct Queue {
    frames: Mutex<Waiting>,
    ready: Notify,
}

#[derive(Default)]
struct Waiting {
    open: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

/// Returns the longest frame of a lane, in bytes.
pub(super) fn longest(lane: Lane) -> usize {
    match lane {
        Lane::Control => limits::CONTROL_FRAME,
        Lane::Bulk => limits::BULK_FRAME,
    }
}

impl Outbox {
    /// Takes frames from now on, or drops all and takes none.
    pub(super) fn set_open(&self, open: bool) {
        for queue in [&self.control, &self.bulk] {
            *queue.lock() = Waiting { open, ..Waiting::default() };
        }
    }

    /// Puts a frame in its queue. Returns whether it, and not another, was kept.
    pub(super) fn push(&self, lane: Lane, frame: Bytes) -> bool {
        if frame.len() > longest(lane) {
            return false;
        }
        let queue = self.queue(lane);
        let kept = queue.lock().push(lane, frame);
        queue.ready.notify_one();
        kept
    }

    /// Takes the next frame of a lane.
    pub(super) fn pop(&self, lane: Lane) -> Option<Bytes> {
        let mut waiting = self.queue(lane).lock();
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= frame.len();
        Some(frame)
    }

    /// Waits until a lane has a frame. For one waiter at a time.
    pub(super) async fn ready(&self, lane: Lane) {
        while self.queue(lane).lock().frames.is_empty() {
            self.queue(lane).ready.notified().await;
        }
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, lane: Lane, frame: Bytes) -> bool {
        let full = match lane {
            Lane::Control => {
                // What is oldest is what matters least: a newer heartbeat says all of an older one.
                if self.frames.len() >= limits::CONTROL_QUEUE {
                    self.bytes -= self.frames.pop_front().map_or(0, |f| f.len());
                }
                false
            }
            Lane::Bulk => {
                self.frames.len() >= limits::BULK_QUEUE || self.bytes + frame.len() > limits::BULK_QUEUE_BYTES
            }
        };
        if full || !self.open {
            return false;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: usize) -> Bytes {
        Bytes::from(n.to_string())
    }

    fn open() -> Outbox {
        let outbox = Outbox::default();
        outbox.set_open(true);
        outbox
    }

    #[test]
    fn control_drops_the_oldest_frames() {
        let outbox = open();
        for n in 0..limits::CONTROL_QUEUE + 10 {
            assert!(outbox.push(Lane::Control, frame(n)));
        }
        assert_eq!(outbox.pop(Lane::Control), Some(frame(10)));
        let left = std::iter::from_fn(|| outbox.pop(Lane::Control)).count();
        assert_eq!(left, limits::CONTROL_QUEUE - 1);
    }

    #[test]
    fn bulk_drops_the_newest_frames_by_number_and_by_bytes() {
        let outbox = open();
        let kept = (0..limits::BULK_QUEUE + 10).filter(|n| outbox.push(Lane::Bulk, frame(*n))).count();
        assert_eq!(kept, limits::BULK_QUEUE);
        assert_eq!(outbox.pop(Lane::Bulk), Some(frame(0)));

        let outbox = open();
        let big = Bytes::from(vec![0; limits::BULK_FRAME]);
        let kept = (0..5).filter(|_| outbox.push(Lane::Bulk, big.clone())).count();
        assert_eq!(kept, limits::BULK_QUEUE_BYTES / limits::BULK_FRAME);
    }

    #[test]
    fn nothing_is_kept_for_a_peer_that_is_gone() {
        let outbox = open();
        assert!(outbox.push(Lane::Bulk, frame(1)));
        outbox.set_open(false);
        assert_eq!(outbox.pop(Lane::Bulk), None);
        assert!(!outbox.push(Lane::Bulk, frame(2)));
        assert!(!outbox.push(Lane::Control, frame(2)));
        assert_eq!(outbox.pop(Lane::Control), None);
    }

    #[test]
    fn a_frame_over_the_cap_is_refused() {
        let outbox = open();
        assert!(outbox.push(Lane::Control, Bytes::from(vec![0; limits::CONTROL_FRAME])));
        assert!(!outbox.push(Lane::Control, Bytes::from(vec![0; limits::CONTROL_FRAME + 1])));
        assert!(!outbox.push(Lane::Bulk, Bytes::from(vec![0; limits::BULK_FRAME + 1])));
    }
}
