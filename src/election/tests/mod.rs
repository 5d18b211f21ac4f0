//! The room's tests: a simulator with faults, and stories.

mod sim;
mod stories;
mod wire;
mod world;
