//! Kubernetes objects as data: kinds and keys, the upstream schema, selectors, quantities, patches, defaults,
//! validation, and the predicates that say whether a pod fits a node.
//!
//! Objects are raw JSON here, so that no field is lost; what is known about their shape comes from the upstream
//! schema, never from a struct written by hand. The room is pure: it may not read a clock or draw a random number.

pub mod json;
pub mod key;
pub mod kinds;
pub mod note;

pub mod defaults;
pub mod fit;
pub mod hold;
pub mod quantity;
pub mod selector;
pub mod validation;

pub use key::Key;
pub use kinds::Kind;
pub use note::{Note, NoteType};

pub use quantity::Quantity;
pub use selector::Selector;

pub mod cron;
pub mod custom;
pub mod decode;
pub mod disruption;
pub mod managed;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod raw;
pub mod schema;
pub mod view;
pub mod write;
