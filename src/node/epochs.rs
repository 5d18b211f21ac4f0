//! Cuts histories that have grown long: the elected leader decides, one at a time, on what it held when it last
//! exchanged everything with each member that is there.

use std::time::Duration;

use crate::features::Feature;
use crate::store::Overgrown;
use crate::time::{Mono, Now};

use super::Node;

/// How often long histories are looked for.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is looked whether those that were found can be cut.
const SOON: Duration = Duration::from_secs(5);
/// How long members may take to exchange what they hold; after that all is looked at anew.
const PATIENCE: Duration = Duration::from_secs(600);
/// The most histories that are found at once. Each is cut in a turn of its own, since that may take 10 ms.
const MOST: usize = 64;

/// Histories that are to be cut.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    next: Mono,
    /// What was found, and when.
    found: Option<(Mono, Vec<Overgrown>)>,
    /// The horizon for which former documents were last let go.
    horizon: u64,
}

impl Node {
    /// Decides what is to be decided about histories. Quiet as long as none is long.
    pub(super) fn cut_histories(&mut self, now: Now) {
        if now.mono < self.epochs.next {
            return;
        }
        self.epochs.next = now.mono + LOOK;
        if self.epochs.horizon != self.store.horizon() {
            self.epochs.horizon = self.store.horizon();
            self.store.forget_former_documents();
        }
        if !self.may_use(Feature::Epochs) {
            return;
        }
        for at in self.store.misled() {
            tracing::warn!(uid = %at.uid, "a wrong decision about an object's history is put right");
            self.store.cut(now, at);
        }
        if !self.leading.is_leader() {
            self.epochs.found = None;
            return;
        }
        match self.epochs.found.take() {
            None => {
                let found = self.store.overgrown(MOST);
                if !found.is_empty() {
                    self.epochs.found = Some((now.mono, found));
                    self.epochs.next = now.mono + SOON;
                }
            }
            Some((since, found)) => self.cut_if_held(now, since, found),
        }
    }

    /// Cuts one of what was found, once all members that are there have exchanged all they hold with this node since.
    fn cut_if_held(&mut self, now: Now, since: Mono, mut found: Vec<Overgrown>) {
        let behind = self.unheard_since(since);
        if behind.is_empty() {
            if let Some(at) = found.pop() {
                let cut = self.store.cut(now, at);
                tracing::debug!(uid = %at.uid, epoch = at.epoch, cut, "a long history");
            }
            if !found.is_empty() {
                self.epochs.next = now.mono;
                self.epochs.found = Some((since, found));
            }
            return;
        }
        self.epochs.next = now.mono + SOON;
        if now.mono.since(since) < PATIENCE {
            self.epochs.found = Some((since, found));
            for peer in behind {
                self.exchange(now, peer);
            }
        }
    }
}
