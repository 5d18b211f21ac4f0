//! The replicated cluster state: intent is merged, decisions are fenced, observations are replaced, projections
//! are computed (design, section 3).
//!
//! [`Store`] is one node's copy of all of it. What is asked of an object (intent) is a document, merged field by
//! field; its status and a pod's node are registers, the highest stamp wins; Events live in memory; what is gone
//! leaves a tombstone that beats everything. All of it is told by signed records, the same on disk and
//! between nodes, and the state is a function of the *set* of records, whatever their order.
//!
//! ```text
//! Change -> plan -> commit -> outbox -> take_batch -> (disk) -> persisted -> Snapshot, answers
//! record of a peer -> merge ----^      `-> take_news -> (peers)    ^
//! observation, Event, projection ----------------------------------' at once
//! ```
//!
//! Files: `class` is the table of what is what. `leaves`, `path`, `inflate` take objects apart and put them together;
//! `document` (with `scan`, `leb`, `lineage` and `fork`) is the only one that knows Automerge. `record` and `wire` are the format, `register`,
//! `parts` (with `small`) what is held, `status` and `render` how it is shown. `plan`, `decide`, `delete`, `allocate`, `uid` say what a
//! change comes to, `decided` of what quorum registers hold; `commit`, `show`, `revision` carry it out; `merge`, `waiting`, `open` take records in, `bounds`, `evict`
//! and `quarantine` keep bad ones out, `epoch` and the files named after it begin histories anew, `repair` makes
//! valid what sides made together, `notices` tells what was lost, `order` and `displaced` see to two objects of one
//! name; `news` and `holdings` give records to peers, who compare sums of their ids: `index`, by `range`. `reach` projects
//! how nodes are. `graves`, `burials` and `horizon` collect tombstones, `rejoin` is for who slept too long.
//!
//! Invariants, each with its tests:
//! - *durable first*: a Snapshot shows intent, decisions and clients' status only once they are durable;
//! - *acknowledged survives*: what was answered is there after a crash;
//! - *convergence*: stores that hold the same records show the same objects, revisions and projections apart, and once
//!   they have exchanged what they hold they hold the same;
//! - *every ticket is answered*, whatever becomes of its object meanwhile;
//! - *tombstones win*: what is gone does not come back; a deletion is never taken back and finalizers then only shrink;
//! - *revisions grow* and none is shown twice, crash or not;
//! - *the index is the holdings*: whatever happened, it is what a recount of all objects would make it;
//! - *histories are bounded*: a decision takes the place of what it counts, and no late change is lost or taken twice;
//! - *idle is silent*: nothing asked, nothing written; what changes nothing makes no record and no revision.

// A `Rejected` says all that the API's answer needs, on a path that is rare and ends there.
#![allow(clippy::result_large_err)]

pub mod change;
pub mod snapshot;

mod allocate;
mod bounds;
mod burials;
pub mod class;
mod commit;
mod credit;
mod decide;
pub mod decided;
mod delete;
pub mod displaced;
mod document;
mod ephemeral;
pub mod epoch;
mod epoch_assemble;
mod epoch_begin;
mod epoch_cut;
mod epoch_images;
mod epoch_merge;
mod evict;
mod fork;
#[doc(hidden)]
pub mod fuzzing;
mod graves;
mod guard;
pub mod history;
mod holdings;
mod horizon;
mod index;
mod inflate;
mod leaves;
mod leb;
mod lineage;
mod merge;
mod news;
mod notices;
mod open;
mod order;
mod parts;
mod path;
mod plan;
mod quarantine;
mod range;
mod reach;
pub mod record;
mod register;
mod rejoin;
mod rename;
mod render;
mod repair;
mod restore;
mod revision;
mod scan;
mod show;
mod small;
mod state;
mod status;
mod uid;
mod waiting;
mod wire;

#[cfg(test)]
mod tests;

pub use change::{Author, Change, Committed, DeleteOptions, Precondition, Propagation, Rejected};
pub use credit::Credit;
pub use decided::{After, Decision};
pub use document::DocumentError;
pub use epoch_cut::Overgrown;
pub use history::{CannotUndo, Edit, FieldEdit, undo};
pub use horizon::{Horizon, KEPT, Standing};
pub use index::Index;
pub use leaves::ListKeys;
pub use merge::{MergeError, Merged};
pub use open::{OpenReport, Refusal};
pub use order::Orders;
pub use plan::MAX_OBJECT_BYTES;
pub use quarantine::Quarantined;
pub use range::{PARTS, Range, Sum};
pub use reach::{RETURNING, Reach, UNREACHABLE};
pub use record::{MAX_RECORD_BYTES, RecordError, RecordId, Verified};
pub use register::Slot;
pub use rejoin::{Displaced, How};
pub use restore::{Restored, restore};
pub use snapshot::{Entry, Snapshot, TooOld, WatchEvent};
pub use state::{Batch, Config, News, Receipt, Store, Ticket};
