//! Answers names at the cluster's DNS address. Knows nothing but Routes.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
