//! Registers: facts that are replaced as a whole. The highest stamp wins, on every node alike.

use std::ops::Range;
use std::sync::Arc;

use crate::ids::NodeId;

/// When a value was written, as far as order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Term of an elected decision, round of a caretaker's, incarnation of an observer, hybrid time of a client.
    pub major: u64,
    /// Number within it.
    pub minor: u64,
    /// Who wrote: breaks ties.
    pub author: NodeId,
}

/// Which register of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// A pod's node, by an elected leader: `{"node": name, "at": time, "id": of that node}`.
    Binding,
    /// Status, by an elected leader.
    Status,
    /// A pod's node, by a caretaker: as [`Slot::Binding`], which it gives way to.
    CaretakerBinding,
    /// Status, by a caretaker: `{"over": stamp, "status": ...}`, with the stamp of the elected register that it was decided over.
    CaretakerStatus,
    /// Status, by the author's kubelet; one for each author.
    Observation,
    /// The spec of a kind whose spec is decided.
    Spec,
}

impl Slot {
    /// Its number in records.
    pub fn number(self) -> u8 {
        match self {
            Self::Binding => 1,
            Self::Status => 2,
            Self::CaretakerBinding => 3,
            Self::CaretakerStatus => 4,
            Self::Observation => 5,
            Self::Spec => 6,
        }
    }

    /// Reads its number.
    pub fn of(number: u8) -> Option<Self> {
        let decided = [Self::Binding, Self::Status, Self::CaretakerBinding, Self::CaretakerStatus, Self::Spec];
        decided.into_iter().chain([Self::Observation]).find(|slot| slot.number() == number)
    }
}

/// One register's content.
#[derive(Clone, Debug)]
pub struct Register {
    /// When it was written.
    pub stamp: Stamp,
    /// The signed record that says so; `None` while it is unsigned.
    pub record: Option<Arc<[u8]>>,
    bytes: Arc<[u8]>,
    value: Range<usize>,
}

impl Register {
    /// Makes one that is not signed yet.
    pub fn draft(stamp: Stamp, value: Vec<u8>) -> Self {
        let value_range = 0..value.len();
        Self { stamp, record: None, bytes: value.into(), value: value_range }
    }

    /// Makes one from a signed record and the value's place in it.
    pub fn signed(stamp: Stamp, record: Arc<[u8]>, value: Range<usize>) -> Self {
        Self { stamp, bytes: Arc::clone(&record), record: Some(record), value }
    }

    /// Returns the value: JSON.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.value.clone()]
    }

    /// Tells whether it replaces `other`. Equal stamps do not happen; if they do, value and signature decide, so that
    /// every node keeps the same record.
    pub fn beats(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| (self.stamp, self.value(), &self.record) > (other.stamp, other.value(), &other.record))
    }
}

/// What a client said about one field of a status, or one condition.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was said.
    pub stamp: Stamp,
    /// JSON; `None` if it was taken back.
    pub value: Option<Arc<[u8]>>,
    /// The signed record that says so, among others.
    pub record: Option<Arc<[u8]>>,
}

impl Told {
    /// Tells whether it replaces `other`.
    pub fn beats(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| (self.stamp, &self.value, &self.record) > (other.stamp, &other.value, &other.record))
    }
}
