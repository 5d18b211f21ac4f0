//! The data path: accepts on virtual addresses and NodePorts, connects to endpoints. Knows nothing but Routes.
//!
//! ```text
//!   pod or host ──> route of the service range ──> Namespace: listeners on ClusterIP:port ─┐
//!   anywhere    ──> host's addresses ────────────> listeners on 0.0.0.0:nodePort ──────────┤
//!                                                                                          ▼
//!                                 endpoint  <── dialled from the host side <── Balancer picks
//! ```
//!
//! - [`Namespace`]: a network namespace without a name, in which the whole service range is local. Nothing that
//!   listens on the host gets in the way of a virtual address, and no virtual address reaches what the host listens on.
//! - [`Proxy`]: keeps listeners as [`crate::routing::Routes`] has them. A port without a ready endpoint has no listener,
//!   so that connections to it are refused at once.
//!
//! Invariants: connections outlive changes of the routes; a dial that fails is repeated elsewhere before the client
//! hears of it; an idle connection costs two sockets and no buffer.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod link;
mod namespace;
mod relay;
mod server;
mod target;
mod tcp;
mod udp;

pub use namespace::{Namespace, NamespaceConfig, NamespaceError};
pub use server::{Config, Proxy};
