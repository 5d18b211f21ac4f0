//! What is told of a partition: a time in which a node did not see some members, and what came of it.

use serde::{Deserialize, Serialize};

use crate::object::Key;

/// How many names of a kind are told; the others are only counted.
const TOLD: usize = 5;

/// A time in which a node did not see some members, as that node saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Partition {
    /// When the first of them ceased to answer, RFC 3339.
    pub since: String,
    /// When the last of those that came back did; `None` while nobody has.
    pub healed: Option<String>,
    /// How long it was until then.
    pub seconds: u64,
    /// Whether nothing more is waited for: what has merged is brought in order.
    pub settled: bool,
    /// The members that this node saw, itself counted.
    pub here: Vec<String>,
    /// The members that it did not see.
    pub there: Vec<String>,
    /// Who was caretaker of this side last; empty if nobody was.
    pub caretaker: String,
    /// What was done on this side meanwhile, pods not counted.
    pub done_here: Deeds,
    /// What was done on the other side and came with the heal, pods not counted.
    pub done_there: Deeds,
    /// Objects that both sides have changed.
    pub both: Names,
    /// Objects that gave way to older ones of their name, or to the end of their namespace.
    pub displaced: Names,
    /// Objects of which an edit was dropped, one for each edit.
    pub dropped: Names,
    /// Services that were given another address or port.
    pub moved: Names,
    /// What became of pods.
    pub pods: Pods,
}

/// How many objects were made, changed and deleted on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deeds {
    /// Made, and there still.
    pub made: u64,
    /// Changed only.
    pub changed: u64,
    /// Deleted, made before.
    pub deleted: u64,
    /// The first of them all.
    pub first: Vec<String>,
    /// Whether there were more than are counted.
    pub more: bool,
}

/// How many things there were of a kind, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// The first.
    pub first: Vec<String>,
}

/// What became of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pods {
    /// Made on this side meanwhile, and how many of them by a caretaker.
    pub made_here: [u64; 2],
    /// Made on the other side, likewise.
    pub made_there: [u64; 2],
    /// One too many after the heal, and stopped.
    pub stopped: Names,
}

impl Names {
    /// Counts one more.
    pub fn add(&mut self, name: String) {
        self.count += 1;
        remember(&mut self.first, name);
    }
}

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was made.
    Made,
    /// It was changed.
    Changed,
    /// It was deleted.
    Deleted,
}

impl Deeds {
    /// Counts one more.
    pub fn add(&mut self, deed: Deed, name: String) {
        match deed {
            Deed::Made => self.made += 1,
            Deed::Changed => self.changed += 1,
            Deed::Deleted => self.deleted += 1,
        }
        remember(&mut self.first, name);
    }

    fn words(&self) -> String {
        let counts = [(self.made, "made"), (self.changed, "changed"), (self.deleted, "deleted")];
        let some: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if some.is_empty() {
            return "nothing".into();
        }
        let more = if self.more { " and more" } else { "" };
        let total = self.made + self.changed + self.deleted;
        format!("objects {}{more}{}", some.join(", "), named(&self.first, total))
    }
}

impl Partition {
    /// Says all of it, a line each.
    pub fn lines(&self) -> Vec<String> {
        let caretaker = match self.caretaker.as_str() {
            "" => String::new(),
            name => format!("; caretaker of this side: {name}"),
        };
        let sides = format!("{} | {}", list(&self.here), list(&self.there));
        let head = match &self.healed {
            Some(healed) => format!("{sides}: apart for {} s until {healed}{caretaker}", self.seconds),
            None => format!("{sides}: apart since {}{caretaker}", self.since),
        };
        let here = format!("here meanwhile: {}", self.done_here.words());
        let mut lines = vec![head, here];
        if self.healed.is_some() {
            lines.push(format!("from there: {}", self.done_there.words()));
        }
        let told = [
            (&self.both, "changed on both sides and merged"),
            (&self.displaced, "displaced by an older one (a copy is kept where anybody would miss it)"),
            (&self.dropped, "edits dropped, the other side's stand"),
            (&self.moved, "Services with another address or port now"),
        ];
        let told = told.iter().filter(|(names, _)| names.count > 0);
        lines.extend(told.map(|(names, what)| format!("{what}: {}{}", names.count, named(&names.first, names.count))));
        lines.extend(self.pods.words());
        lines
    }
}

