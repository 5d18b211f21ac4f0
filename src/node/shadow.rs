//! What a node that was away too long takes in place of its state, and what becomes of what it alone held.

use serde_json::{Value, json};

use crate::object::NoteType;
use crate::store::{Displaced, How, Index, Verified};
use crate::time::Now;

use super::{Effect, Node};

/// The records that were taken since this node knows that it is too old: what it presents as its holdings.
#[derive(Default)]
pub(super) struct Shadow {
    index: Index,
    records: Vec<Verified>,
}

impl Shadow {
    /// Takes a record.
    pub fn take(&mut self, record: Verified) {
        if self.index.get(&record.id()).is_none() {
            self.index.insert(&record.record().raw);
            self.records.push(record);
        }
    }

    /// Returns what was taken.
    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn into_records(self) -> Vec<Verified> {
        self.records
    }
}

impl Node {
    /// Has what only this node held kept in a file, and tells its user.
    pub(super) fn displace(&mut self, now: Now, displaced: &[Displaced]) {
        if displaced.is_empty() {
            return;
        }
        let name = format!("displaced-{}.json", now.wall.0.div_euclid(1_000_000));
        let text = serde_json::to_vec_pretty(&list(displaced)).expect("a JSON value serialises");
        let message = format!(
            "This node was away for too long. It has taken the cluster's state; {} objects that it alone had made, \
             changed or deleted are kept in {name} in its data folder",
            displaced.len()
        );
        self.horizons.keep(Effect::Displaced { name, text });
        self.note_about_itself(now, NoteType::Warning, "agent", "Displaced", message);
    }
}

/// Returns a List that a user can look through and apply.
fn list(displaced: &[Displaced]) -> Value {
    let of = |how: How| displaced.iter().filter(move |d| d.how == how);
    let names = |how: How| of(how).map(|d| d.key.to_string()).collect::<Vec<_>>();
    let items: Vec<&Value> = displaced.iter().filter(|d| d.how != How::Deleted).map(|d| &d.object).collect();
    json!({
        "apiVersion": "v1", "kind": "List", "items": items,
        "madeHere": names(How::Made), "changedHere": names(How::Changed), "deletedHere": names(How::Deleted),
    })
}
