//! Which address a pod gets: from the node's range, never one in use, and not at once one that was just given back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::ids::Uid;

/// The addresses of the node's pod range.
#[derive(Debug)]
pub(super) struct Addresses {
    range: Ipv4Net,
    held: BTreeMap<Ipv4Addr, Uid>,
    last: u32,
}

impl Addresses {
    /// Makes a range of which nothing is held.
    pub fn new(range: Ipv4Net) -> Self {
        let range = range.trunc();
        Self { range, held: BTreeMap::new(), last: u32::from(range.network()) + 1 }
    }

    /// Gives `pod` an address; `None` if all are held. The search starts after the one given last, so that
    /// a freed address rests as long as possible: peers may still have it in their caches.
    pub fn give(&mut self, pod: Uid) -> Option<Ipv4Addr> {
        // The network's own address, the gateway (the first) and the broadcast address are nobody's.
        let first = u32::from(self.range.network()) + 2;
        let past = u32::from(self.range.broadcast());
        let from = if (first..past).contains(&(self.last + 1)) { self.last + 1 } else { first };
        let free =
            (from..past).chain(first..from.min(past)).map(Ipv4Addr::from).find(|a| !self.held.contains_key(a))?;
        self.hold(free, pod);
        Some(free)
    }

    /// Notes that `pod` has `address`, whoever gave it.
    pub fn hold(&mut self, address: Ipv4Addr, pod: Uid) {
        self.held.insert(address, pod);
        if self.range.contains(&address) {
            self.last = address.into();
        }
    }

    /// Takes back what `pod` has.
    pub fn release(&mut self, pod: Uid) {
        self.held.retain(|_, holder| *holder != pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(n: u8) -> Uid {
        Uid([n; 16])
    }

    fn range(text: &str) -> Addresses {
        Addresses::new(text.parse().unwrap())
    }

    #[test]
    fn a_small_range_gives_each_address_once_and_spares_the_special_ones() {
        let mut addresses = range("10.0.0.0/29");
        let given: Vec<String> = (0..6).filter_map(|n| addresses.give(pod(n))).map(|a| a.to_string()).collect();
        assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    }

    #[test]
    fn a_freed_address_rests_until_the_others_were_given() {
        let mut addresses = range("10.0.0.0/29");
        let first = addresses.give(pod(1)).unwrap();
        addresses.release(pod(1));
        for n in 2..6 {
            assert_ne!(addresses.give(pod(n)), Some(first));
        }
        assert_eq!(addresses.give(pod(6)), Some(first));
    }

    #[test]
    fn an_adopted_address_is_not_given_again() {
        let mut addresses = range("10.0.0.0/24");
        addresses.hold("10.0.0.3".parse().unwrap(), pod(9));
        for n in 0..252 {
            let given = addresses.give(pod(n));
            assert_ne!(given, Some("10.0.0.3".parse().unwrap()));
            assert_eq!(given.is_some(), n < 252, "252 are left");
        }
        assert_eq!(addresses.give(pod(253)), None);
    }

    #[test]
    fn a_range_without_room_gives_nothing() {
        assert_eq!(range("10.0.0.0/31").give(pod(1)), None);
        assert_eq!(range("10.0.0.0/30").give(pod(1)), Some("10.0.0.2".parse().unwrap()));
    }
}
