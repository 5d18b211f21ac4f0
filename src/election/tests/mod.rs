//! The room's tests: every order of few steps, a simulator with faults, and stories.

mod check;
mod letting_go;
mod links;
mod recover;
mod sim;
mod stories;
mod wire;
mod world;
