//! Nothing that was acknowledged is lost: what users made is shown, or they deleted it, or a copy of it is kept because
//! an older object has its name.

use skein::object::{Key, kinds};
use skein::store::{Snapshot, displaced};

use crate::host::Host;
use crate::ledger::Ledger;

pub const NAME: &str = "what gives its name away is kept";

/// When all is healed.
pub fn check(ledger: &Ledger, hosts: &[Host]) -> Result<(), String> {
    for host in hosts {
        for (uid, key) in &ledger.made {
            let shown = host.view.by_uid(*uid).is_some();
            let kept = ledger.displaced.contains_key(uid) && copy(&host.view, key, *uid);
            if !shown && !kept && !ledger.asked_to_go.contains(uid) {
                return Err(format!("{NAME}: {key} of uid {uid} is nowhere on {}", host.name()));
            }
        }
        let users = |key: &Key| *key.kind == kinds::CONFIG_MAP || *key.kind == kinds::DEPLOYMENT;
        for (uid, key) in ledger.displaced.iter().filter(|(_, key)| users(key)) {
            if !copy(&host.view, key, *uid) {
                return Err(format!("{NAME}: {} has no copy of {key} of uid {uid}", host.name()));
            }
        }
    }
    Ok(())
}

fn copy(view: &Snapshot, key: &Key, uid: skein::ids::Uid) -> bool {
    let at = displaced::copy_key(key, uid, &key.namespace);
    view.get(&at).is_some_and(|copy| copy.value()["metadata"]["annotations"][displaced::UID] == uid.to_string())
}
