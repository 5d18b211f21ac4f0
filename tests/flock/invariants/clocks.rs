//! A node whose clock is far from the median of all goes by the others' and says so, and no other node does.

use std::time::Duration;

use crate::host::Host;
use crate::rare::{WRONG, goes_by_the_others};

/// How far a clock that nobody complains of may be off, in microseconds.
const RIGHT: i64 = 4_000_000;

/// Checks all hosts, of which all have heard of all.
pub fn check(now: Duration, hosts: &[Host]) -> Result<(), String> {
    let mut errors: Vec<i64> = hosts.iter().map(|host| host.error(now)).collect();
    errors.sort_unstable();
    let median = errors[errors.len() / 2];
    for host in hosts {
        let off = (host.error(now) - median).abs();
        let says = goes_by_the_others(host);
        if (off > WRONG && !says) || (off < RIGHT && says) {
            return Err(format!("a wrong clock gives way: {} is {off} us off, and says so: {says}", host.name()));
        }
    }
    Ok(())
}
