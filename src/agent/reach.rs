//! Containers of the whole cluster: this node's by its runtime, the others' by their agents.

use std::sync::Arc;

use crate::handle::{Calls, Containers};

/// The way to containers, wherever they run.
pub struct Reach {
    /// This node's name.
    pub node: String,
    /// This node's containers.
    pub local: Arc<dyn Containers>,
    /// The way to others.
    pub calls: Arc<dyn Calls>,
}
