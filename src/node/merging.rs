//! After a merge: tells users what was lost of their edits.

use crate::time::Now;

use super::Node;

impl Node {
    /// Tells users what merges took from them. Each node tells of its own edits, leader or not.
    pub(super) fn tell_losses(&mut self, now: Now) {
        for note in self.store.take_notes() {
            self.note(now, &note);
        }
    }
}
