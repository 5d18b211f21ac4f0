//! What was deleted stays deleted: its uid is never shown again.

use skein::store::Snapshot;

use crate::users::Users;

pub const NAME: &str = "deleted stays deleted";

pub fn check(view: &Snapshot, users: &Users) -> Result<(), String> {
    match users.dead.iter().find_map(|uid| view.by_uid(*uid)) {
        Some(entry) => Err(format!("{NAME}: {} of uid {} is back", entry.key, entry.uid)),
        None => Ok(()),
    }
}
