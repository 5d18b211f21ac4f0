//! What was acknowledged is so, unless somebody asked for something else since.

use skein::store::Snapshot;

use crate::users::{Users, look};

pub const NAME: &str = "acknowledged writes survive";

pub fn check(view: &Snapshot, users: &Users) -> Result<(), String> {
    for (key, known) in &users.known {
        let found = look(view, key);
        if !known.allows(found) && !users.is_busy(key) {
            return Err(format!("{NAME}: {key} shows {found:?}, known is {known:?}"));
        }
    }
    Ok(())
}
