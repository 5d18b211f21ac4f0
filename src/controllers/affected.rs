//! Which keys to reconcile after a visible change: all whose plan may have come to differ, and few others.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::authorization::defaults;
use crate::ids::Uid;
use crate::object::custom::Definition;
use crate::object::kinds::Subresource;
use crate::object::{Key, Kind, Selector, disruption, kinds};
use crate::store::{Entry, Snapshot, WatchEvent};

use super::{Controller, cluster_role, custom_resources, node, owner, pod};

/// Names the keys to reconcile after `event`, which `view` shows already. Sorted, each once.
pub fn affected(event: &WatchEvent, view: &Snapshot) -> Vec<(Controller, Key)> {
    let mut wake = Wake { view, keys: BTreeSet::new() };
    let (old, new) = (event.old.as_deref(), event.new.as_deref());
    if let (Some(before), Some(after)) = (old, new)
        && before.uid != after.uid
    {
        // One object went and another took its name.
        wake.after(Some(before), None);
        wake.after(None, Some(after));
    } else {
        wake.after(old, new);
    }
    wake.keys.into_iter().collect()
}

/// Names every key that any controller looks after: for the start, and for taking office.
pub fn all(view: &Snapshot) -> Vec<(Controller, Key)> {
    let mut wake = Wake { view, keys: BTreeSet::new() };
    for entry in view.all() {
        wake.own(entry);
        if !entry.owners.is_empty() || entry.terminating {
            wake.add(Controller::Garbage, &entry.key);
        }
    }
    // What is not there cannot wake anybody.
    defaults::all().keys().for_each(|key| wake.add(Controller::ClusterRole, key));
    wake.keys.into_iter().collect()
}

struct Wake<'a> {
    view: &'a Snapshot,
    keys: BTreeSet<(Controller, Key)>,
}

