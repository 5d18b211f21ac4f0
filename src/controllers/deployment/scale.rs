//! Changes of `spec.replicas`: told from rollouts, and shared out among the sets while a rollout is under way.

use std::cmp::Reverse;

use super::Step;
use super::set::{DESIRED, MAX, Set, sum};
use super::wanted::Wanted;

impl Step<'_> {
    /// Tells whether the Deployment was resized since a set was last scaled. Under Recreate several active sets are
    /// no proportions to keep but leftovers, which the strategy deals with.
    pub fn resized(&self) -> bool {
        let active = || self.sets.iter().filter(|s| s.active());
        let differs = |s: &Set| s.count(DESIRED).is_some_and(|n| n != self.wanted.replicas);
        (self.wanted.rolling || active().count() <= 1) && active().any(differs)
    }

    /// Scales without rolling out: the only set there is, or all in proportion.
    pub fn scale(&mut self) {
        if let Some(only) = self.only_active() {
            return self.resize(only, self.wanted.replicas);
        }
        if self.newest.is_some_and(|i| saturated(&self.sets[i], &self.wanted)) {
            for index in self.active_older() {
                self.resize(index, 0);
            }
        } else {
            self.scale_in_proportion();
        }
    }

    /// The one active set; if there is none, the newest one.
    fn only_active(&self) -> Option<usize> {
        let mut active = (0..self.sets.len()).filter(|i| self.sets[*i].active());
        match (active.next(), active.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) => None,
            (None, _) => {
                let latest = self.older().max_by_key(|i| (self.sets[*i].created, Reverse(self.sets[*i].name.clone())));
                self.newest.or(latest)
            }
        }
    }

    /// Shares out what the Deployment may have more (or must have less) in proportion to the sets' sizes, so that a
    /// rollout that is half done stays half done; what rounding leaves goes to the largest.
    fn scale_in_proportion(&mut self) {
        if !self.wanted.rolling {
            return;
        }
        let allowed = if self.wanted.replicas > 0 { self.wanted.most() } else { 0 };
        let mut order: Vec<usize> = (0..self.sets.len()).filter(|i| self.sets[*i].active()).collect();
        let to_add = allowed - sum(&self.sets, |s| s.replicas);
        order.sort_by_key(|i| {
            let Set { replicas, created, name, .. } = &self.sets[*i];
            // Of two sets of one size the newer grows first and the older shrinks first.
            let age = if to_add > 0 { -created.0 } else { created.0 };
            (Reverse(*replicas), age, name.clone())
        });
        let mut sizes = Vec::new();
        let mut added = 0;
        for index in &order {
            let set = &self.sets[*index];
            let share = share(set, &self.wanted, self.before.replicas.unwrap_or(0), to_add - added, to_add);
            sizes.push(set.replicas + share);
            added += share;
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (index, size) in order.into_iter().zip(sizes) {
            self.resize(index, size);
        }
    }
}

/// Tells whether a set is all that the Deployment asks for, and works.
fn saturated(set: &Set, wanted: &Wanted) -> bool {
    set.replicas == wanted.replicas && set.count(DESIRED) == Some(wanted.replicas) && set.available() == wanted.replicas
}

/// How much of `to_add` goes to `set`, of which `left` are not given yet.
fn share(set: &Set, wanted: &Wanted, actual: i32, left: i32, to_add: i32) -> i32 {
    if to_add == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(set, wanted, actual);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// By how much the set would grow were it alone: its part in the former maximum, applied to the new one, rounded
/// half up.
fn fraction(set: &Set, wanted: &Wanted, actual: i32) -> i32 {
    if wanted.replicas == 0 {
        return -set.replicas;
    }
    let former = set.count(MAX).filter(|n| *n > 0).unwrap_or(actual);
    if former <= 0 {
        return 0;
    }
    let (part, former) = (i64::from(set.replicas) * i64::from(wanted.most()), i64::from(former));
    let size = (2 * part + former) / (2 * former);
    i32::try_from(size).unwrap_or(i32::MAX) - set.replicas
}
