//! What must be true: always, of everything shown, and at rest. One invariant a file.

mod acknowledged;
mod deleted;
mod once;
mod replicas;
mod versions;

use skein::ids::Revision;
use skein::runtime::fake::FakeRuntime;
use skein::store::Snapshot;

use crate::users::Users;
use crate::world::Bug;

/// Which bug must be caught by which invariant.
pub const PLANTED: &[(Bug, &str)] = &[
    (Bug::LyingDisk, acknowledged::NAME),
    (Bug::LostTombstones, deleted::NAME),
    (Bug::LostRemovals, replicas::NAME),
    (Bug::DoubleStart, once::NAME),
    (Bug::ForgottenCeiling, versions::NAME),
];

/// Checked after every event.
pub fn always(docker: &FakeRuntime) -> Result<(), String> {
    once::check(docker)
}

/// Checked of every snapshot that is shown; `newest` is the version shown before, by this agent or an earlier one.
pub fn on_publish(view: &Snapshot, users: &Users, newest: Revision) -> Result<(), String> {
    versions::check(view, newest)?;
    deleted::check(view, users)?;
    acknowledged::check(view, users)
}

/// Checked when all is calm.
pub fn at_rest(view: &Snapshot, users: &Users, docker: &FakeRuntime) -> Result<(), String> {
    acknowledged::check(view, users)?;
    replicas::check(view, users, docker)
}
