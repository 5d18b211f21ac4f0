//! The strategy Recreate: nothing new before all that is old is gone.

use crate::object::kinds;

use super::super::pod;
use super::Step;

impl Step<'_> {
    /// Takes one step: the older sets to zero, then wait for their pods to end, then the newest set to its size.
    pub fn recreate(&mut self) {
        let older = self.active_older();
        for index in &older {
            self.resize(*index, 0);
        }
        if !older.is_empty() || self.old_pods_run() {
            return;
        }
        let Some(newest) = self.ensure_newest() else { return };
        if self.sets[newest].replicas != self.wanted.replicas {
            self.resize(newest, self.wanted.replicas);
        }
        if self.was_complete() {
            self.clean_up();
        }
    }

    /// Tells whether any pod of an older set may still run, terminating ones included.
    fn old_pods_run(&self) -> bool {
        let sets = self.older().map(|i| &self.sets[i]);
        let mut entries = sets.filter_map(|s| s.entry.as_ref());
        entries.any(|e| self.view.controlled_by(e.uid, &kinds::POD).any(|p| !pod::finished(p)))
    }
}
