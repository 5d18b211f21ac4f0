//! Where one listener's clients go: its backends as they are now, and the choice among them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::time::{ClockId, clock_gettime};

use crate::routing::Balancer;
use crate::routing::routes::Backends;
use crate::time::Mono;

/// One listener's backends and balancer.
#[derive(Debug)]
pub(super) struct Target {
    backends: ArcSwap<Backends>,
    balancer: Mutex<Balancer>,
}

impl Target {
    pub(super) fn new(backends: Arc<Backends>) -> Self {
        Self { backends: ArcSwap::new(backends), balancer: Mutex::new(Balancer::new(rand::random())) }
    }

    pub(super) fn backends(&self) -> Arc<Backends> {
        self.backends.load_full()
    }

    /// Sends new clients to `backends` from now on.
    pub(super) fn replace(&self, backends: Arc<Backends>) {
        self.balancer().retain(&backends);
        self.backends.store(backends);
    }

    /// Chooses an endpoint for a client that none in `tried` would do for.
    pub(super) fn pick(self: &Arc<Self>, client: SocketAddr, tried: &[SocketAddrV4]) -> Option<Pick> {
        let client = match client.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
        };
        let endpoint = self.balancer().pick(now(), client, &self.backends.load(), tried)?;
        Some(Pick { target: Arc::clone(self), address: endpoint.address, node: endpoint.node })
    }

    /// Takes note that a dial failed or takes too long.
    pub(super) fn failed(&self, address: SocketAddrV4) {
        self.balancer().failed(now(), address);
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        // The balancer is whole after every call, also if a caller panicked elsewhere.
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chosen endpoint; counts as a connection to it until dropped.
#[derive(Debug)]
pub(super) struct Pick {
    target: Arc<Target>,
    pub(super) address: SocketAddrV4,
    /// The node that it is on.
    pub(super) node: Option<String>,
}

impl Pick {
    pub(super) fn succeeded(&self) {
        self.target.balancer().succeeded(self.address);
    }

    pub(super) fn failed(&self) {
        self.target.failed(self.address);
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.target.balancer().closed(self.address);
    }
}

/// Returns the time since boot, suspend included.
pub(super) fn now() -> Mono {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has had this clock since 2.6.39");
    Mono(Duration::from(time))
}
