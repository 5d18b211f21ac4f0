//! Runs pods: one worker task a pod carries out actions and reports observations.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
