//! After a merge: tells users what was lost of their edits, and has the leader bring names in order.

use crate::controllers::Controller;
use crate::time::Now;

use super::Node;

impl Node {
    /// Tells users what merges took from them. Each node tells of its own edits, leader or not.
    pub(super) fn tell_losses(&mut self, now: Now) {
        for note in self.store.take_notes() {
            self.note(now, &note);
        }
    }

    /// As leader, brings in order what merges have left, once every member that answers was heard out.
    pub(super) fn put_in_order(&mut self, now: Now) {
        let (Some(office), Some(since)) = (self.leading.since(), self.store.in_disorder_since()) else { return };
        let since = since.max(office);
        let unheard = self.unheard_since(since);
        if !unheard.is_empty() {
            for peer in unheard {
                self.exchange_soon(now, peer);
            }
            return;
        }
        let orders = self.store.put_in_order(now, self.term);
        self.work.add_all(orders.release.into_iter().map(|key| (Controller::Garbage, key)), now.mono);
        for note in orders.notes {
            self.note(now, &note);
        }
    }
}
