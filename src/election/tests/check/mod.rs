//! The shipped machine, checked message by message: every order of what can happen, up to a bound.
//!
//! Messages may be lost, doubled and overtake each other; a save may be torn by a crash at each of its points; a timeout may come
//! at any moment. What is looked for: two leaders of a term, two values of one unique decision, a leader that lacks what was decided.
//!
//! A machine is a function of its state and an input, and three machines have far fewer states each than all three together. So
//! each step is computed once and remembered (`local`), and a state of the cluster (`cluster`) is a few numbers.

mod cluster;
mod local;
mod table;

use stateright::{Checker, HasDiscoveries, Model};

use cluster::{Bounds, Cluster};

/// Three that vote, and nobody comes or goes.
const STEADY: Bounds =
    Bounds { voters: 3, members: 3, elections: 1, versions: 1, crashes: 0, asks: false, slow: false, broken: None };
/// Two that vote, and a third that is to.
const GROWING: Bounds = Bounds { voters: 2, versions: 2, ..STEADY };
/// Three that vote, of whom one is no member any more, and then another one too many.
const SHRINKING: Bounds = Bounds { members: 2, elections: 2, versions: 3, ..STEADY };

/// Checks a cluster, in all its states if they are no more than so many steps lead to. Returns how many it has looked at.
fn count(bounds: Bounds, most: usize) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Cluster::new(bounds).checker().finish_when(HasDiscoveries::AnyFailures).threads(threads);
    let checker = checker.target_state_count(most).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{states} states, {depth} steps deep; of one node, messages, steps: {:?}", checker.model().sizes());
    let found = checker.discoveries();
    for (name, _) in cluster::HARMS {
        let path = found.get(name).map(|path| path.clone().into_actions());
        assert!(path.is_none(), "{name}: {path:#?}");
    }
    states
}

#[test]
fn a_growing_cluster_is_sound_in_every_state_of_one_election() {
    assert_eq!(count(GROWING, usize::MAX), 30_473);
}

#[test]
#[ignore = "long: half a million states of machines"]
fn long_one_election_is_sound_in_every_state() {
    assert_eq!(count(STEADY, usize::MAX), 259_067);
    assert_eq!(count(Bounds { crashes: 1, ..GROWING }, usize::MAX), 178_673);
}

#[test]
#[ignore = "long: five million states of machines"]
fn long_two_elections_of_a_growing_cluster_are_sound_in_every_state() {
    assert_eq!(count(Bounds { elections: 2, ..GROWING }, usize::MAX), 5_051_950);
}

#[test]
#[ignore = "long: ten million states of machines"]
fn long_slow_disks_and_torn_saves_do_no_harm() {
    let bounds = Bounds { slow: true, crashes: 1, ..STEADY };
    assert!(count(bounds, 60_000_000) >= 10_000_000);
}

#[test]
#[ignore = "long: ten million states of machines"]
fn long_two_elections_with_questions_slow_disks_and_crashes_do_no_harm() {
    let bounds = Bounds { elections: 2, versions: 2, crashes: 2, asks: true, slow: true, ..SHRINKING };
    assert!(count(bounds, 60_000_000) >= 10_000_000);
}
