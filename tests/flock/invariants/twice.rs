//! Of the pods of one slot at most one runs, in the whole cluster, at any moment.

use std::collections::BTreeMap;

use crate::host::Host;
use crate::ledger::Ledger;

pub const NAME: &str = "what must never run twice does not";

pub fn check(hosts: &[Host], ledger: &Ledger) -> Result<(), String> {
    let mut running = BTreeMap::new();
    for host in hosts {
        for pod in host.docker.running() {
            let Some(slot) = ledger.slots.get(&pod) else { continue };
            if let Some((other, there)) = running.insert(slot, (pod, host.name())) {
                return Err(format!("{NAME}: of slot {slot} {other} runs on {there}, and {pod} on {}", host.name()));
            }
        }
    }
    Ok(())
}
