//! What can be done with objects.

pub mod delete;
pub mod read;
pub mod write;
