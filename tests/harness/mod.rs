//! What groups of tests share: a whole node on virtual time.

mod config;
mod machine;

pub use machine::Machine;
