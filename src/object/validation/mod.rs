//! Validation: whether an object says something that makes sense, and whether a change of it is allowed. The rules
//! and their words are upstream's (`pkg/apis/*/validation`). Shapes and types are checked before, by the schema.

mod apps;
mod batch;
mod cluster;
mod config;
mod extensions;
mod field;
mod meta;
pub mod names;
mod pod;
mod policy;
mod selector;
mod service;
mod storage;
mod webhooks;

use serde_json::Value;

pub(in crate::object) use field::shown;
pub use field::{Cause, CauseReason};

use super::{Kind, kinds};
use field::{Causes, Field};

/// Says what an object asks for that is not done, so that its author is warned.
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    match kind {
        k if *k == kinds::CUSTOM_RESOURCE_DEFINITION => extensions::warnings(object),
        k if *k == kinds::JOB => batch::warnings(object),
        _ => Vec::new(),
    }
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

/// Judges what a client may not say of an object that is to be made, though it holds of one that is there.
pub fn on_birth(kind: &'static Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    if *kind == kinds::JOB {
        batch::new_job(&Field::root(object), &mut causes);
    }
    if *kind == kinds::POD {
        pod::on_birth(&Field::root(object), &mut causes);
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
        k if *k == kinds::DAEMON_SET => apps::selector_is_immutable(&new, &old, &mut causes),
        k if *k == kinds::STATEFUL_SET => apps::stateful_set_update(&new, &old, &mut causes),
        k if *k == kinds::JOB => batch::job_update(&new, &old, &mut causes),
        k if *k == kinds::ROLE_BINDING || *k == kinds::CLUSTER_ROLE_BINDING => {
            policy::binding_update(&new, &old, &mut causes);
        }
        k if *k == kinds::PRIORITY_CLASS => policy::priority_class_update(&new, &old, &mut causes),
        k if *k == kinds::PERSISTENT_VOLUME => storage::volume_update(&new, &old, &mut causes),
        k if *k == kinds::PERSISTENT_VOLUME_CLAIM => storage::claim_update(&new, &old, &mut causes),
        k if *k == kinds::STORAGE_CLASS => storage::class_update(&new, &old, &mut causes),
        k if *k == kinds::CERTIFICATE_SIGNING_REQUEST || *k == kinds::VOLUME_ATTACHMENT => {
            causes.immutable(&new.child("spec"), &old.child("spec"));
        }
        k if *k == kinds::INGRESS_CLASS => {
            causes.immutable(&new.child("spec").child("controller"), &old.child("spec").child("controller"));
        }
        k if *k == kinds::RUNTIME_CLASS => causes.immutable(&new.child("handler"), &old.child("handler")),
        k if *k == kinds::CONTROLLER_REVISION => causes.immutable(&new.child("data"), &old.child("data")),
        k if *k == kinds::IP_ADDRESS => {
            causes.immutable(&new.child("spec").child("parentRef"), &old.child("spec").child("parentRef"));
        }
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
        k if *k == kinds::CERTIFICATE_SIGNING_REQUEST => policy::decisions_stay(&new, &old, &mut causes),
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
        k if *k == kinds::DAEMON_SET => apps::daemon_set(root, causes),
        k if *k == kinds::STATEFUL_SET => apps::stateful_set(root, causes),
        k if *k == kinds::REPLICATION_CONTROLLER => apps::replication_controller(root, causes),
        k if *k == kinds::JOB => batch::job(root, causes),
        k if *k == kinds::CRON_JOB => batch::cron_job(root, causes),
        k if *k == kinds::POD_DISRUPTION_BUDGET => policy::budget(root, causes),
        k if *k == kinds::ROLE || *k == kinds::CLUSTER_ROLE => policy::role(root, k.namespaced, causes),
        k if *k == kinds::ROLE_BINDING || *k == kinds::CLUSTER_ROLE_BINDING => {
            policy::binding(root, k.namespaced, causes);
        }
        k if *k == kinds::HORIZONTAL_POD_AUTOSCALER => policy::autoscaler(root, causes),
        k if *k == kinds::PRIORITY_CLASS => policy::priority_class(root, causes),
        k if *k == kinds::CERTIFICATE_SIGNING_REQUEST => policy::signing_request(root, causes),
        k if *k == kinds::PERSISTENT_VOLUME => storage::volume(root, causes),
        k if *k == kinds::PERSISTENT_VOLUME_CLAIM => storage::claim(root, causes),
        k if *k == kinds::STORAGE_CLASS => storage::class(root, causes),
        k if *k == kinds::INGRESS => storage::ingress(root, causes),
        k if *k == kinds::NETWORK_POLICY => storage::network_policy(root, causes),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