impl Wake<'_> {
    fn add(&mut self, controller: Controller, key: &Key) {
        self.keys.insert((controller, key.clone()));
    }

    fn after(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        let Some(subject) = new.or(old) else { return };
        self.own(subject);
        self.controllers(old, new);
        self.owners(old, new);
        self.budgets(subject, old);
        if subject.key.kind == &kinds::POD {
            self.pod(old, new);
        } else if subject.key.kind == &kinds::NODE {
            self.node(old, new);
        } else if subject.key.kind == &kinds::CUSTOM_RESOURCE_DEFINITION {
            self.definition(old, new);
        } else if subject.key.kind.is_custom() {
            let definition = custom_resources::definition_of(subject.key.kind);
            if self.view.get(&definition).is_some_and(|d| d.terminating) {
                self.add(Controller::CustomResources, &definition);
            }
        } else if subject.key.kind == &kinds::SERVICE_ACCOUNT && new.is_none() {
            self.add(Controller::ServiceAccount, &Key::cluster(&kinds::NAMESPACE, &subject.key.namespace));
        } else if subject.key.kind == &kinds::CLUSTER_ROLE {
            let view = self.view;
            cluster_role::aggregates(view).for_each(|key| self.add(Controller::ClusterRole, key));
        }
        let namespace = Key::cluster(&kinds::NAMESPACE, &subject.key.namespace);
        if self.view.get(&namespace).is_some_and(|n| n.terminating) {
            self.add(Controller::Namespace, &namespace);
        }
    }

    /// The controllers whose keys are objects of this kind.
    fn own(&mut self, entry: &Entry) {
        let key = &entry.key;
        if key.kind == &kinds::DEPLOYMENT {
            self.add(Controller::Deployment, key);
        } else if key.kind == &kinds::REPLICA_SET {
            self.add(Controller::ReplicaSet, key);
        } else if key.kind == &kinds::POD_DISRUPTION_BUDGET {
            self.add(Controller::Disruption, key);
        } else if key.kind == &kinds::JOB {
            self.add(Controller::Job, key);
        } else if key.kind == &kinds::POD {
            self.add(Controller::PodGarbage, key);
        } else if key.kind == &kinds::NAMESPACE {
            self.add(Controller::Namespace, key);
            self.add(Controller::ServiceAccount, key);
        } else if key.kind == &kinds::NODE {
            self.add(Controller::TaintEviction, key);
        } else if key.kind == &kinds::CUSTOM_RESOURCE_DEFINITION {
            self.add(Controller::CustomResources, key);
        } else if key.kind == &kinds::CLUSTER_ROLE || key.kind == &kinds::CLUSTER_ROLE_BINDING {
            self.add(Controller::ClusterRole, key);
        }
    }

    /// The ReplicaSet of a pod, the Deployment of a ReplicaSet: who controls the object, did, or may want to.
    fn controllers(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        for entry in old.into_iter().chain(new) {
            match entry.controller {
                Some(uid) => self.controller(uid),
                None if entry.key.kind == &kinds::POD => {
                    self.adopters(Controller::ReplicaSet, &kinds::REPLICA_SET, entry, |s: ReplicaSet| {
                        s.spec?.selector.into()
                    });
                    self.adopters(Controller::Job, &kinds::JOB, entry, |j: Job| j.spec?.selector);
                }
                None if entry.key.kind == &kinds::REPLICA_SET => {
                    self.adopters(Controller::Deployment, &kinds::DEPLOYMENT, entry, |d: Deployment| {
                        d.spec?.selector.into()
                    });
                }
                None => {}
            }
        }
    }

    fn controller(&mut self, uid: Uid) {
        let Some(entry) = self.view.by_uid(uid) else { return };
        if entry.key.kind == &kinds::REPLICA_SET {
            self.add(Controller::ReplicaSet, &entry.key);
        } else if entry.key.kind == &kinds::DEPLOYMENT {
            self.add(Controller::Deployment, &entry.key);
        } else if entry.key.kind == &kinds::JOB {
            self.add(Controller::Job, &entry.key);
        }
    }

    fn adopters<T: DeserializeOwned>(
        &mut self,
        controller: Controller,
        kind: &'static Kind,
        orphan: &Entry,
        selector: impl Fn(T) -> Option<LabelSelector>,
    ) {
        for entry in self.view.list(kind, Some(&orphan.key.namespace)) {
            let selector = entry.typed().and_then(&selector).and_then(|s| owner::selector(&s));
            if selector.is_some_and(|s| s.matches(&orphan.labels)) {
                self.add(controller, &entry.key);
            }
        }
    }

    /// Names that a definition gives up may be others' now.
    fn definition(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        let names = |entry: &Entry| {
            let heading = Definition::heading(&entry.json)?;
            Some((heading.resource_names().map(str::to_owned).collect::<Vec<_>>(), heading.kind, heading.list_kind))
        };
        let Some(before) = old.filter(|old| new.is_none_or(|new| names(old) != names(new))) else { return };
        for neighbour in custom_resources::neighbours(self.view, &before.key) {
            self.add(Controller::CustomResources, &neighbour.key);
        }
    }

    /// The budgets that count a pod, whose ledger this is, or that are shares of what is scaled.
    fn budgets(&mut self, subject: &Entry, old: Option<&Entry>) {
        let (key, view) = (&subject.key, self.view);
        let is_pod = key.kind == &kinds::POD;
        if !is_pod && key.kind != &kinds::LEASE && !key.kind.has(Subresource::Scale) {
            return;
        }
        for budget in view.list(&kinds::POD_DISRUPTION_BUDGET, Some(&key.namespace)) {
            let selects = |selector: &LabelSelector| {
                Selector::of_typed(selector).is_ok_and(|selector| {
                    selector.matches(&subject.labels) || old.is_some_and(|old| selector.matches(&old.labels))
                })
            };
            let concerns = if is_pod {
                let typed = budget.typed::<PodDisruptionBudget>();
                typed.and_then(|b| b.spec?.selector).is_some_and(|selector| selects(&selector))
            } else {
                key.kind != &kinds::LEASE || disruption::key(&budget.key) == *key
            };
            if concerns {
                self.add(Controller::Disruption, &budget.key);
            }
        }
    }

    /// What a node's coming, going and taints mean for the pods there, and for those that count them.
    fn node(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        let Some(subject) = new.or(old) else { return };
        let came_or_went = old.is_none() || new.is_none();
        if !came_or_went && old.map(node::taints) == new.map(node::taints) {
            return;
        }
        let view = self.view;
        for pod in view.on_node(&subject.key.name) {
            if came_or_went {
                self.add(Controller::PodGarbage, &pod.key);
            }
            let Some(set) = pod.controller.and_then(|uid| view.by_uid(uid)) else { continue };
            self.controller(set.uid);
            if let Some(deployment) = set.controller {
                self.controller(deployment);
            }
        }
    }

    /// What a pod's coming and going means beyond its ReplicaSet: a Deployment counts the pods it has to wait for, and
    /// its node may have a taint that it does not tolerate.
    fn pod(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        if let Some(node) = new.and_then(|e| e.node.as_ref()) {
            self.add(Controller::TaintEviction, &Key::cluster(&kinds::NODE, node.clone()));
        }
        let state = |e: Option<&Entry>| e.map(|e| (e.terminating, pod::finished(e)));
        if state(old) == state(new) {
            return;
        }
        let set = new.or(old).and_then(|e| self.view.by_uid(e.controller?));
        if let Some(deployment) = set.and_then(|s| s.controller) {
            self.controller(deployment);
        }
    }

    /// Garbage collection: the object itself, what it owns, and those that wait for it.
    fn owners(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        let before = old.map_or(&[][..], |e| &e.owners);
        let after = new.map_or(&[][..], |e| &e.owners);
        let solid = |uid: &Uid| self.view.by_uid(*uid).is_some_and(|o| !o.terminating);
        if let Some(entry) = new
            && (entry.terminating || before != after || !after.iter().all(solid))
        {
            self.add(Controller::Garbage, &entry.key);
        }
        for owner in before.iter().chain(after).filter_map(|uid| self.view.by_uid(*uid)).filter(|o| o.terminating) {
            self.add(Controller::Garbage, &owner.key);
        }
        if let Some(entry) = new.or(old)
            && (new.is_none() || entry.terminating)
        {
            for dependant in self.view.owned_by(entry.uid) {
                self.add(Controller::Garbage, &dependant.key);
            }
        }
    }
}
