//! What can be done with objects.

pub mod admitted;
pub mod apply;
pub mod delete;
pub mod evict;
pub mod read;
pub mod review;
pub mod token;
pub mod write;
