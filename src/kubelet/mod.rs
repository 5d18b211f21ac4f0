//! What this node should run: desired x observed -> actions; probes, restarts, pod status.

pub mod action;
