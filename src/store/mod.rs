//! The replicated cluster state: intent is merged, decisions are fenced, observations are replaced, projections
//! are computed (design, section 3).

pub mod change;
pub mod snapshot;

pub use change::{Author, Change, Committed, DeleteOptions, Precondition, Propagation, Rejected};
pub use snapshot::{Entry, Snapshot, TooOld, WatchEvent};
