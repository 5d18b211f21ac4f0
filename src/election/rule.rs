//! The rules that safety rests on, each named where it is obeyed.

/// A rule. Tests break one at a time and expect to see the harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A voter votes once in a term.
    VoteOnce,
    /// Nothing that depends on a save is said before it is durable.
    SaveFirst,
    /// A new leader reads the registers of a majority.
    ReadMajority,
    /// A write is in effect when a majority has it, not before.
    WriteMajority,
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
