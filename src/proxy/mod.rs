//! The data path: accepts on virtual addresses and NodePorts, connects to endpoints. Knows nothing but Routes.
//!
//! ```text
//!   pod or host ──> route of the service range ──> Namespace: listeners on ClusterIP:port ─┐
//!   anywhere    ──> host's addresses ────────────> listeners on 0.0.0.0:nodePort ──────────┤
//!   pod or host ──> route of other nodes' pods ─> Namespace: one listener, by redirection ─┤
//!                                                                                          ▼
//!                endpoint of this node <── dialled from the host side <── Balancer picks
//!   endpoint of another node <── Exit of its agent <── stream of the mesh <──┘
//! ```
//!
//! - [`Namespace`]: a network namespace without a name, in which the whole service range is local. Nothing that
//!   listens on the host gets in the way of a virtual address, and no virtual address reaches what the host listens on.
//! - [`Proxy`]: keeps listeners as [`crate::routing::Routes`] has them. A port without a ready endpoint has no listener,
//!   so that connections to it are refused at once.
//! - [`Exit`]: what other nodes' proxies call to reach the pods of this one.
//!
//! Invariants: connections outlive changes of the routes; a dial that fails is repeated elsewhere before the client
//! hears of it; an idle connection costs two sockets (to another node: one, and a stream) and no buffer; nobody takes a
//! connection that was cut off for one that ended.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod datagrams;
mod dial;
mod exit;
mod flow;
mod guide;
mod link;
mod namespace;
mod redirect;
mod relay;
mod server;
mod target;
mod tcp;
mod tunnel;
mod udp;

pub use exit::Exit;
pub use namespace::{Namespace, NamespaceConfig, NamespaceError};
pub use server::{Config, Proxy};
