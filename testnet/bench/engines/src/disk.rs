//! The log as the agent has it.

#![allow(dead_code, unreachable_pub)]

#[path = "../../../../src/disk/files.rs"]
pub mod files;
#[path = "../../../../src/disk/frame.rs"]
mod frame;
#[path = "../../../../src/disk/log.rs"]
pub mod log;
