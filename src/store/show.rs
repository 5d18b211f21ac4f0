//! From the working state to what is shown: revisions, the Snapshot, projections.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::{PersistId, Revision, Uid};
use crate::object::Key;
use crate::time::Now;

use super::change::Committed;
use super::class::Section;
use super::parts::Parts;
use super::record::Body;
use super::{Entry, Pending, Store, Ticket, Waiting};

impl Store {
    /// All batches up to `id` are durable: shows what waited for them, in order.
    pub fn persisted(&mut self, id: PersistId) -> Vec<(Ticket, Committed)> {
        let mut done = Vec::new();
        while self.pending.front().is_some_and(|p| p.batch <= id) {
            let Some(Pending { what, .. }) = self.pending.pop_front() else { break };
            match what {
                Waiting::Ceiling(ceiling) => self.revisions.reserved(ceiling),
                Waiting::Show { ticket, key, uid, parts, gone } => {
                    done.push((ticket, self.show(&key, uid, parts, gone)));
                }
            }
        }
        done
    }

    /// Shows a projection, or with `None` that it is gone. Nothing happens if it is shown so already.
    pub fn project(&mut self, now: Now, key: &Key, object: Option<Value>) {
        self.wall = now.wall;
        let Some(object) = object else {
            if self.projected.remove(key) {
                self.show_entry(key, |_| None);
            }
            return;
        };
        self.projected.insert(key.clone());
        let same = self.snapshot.get(key).is_some_and(|entry| {
            let mut shown = entry.value();
            if let Some(meta) = shown["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
            shown == object
        });
        if !same {
            self.show_value(key, object);
        }
    }

    /// Makes something wait for the disk.
    pub(super) fn wait(&mut self, key: &Key, uid: Uid, parts: Parts, gone: bool) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket = Ticket(ticket.0 + 1);
        if let Some(object) = self.objects.get_mut(&uid) {
            object.pending += 1;
        }
        let what = Waiting::Show { ticket, key: key.clone(), uid, parts, gone };
        self.pending.push_back(Pending { batch: self.next_batch, what });
        ticket
    }

    /// Shows an object as `parts` say, or as gone. Returns what a caller is told, always: somebody may wait for it.
    fn show(&mut self, key: &Key, uid: Uid, mut parts: Parts, gone: bool) -> Committed {
        let before = self.snapshot.get(key).filter(|e| e.uid == uid).cloned();
        if let Some(object) = self.objects.get_mut(&uid) {
            object.pending = object.pending.saturating_sub(1);
            // Observations do not wait: the newest is shown.
            if let Some(newest) = object.working.registers.get(&Section::Observation) {
                parts.registers.insert(Section::Observation, newest.clone());
            }
            object.shown = Some(parts.clone());
        } else if !gone {
            // It is gone already in the working state; its tombstone waits behind.
            let entry = parts.entry(key, uid, self.revisions.last());
            return Committed { entry: Arc::new(entry), removed: false };
        }
        self.show_name(key);
        let shown = self.snapshot.get(key).filter(|e| !gone && e.uid == uid).cloned();
        let last = || Arc::new(parts.entry(key, uid, self.revisions.last()));
        Committed { entry: shown.or(before).unwrap_or_else(last), removed: gone }
    }

    /// Shows whoever has a name now: of several, the oldest; a tie goes to the lower uid.
    pub(super) fn show_name(&mut self, key: &Key) {
        let holders = self.names.get(key).into_iter().flatten();
        let oldest = holders
            .filter_map(|uid| {
                let parts = self.objects.get(uid)?.shown.as_ref()?;
                let created = parts.intent()["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
                Some((created, *uid))
            })
            .min();
        match oldest {
            None => self.show_entry(key, |_| None),
            Some((_, uid)) => {
                let parts = self.objects.get(&uid).and_then(|o| o.shown.clone()).expect("it was found just now");
                self.show_entry(key, |revision| Some(parts.entry(key, uid, revision)));
            }
        }
    }

    /// Shows a whole object that has no parts.
    pub(super) fn show_value(&mut self, key: &Key, mut object: Value) -> Arc<Entry> {
        self.show_entry(key, |revision| {
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            Some(Entry::of(key.clone(), revision, &object))
        });
        Arc::clone(self.snapshot.get(key).expect("it was shown just now"))
    }

    /// Gives the next revision and shows what `make` makes of it.
    pub(super) fn show_entry(&mut self, key: &Key, make: impl FnOnce(Revision) -> Option<Entry>) {
        let revision = self.revisions.next(self.wall);
        self.snapshot.show(key, make(revision).map(Arc::new), revision);
        self.reserve();
    }

    /// Makes the next ceiling durable in time.
    pub(super) fn reserve(&mut self) {
        if let Some(ceiling) = self.revisions.wanted(self.wall) {
            self.record(&Body::Ceiling(ceiling.0), true);
            self.pending.push_back(Pending { batch: self.next_batch, what: Waiting::Ceiling(ceiling) });
        }
    }
}
