//! The command line: `agent up | status | kubeconfig`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
