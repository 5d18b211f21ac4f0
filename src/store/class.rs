//! The one table of classes: what a fact is by its kind, field and owner (design, section 3; rules, 20).
//!
//! | what | class | held as |
//! |---|---|---|
//! | everything but status | intent | a document an object, one leaf a scalar, except the [`Atom`]s below |
//! | `spec.nodeName` of a Pod by Bind | decision | elected register, or a caretaker's |
//! | status by the leader | decision | elected register |
//! | status by a caretaker | decision | a caretaker's register, while the elected one is as it was |
//! | a Lease | unique decision | quorum register (`node::leases`), shown by `decided` |
//! | spec of a Lease, below feature level 4 | decision | elected register |
//! | status of a Pod or Node by its kubelet | observation | register (uid, node) |
//! | status by a client | told | register a field, conditions by type |
//! | Events | ephemeral | memory |
//! | our EndpointSlices and Endpoints, Leases in kube-node-lease, ConfigMaps `kube-root-ca.crt` | projection | memory |
//!
//! A node name that a pod is *created* with is intent: its user asked for it, and it must not arrive after the pod.

use serde_json::{Value, json};

use crate::object::{Key, Kind, defaults, kinds};

use super::change::Author;

/// The label that tells who keeps an EndpointSlice, or Endpoints.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of that label on slices that are projections.
pub const MANAGER: &str = "skein.dev";
/// The ConfigMap with the authority's certificate that every namespace has.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// The namespace whose Leases are projections.
pub const NODE_LEASES: &str = "kube-node-lease";

/// What an object is as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Asked for by somebody: replicated and durable.
    Intent,
    /// Of passing interest: in memory only.
    Ephemeral,
    /// Computed by every node for itself: cannot be written.
    Projection,
}

/// What a status is, by who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// Its own node saw it: shown at once, kept lazily.
    Observation,
    /// The leader decided it, or a caretaker.
    Decision,
    /// An API client said so: laid under what the built-in writers say.
    Told,
}

/// A part of an object that is one register, because it is immutable or has one writer by nature.
#[derive(Debug)]
pub struct Atom {
    /// Where it is.
    pub path: &'static [&'static str],
    /// What below it is kept apart all the same; `*` is every element of a keyed list.
    pub except: &'static [&'static [&'static str]],
}

/// Returns the class of the object at `key`, which looks like `object`.
pub fn of_object(key: &Key, object: Option<&Value>) -> Class {
    let managed_by = object.and_then(|o| o["metadata"]["labels"][MANAGED_BY].as_str());
    if *key.kind == kinds::EVENT {
        Class::Ephemeral
    } else if is_projection(key, managed_by) {
        Class::Projection
    } else {
        Class::Intent
    }
}

/// Tells whether every node computes the object for itself (rules, 20). `managed_by`: its label [`MANAGED_BY`].
pub fn is_projection(key: &Key, managed_by: Option<&str>) -> bool {
    *key.kind == kinds::LEASE && key.namespace == NODE_LEASES
        || (*key.kind == kinds::ENDPOINT_SLICE || *key.kind == kinds::ENDPOINTS) && managed_by == Some(MANAGER)
        || *key.kind == kinds::CONFIG_MAP && key.name == ROOT_CA
}

/// Returns the class of a status, `None` if `author` has no say in it.
pub fn of_status(kind: &Kind, author: Author) -> Option<StatusClass> {
    match author {
        Author::Client => Some(StatusClass::Told),
        Author::Leader | Author::Caretaker => Some(StatusClass::Decision),
        Author::Kubelet => has_kubelet_status(kind).then_some(StatusClass::Observation),
    }
}

/// Tells whether a kind's status is seen by a kubelet.
pub fn has_kubelet_status(kind: &Kind) -> bool {
    *kind == kinds::POD || *kind == kinds::NODE
}

/// Tells whether the status within a new object is kept.
pub fn keeps_status_at_birth(kind: &Kind, author: Author) -> bool {
    author == Author::Kubelet && has_kubelet_status(kind)
}

/// Returns the parts of a kind's objects that are one register each.
pub fn atoms(kind: &Kind) -> &'static [Atom] {
    // What Kubernetes lets change in a running pod.
    const POD: &[Atom] = &[Atom {
        path: &["spec"],
        except: &[
            &["activeDeadlineSeconds"],
            &["schedulingGates"],
            &["terminationGracePeriodSeconds"],
            &["tolerations"],
            &["containers", "*", "image"],
            &["initContainers", "*", "image"],
        ],
    }];
    const DEPLOYMENT: &[Atom] = &[Atom { path: &["spec", "selector"], except: &[] }];
    const REPLICA_SET: &[Atom] =
        &[Atom { path: &["spec", "selector"], except: &[] }, Atom { path: &["spec", "template"], except: &[] }];
    const JOB: &[Atom] =
        &[Atom { path: &["spec", "selector"], except: &[] }, Atom { path: &["spec", "template"], except: &[] }];
    if *kind == kinds::POD {
        POD
    } else if *kind == kinds::JOB {
        JOB
    } else if [&kinds::DEPLOYMENT, &kinds::STATEFUL_SET, &kinds::DAEMON_SET, &kinds::POD_DISRUPTION_BUDGET]
        .contains(&kind)
    {
        DEPLOYMENT
    } else if *kind == kinds::REPLICA_SET {
        REPLICA_SET
    } else {
        &[]
    }
}

