//! Affinity between pods: beside which a pod must, must not, would rather or rather not run.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};

use super::view::{Facts, NodeView, View};
use crate::object::Selector;

/// The domains of a topology: label key and value.
type Domains = BTreeSet<(String, String)>;

/// What required affinity asks of a node, found once for all nodes.
pub(super) struct Affinity {
    /// Keys that the node must have, each with the domains that hold a pod to be beside; `None` if the pod is the
    /// first of its kind and may be anywhere.
    beside: Vec<(String, Option<BTreeSet<String>>)>,
    /// Domains that hold a pod not to be beside.
    apart: Domains,
    /// Domains in which a pod that is there refuses this one.
    refused: Domains,
}

impl Affinity {
    /// Finds what the affinity of `pod`, and that of the pods that are there, asks.
    pub(super) fn required(view: &View, pod: &Pod) -> Self {
        let own = Facts::of(pod);
        let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref());
        let beside = affinity.and_then(|a| a.pod_affinity.as_ref());
        let beside = beside.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref());
        Self {
            beside: beside_whom(view, &own, beside.unwrap_or_default()),
            apart: holding(view, &own, &own.anti_affinity),
            refused: refusing(view, &own),
        }
    }

    /// Tells why the pod may not go on `node`, if so.
    pub(super) fn misfit(&self, node: &NodeView) -> Option<&'static str> {
        let is_beside = |(key, domains): &(String, Option<BTreeSet<String>>)| {
            node.label(key).is_some_and(|domain| domains.as_ref().is_none_or(|d| d.contains(domain)))
        };
        let lies_in = |domains: &Domains| domains.iter().any(|(key, value)| node.label(key) == Some(value));
        if !self.beside.iter().all(is_beside) {
            Some("node(s) didn't match pod affinity rules")
        } else if lies_in(&self.apart) {
            Some("node(s) didn't match pod anti-affinity rules")
        } else if lies_in(&self.refused) {
            Some("node(s) didn't satisfy existing pods anti-affinity rules")
        } else {
            None
        }
    }
}

/// As upstream, only a pod that all terms match is one to be beside; and if there is none yet, a pod that its own
/// terms match may be the first.
fn beside_whom(view: &View, own: &Facts, terms: &[PodAffinityTerm]) -> Vec<(String, Option<BTreeSet<String>>)> {
    let matchers: Vec<_> = terms.iter().map(|term| Matcher::of(term, own)).collect();
    let mut domains: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for node in view.nodes() {
        if !terms.is_empty() && node.pods.iter().any(|pod| matchers.iter().all(|m| m.matches(view, pod))) {
            for term in terms {
                let value = node.label(&term.topology_key).map(str::to_owned);
                domains.entry(&term.topology_key).or_default().extend(value);
            }
        }
    }
    let first = domains.is_empty() && matchers.iter().all(|m| m.matches(view, own));
    let found = |key: &str| if first { None } else { Some(domains.get(key).cloned().unwrap_or_default()) };
    terms.iter().map(|term| (term.topology_key.clone(), found(&term.topology_key))).collect()
}

/// The domains in which one of the terms matches a pod.
fn holding(view: &View, own: &Facts, terms: &[PodAffinityTerm]) -> Domains {
    let mut domains = Domains::new();
    for term in terms {
        let matcher = Matcher::of(term, own);
        let nodes = view.nodes().filter(|node| node.pods.iter().any(|pod| matcher.matches(view, pod)));
        domains.extend(nodes.filter_map(|node| domain(node, &term.topology_key)));
    }
    domains
}

/// The domains in which a pod that is there wants none like this one.
fn refusing(view: &View, own: &Facts) -> Domains {
    let mut domains = Domains::new();
    for node in view.nodes() {
        for pod in node.pods.iter().filter(|pod| !pod.anti_affinity.is_empty()) {
            let terms = pod.anti_affinity.iter().filter(|term| Matcher::of(term, pod).matches(view, own));
            domains.extend(terms.filter_map(|term| domain(node, &term.topology_key)));
        }
    }
    domains
}

fn domain(node: &NodeView, key: &str) -> Option<(String, String)> {
    Some((key.to_owned(), node.label(key)?.to_owned()))
}

/// Returns the sum of the weights of the pod's preferences that each node meets, those against it taken off.
pub(super) fn preferences(view: &View, pod: &Pod, nodes: &[&NodeView]) -> Vec<i64> {
    let own = Facts::of(pod);
    let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref());
    let like = affinity.and_then(|a| a.pod_affinity.as_ref());
    let like = like.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let dislike = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let dislike = dislike.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let like = like.into_iter().flatten().map(|t| (i64::from(t.weight), &t.pod_affinity_term));
    let dislike = dislike.into_iter().flatten().map(|t| (-i64::from(t.weight), &t.pod_affinity_term));
    let mut sums = vec![0; nodes.len()];
    for (weight, term) in like.chain(dislike) {
        let matcher = Matcher::of(term, &own);
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for node in view.nodes() {
            if let Some(domain) = node.label(&term.topology_key) {
                let count = node.pods.iter().filter(|pod| matcher.matches(view, pod)).count();
                *counts.entry(domain).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
            }
        }
        for (sum, node) in sums.iter_mut().zip(nodes) {
            *sum += weight * node.label(&term.topology_key).map_or(0, |domain| counts[domain]);
        }
    }
    sums
}

/// A term as a test of pods.
struct Matcher<'a> {
    selector: Selector,
    /// Selects namespaces by their labels; `None` for the listed ones only.
    namespace_selector: Option<Selector>,
    namespaces: Vec<&'a str>,
}

impl<'a> Matcher<'a> {
    /// Makes the matcher of a term of the pod `owner`.
    fn of(term: &'a PodAffinityTerm, owner: &'a Facts) -> Self {
        let selector = term.label_selector.as_ref().and_then(|s| Selector::of_typed(s).ok());
        let namespace_selector = term.namespace_selector.as_ref().and_then(|s| Selector::of_typed(s).ok());
        let listed = term.namespaces.as_deref().unwrap_or_default();
        let namespaces = if listed.is_empty() && namespace_selector.is_none() {
            vec![owner.namespace.as_str()]
        } else {
            listed.iter().map(String::as_str).collect()
        };
        Self { selector: selector.unwrap_or_else(Selector::nothing), namespace_selector, namespaces }
    }

    fn matches(&self, view: &View, pod: &Facts) -> bool {
        let selected =
            |selector: &Selector| view.namespace_labels(&pod.namespace).is_some_and(|labels| selector.matches(labels));
        let here =
            self.namespaces.contains(&pod.namespace.as_str()) || self.namespace_selector.as_ref().is_some_and(selected);
        here && self.selector.matches(&pod.labels)
    }
}
