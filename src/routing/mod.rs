//! Where traffic goes: routes projected from Services, EndpointSlices and liveness; the balancing choice; DNS answers.
//!
//! Three projections and two choices, all pure:
//!
//! - [`endpoint_slices`]: a Service and its pods -> EndpointSlices; [`affected`] says when to compute them again.
//! - [`Router`]: Services and EndpointSlices -> [`Routes`], all that the proxy and the DNS server know.
//! - [`Balancer`]: which endpoint a new connection goes to.
//! - [`answer()`]: what a DNS question within the cluster domain is answered.
//!
//! Invariants: equal views give equal routes whatever was before (a [`Router`] is only a cache of [`routes()`]);
//! a part that did not change is the same `Arc` as before; only ready endpoints get traffic, unless none is and some
//! still serve while they terminate.

pub mod answer;
pub mod balance;
mod endpoints;
mod project;
pub mod router;
pub mod routes;
pub mod slices;

#[cfg(test)]
mod fixtures;

pub use answer::{Answer, Question, answer};
pub use balance::Balancer;
pub use endpoints::endpoints;
pub use router::{Config, Router, routes};
pub use routes::Routes;
pub use slices::{affected, endpoint_slices};
