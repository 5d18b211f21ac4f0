//! The composition root: owns the node, executes its outputs, ticks, starts and drains tasks.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
