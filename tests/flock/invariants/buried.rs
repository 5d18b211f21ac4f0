//! An object whose tombstone is on a disk is not shown there any more; after a heal, nowhere.

use crate::host::Host;
use crate::ledger::Ledger;

pub const NAME: &str = "no uid lives after its tombstone";

/// On host `index`.
pub fn check(ledger: &Ledger, index: usize, host: &Host) -> Result<(), String> {
    let buried = |entry: &&std::sync::Arc<skein::store::Entry>| {
        ledger.buried.get(&entry.uid).is_some_and(|hosts| hosts.contains(&index))
    };
    match host.view.all().find(buried) {
        Some(entry) => Err(format!("{NAME}: {} shows {} of uid {}", host.name(), entry.key, entry.uid)),
        None => Ok(()),
    }
}

/// When all is healed.
pub fn at_rest(ledger: &Ledger, hosts: &[Host]) -> Result<(), String> {
    for host in hosts {
        if let Some(entry) = host.view.all().find(|entry| ledger.buried.contains_key(&entry.uid)) {
            return Err(format!("{NAME}: {} still shows {} of uid {}", host.name(), entry.key, entry.uid));
        }
    }
    Ok(())
}