/// Tells whether the list of scalars at `path` is a set, each element a fact of its own.
pub fn is_set(path: &[&str]) -> bool {
    path == ["metadata", "finalizers"]
}

/// Tells whether objects of a kind show `metadata.generation`.
pub fn has_generation(kind: &Kind) -> bool {
    // Upstream's strategies number the changes of these; of some, all but the metadata is their spec.
    const COUNTED: [&Kind; 17] = [
        &kinds::POD,
        &kinds::REPLICATION_CONTROLLER,
        &kinds::DAEMON_SET,
        &kinds::DEPLOYMENT,
        &kinds::REPLICA_SET,
        &kinds::STATEFUL_SET,
        &kinds::CRON_JOB,
        &kinds::JOB,
        &kinds::CUSTOM_RESOURCE_DEFINITION,
        &kinds::INGRESS,
        &kinds::INGRESS_CLASS,
        &kinds::NETWORK_POLICY,
        &kinds::POD_DISRUPTION_BUDGET,
        &kinds::MUTATING_WEBHOOK_CONFIGURATION,
        &kinds::VALIDATING_ADMISSION_POLICY,
        &kinds::VALIDATING_ADMISSION_POLICY_BINDING,
        &kinds::VALIDATING_WEBHOOK_CONFIGURATION,
    ];
    kind.is_custom() || COUNTED.contains(&kind)
}

/// Tells whether an object stands for data that is elsewhere. One that gives its name to an older one is kept whole,
/// hidden, and never let go of by the cluster itself: deleting it could delete the data.
pub fn is_kept_whole(kind: &Kind) -> bool {
    kind.group.is_empty() && ["persistentvolumes", "persistentvolumeclaims"].contains(&kind.plural)
}

/// Tells whether the spec is a decision, replaced as a whole: of a Lease, which is renewed every few seconds and must
/// not gather history.
pub fn has_decided_spec(kind: &Kind) -> bool {
    *kind == kinds::LEASE
}

/// Returns the status of an object about which nobody has said anything, `None` for a kind without.
pub fn first_status(kind: &Kind) -> Option<Value> {
    if *kind == kinds::POD {
        Some(json!({"phase": "Pending"}))
    } else if *kind == kinds::SERVICE {
        Some(json!({"loadBalancer": {}}))
    } else if *kind == kinds::REPLICA_SET {
        Some(json!({"replicas": 0}))
    } else {
        let empty = || (*kind == kinds::DEPLOYMENT || *kind == kinds::NODE).then(|| json!({}));
        defaults::empty_status(kind).or_else(empty)
    }
}

/// Tells whether a kind's objects are ended by the leader alone, once all in them is gone.
pub fn has_builtin_finalizer(kind: &Kind) -> bool {
    *kind == kinds::NAMESPACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_depends_on_kind_place_and_owner() {
        let slice = Key::new(&kinds::ENDPOINT_SLICE, "shop", "web-1");
        let ours = json!({"metadata": {"labels": {MANAGED_BY: MANAGER}}});
        let theirs = json!({"metadata": {"labels": {MANAGED_BY: "me"}}});
        let table = [
            (Key::new(&kinds::EVENT, "shop", "e"), None, Class::Ephemeral),
            (Key::new(&kinds::LEASE, "kube-node-lease", "n1"), None, Class::Projection),
            (Key::new(&kinds::LEASE, "kube-system", "scheduler"), None, Class::Intent),
            (slice.clone(), Some(&ours), Class::Projection),
            (slice.clone(), Some(&theirs), Class::Intent),
            (slice, None, Class::Intent),
            (Key::new(&kinds::CONFIG_MAP, "shop", ROOT_CA), None, Class::Projection),
        ];
        for (key, object, class) in table {
            assert_eq!(of_object(&key, object), class, "{key}");
        }
    }

    #[test]
    fn what_stands_for_data_is_kept_whole() {
        let volume = |plural| Kind { plural, ..kinds::CONFIG_MAP };
        assert!(is_kept_whole(&volume("persistentvolumes")) && is_kept_whole(&volume("persistentvolumeclaims")));
        assert!(!is_kept_whole(&kinds::CONFIG_MAP));
    }

    #[test]
    fn a_kubelet_speaks_for_pods_and_nodes_only() {
        assert_eq!(of_status(&kinds::POD, Author::Kubelet), Some(StatusClass::Observation));
        assert_eq!(of_status(&kinds::DEPLOYMENT, Author::Kubelet), None);
        assert_eq!(of_status(&kinds::DEPLOYMENT, Author::Leader), Some(StatusClass::Decision));
        assert_eq!(of_status(&kinds::POD, Author::Client), Some(StatusClass::Told));
    }
}
