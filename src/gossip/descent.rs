//! How the beginner of an exchange finds what differs: ranges that differ are divided until they hold few ids, and then
//! listed. Each round goes two levels down, one on either side.

use std::collections::BTreeSet;

use crate::store::Range;

use super::Holdings;
use super::fingerprint::{Difference, Probe, bucket};
use super::message::{FRAME_IDS, FRAME_RANGES, MOST_RANGES};
use super::transfer::MOST_IDS;

/// A range of so few ids is listed: dividing it would cost as much.
const FEW: u64 = 16;
/// If ranges hold no more ids than this together, all are listed.
const FEW_IN_ALL: u64 = 256;
/// The most ranges that are listed.
const MOST_LISTED: usize = 16 << 10;

/// A search for differences.
#[derive(Debug)]
pub(super) struct Descent {
    /// To be listed.
    listed: Vec<Range>,
    /// Being divided.
    asked: BTreeSet<Range>,
    /// Whether more differs than is followed up.
    rest: bool,
    watch: Watch,
}

/// Ids to list, as far as they go into a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frame {
    /// Of which ranges.
    pub ranges: Vec<super::Range>,
    /// All ids of them.
    pub ids: Vec<super::RecordId>,
}

impl Descent {
    /// Begins one; what differs is made of parts of `found`.
    pub fn new(found: &[Difference], holdings: &dyn Holdings) -> Self {
        let mut watch = Watch::new(holdings);
        watch.add(found.iter().map(|found| found.range));
        let mut descent = Self { listed: Vec::new(), asked: BTreeSet::new(), rest: false, watch };
        descent.sort_out(found);
        descent
    }

    /// Goes on with what the other side found of what was asked.
    pub fn go_on(&mut self, probes: &[Probe], rest: bool, holdings: &dyn Holdings) {
        let mut asked = std::mem::take(&mut self.asked);
        self.rest |= rest;
        let mut found = Vec::new();
        for probe in probes {
            // Each part of what was asked may be answered once; the rest is somebody's mistake.
            let within = probe.range.whole().is_some_and(|whole| asked.contains(&whole));
            if within && !asked.contains(&probe.range) {
                asked.insert(probe.range);
                found.extend(probe.differing(holdings));
            }
        }
        self.sort_out(&found);
    }

    fn sort_out(&mut self, found: &[Difference]) {
        let few = found.iter().map(|found| found.count).sum::<u64>() <= FEW_IN_ALL;
        for Difference { range, count, lacking } in found {
            let deep = range.depth() + 2 > Range::DEEPEST;
            if few || *count <= FEW || *lacking || deep {
                self.listed.push(*range);
            } else {
                self.asked.insert(*range);
            }
        }
        self.rest |= self.listed.len() > MOST_LISTED || self.asked.len() > MOST_RANGES;
        self.listed.truncate(MOST_LISTED);
        if let Some(first) = self.asked.iter().nth(MOST_RANGES).copied() {
            self.asked.split_off(&first);
        }
    }

    /// Returns what is to be asked now, nothing if all is found.
    pub fn probes(&self, holdings: &dyn Holdings) -> Vec<Probe> {
        self.asked.iter().map(|range| Probe::of(*range, holdings)).collect()
    }

    /// Lists what was found. Returns whether more differs than that, too.
    pub fn list(mut self, holdings: &dyn Holdings) -> (Vec<Frame>, bool) {
        self.listed.sort_unstable();
        self.listed.reverse();
        let (mut frames, mut frame, mut count) = (Vec::new(), Frame::default(), 0);
        while let Some(range) = self.listed.pop() {
            let ids = holdings.ids(range);
            if ids.len() > FRAME_IDS {
                self.listed.extend(range.parts().into_iter().flatten().rev());
                continue;
            }
            count += ids.len();
            if count > MOST_IDS {
                self.rest = true;
                break;
            }
            if frame.ids.len() + ids.len() > FRAME_IDS || frame.ranges.len() == FRAME_RANGES {
                frames.push(std::mem::take(&mut frame));
            }
            frame.ranges.push(range);
            frame.ids.extend(ids);
        }
        frames.push(frame);
        let rest = self.rest || self.watch.has_seen(holdings);
        (frames, rest)
    }
}

/// Looks out for records that are taken out of what is held while it is compared: what replaced them may lie where
/// nobody looks any more, so that the other side gets neither.
#[derive(Debug)]
pub(super) struct Watch {
    removed: Box<[u64; 256]>,
    /// Where it matters.
    parts: BTreeSet<usize>,
}

impl Watch {
    /// Begins to look.
    pub fn new(holdings: &dyn Holdings) -> Self {
        Self { removed: Box::new(*holdings.removed()), parts: BTreeSet::new() }
    }

    /// What is in these ranges, or near them, matters too.
    pub fn add(&mut self, ranges: impl Iterator<Item = Range>) {
        self.parts.extend(ranges.map(bucket));
    }

    /// Tells whether anything went since.
    pub fn has_seen(&self, holdings: &dyn Holdings) -> bool {
        self.parts.iter().any(|part| self.removed.get(*part) != holdings.removed().get(*part))
    }
}
