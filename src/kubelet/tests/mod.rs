//! The kubelet and a simulated runtime on virtual time.

mod chaos;
mod drive;
mod ending;
mod holding;
mod images;
mod lifecycle;
mod looking;
mod outages;
mod probing;
mod tokens;
mod volumes;
pub mod world;
