//! The API over the real node: a disk in memory that loses what was not synced, a fake Docker, no network.
//!
//! Time is virtual and runs fifty times as fast as the clock on the wall, so that a rollout takes no time to test.

#![allow(clippy::disallowed_methods, reason = "the API is an edge room: its tests have tasks and a clock")]

mod bad_input;
mod cluster;
mod custom;
#[path = "../harness/mod.rs"]
mod harness;
mod history;
mod jobs;
mod kinds;
mod refused;
mod survives;
mod watching;
mod webhooks;
mod workloads;
