//! What the scheduler sees: nodes, and what the pods bound to them take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};

use crate::ids::{Revision, Uid};
use crate::object::fit::{self, HostPort, Resources, Usage};
use crate::object::{Selector, kinds};
use crate::store::{Entry, Snapshot};

/// The part of the cluster that matters for placing pods.
#[derive(Clone, Debug, Default)]
pub struct View {
    nodes: BTreeMap<String, NodeView>,
    /// The selectors of Services, by namespace.
    services: BTreeMap<String, Vec<Selector>>,
    /// The labels of namespaces.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Parsed objects, so that the next view parses only what has changed.
    parsed_nodes: Parsed<Node>,
    parsed_pods: Parsed<Facts>,
    /// Whether pods that state no request count for a little all the same.
    cautious: bool,
}

type Parsed<T> = BTreeMap<Uid, (Revision, Arc<T>)>;

/// A node and what is taken on it.
#[derive(Clone, Debug)]
pub(super) struct NodeView {
    pub(super) name: String,
    pub(super) node: Arc<Node>,
    pub(super) usage: Usage,
    /// Thousandths of a core and bytes of memory that its pods count for in scoring.
    pub(super) scored: (i64, i64),
    pub(super) pods: Vec<Arc<Facts>>,
}

/// What matters about a pod that is bound.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) controller: Option<Uid>,
    pub(super) terminating: bool,
    /// Whether it has run to its end and takes nothing any more.
    finished: bool,
    requests: Resources,
    ports: BTreeSet<HostPort>,
    scored: (i64, i64),
    /// The pods beside which it refuses to run.
    pub(super) anti_affinity: Vec<PodAffinityTerm>,
}

impl View {
    /// Makes the view of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::default().refreshed(snapshot)
    }

    /// Makes the view of a newer snapshot, parsing only what has changed since this one. Assumptions are forgotten:
    /// the snapshot must show the bindings that were made of them.
    #[must_use]
    pub fn refreshed(&self, snapshot: &Snapshot) -> Self {
        let mut view = Self::default();
        for entry in snapshot.list(&kinds::NODE, None) {
            let Some(node) = reuse(&self.parsed_nodes, entry, |e| e.typed()) else { continue };
            view.parsed_nodes.insert(entry.uid, (entry.revision, Arc::clone(&node)));
            let name = entry.key.name.clone();
            let empty = NodeView { name, node, usage: Usage::default(), scored: (0, 0), pods: Vec::new() };
            view.nodes.insert(entry.key.name.clone(), empty);
        }
        for (name, node) in &mut view.nodes {
            for entry in snapshot.on_node(name) {
                let Some(facts) = reuse(&self.parsed_pods, entry, |e| e.typed().map(|p| Facts::of(&p))) else {
                    continue;
                };
                view.parsed_pods.insert(entry.uid, (entry.revision, Arc::clone(&facts)));
                node.add(facts);
            }
        }
        for entry in snapshot.list(&kinds::SERVICE, None) {
            let selector = entry.value()["spec"]["selector"].take();
            let labels = selector.as_object().into_iter().flatten();
            let labels: Vec<_> = labels.filter_map(|(key, value)| Some((key, value.as_str()?))).collect();
            if !labels.is_empty() {
                view.services.entry(entry.key.namespace.clone()).or_default().push(Selector::of_labels(labels));
            }
        }
        for entry in snapshot.list(&kinds::NAMESPACE, None) {
            view.namespaces.insert(entry.key.name.clone(), BTreeMap::clone(&entry.labels));
        }
        view
    }

    /// Counts `pod` as bound to `node`, before the snapshot shows it.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.add(Arc::new(Facts::of(pod)));
        }
    }

    /// Makes the scheduler leave room for pods that state no request, as much as scoring counts them for: a caretaker puts the
    /// pods of many nodes on few.
    #[must_use]
    pub fn cautious(self, cautious: bool) -> Self {
        Self { cautious, ..self }
    }

    /// Names what a node would have too little of, if that is to be cared about.
    pub(super) fn crowding(&self, node: &NodeView, pod: &Pod) -> Vec<String> {
        let Some(spec) = pod.spec.as_ref().filter(|_| self.cautious) else { return Vec::new() };
        let (cpu, memory) = fit::scored_requests(spec);
        let all = fit::amounts(node.node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
        let amount = |name: &str| all.get(name).copied().unwrap_or_default();
        let wanted = [
            ("cpu", node.scored.0.saturating_add(cpu), amount("cpu").milli_value()),
            ("memory", node.scored.1.saturating_add(memory), amount("memory").value()),
        ];
        wanted.iter().filter(|(_, taken, all)| taken > all).map(|(name, ..)| format!("Insufficient {name}")).collect()
    }

    /// All nodes, by name.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values()
    }

    /// The selectors of the Services that select a pod with these labels.
    pub(super) fn services_of(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<&Selector> {
        self.services.get(namespace).into_iter().flatten().filter(|s| s.matches(labels)).collect()
    }

    /// The labels of a namespace.
    pub(super) fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }
}

fn reuse<T>(parsed: &Parsed<T>, entry: &Entry, parse: impl FnOnce(&Entry) -> Option<T>) -> Option<Arc<T>> {
    match parsed.get(&entry.uid) {
        Some((revision, known)) if *revision == entry.revision => Some(Arc::clone(known)),
        _ => parse(entry).map(Arc::new),
    }
}

impl NodeView {
    fn add(&mut self, facts: Arc<Facts>) {
        if facts.finished {
            return;
        }
        self.usage.add(&facts.requests, &facts.ports);
        self.scored.0 = self.scored.0.saturating_add(facts.scored.0);
        self.scored.1 = self.scored.1.saturating_add(facts.scored.1);
        self.pods.push(facts);
    }

    /// The value of one of the node's labels: its domain in a topology.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Facts {
    pub(super) fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref();
        let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let anti = spec.and_then(|s| s.affinity.as_ref()?.pod_anti_affinity.as_ref());
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            controller: owner.and_then(|o| o.uid.parse().ok()),
            terminating: meta.deletion_timestamp.is_some(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            requests: spec.map(fit::requests).unwrap_or_default(),
            ports: spec.map(fit::host_ports).unwrap_or_default(),
            scored: spec.map(fit::scored_requests).unwrap_or_default(),
            anti_affinity: anti
                .and_then(|a| a.required_during_scheduling_ignored_during_execution.clone())
                .unwrap_or_default(),
        }
    }
}
