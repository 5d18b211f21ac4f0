//! What is looked at before the agent starts: a sentence each, so that nobody has to guess.

use std::net::{Ipv4Addr, UdpSocket};

use ipnet::Ipv4Net;

use crate::config::Config;
use crate::time::Wall;

/// The start of 2025: a clock before it is not set.
const EPOCH: Wall = Wall(1_735_689_600_000_000);

/// Interfaces whose names begin so are our own, left by an earlier run.
pub const OUR_LINKS: &str = "sk";

/// Something that keeps the agent from starting.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The clock is not set.
    #[error("the clock says {0}: set it first (resource versions and certificates depend on it)")]
    Clock(Wall),
    /// A range of ours is somebody else's already.
    #[error("the {what} range {range} overlaps the route {route} of {link}: choose another with --{what}")]
    Overlap {
        /// `pods` or `services`.
        what: &'static str,
        /// Our range.
        range: Ipv4Net,
        /// The route that is there.
        route: Ipv4Net,
        /// Its interface.
        link: String,
    },
    /// The agent may not do its work.
    #[error("the agent needs root: it makes network namespaces and links for pods")]
    NotRoot,
    /// The host has no address.
    #[error("this host has no route to the outside, so its address is not known: give it with --address")]
    NoAddress,
}

impl CheckError {
    /// Says it to one that joins: the ranges are the cluster's, and no flag changes them.
    pub fn for_joiner(&self) -> String {
        match self {
            Self::Overlap { what, range, route, link } => {
                format!("the cluster's {what} range {range} overlaps the route {route} of {link} on this machine")
            }
            other => other.to_string(),
        }
    }
}

/// Checks the clock.
///
/// # Errors
/// [`CheckError::Clock`].
pub fn clock(wall: Wall) -> Result<(), CheckError> {
    if wall < EPOCH { Err(CheckError::Clock(wall)) } else { Ok(()) }
}

/// Checks the ranges.
///
/// # Errors
/// [`CheckError::Overlap`], the first that is found.
pub fn ranges(config: &Config) -> Result<(), CheckError> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    for (link, route) in routes(&table) {
        for (what, range) in [("pods", config.pods), ("services", config.services)] {
            if range.contains(&route.network()) || route.contains(&range.network()) {
                return Err(CheckError::Overlap { what, range, route, link });
            }
        }
    }
    Ok(())
}

/// Checks that the agent runs as root.
///
/// # Errors
/// [`CheckError::NotRoot`].
pub fn root() -> Result<(), CheckError> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(CheckError::NotRoot) }
}

/// Finds the host's address: the given one, or the source address of the default route.
///
/// # Errors
/// [`CheckError::NoAddress`].
pub fn address(config: &Config) -> Result<Ipv4Addr, CheckError> {
    if let Some(given) = config.address {
        return Ok(given);
    }
    // Connecting a datagram socket sends nothing; it asks the routing table.
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect("192.0.2.1:9").and_then(|()| s.local_addr()));
    match asked.map(|a| a.ip()) {
        Ok(std::net::IpAddr::V4(found)) if !found.is_unspecified() => Ok(found),
        _ => Err(CheckError::NoAddress),
    }
}

/// Tells whether the kernel counts and limits memory by cgroup; without it memory limits are not enforced.
pub fn memory_cgroup() -> bool {
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    unified.split_whitespace().any(|c| c == "memory") || memory_enabled(&table)
}

fn memory_enabled(table: &str) -> bool {
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("memory") && words.next_back() == Some("1")
    })
}

/// Reads the routes of `/proc/net/route` that are neither the default one nor our own.
fn routes(table: &str) -> Vec<(String, Ipv4Net)> {
    let parse = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let word = |i: usize| u32::from_str_radix(words.get(i)?, 16).ok().map(u32::swap_bytes);
        let prefix = u8::try_from(word(7)?.leading_ones()).ok()?;
        let route = Ipv4Net::new(Ipv4Addr::from(word(1)?), prefix).ok()?;
        (prefix > 0 && !words[0].starts_with(OUR_LINKS)).then(|| (words[0].to_owned(), route))
    };
    table.lines().skip(1).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
        skv1\t0000600A\t00000000\t0001\t0\t0\t0\t0000FFFF\n";

    #[test]
    fn routes_are_read_without_the_default_and_our_own() {
        assert_eq!(routes(TABLE), [("eth0".to_owned(), "192.0.2.0/24".parse().unwrap())]);
    }

    #[test]
    fn a_clock_that_is_not_set_is_named() {
        let why = clock(Wall(0)).unwrap_err().to_string();
        assert!(why.contains("1970-01-01T00:00:00Z"), "{why}");
    }

    #[test]
    fn the_memory_cgroup_is_seen() {
        assert!(memory_enabled("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t5\t1\n"));
        assert!(!memory_enabled("memory\t4\t5\t0\n"));
    }
}
