//! In one term a pod is bound to one node.

use crate::ledger::Ledger;

pub const NAME: &str = "no pod is bound twice in a term";

pub fn check(ledger: &Ledger) -> Result<(), String> {
    match ledger.bound.iter().find(|(_, nodes)| nodes.len() > 1) {
        Some(((uid, term), nodes)) => Err(format!("{NAME}: {uid} in term {term} to {nodes:?}")),
        None => Ok(()),
    }
}
