//! Feature levels: what all members of a cluster understand.
//!
//! Every build has a level, which grows when it can write or say something that an older one would not understand. A
//! member tells its own; the leader raises the cluster's, a quorum register, to the lowest of all members, and it is
//! never lowered. What came with a level may be used only once the cluster's has reached it, and a build whose level
//! is below the cluster's is refused: it would not understand what is there already.
//!
//! | level | what came with it |
//! |---|---|
//! | 1 | all up to clusters of several nodes; such a build tells no level |
//! | 2 | nothing: such a build knows of levels, and tells its own |
//! | 3 | [`Feature::Epochs`], [`Feature::Horizon`], [`Feature::Caretakers`] |
//! | 4 | [`Feature::FiveVoters`], [`Feature::Generations`], [`Feature::Leases`], [`Feature::RunLeases`] |
//! | 5 | [`Feature::ServiceAccounts`]; kinds of objects beyond the first twelve: [`Kind::since`](crate::object::Kind) |

/// This build's level.
pub const LEVEL: u32 = 5;
/// The level of builds that tell none.
pub const FIRST: u32 = 1;
/// The quorum register with the cluster's level, as decimal digits.
pub const REGISTER: &str = "features/level";

/// Something that not every build understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Histories that are cut: records of a document's later epochs.
    Epochs,
    /// The horizon, and tombstones that are collected behind it.
    Horizon,
    /// What a side without a leader decides, in registers of its own.
    Caretakers,
    /// Five voters: a leader of an older build would take two of them out again.
    FiveVoters,
    /// Generations of the cluster, begun by a human when most voters are gone for good.
    Generations,
    /// Leases as quorum registers, and letting go of registers.
    Leases,
    /// Run-leases, without which nothing runs that must never run twice.
    RunLeases,
    /// Pods with service account tokens in their volumes, which an older kubelet does not mount.
    ServiceAccounts,
}

impl Feature {
    /// Returns the level that it came with.
    pub fn level(self) -> u32 {
        match self {
            Self::Epochs | Self::Horizon | Self::Caretakers => 3,
            Self::FiveVoters | Self::Generations | Self::Leases | Self::RunLeases => 4,
            Self::ServiceAccounts => 5,
        }
    }

    /// Tells whether it may be used in a cluster of this level.
    pub fn is_in(self, cluster: u32) -> bool {
        cluster >= self.level()
    }
}

/// Reads the cluster's level: the register's value. Without one, or one that is not understood, it is the first.
pub fn of(register: Option<&[u8]>) -> u32 {
    register.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(FIRST)
}

/// Writes the register.
pub fn write(level: u32) -> Vec<u8> {
    level.to_string().into_bytes()
}

/// Says why an agent may not be part of a cluster.
pub fn too_old(agent: u32, cluster: u32) -> String {
    format!("its feature level is {agent}, below the cluster's {cluster}: use a newer version of the agent")
}
