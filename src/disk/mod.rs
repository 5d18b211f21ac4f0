//! Durable state: the log of records, the vote, the quorum registers, the identity.
//!
//! * Everything goes through [`Files`], so that tests can lose what was not synced.
//! * The log is append-only; a segment is never appended to by a second process, so a torn tail harms nobody.
//! * A damaged frame costs that frame: reading goes on at the next one.
//! * Identity, vote and registers are small sealed files of their own, which no backup holds (rule 22).

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod files;
pub mod folder;
mod frame;
pub mod identity;
pub mod log;
pub mod memory;
pub mod registry;
pub mod sealed;
pub mod votes;
pub mod writer;

#[cfg(test)]
mod tests;

pub use files::{Files, FolderFiles};
pub use folder::{DataFolder, FolderError};
pub use identity::{Identity, Joining, Registry, Vote};
pub use log::{Log, Piece, Recovered, look};
pub use memory::{MemoryFiles, Tail};
pub use votes::Votes;
pub use writer::{Job, Place, Report, Writer};
