//! Keeps EndpointSlices, Endpoints and routes in step with Services and pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::object::{Key, kinds};
use crate::routing::{self, Router};
use crate::store::{Snapshot, WatchEvent};
use crate::time::Now;

use super::{Effect, Node};

/// What is known of traffic, and what has to be looked at again.
pub(super) struct Traffic {
    /// Services whose slices are to be computed again.
    stale: BTreeSet<Key>,
    /// The slices each Service has.
    slices: BTreeMap<Key, BTreeSet<Key>>,
    routes_stale: bool,
    router: Router,
}

impl Traffic {
    pub fn new(config: routing::Config) -> Self {
        let (stale, slices) = (BTreeSet::new(), BTreeMap::new());
        Self { stale, slices, routes_stale: true, router: Router::new(config) }
    }

    /// Looks at every Service again.
    pub fn start(&mut self, view: &Snapshot) {
        self.stale.extend(view.list(&kinds::SERVICE, None).map(|e| e.key.clone()));
        self.stale.extend(self.slices.keys().cloned());
        self.routes_stale = true;
    }

    /// Notes what an event makes stale.
    pub fn notice(&mut self, event: &WatchEvent, view: &Snapshot) {
        self.stale.extend(routing::affected(view, event));
        let kind = event.key().kind;
        self.routes_stale |= [&kinds::SERVICE, &kinds::ENDPOINT_SLICE, &kinds::NAMESPACE, &kinds::NODE].contains(&kind);
    }
}

impl Node {
    /// Computes stale slices, then routes if a slice or Service has changed.
    pub(super) fn refresh_traffic(&mut self, now: Now) {
        for service in std::mem::take(&mut self.traffic.stale) {
            self.refresh_slices(now, &service);
        }
        if self.store.snapshot().revision() != self.seen || !std::mem::take(&mut self.traffic.routes_stale) {
            // Slices that were just projected are seen in the next round.
            return;
        }
        if let Some(routes) = self.traffic.router.update(self.store.snapshot()) {
            self.effects.push(Effect::Route(routes));
        }
    }

    fn refresh_slices(&mut self, now: Now, service: &Key) {
        let mut wanted = self.slices_of(service);
        wanted.extend(routing::endpoints(self.store.snapshot(), service, &wanted));
        let keys: BTreeSet<Key> = wanted.iter().filter_map(Key::of).collect();
        let before = self.traffic.slices.remove(service).unwrap_or_default();
        for gone in before.difference(&keys) {
            self.store.project(now, gone, None);
        }
        for slice in wanted {
            if let Some(key) = Key::of(&slice) {
                self.store.project(now, &key, Some(slice));
            }
        }
        if !keys.is_empty() {
            self.traffic.slices.insert(service.clone(), keys);
        }
    }

    fn slices_of(&self, service: &Key) -> Vec<Value> {
        if super::bootstrap::is_api_service(service) {
            return self.api_slice(service).into_iter().collect();
        }
        routing::endpoint_slices(self.store.snapshot(), service)
    }
}
