//! Defaults: what the API server adds to an object before it judges and keeps it, so that clients see every field
//! that has a meaning and a second `kubectl apply` finds nothing to change. Applying twice is applying once.

mod apps;
mod batch;
mod carry;
mod core;
mod extensions;
mod fill;
mod pod;
mod policy;
mod service;
mod storage;

use serde_json::Value;

use super::{Kind, kinds};

pub use batch::{CONTROLLER_UID, JOB_NAME, name_pods};
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
        k if *k == kinds::CUSTOM_RESOURCE_DEFINITION => extensions::custom_resource_definition(object),
        k if *k == kinds::ENDPOINT_SLICE => core::endpoint_slice(object),
        other => of_level_5(other, object),
    }
}

/// Adds the defaults of the kinds that feature level 5 brought.
fn of_level_5(kind: &Kind, object: &mut Value) {
    match (kind.group, kind.plural) {
        ("", "endpoints") => storage::endpoints(object),
        ("", "limitranges") => policy::limit_range(object),
        ("", "persistentvolumes") => storage::volume(object),
        ("", "persistentvolumeclaims") => storage::claim(object),
        ("", "podtemplates") => apps::pod_template(object),
        ("", "replicationcontrollers") => apps::replication_controller(object),
        ("", "resourcequotas") => policy::quota(object),
        ("apps", "daemonsets") => apps::daemon_set(object),
        ("apps", "statefulsets") => apps::stateful_set(object),
        ("autoscaling", _) => policy::autoscaler(object),
        ("batch", "cronjobs") => batch::cron_job(object),
        ("batch", "jobs") => batch::job(object),
        ("networking.k8s.io", "ingressclasses") => storage::ingress_class(object),
        ("networking.k8s.io", "networkpolicies") => storage::network_policy(object),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => policy::binding(object),
        ("storage.k8s.io", "storageclasses") => storage::class(object),
        ("storage.k8s.io", "csidrivers") => storage::driver(object),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => policy::webhooks(object, true),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => policy::webhooks(object, false),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => policy::admission_policy(object),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => policy::admission(object),
        ("scheduling.k8s.io", _) => policy::priority_class(object),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
