//! Meshes that meet over loopback: what members, strangers, restarts and dead lines do.

mod calls;
mod faults;
mod frames;
mod strangers;
mod world;
