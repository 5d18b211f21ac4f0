//! Answers names at the cluster's DNS address. Knows nothing but Routes.
//!
//! Names of the cluster are answered from the routes as they are at that moment, by [`crate::routing::answer()`]; all
//! others are handed, byte for byte, to the servers that the host itself uses. Nothing is kept.
//!
//! Invariants: a query is answered at most once and only by an answer; an answer that does not fit is cut and marked
//! so that the client asks again over TCP; a question that comes back to its asker (a server that forwards to us)
//! ends as SERVFAIL after a bounded number of rounds.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod reply;
mod server;
mod upstream;

pub use server::{Config, Server};
pub use upstream::Upstreams;
