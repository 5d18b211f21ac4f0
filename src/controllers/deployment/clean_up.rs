//! Old ReplicaSets beyond `revisionHistoryLimit`.

use crate::store::{Change, DeleteOptions, Precondition};

use super::super::BURST;
use super::Step;
use super::set::Set;

impl Step<'_> {
    /// Deletes the sets of the oldest revisions, except those that have pods, shall have some, or may yet.
    pub fn clean_up(&mut self) {
        let Some(history) = self.wanted.history else { return };
        let mut older: Vec<&Set> = self.older().map(|i| &self.sets[i]).filter(|s| !s.terminating()).collect();
        older.sort_by_key(|s| (s.revision().unwrap_or(0), s.created, s.name.clone()));
        let surplus = older.len().saturating_sub(history).min(BURST);
        let idle = |s: &&&Set| s.actual == 0 && s.replicas == 0 && s.live == 0 && s.observed;
        let doomed = older.iter().take(surplus).filter(idle).filter_map(|s| s.entry.as_ref());
        let changes: Vec<Change> = doomed
            .map(|entry| {
                let options = DeleteOptions { when: Precondition::unchanged(entry), ..DeleteOptions::default() };
                Change::Delete { key: entry.key.clone(), options }
            })
            .collect();
        self.plan.changes.extend(changes);
    }
}
