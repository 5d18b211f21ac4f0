//! Defaults: what the API server adds to an object before it judges and keeps it, so that clients see every field
//! that has a meaning and a second `kubectl apply` finds nothing to change. Applying twice is applying once.

mod apps;
mod carry;
mod core;
mod fill;
mod pod;
mod service;

use serde_json::Value;

use super::{Kind, kinds};

pub use carry::carry_over;
pub use core::{empty_status, initial_status};

/// Adds to `object` every default of its kind (upstream's `SetDefaults_*`, and what its admission adds for
/// everybody). Unknown fields are kept; parts that have not the right shape are left for validation to name.
pub fn apply(kind: &'static Kind, object: &mut Value) {
    match kind {
        k if *k == kinds::POD => pod::pod(object),
        k if *k == kinds::DEPLOYMENT => apps::deployment(object),
        k if *k == kinds::REPLICA_SET => apps::replica_set(object),
        k if *k == kinds::SERVICE => service::service(object),
        k if *k == kinds::SECRET => core::secret(object),
        k if *k == kinds::NAMESPACE => core::namespace(object),
        k if *k == kinds::NODE => core::node(object),
        k if *k == kinds::ENDPOINT_SLICE => core::endpoint_slice(object),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
