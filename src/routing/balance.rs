//! The balancing choice: which endpoint a new connection goes to.
//!
//! Power of two choices: of two endpoints drawn at random, the one with fewer open connections; equal ones by lot.
//! An endpoint whose last dial failed is passed over for a moment, then let one connection try, and taken back when
//! that succeeds. With `sessionAffinity: ClientIP` a client keeps its endpoint while that is there and answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::time::{Backoff, Mono};

use super::routes::{Backends, Endpoint};

/// How long an endpoint is passed over after its first failed dial; doubles with each further one.
pub const EJECTION: Duration = Duration::from_secs(1);
/// The longest time that an endpoint is passed over.
pub const EJECTION_MAX: Duration = Duration::from_secs(10);
/// How many clients' endpoints are remembered; beyond, the one that would be forgotten first is.
pub const STICKY_MAX: usize = 16_384;

/// Failures are forgotten after so long without one.
const FORGET: Duration = Duration::from_secs(60);

/// Chooses endpoints for one listener and keeps count of what it chose.
#[derive(Debug)]
pub struct Balancer {
    random: StdRng,
    loads: BTreeMap<SocketAddrV4, Load>,
    sticky: BTreeMap<Ipv4Addr, Sticky>,
}

#[derive(Debug)]
struct Load {
    /// Open connections, those being dialled included.
    open: u32,
    backoff: Backoff,
    /// Set while the last dial is a failed one: until when the endpoint is passed over.
    ejected: Option<Mono>,
}

impl Default for Load {
    fn default() -> Self {
        Self { open: 0, backoff: Backoff::new(EJECTION, EJECTION_MAX, FORGET), ejected: None }
    }
}

#[derive(Debug)]
struct Sticky {
    address: SocketAddrV4,
    until: Mono,
}

impl Balancer {
    /// Makes a balancer whose lots are fixed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), loads: BTreeMap::new(), sticky: BTreeMap::new() }
    }

    /// Chooses an endpoint that is not in `tried` and counts a connection to it, which the caller ends with
    /// [`Balancer::closed`]. `None` if all have been tried.
    ///
    /// If every endpoint left is passed over just now, the one whose time is up first is chosen all the same.
    pub fn pick(
        &mut self,
        now: Mono,
        client: Ipv4Addr,
        backends: &Backends,
        tried: &[SocketAddrV4],
    ) -> Option<Endpoint> {
        let left: Vec<&Endpoint> = backends.endpoints.iter().filter(|e| !tried.contains(&e.address)).collect();
        let kept = backends.affinity_seconds.and_then(|_| self.kept(now, client, &left));
        let chosen = match kept {
            Some(endpoint) => endpoint,
            None => self.choose(now, &left)?,
        }
        .clone();
        if let Some(seconds) = backends.affinity_seconds {
            self.keep(now, client, chosen.address, seconds);
        }
        let load = self.loads.entry(chosen.address).or_default();
        load.open += 1;
        if load.ejected.is_some() {
            // This connection is the probe: the others wait for what becomes of it.
            load.ejected = Some(now + EJECTION);
        }
        Some(chosen)
    }

    /// Takes note that a dial succeeded.
    pub fn succeeded(&mut self, address: SocketAddrV4) {
        if let Some(load) = self.loads.get_mut(&address) {
            load.ejected = None;
            load.backoff.succeed();
        }
    }

    /// Takes note that a dial failed, or took so long that another endpoint was tried.
    pub fn failed(&mut self, now: Mono, address: SocketAddrV4) {
        let load = self.loads.entry(address).or_default();
        load.ejected = Some(now + load.backoff.fail(now));
    }

    /// Ends a connection that [`Balancer::pick`] counted.
    pub fn closed(&mut self, address: SocketAddrV4) {
        if let Some(load) = self.loads.get_mut(&address) {
            load.open = load.open.saturating_sub(1);
        }
    }

    /// Forgets endpoints that are not in `backends` any more and have no connection open.
    pub fn retain(&mut self, backends: &Backends) {
        let listed = |address: &SocketAddrV4| backends.endpoints.iter().any(|e| e.address == *address);
        self.loads.retain(|address, load| load.open > 0 || listed(address));
        self.sticky.retain(|_, sticky| listed(&sticky.address));
    }

    fn kept<'a>(&self, now: Mono, client: Ipv4Addr, left: &[&'a Endpoint]) -> Option<&'a Endpoint> {
        let sticky = self.sticky.get(&client).filter(|s| now < s.until)?;
        let endpoint = left.iter().find(|e| e.address == sticky.address)?;
        self.is_eligible(now, sticky.address).then_some(*endpoint)
    }

    fn choose<'a>(&mut self, now: Mono, left: &[&'a Endpoint]) -> Option<&'a Endpoint> {
        let eligible: Vec<&Endpoint> = left.iter().copied().filter(|e| self.is_eligible(now, e.address)).collect();
        match eligible.as_slice() {
            [] => left.iter().copied().min_by_key(|e| self.loads.get(&e.address).and_then(|l| l.ejected)),
            [only] => Some(only),
            several => {
                let first = self.random.random_range(0..several.len());
                // The second is drawn from the others.
                let second = (first + self.random.random_range(1..several.len())) % several.len();
                let (first, second) = (several[first], several[second]);
                Some(if self.open(second) < self.open(first) { second } else { first })
            }
        }
    }

    fn open(&self, endpoint: &Endpoint) -> u32 {
        self.loads.get(&endpoint.address).map_or(0, |load| load.open)
    }

    fn is_eligible(&self, now: Mono, address: SocketAddrV4) -> bool {
        self.loads.get(&address).and_then(|load| load.ejected).is_none_or(|until| until <= now)
    }

    fn keep(&mut self, now: Mono, client: Ipv4Addr, address: SocketAddrV4, seconds: u32) {
        if self.sticky.len() >= STICKY_MAX && !self.sticky.contains_key(&client) {
            self.sticky.retain(|_, sticky| now < sticky.until);
            let oldest = self.sticky.iter().min_by_key(|(_, sticky)| sticky.until).map(|(client, _)| *client);
            if let Some(oldest) = oldest.filter(|_| self.sticky.len() >= STICKY_MAX) {
                self.sticky.remove(&oldest);
            }
        }
        let until = now + Duration::from_secs(u64::from(seconds));
        self.sticky.insert(client, Sticky { address, until });
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
