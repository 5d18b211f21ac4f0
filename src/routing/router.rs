//! All Services together: the routes, and a cache that recomputes only what changed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::object::{Key, kinds};
use crate::store::{Entry, Snapshot};

use super::project::{Part, part};
use super::routes::{Name, Routes};
use super::slices::SERVICE_NAME;

/// What routing has to know beside the cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node's name, for `internalTrafficPolicy: Local` and `externalTrafficPolicy: Local`.
    pub node: String,
    /// The cluster's DNS domain, lower-case and without the last dot.
    pub cluster_domain: String,
    /// The range of virtual addresses, to which no endpoint may belong.
    pub service_range: Ipv4Net,
}

impl Config {
    /// Makes the configuration of `node` with the defaults: `cluster.local` and 10.96.0.0/16.
    pub fn of(node: impl Into<String>) -> Self {
        let service_range = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
        Self { node: node.into(), cluster_domain: "cluster.local".into(), service_range }
    }
}

/// Projects the whole view. What equals its counterpart in `previous` is the same `Arc`.
///
/// Reads every Service and EndpointSlice; a caller that does it often keeps a [`Router`].
pub fn routes(view: &Snapshot, config: &Config, previous: &Routes) -> Routes {
    let mut routes = Router::new(config.clone()).project(view);
    for (listen, backends) in &mut routes.listeners {
        share(backends, previous.listeners.get(listen));
    }
    for (name, meaning) in &mut routes.names {
        share(meaning, previous.names.get(name));
    }
    routes
}

/// Routes that are kept up to date: a Service is projected again only when it or one of its slices has changed.
#[derive(Debug)]
pub struct Router {
    config: Config,
    parts: BTreeMap<Key, Cached>,
    routes: Arc<Routes>,
}

#[derive(Debug)]
struct Cached {
    /// The Service, then its slices, as they were.
    sources: Vec<Arc<Entry>>,
    part: Part,
}

impl Router {
    /// Makes a router that has seen nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, parts: BTreeMap::new(), routes: Arc::default() }
    }

    /// Returns the routes as last projected.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes)
    }

    /// Takes in a view and returns the new routes, or `None` if they are the same as before. To be called when
    /// Services, EndpointSlices, Namespaces or Nodes changed.
    pub fn update(&mut self, view: &Snapshot) -> Option<Arc<Routes>> {
        let routes = self.project(view);
        if routes == *self.routes {
            return None;
        }
        self.routes = Arc::new(routes);
        Some(self.routes())
    }

    fn project(&mut self, view: &Snapshot) -> Routes {
        let mut slices = slices_by_service(view);
        let mut before = std::mem::take(&mut self.parts);
        for service in view.list(&kinds::SERVICE, None) {
            let key = &service.key;
            let mut sources = vec![Arc::clone(service)];
            sources.extend(slices.remove(&(&key.namespace, &key.name)).into_iter().flatten().cloned());
            let cached = self.cached(before.remove(key), sources);
            self.parts.insert(key.clone(), cached);
        }
        self.assemble(view)
    }

    fn cached(&self, before: Option<Cached>, sources: Vec<Arc<Entry>>) -> Cached {
        let same =
            |old: &[Arc<Entry>]| old.len() == sources.len() && old.iter().zip(&sources).all(|(a, b)| Arc::ptr_eq(a, b));
        match before {
            Some(cached) if same(&cached.sources) => cached,
            before => {
                let mut part = project(&self.config, &sources);
                if let Some(before) = before {
                    keep_equal(&mut part, before.part);
                }
                Cached { sources, part }
            }
        }
    }

    /// Where two Services claim one place or name, the first in key order has it.
    fn assemble(&self, view: &Snapshot) -> Routes {
        let mut routes = Routes::default();
        for Cached { part, .. } in self.parts.values() {
            for (listen, backends) in &part.listeners {
                routes.listeners.entry(*listen).or_insert_with(|| Arc::clone(backends));
            }
            for (name, meaning) in &part.names {
                routes.names.entry(name.clone()).or_insert_with(|| Arc::clone(meaning));
            }
        }
        let nothing = Arc::new(Name::Addresses(Vec::new()));
        for namespace in view.list(&kinds::NAMESPACE, None) {
            let name = format!("{}.svc.{}", namespace.key.name, self.config.cluster_domain);
            routes.names.insert(name, Arc::clone(&nothing));
        }
        routes.pod_ranges =
            view.list(&kinds::NODE, None).filter_map(|n| Some((range_of(n)?, n.key.name.clone()))).collect();
        routes
    }
}

fn range_of(node: &Entry) -> Option<Ipv4Net> {
    node.typed::<Node>()?.spec?.pod_cidr?.parse().ok()
}

/// Groups slices, whoever made them, by the namespace and name of their Service.
fn slices_by_service(view: &Snapshot) -> BTreeMap<(&String, &String), Vec<&Arc<Entry>>> {
    let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for slice in view.list(&kinds::ENDPOINT_SLICE, None) {
        if let Some(service) = slice.labels.get(SERVICE_NAME) {
            slices.entry((&slice.key.namespace, service)).or_default().push(slice);
        }
    }
    slices
}

fn project(config: &Config, sources: &[Arc<Entry>]) -> Part {
    let Some((service, slices)) = sources.split_first() else { return Part::default() };
    let slices: Vec<EndpointSlice> = slices.iter().filter_map(|s| s.typed()).collect();
    service.typed::<Service>().map(|s| part(config, &service.key, &s, &slices)).unwrap_or_default()
}

fn keep_equal(part: &mut Part, before: Part) {
    let listeners: BTreeMap<_, _> = before.listeners.into_iter().collect();
    for (listen, backends) in &mut part.listeners {
        share(backends, listeners.get(listen));
    }
    let names: BTreeMap<_, _> = before.names.into_iter().collect();
    for (name, meaning) in &mut part.names {
        share(meaning, names.get(name));
    }
}

fn share<T: PartialEq>(new: &mut Arc<T>, old: Option<&Arc<T>>) {
    if let Some(old) = old.filter(|old| **old == *new) {
        *new = Arc::clone(old);
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
