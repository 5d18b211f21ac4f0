//! A node whose clock is far from the median of all goes by the others' and says so, and no other node does.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use skein::object::{Key, kinds};
use skein::time::Wall;

use crate::host::{Host, WALL};
use crate::rare::{WRONG, goes_by_the_others};

/// How far a clock that nobody complains of may be off, in microseconds.
const RIGHT: i64 = 4_000_000;

/// How old what a Lease shows may be, in microseconds.
const RENEWED: i64 = 15_000_000;

const NAME: &str = "a wrong clock gives way";

/// Checks all hosts, of which all have heard of all.
pub fn check(now: Duration, hosts: &[Host]) -> Result<(), String> {
    let mut errors: Vec<i64> = hosts.iter().map(|host| host.error(now)).collect();
    errors.sort_unstable();
    let median = errors[errors.len() / 2];
    for host in hosts {
        let off = (host.error(now) - median).abs();
        let says = goes_by_the_others(host);
        if (off > WRONG && !says) || (off < RIGHT && says) {
            return Err(format!("{NAME}: {} is {off} us off, and says so: {says}", host.name()));
        }
        // Its Lease shows what time it goes by.
        let right = WALL.0 + i64::try_from(now.as_micros()).expect("no long ages") + median;
        let shown = renewed(host).map(|time| (time.0 - right).abs());
        if shown.is_none_or(|off| off > WRONG + RENEWED) {
            return Err(format!("{NAME}: {} renews its Lease {shown:?} us off", host.name()));
        }
    }
    Ok(())
}

/// When a host has last renewed its own Lease, by the time it goes by.
fn renewed(host: &Host) -> Option<Wall> {
    let lease = host.view.get(&Key::new(&kinds::LEASE, "kube-node-lease", host.name()))?;
    let time = serde_json::from_value::<MicroTime>(lease.value()["spec"]["renewTime"].take()).ok()?;
    Some(Wall(time.0.as_microsecond()))
}
