//! What an exchange carries in parts: lists of ids that come in, records that come in and go out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::store::{Range, RecordId};

use super::message::{FRAME_BYTES, FRAME_RECORDS, Part, Records, Step};

/// The most ids that one exchange lists; if more differ, another follows.
pub(super) const MOST_IDS: usize = 128 << 10;
/// The most messages of one list: each but the last is half full at least, of ids or of ranges.
const MOST_FRAMES: u32 = 48;
/// How many parts of records are on their way at a time.
const IN_FLIGHT: usize = 4;

/// Which parts have come.
#[derive(Debug, Default)]
pub(super) struct Parts {
    come: BTreeSet<u32>,
    last: Option<u32>,
}

impl Parts {
    /// Notes a part. Returns whether all have come, `None` if this one came before or cannot be.
    pub fn take(&mut self, part: Part, most: u32) -> Option<bool> {
        let beyond = self.last.is_some_and(|last| part.number > last || part.last && part.number != last);
        let early = part.last && self.come.last().is_some_and(|come| *come > part.number);
        if part.number >= most || beyond || early || !self.come.insert(part.number) {
            return None;
        }
        if part.last {
            self.last = Some(part.number);
        }
        Some(self.last.is_some_and(|last| self.come.len() > last as usize))
    }
}

/// A list of ids that comes in parts.
#[derive(Debug, Default)]
pub(super) struct List {
    parts: Parts,
    pub ids: BTreeSet<RecordId>,
    pub ranges: Vec<Range>,
}

impl List {
    /// Takes a part: all ids of some ranges, or some ids of ranges known otherwise. Returns whether the list is complete
    /// now.
    pub fn take(&mut self, part: Part, ranges: &[Range], ids: &[RecordId]) -> bool {
        if self.ids.len() + ids.len() > MOST_IDS {
            return false;
        }
        let complete = self.parts.take(part, MOST_FRAMES);
        if complete.is_some() {
            self.ids.extend(ids);
            self.ranges.extend(ranges);
        }
        complete == Some(true)
    }
}

/// Records that are sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Arc<[u8]>>,
    /// Whether some are not held any more.
    gone: bool,
    in_flight: BTreeSet<u32>,
    next: u32,
    /// Whether the last part is not sent yet.
    unfinished: bool,
}

impl Outgoing {
    /// Sends records; `gone`: some that were wanted are not held any more. There is at least one part.
    pub fn new(records: Vec<Arc<[u8]>>, gone: bool) -> Self {
        Self { queue: records.into(), gone, unfinished: true, ..Self::default() }
    }

    /// Tells whether all has been sent and has come.
    pub fn is_done(&self) -> bool {
        !self.unfinished && self.in_flight.is_empty()
    }

    /// Notes that a part has come.
    pub fn acked(&mut self, number: u32) {
        self.in_flight.remove(&number);
    }

    /// Returns the next part, if it may go now.
    pub fn next(&mut self) -> Option<Step> {
        if !self.unfinished || self.in_flight.len() == IN_FLIGHT {
            return None;
        }
        let mut bytes = 0;
        let fits = |raw: &&Arc<[u8]>| {
            bytes += raw.len();
            bytes <= FRAME_BYTES
        };
        let count = self.queue.iter().take(FRAME_RECORDS).take_while(fits).count();
        let count = count.max(1).min(self.queue.len());
        let records: Arc<[_]> = self.queue.drain(..count).collect();
        let part = Part { number: self.next, last: self.queue.is_empty() };
        self.in_flight.insert(part.number);
        self.next += 1;
        self.unfinished = !part.last;
        Some(Step::Records { part, gone: self.gone, records: Records::Raw(records) })
    }
}
