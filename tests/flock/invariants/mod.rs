//! What must be true: always, of everything shown, and after a heal. One invariant a file.

#[path = "../../sim/invariants/acknowledged.rs"]
mod acknowledged;
mod bound;
mod buried;
mod clocks;
#[path = "../../sim/invariants/deleted.rs"]
mod deleted;
mod displaced;
mod equal;
pub mod kept;
mod leaders;
mod level;
#[path = "../../sim/invariants/once.rs"]
mod once;
mod replicas;
pub mod twice;

use std::time::Duration;

use skein::ids::Term;
use skein::store::Snapshot;

use crate::host::Host;
use crate::ledger::Ledger;
use crate::world::Bug;

/// Which bug must be caught by which invariant.
pub const PLANTED: &[(Bug, &str)] = &[
    (Bug::SleepingWarden, twice::NAME),
    (Bug::ForgottenBallots, leaders::NAME),
    (Bug::SecondScheduler, bound::NAME),
    (Bug::DeafNode, equal::NAME),
    (Bug::LostRemovals, replicas::NAME),
    (Bug::WrongClock, kept::NAME),
    (Bug::LostTombstones, deleted::NAME),
    (Bug::OldDisk, buried::NAME),
    (Bug::LyingDisk, acknowledged::NAME),
    (Bug::DoubleStart, once::NAME),
    (Bug::TidyUser, displaced::NAME),
];

/// Checked after every event of a host.
pub fn always(host: &Host) -> Result<(), String> {
    once::check(&host.docker)
}

/// Notes that a run of a host leads. Returns whether that is new.
pub fn leads(ledger: &mut Ledger, index: usize, host: &Host, term: Term) -> Result<bool, String> {
    leaders::check(ledger, index, host.incarnation, term)
}

/// Checked once a second.
pub fn now_and_then(hosts: &[Host], ledger: &Ledger) -> Result<(), String> {
    bound::check(ledger)?;
    // While an agent is stalled its disk goes on without it.
    let mut seeing = hosts.iter().enumerate().filter(|(_, host)| host.node.is_some() && host.stalled.is_none());
    seeing.try_for_each(|(i, h)| buried::check(ledger, i, h))
}

/// Checked of every snapshot that a host shows, before it takes the place of the one before.
pub fn on_publish(now: Duration, host: &Host, ledger: &Ledger, view: &Snapshot, leads: bool) -> Result<(), String> {
    deleted::check(view, &host.users)?;
    deleted::check(view, &host.crowd)?;
    acknowledged::check(view, &host.users)?;
    if leads { kept::check(now, ledger, host.id(), &host.view, view) } else { Ok(()) }
}

/// Checked when nothing happens any more: all show the same.
pub fn same(hosts: &[Host]) -> Result<(), String> {
    equal::check(hosts)
}

/// Checked when all is calm.
pub fn at_rest(now: Duration, hosts: &[Host], ledger: &Ledger) -> Result<(), String> {
    equal::check(hosts)?;
    if hosts.len() % 2 == 1 {
        clocks::check(now, hosts)?;
    }
    level::check(hosts)?;
    for host in hosts {
        if let Some((id, what)) = host.users.in_flight.first_key_value().or(host.crowd.in_flight.first_key_value()) {
            return Err(format!("every request is answered: {} owes {id}, {what:?}", host.name()));
        }
        for other in hosts {
            deleted::check(&other.view, &host.users)?;
            deleted::check(&other.view, &host.crowd)?;
            acknowledged::check(&other.view, &host.users).map_err(|b| format!("{b}, says {}", other.name()))?;
        }
    }
    buried::at_rest(ledger, hosts)?;
    displaced::check(ledger, hosts)?;
    replicas::check(hosts)
}
