//! The Kubernetes API over HTTPS: discovery, verbs, watch, tables, logs.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
