//! The strategy RollingUpdate.

use super::Step;
use super::set::sum;

impl Step<'_> {
    /// Takes one step: the newest set up, or else the older ones down, or else the leftovers away.
    pub fn roll(&mut self) {
        let Some(newest) = self.ensure_newest() else { return };
        if !self.grow_newest(newest) && !self.shrink_older(newest) && self.was_complete() {
            self.clean_up();
        }
    }

    /// Scales the newest set to what the Deployment asks for, as far as there is room.
    fn grow_newest(&mut self, newest: usize) -> bool {
        let size = self.newest_size(newest);
        let moved = size != self.sets[newest].replicas;
        if moved {
            self.resize(newest, size);
        }
        moved
    }

    /// How large the newest set may be now. Pods that an older set has yet to give up take room too.
    pub fn newest_size(&self, newest: usize) -> i32 {
        let (set, wanted) = (&self.sets[newest], &self.wanted);
        if !wanted.rolling || set.replicas >= wanted.replicas {
            return wanted.replicas;
        }
        let room = wanted.most() - sum(&self.sets, |s| s.pods());
        set.replicas + room.clamp(0, wanted.replicas - set.replicas)
    }

    /// Scales older sets down: first by pods that do not work anyway, then by as many as can be spared.
    fn shrink_older(&mut self, newest: usize) -> bool {
        let older = self.active_older();
        if older.is_empty() {
            return false;
        }
        // Pods of the newest set that are not available yet must not make the older ones go: they may never be.
        let awaited = self.sets[newest].replicas - self.sets[newest].available();
        let spare = sum(&self.sets, |s| s.replicas) - self.wanted.fewest_available() - awaited;
        if spare <= 0 {
            return false;
        }
        let dropped = self.drop_unhealthy(&older, spare);
        let spared = self.drop_spare(&older);
        dropped + spared > 0
    }

    /// Scales older sets down by their unavailable pods, which a ReplicaSet deletes first.
    fn drop_unhealthy(&mut self, older: &[usize], most: i32) -> i32 {
        let mut dropped = 0;
        for index in older {
            let set = &self.sets[*index];
            let drop = (set.replicas - set.available()).min(most - dropped);
            if drop > 0 {
                self.resize(*index, set.replicas - drop);
                dropped += drop;
            }
        }
        dropped
    }

    /// Scales older sets down by what is available beyond the minimum.
    fn drop_spare(&mut self, older: &[usize]) -> i32 {
        let spare = sum(&self.sets, |s| s.available()) - self.wanted.fewest_available();
        let mut dropped = 0;
        for index in older {
            let replicas = self.sets[*index].replicas;
            let drop = replicas.min(spare - dropped);
            if drop > 0 {
                self.resize(*index, replicas - drop);
                dropped += drop;
            }
        }
        dropped
    }
}
