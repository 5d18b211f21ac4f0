//! The data path: accepts on virtual addresses and NodePorts, connects to endpoints. Knows nothing but Routes.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
