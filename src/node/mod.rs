//! All pure rooms as one machine: `handle(now, input) -> outputs`. It dispatches, it does not decide.

pub mod io;

pub use io::{Effect, Input, Output, Request};
