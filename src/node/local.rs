//! What happens on this very node: wakes the kubelet, carries its wishes to the store and the runtime.

use serde_json::Value;

use crate::ids::Uid;
use crate::kubelet::{Input, Output};
use crate::object::{Key, kinds};
use crate::store::{Author, Change, DeleteOptions, Precondition, Rejected, WatchEvent};
use crate::time::Now;

use super::{Effect, Node, Waiter};

/// Whether the kubelet of node `name` may care about an event.
pub(super) fn concerns(event: &WatchEvent, name: &str) -> bool {
    let kind = event.key().kind;
    if kind == &kinds::NODE {
        // Made, or made again: its status is missing.
        return event.key().name == name && event.old.is_none();
    }
    if kind == &kinds::POD {
        let here = |side: &Option<_>| {
            side.as_ref().is_some_and(|e: &std::sync::Arc<crate::store::Entry>| e.node.as_deref() == Some(name))
        };
        return here(&event.old) || here(&event.new);
    }
    [&kinds::CONFIG_MAP, &kinds::SECRET, &kinds::SERVICE].contains(&kind)
}

impl Node {
    pub(super) fn wake_kubelet(&mut self, now: Now, input: Input) {
        let outputs = self.kubelet.handle(now, self.store.snapshot(), input);
        for output in outputs {
            match output {
                Output::Act(action) => self.effects.push(Effect::Act(Box::new(action))),
                Output::Status { key, uid, status } => self.kubelet_status(now, key, Some(uid), status),
                Output::NodeStatus(status) => {
                    self.kubelet_status(now, Key::cluster(&kinds::NODE, &self.name), None, status);
                }
                Output::Finished { key, uid } => self.finish_pod(now, key, uid),
                Output::Note(note) => self.note(now, &note),
            }
        }
    }

    fn kubelet_status(&mut self, now: Now, key: Key, uid: Option<Uid>, status: Value) {
        let change = Change::Status { key, status, when: Precondition { uid, revision: None } };
        self.kubelet_change(now, change);
    }

    /// Nothing is left of a terminating pod: its object may go.
    fn finish_pod(&mut self, now: Now, key: Key, uid: Uid) {
        let when = Precondition { uid: Some(uid), revision: None };
        let options = DeleteOptions { when, grace_seconds: Some(0), propagation: None };
        self.kubelet_change(now, Change::Delete { key, options });
    }

    fn kubelet_change(&mut self, now: Now, change: Change) {
        let key = change.key().clone();
        match self.commit(now, Author::Kubelet, change, Waiter::Nobody) {
            // The object is gone or another's by now, which the kubelet will hear.
            Ok(()) | Err(Rejected::NotFound { .. } | Rejected::UidMismatch { .. }) => {}
            Err(rejected) => tracing::warn!(%key, %rejected, "the kubelet's change was refused"),
        }
    }
}
