//! Each term has one leader, and one run of it.

use skein::ids::Term;

use crate::ledger::Ledger;

pub const NAME: &str = "one leader a term";

/// Notes that a run of a host leads. Returns whether that is new.
pub fn check(ledger: &mut Ledger, host: usize, incarnation: u64, term: Term) -> Result<bool, String> {
    let known = ledger.leaders.insert(term, (host, incarnation));
    match known.filter(|known| *known != (host, incarnation)) {
        Some(known) => Err(format!("{NAME}: {term} is led by (host, run) {known:?} and {:?}", (host, incarnation))),
        None => Ok(known.is_none()),
    }
}
