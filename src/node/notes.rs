//! Folds notes into Events: equal ones become one Event with a count, as upstream's recorder does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::{Key, Note, NoteType, kinds};
use crate::store::{Author, Change, Precondition, WatchEvent};
use crate::time::Now;

use super::{Node, Waiter};

/// How many different notes are remembered for folding.
const REMEMBERED: usize = 4_096;

/// Remembers which Event a note went into.
#[derive(Default)]
pub(super) struct Recorder {
    events: BTreeMap<NoteKey, Key>,
    counter: u64,
}

type NoteKey = (Uid, &'static str, String, String, &'static str);

impl Recorder {
    /// Forgets Events that are gone.
    pub fn notice(&mut self, event: &WatchEvent) {
        if event.new.is_none() && event.key().kind == &kinds::EVENT {
            self.events.retain(|_, key| key != event.key());
        }
    }
}

impl Node {
    /// Tells users about something.
    pub(super) fn note(&mut self, now: Now, note: &Note) {
        let known = note_key(note);
        let folded = self.recorder.events.get(&known).and_then(|key| {
            let entry = self.store.snapshot().get(key)?;
            Some(Change::Update { key: key.clone(), object: again(entry.value(), now), when: Precondition::default() })
        });
        let change = folded.unwrap_or_else(|| self.first(now, note, known));
        if let Err(rejected) = self.commit(now, Author::Leader, change, Waiter::Nobody) {
            tracing::debug!(%rejected, "event refused");
        }
    }

    /// Tells users something about this very node.
    pub(super) fn note_about_itself(
        &mut self,
        now: Now,
        kind: NoteType,
        component: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let regarding = Key::cluster(&kinds::NODE, &self.name);
        let Some(uid) = self.store.snapshot().get(&regarding).map(|entry| entry.uid) else { return };
        self.note(now, &Note { regarding, uid, field_path: String::new(), kind, reason, message, component });
    }

    fn first(&mut self, now: Now, note: &Note, known: NoteKey) -> Change {
        self.recorder.counter += 1;
        if self.recorder.events.len() >= REMEMBERED {
            self.recorder.events.pop_first();
        }
        let namespace = if note.regarding.namespace.is_empty() { "default" } else { &note.regarding.namespace };
        // Upstream's names: the object's, and a number that nothing else has.
        let number = now.wall.0.unsigned_abs().wrapping_mul(1_000).wrapping_add(self.recorder.counter % 1_000);
        let key = Key::new(&kinds::EVENT, namespace, format!("{}.{number:016x}", note.regarding.name));
        let object = event(&key, note, &self.name, now);
        self.recorder.events.insert(known, key.clone());
        Change::Create { key, object }
    }
}

fn note_key(note: &Note) -> NoteKey {
    (note.uid, note.reason, note.message.clone(), note.field_path.clone(), note.component)
}

fn event(key: &Key, note: &Note, host: &str, now: Now) -> Value {
    let about = &note.regarding;
    let mut involved = json!({
        "apiVersion": about.kind.api_version(), "kind": about.kind.kind, "name": about.name, "uid": note.uid,
    });
    if !about.namespace.is_empty() {
        involved["namespace"] = about.namespace.clone().into();
    }
    if !note.field_path.is_empty() {
        involved["fieldPath"] = note.field_path.clone().into();
    }
    let source = if note.component == "kubelet" {
        json!({"component": note.component, "host": host})
    } else {
        json!({"component": note.component})
    };
    let time = now.wall.to_string();
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "involvedObject": involved, "reason": note.reason, "message": note.message, "type": note.kind.as_str(),
        "source": source, "count": 1, "firstTimestamp": time, "lastTimestamp": time, "eventTime": null,
        "reportingComponent": note.component, "reportingInstance": host,
    })
}

/// Counts one more of the same.
fn again(mut event: Value, now: Now) -> Value {
    let count = event["count"].as_i64().unwrap_or(1);
    event["count"] = (count + 1).into();
    event["lastTimestamp"] = now.wall.to_string().into();
    event
}
