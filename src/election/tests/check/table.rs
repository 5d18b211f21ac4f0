//! Rules left out of the shipped machine one at a time: each must be caught, or the check has no teeth.

#![allow(clippy::disallowed_methods, reason = "it is measured how soon a harm is found")]

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::election::rule::Rule;

use super::cluster::{Bounds, Cluster, HARMS};
use super::{SHRINKING, STEADY};

/// How long a harm may take to be found.
const SOON: Duration = Duration::from_secs(60);

const AGAIN: Bounds = Bounds { elections: 2, ..STEADY };
const SLOW: Bounds = Bounds { slow: true, crashes: 1, ..STEADY };

/// A rule, what happens without it, and where that is found.
type Row = (Rule, &'static str, Bounds);

/// Those that are found at once.
const QUICK: [Row; 5] = [
    (Rule::VoteOnce, "one leader a term", STEADY),
    (Rule::VoteMajority, "one leader a term", STEADY),
    (Rule::StepDown, "one leader a term", AGAIN),
    (Rule::SaveFirst, "one leader a term", SLOW),
    (Rule::WriteMajority, "a leader has what was decided", AGAIN),
];

/// Those that take a million states.
const DEAR: [Row; 5] = [
    (Rule::NewerVoters, "a leader has what was decided", Bounds { crashes: 1, ..AGAIN }),
    (Rule::ReadMajority, "a leader has what was decided", AGAIN),
    (Rule::AcksOfTerm, "a leader has what was decided", AGAIN),
    (Rule::OwnState, "a leader has what was decided", AGAIN),
    (Rule::SettledFirst, "a leader has what was decided", SHRINKING),
];

/// Leaves a rule out. Returns what is found to be wrong, and in how many steps.
fn harm(rule: Rule, bounds: Bounds) -> Option<(&'static str, usize)> {
    let cluster = Cluster::new(Bounds { broken: Some(rule), ..bounds });
    let checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures).timeout(SOON);
    let found = checker.spawn_bfs().join().discoveries();
    let (name, path) = HARMS.into_iter().find_map(|(name, _)| Some((name, found.get(name)?)))?;
    Some((name, path.clone().into_actions().len()))
}

fn is_missed(rows: &[Row]) {
    for (rule, expected, bounds) in rows {
        let begun = Instant::now();
        let harm = harm(*rule, *bounds);
        println!("without {rule:?}: {harm:?} after {:?}", begun.elapsed());
        assert_eq!(harm.map(|(name, _)| name), Some(*expected), "without {rule:?}");
    }
}

#[test]
fn a_rule_that_is_left_out_is_missed() {
    is_missed(&QUICK);
}

#[test]
#[ignore = "long: millions of states"]
fn long_each_rule_that_is_left_out_is_missed() {
    is_missed(&QUICK);
    is_missed(&DEAR);
}
