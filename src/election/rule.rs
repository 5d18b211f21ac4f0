//! The rules that safety rests on, each named where it is obeyed.

/// A rule. Tests break one at a time and expect to see the harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A voter votes once in a term.
    VoteOnce,
    /// A voter votes only for one whose configuration is not older than its own.
    NewerVoters,
    /// Who has the votes of more than half leads, and nobody else.
    VoteMajority,
    /// Who hears of a newer term leads no more.
    StepDown,
    /// Nothing that depends on a save is said before it is durable.
    SaveFirst,
    /// A new leader reads the registers of a majority.
    ReadMajority,
    /// A write is in effect when a majority has it, not before.
    WriteMajority,
    /// The leader's own write counts once its own disk has it.
    OwnDisk,
    /// What a voter held before this term counts for none of its writes.
    AcksOfTerm,
    /// What a leader says to be in effect is of its own state, not of one of an earlier leader.
    OwnState,
    /// The voters change only when a majority holds the configuration before, and all writes.
    SettledFirst,
    /// Who has lost its ballot is another voter than before.
    OwnSeat,
    /// Who starts asks what it has told before it votes.
    RecallFirst,
}

impl super::Election {
    /// Tells whether a rule is obeyed: always, but in tests that break it.
    #[cfg(not(test))]
    pub(super) fn obeys(&self, _rule: Rule) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn obeys(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