impl Pods {
    fn words(&self) -> Option<String> {
        let made = |[all, caretakers]: [u64; 2], whence: &str| match caretakers {
            _ if all == 0 => None,
            0 => Some(format!("{all} made {whence}")),
            some => Some(format!("{all} made {whence}, {some} of them by a caretaker")),
        };
        let Names { count, first } = &self.stopped;
        let stopped = (*count > 0).then(|| format!("{count} surplus stopped{}", named(first, *count)));
        let words = [made(self.made_here, "here"), made(self.made_there, "there"), stopped];
        let words: Vec<String> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| format!("pods: {}", words.join("; ")))
    }
}

/// Writes an object's name as it is told: `configmap shop/settings`.
pub fn name(key: &Key) -> String {
    let slash = if key.namespace.is_empty() { "" } else { "/" };
    format!("{} {}{slash}{}", key.kind.singular, key.namespace, key.name)
}

fn remember(first: &mut Vec<String>, name: String) {
    if first.len() < TOLD && !first.contains(&name) {
        first.push(name);
    }
}

fn named(first: &[String], count: u64) -> String {
    if first.is_empty() {
        return String::new();
    }
    // One object may be counted several times.
    let more = if first.len() == TOLD && count > TOLD as u64 { ", ..." } else { "" };
    format!(" ({}{more})", first.join(", "))
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > TOLD { format!("{shown} and {} more", names.len() - TOLD) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn while_it_lasts_it_says_who_is_missing_and_what_is_done_here() {
        let mut partition = Partition {
            since: "2026-11-23T15:30:02Z".into(),
            here: names(&["n1"]),
            there: names(&["n2", "n3", "n4", "n5", "n6", "n7"]),
            caretaker: "n1".into(),
            ..Partition::default()
        };
        partition.done_here.add(Deed::Made, "configmap default/a".into());
        assert_eq!(
            partition.lines(),
            [
                "n1 | n2, n3, n4, n5, n6 and 1 more: apart since 2026-11-23T15:30:02Z; caretaker of this side: n1",
                "here meanwhile: objects 1 made (configmap default/a)"
            ]
        );
    }

    #[test]
    fn after_the_heal_it_says_what_came_and_what_was_too_much() {
        let mut partition = Partition {
            healed: Some("2026-11-23T15:31:10Z".into()),
            seconds: 68,
            here: names(&["n1"]),
            there: names(&["n2"]),
            ..Partition::default()
        };
        for n in 0..7 {
            partition.done_there.add(Deed::Changed, format!("secret default/s{n}"));
        }
        partition.displaced.add("configmap default/twice".into());
        for _ in 0..2 {
            partition.dropped.add("deployment default/web".into());
        }
        partition.pods = Pods { made_here: [3, 0], made_there: [2, 1], ..Pods::default() };
        partition.pods.stopped.add("default/web-1".into());
        let s = "secret default/s";
        assert_eq!(
            partition.lines(),
            [
                "n1 | n2: apart for 68 s until 2026-11-23T15:31:10Z".to_owned(),
                "here meanwhile: nothing".into(),
                format!("from there: objects 7 changed ({s}0, {s}1, {s}2, {s}3, {s}4, ...)"),
                "displaced by an older one (a copy is kept where anybody would miss it): 1 (configmap default/twice)"
                    .into(),
                "edits dropped, the other side's stand: 2 (deployment default/web)".into(),
                "pods: 3 made here; 2 made there, 1 of them by a caretaker; 1 surplus stopped (default/web-1)".into()
            ]
        );
    }
}
