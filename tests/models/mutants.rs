//! Rules left out one at a time: each must be missed, or the check has no teeth.

#![allow(clippy::disallowed_methods, reason = "it is measured how soon a harm is found")]

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::rules::{Broken, Rules};

/// How long a harm may take to be found.
const SOON: Duration = Duration::from_secs(60);

/// Those that are found at once.
const QUICK: [Broken; 5] =
    [Broken::VoteInNewTerm, Broken::VotesOfMajority, Broken::VoterStepsDown, Broken::NewTermStepsDown, Broken::Overlap];
/// Those that take many thousand states.
const DEAR: [Broken; 4] =
    [Broken::VoteForNewerConfig, Broken::ConfigOnMajority, Broken::TermOnMajority, Broken::OnlyNewer];

/// Leaves a rule out. Returns what is found to be wrong, and in how many steps.
fn harm(broken: Broken) -> Option<(&'static str, usize)> {
    let rules = Rules { servers: 4, terms: 4, versions: 4, earlier: false, broken };
    let checker = rules.checker().finish_when(HasDiscoveries::AnyFailures).timeout(SOON).spawn_bfs().join();
    let found = checker.discoveries();
    let names = ["one leader a term", "one configuration a name"];
    let (name, path) = names.into_iter().find_map(|name| Some((name, found.get(name)?)))?;
    Some((name, path.clone().into_actions().len()))
}

fn is_missed(rules: &[Broken]) {
    for broken in rules {
        let begun = Instant::now();
        let harm = harm(*broken);
        println!("without {broken:?}: {harm:?} after {:?}", begun.elapsed());
        assert!(harm.is_some(), "nothing comes of it that {broken:?} is left out");
    }
}

#[test]
fn a_rule_that_is_left_out_is_missed() {
    is_missed(&QUICK);
}

#[test]
#[ignore = "long: many thousand states"]
fn long_each_rule_that_is_left_out_is_missed() {
    is_missed(&QUICK);
    is_missed(&DEAR);
}
