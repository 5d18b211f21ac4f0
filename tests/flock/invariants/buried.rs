//! An object whose tombstone is on a disk is not shown there any more; after a heal, nowhere. But for Leases: the document
//! of one makes way for its register, which goes on with the uid.

use skein::object::kinds::LEASE;
use skein::store::Entry;

use crate::host::Host;
use crate::ledger::Ledger;

pub const NAME: &str = "no uid lives after its tombstone";

/// On host `index`.
pub fn check(ledger: &Ledger, index: usize, host: &Host) -> Result<(), String> {
    let buried = |entry: &&std::sync::Arc<Entry>| {
        !is_lease(entry) && ledger.buried.get(&entry.uid).is_some_and(|hosts| hosts.contains(&index))
    };
    match host.view.all().find(buried) {
        Some(entry) => Err(format!("{NAME}: {} shows {} of uid {}", host.name(), entry.key, entry.uid)),
        None => Ok(()),
    }
}

/// When all is healed.
pub fn at_rest(ledger: &Ledger, hosts: &[Host]) -> Result<(), String> {
    for host in hosts {
        let mut buried = host.view.all().filter(|entry| !is_lease(entry) && ledger.buried.contains_key(&entry.uid));
        if let Some(entry) = buried.next() {
            return Err(format!("{NAME}: {} still shows {} of uid {}", host.name(), entry.key, entry.uid));
        }
    }
    Ok(())
}

fn is_lease(entry: &Entry) -> bool {
    entry.key.kind == &LEASE
}
