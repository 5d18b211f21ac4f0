//! What the election rests on, checked in every state that can be reached: the rules for a voter set without a log.
//!
//! The shipped machine is checked message by message where its inside can be seen: `src/election/tests/check`.

mod mutants;
mod rules;
mod state;

use rules::{Broken, Rules};
use stateright::{Checker, HasDiscoveries, Model};

/// Returns how many states there are, all of which must be as they should be.
fn count(rules: Rules) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = rules.checker().finish_when(HasDiscoveries::AnyFailures).threads(threads).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn three_servers_are_sound_in_every_state() {
    assert_eq!(count(Rules { servers: 3, terms: 3, versions: 3, earlier: false, broken: Broken::Nothing }), 10_741);
}

#[test]
fn four_servers_are_sound_in_every_state_of_two_terms() {
    assert_eq!(count(Rules { servers: 4, terms: 2, versions: 2, earlier: false, broken: Broken::Nothing }), 10_663);
}

/// For the rules as they were then, the authors of the protocol logged as many from TLC.
#[test]
#[ignore = "long: 13 million states"]
fn long_four_servers_are_sound_in_every_state_of_four_terms() {
    let rules = Rules { servers: 4, terms: 4, versions: 4, earlier: true, broken: Broken::Nothing };
    assert_eq!(count(rules), 6_788_633);
    assert_eq!(count(Rules { earlier: false, ..rules }), 6_174_538);
}
