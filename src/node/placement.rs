//! Puts pods on nodes: keeps the pods that wait, asks the scheduler, commits the bindings.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::object::{Key, Note, NoteType, kinds};
use crate::scheduler::{self, View};
use crate::store::{Change, Entry, Precondition, Snapshot, WatchEvent};
use crate::time::{Mono, Now};

use super::caretaking::Office;
use super::{Node, Waiter};

/// A pod that fits nowhere is tried again when something changes, and at least this often.
const RETRY: Duration = Duration::from_secs(10);

/// A pod that others may have bound is looked at again so soon.
const SOON: Duration = Duration::from_millis(200);

/// The pods that have no node.
#[derive(Default)]
pub(super) struct Placement {
    /// When to try next.
    waiting: BTreeMap<Key, Mono>,
    /// Nothing is to be tried before: thousands may wait while the node has other things to do.
    next: Mono,
    /// Bindings that are not shown yet. Until they are, the view has room that is taken (rule 12).
    bindings: usize,
    /// What is known of nodes and bound pods, to be refreshed rather than read anew.
    view: View,
}

impl Placement {
    /// Finds all pods that wait.
    pub fn start(&mut self, view: &Snapshot) {
        let pods = view.list(&kinds::POD, None).filter(|e| waits(e));
        self.waiting = pods.map(|e| (e.key.clone(), Mono::default())).collect();
        self.next = Mono::default();
    }

    /// Forgets the pods that wait: another node decides now.
    pub fn rest(&mut self) {
        self.waiting.clear();
    }

    /// A binding is shown now.
    pub fn binding_shown(&mut self) {
        self.bindings -= 1;
    }

    /// Notes a pod that waits, or that something changed which may let waiting ones fit.
    pub fn notice(&mut self, event: &WatchEvent) {
        let key = event.key();
        if key.kind == &kinds::POD {
            let fresh = event.new.as_ref().filter(|e| waits(e));
            if fresh.is_some() {
                self.next = Mono::default();
            }
            match fresh {
                Some(_) if event.old.is_none() => drop(self.waiting.insert(key.clone(), Mono::default())),
                Some(_) => drop(self.waiting.entry(key.clone()).or_default()),
                None => drop(self.waiting.remove(key)),
            }
        }
        if frees_room(event) {
            self.waiting.values_mut().for_each(|at| *at = Mono::default());
            self.next = Mono::default();
        }
    }
}

/// Tells whether a pod has no node and is to have one.
pub(super) fn waits(pod: &Entry) -> bool {
    pod.node.is_none() && !pod.terminating && !finished(pod)
}

fn finished(pod: &Entry) -> bool {
    matches!(pod.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Whether the event may let a pod fit that did not: a node came or changed, a pod went.
fn frees_room(event: &WatchEvent) -> bool {
    match (event.key().kind, &event.old, &event.new) {
        (kind, _, Some(_)) if kind == &kinds::NODE => true,
        (kind, Some(old), None) if kind == &kinds::POD => old.node.is_some(),
        (kind, Some(old), Some(new)) if kind == &kinds::POD => !finished(old) && finished(new),
        _ => false,
    }
}

impl Node {
    /// Tries to place every pod that is due.
    pub(super) fn place_pods(&mut self, now: Now, office: Office) {
        if now.mono < self.placement.next {
            return;
        }
        let due: Vec<Key> =
            self.placement.waiting.iter().filter(|(_, at)| **at <= now.mono).map(|(k, _)| k.clone()).collect();
        if due.is_empty() {
            self.placement.next = self.placement.waiting.values().min().copied().unwrap_or(now.mono + RETRY);
            return;
        }
        if self.placement.bindings > 0 {
            return;
        }
        let view = self.placement.view.refreshed(self.store.snapshot());
        let mut view = view.cautious(office == Office::Caretaker);
        for key in due {
            let Some(entry) = self.store.snapshot().get(&key).cloned() else {
                self.placement.waiting.remove(&key);
                continue;
            };
            if self.may_bind(now, office, &entry) {
                self.placement.waiting.insert(key, now.mono + RETRY);
                self.place(now, office, &mut view, &entry);
            } else {
                self.placement.waiting.insert(key, now.mono + SOON);
            }
        }
        self.placement.view = view;
    }

    fn place(&mut self, now: Now, office: Office, view: &mut View, entry: &Entry) {
        let Some(pod) = entry.typed::<Pod>() else { return };
        if !scheduler::is_waiting(&pod) {
            // Another scheduler's, or gated: it is looked at again when it changes.
            self.placement.waiting.remove(&entry.key);
            return;
        }
        match scheduler::schedule(view, &pod) {
            Ok(node) => self.bind(now, office, view, entry, &pod, &node),
            Err(unschedulable) => self.report_unschedulable(now, office, entry, &unschedulable.to_string()),
        }
    }

    fn bind(&mut self, now: Now, office: Office, view: &mut View, entry: &Entry, pod: &Pod, node: &str) {
        let key = entry.key.clone();
        let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
        let change = Change::Bind { key: key.clone(), when: Precondition::same(entry), node: node.to_owned() };
        self.placement.bindings += 1;
        match self.commit(now, office.author(), change, Waiter::Binding) {
            Ok(()) => {
                view.assume(pod, node);
                self.placement.waiting.remove(&key);
                self.note(now, &note(entry, NoteType::Normal, "Scheduled", message));
            }
            Err(rejected) => {
                self.placement.bindings -= 1;
                tracing::debug!(%key, %rejected, "binding refused");
            }
        }
    }

    fn report_unschedulable(&mut self, now: Now, office: Office, entry: &Entry, reason: &str) {
        let mut status = entry.value()["status"].take();
        let known = status["conditions"].as_array().is_some_and(|c| c.iter().any(|c| c["message"] == reason));
        if !known {
            let condition = serde_json::json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason,
                "lastProbeTime": null, "lastTransitionTime": now.wall.to_string(),
            });
            status["conditions"] = serde_json::json!([condition]);
            let change = Change::Status { key: entry.key.clone(), status, when: Precondition::same(entry) };
            if let Err(rejected) = self.commit(now, office.author(), change, Waiter::Nobody) {
                tracing::debug!(key = %entry.key, %rejected, "status refused");
            }
        }
        self.note(now, &note(entry, NoteType::Warning, "FailedScheduling", reason.to_owned()));
    }
}

fn note(entry: &Entry, kind: NoteType, reason: &'static str, message: String) -> Note {
    Note {
        regarding: entry.key.clone(),
        uid: entry.uid,
        field_path: String::new(),
        kind,
        reason,
        message,
        component: "default-scheduler",
    }
}
