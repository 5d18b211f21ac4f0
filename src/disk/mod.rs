//! Durable state: the log, the vote, the identity.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
