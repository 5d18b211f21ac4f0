//! Validation: whether an object says something that makes sense, and whether a change of it is allowed. The rules
//! and their words are upstream's (`pkg/apis/*/validation`). Shapes and types are checked before, by the schema.

mod apps;
mod cluster;
mod config;
mod extensions;
mod field;
mod meta;
pub mod names;
mod pod;
mod selector;
mod service;
mod webhooks;

use serde_json::Value;

pub(in crate::object) use field::shown;
pub use field::{Cause, CauseReason};

use super::{Kind, kinds};
use field::{Causes, Field};

/// Says what an object asks for that is not done, so that its author is warned.
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    if *kind == kinds::CUSTOM_RESOURCE_DEFINITION { extensions::warnings(object) } else { Vec::new() }
}

/// Judges an object that is to be made. It has its defaults and its name already.
pub fn on_create(kind: &'static Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    let root = Field::root(object);
    meta::on_create(kind, &root, &mut causes);
    if *kind == kinds::POD {
        pod::on_create(&root, &mut causes);
    } else {
        judge(kind, &root, &mut causes);
    }
    causes.distinct()
}

/// Judges a change of all but the status. `new` has its defaults already.
pub fn on_update(kind: &'static Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    let (new, old) = (Field::root(new), Field::root(old));
    meta::on_update(kind, &new, &old, &mut causes);
    match kind {
        k if *k == kinds::POD => pod::on_update(&new, &old, &mut causes),
        k if *k == kinds::DEPLOYMENT || *k == kinds::REPLICA_SET => {
            apps::selector_is_immutable(&new, &old, &mut causes);
        }
        k if *k == kinds::SERVICE => service::on_update(&new, &old, &mut causes),
        k if *k == kinds::CONFIG_MAP || *k == kinds::SECRET => config::on_update(&new, &old, &mut causes),
        k if *k == kinds::CUSTOM_RESOURCE_DEFINITION => extensions::definition_update(&new, &old, &mut causes),
        k if *k == kinds::NODE => cluster::node_update(&new, &old, &mut causes),
        k if *k == kinds::ENDPOINT_SLICE => cluster::endpoint_slice_update(&new, &old, &mut causes),
        _ => {}
    }
    judge(kind, &new, &mut causes);
    causes.distinct()
}

/// Judges a change of the status alone.
pub fn on_status(kind: &'static Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    let (new, old) = (Field::root(new), Field::root(old));
    meta::on_update(kind, &new, &old, &mut causes);
    match kind {
        k if *k == kinds::POD => pod::on_status(&new, &old, &mut causes),
        k if *k == kinds::DEPLOYMENT => apps::deployment_status(&new, &old, &mut causes),
        k if *k == kinds::REPLICA_SET => apps::replica_set_status(&new, &mut causes),
        k if *k == kinds::SERVICE => service::on_status(&new, &mut causes),
        k if *k == kinds::NODE => cluster::node_status(&new, &mut causes),
        _ => {}
    }
    causes.distinct()
}

/// Judges a change of a Pod's ephemeral containers alone.
pub fn on_ephemeral_containers(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    pod::on_ephemeral_containers(&Field::root(new), &Field::root(old), &mut causes);
    causes.distinct()
}

/// The rules that hold for new and changed objects alike, metadata and pods apart.
fn judge(kind: &'static Kind, root: &Field<'_>, causes: &mut Causes) {
    match kind {
        k if *k == kinds::DEPLOYMENT => apps::deployment(root, causes),
        k if *k == kinds::REPLICA_SET => apps::replica_set(root, causes),
        k if *k == kinds::SERVICE => service::service(root, causes),
        k if *k == kinds::CONFIG_MAP => config::config_map(root, causes),
        k if *k == kinds::SECRET => config::secret(root, causes),
        k if *k == kinds::CUSTOM_RESOURCE_DEFINITION => extensions::definition(root, causes),
        k if *k == kinds::MUTATING_WEBHOOK_CONFIGURATION => webhooks::configuration(root, true, causes),
        k if *k == kinds::VALIDATING_WEBHOOK_CONFIGURATION => webhooks::configuration(root, false, causes),
        k if *k == kinds::NODE => cluster::node(root, causes),
        k if *k == kinds::LEASE => cluster::lease(root, causes),
        k if *k == kinds::ENDPOINT_SLICE => cluster::endpoint_slice(root, causes),
        k if *k == kinds::EVENT => cluster::event(root, causes),
        _ => {}
    }
}
