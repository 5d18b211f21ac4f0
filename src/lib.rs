//! Skein: a peer-to-peer, masterless container orchestrator that speaks Kubernetes.
//!
//! **Pure rooms decide, edge rooms do.** A pure room is synchronous and touches no socket, file, clock or random
//! source: time, randomness and messages come in as values, and what is to be done goes out as values. The map of
//! the house is `docs/architecture.md`; `tests/imports.rs` holds the table of who may see whom.

// Pure rooms.
pub mod authorization;
pub mod controllers;
pub mod election;
pub mod features;
pub mod gossip;
pub mod ids;
pub mod kubelet;
pub mod membership;
pub mod node;
pub mod object;
pub mod routing;
pub mod scheduler;
pub mod store;
pub mod time;
pub mod trust;

// Edge rooms.
pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod disk;
pub mod dns;
#[doc(hidden)]
pub mod fuzzing;
pub mod handle;
pub mod hostnet;
pub mod mesh;
pub mod proxy;
pub mod runtime;
