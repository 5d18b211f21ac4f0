//! Admission: what somebody who wants to join says, and what the leader makes of it.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, NodeId};
use crate::object::validation::names;
use crate::time::Wall;

use super::member::{ClusterSettings, Member, Members, SignedMember};
use super::token::{BadToken, Token};

/// The most characters of a node's name, a suffix included.
const MAX_NAME: usize = 63;

/// Why somebody is not admitted, as a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The text is no token.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// The token is for somewhere else.
    #[error("the join token is for cluster {token}, but this is cluster {here}", token = short(token), here = short(here))]
    Cluster {
        /// The token's cluster.
        token: ClusterId,
        /// The cluster that was asked.
        here: ClusterId,
    },
    /// Nobody here has made the token.
    #[error(
        "the join token was made by {0:?}, which is no member of this cluster: make another with `agent token create`"
    )]
    Issuer(NodeId),
    /// Too late.
    #[error("the join token has expired at {0}: make another with `agent token create`")]
    Expired(Wall),
    /// Somebody was quicker.
    #[error("the join token has been used by node {0}: make another with `agent token create`")]
    Used(String),
    /// The name is no name for a node.
    #[error("{name:?} is no name for a node: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// There is no room for another node.
    #[error("the cluster is full: the pods' range {0} has no share left for another node")]
    Full(Ipv4Net),
    /// Who was asked is not a member itself.
    #[error("the node that was asked is no member of the cluster itself")]
    Stranger,
}

/// Why somebody is not admitted, as it is told from node to node and to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// The sentence.
    pub reason: String,
    /// Whether asking again, here or elsewhere, may help.
    pub passing: bool,
}

impl Declined {
    /// Declines for a reason that passes.
    pub fn for_now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: true }
    }

    /// Declines for good.
    pub fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passing: false }
    }
}

impl From<Refused> for Declined {
    fn from(refused: Refused) -> Self {
        Self::for_good(refused.to_string())
    }
}

fn short(cluster: &ClusterId) -> String {
    cluster.to_string()[..16].to_owned()
}

/// Who wants in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token, as text.
    pub token: String,
    /// The joiner's key, which the connection has proven.
    pub id: NodeId,
    /// The name that its host would like.
    pub name: String,
    /// The feature level of its agent; builds of the first level do not tell.
    #[serde(default = "first_level")]
    pub level: u32,
}

fn first_level() -> u32 {
    1
}

impl std::fmt::Debug for JoinRequest {
    /// Secrets are not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a new member has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Its own record.
    #[serde(with = "super::base64_text::one")]
    pub member: SignedMember,
    /// All records, its own included.
    #[serde(with = "super::base64_text::many")]
    pub members: Vec<SignedMember>,
    /// The cluster's settings.
    pub settings: ClusterSettings,
}

impl Members {
    /// Decides whether `request` is granted, and if so with which record, not signed yet: the name gets a suffix if it
    /// is taken, tag and pod range are the lowest free ones. Who is a member already, as the
    /// connection has proven, gets its record as it is, and the token is not spent. `by` is the member that decides and signs.
    ///
    /// # Errors
    /// [`Refused`]: the token is malformed, another cluster's, forged, expired or used; the pod range is exhausted.
    pub fn admit(
        &self,
        settings: &ClusterSettings,
        request: &JoinRequest,
        by: NodeId,
        now: Wall,
    ) -> Result<Member, Refused> {
        let judge = self.get(&by).ok_or(Refused::Stranger)?;
        let token = Token::parse(&request.token)?;
        if token.cluster != judge.cluster {
            return Err(Refused::Cluster { token: token.cluster, here: judge.cluster });
        }
        if let Some(known) = self.get(&request.id) {
            return Ok(known.clone());
        }
        self.check(&token, now)?;
        Ok(Member {
            cluster: judge.cluster,
            id: request.id,
            name: self.free_name(&request.name)?,
            tag: self.free_tag().ok_or(Refused::Full(settings.pods))?,
            pod_range: self
                .free_range(settings.pods, judge.pod_range.prefix_len())
                .ok_or(Refused::Full(settings.pods))?,
            joined: now,
            token: Some(token.id),
            by,
        })
    }

    fn check(&self, token: &Token, now: Wall) -> Result<(), Refused> {
        if self.get(&token.issuer).is_none() {
            return Err(Refused::Issuer(token.issuer));
        }
        if let Some(user) = self.iter().find(|m| m.token == Some(token.id)) {
            return Err(Refused::Used(user.name.clone()));
        }
        if now >= token.expires {
            return Err(Refused::Expired(token.expires));
        }
        Ok(())
    }

    /// Returns the name, with the lowest suffix from `-2` on if it is taken; shortened if there is no room for that.
    fn free_name(&self, wish: &str) -> Result<String, Refused> {
        let bad = |reason: String| Err(Refused::Name { name: wish.chars().take(MAX_NAME).collect(), reason });
        if wish.len() > MAX_NAME {
            return bad(format!("it has more than {MAX_NAME} characters"));
        }
        if let Some(reason) = names::dns_subdomain(wish).into_iter().next() {
            return bad(reason);
        }
        if self.named(wish).is_none() {
            return Ok(wish.to_owned());
        }
        let suffixed = |n: usize| {
            let suffix = format!("-{n}");
            let stem = &wish[..wish.len().min(MAX_NAME - suffix.len())];
            format!("{}{suffix}", stem.trim_end_matches(['-', '.']))
        };
        let free = (2..).map(suffixed).find(|name| self.named(name).is_none());
        Ok(free.expect("there are more numbers than members"))
    }

    fn free_tag(&self) -> Option<u16> {
        let taken: BTreeSet<u16> = self.iter().map(|m| m.tag).collect();
        (1..=u16::MAX).find(|tag| !taken.contains(tag))
    }

    /// Every share is as large as that of the member that decides.
    fn free_range(&self, pods: Ipv4Net, prefix: u8) -> Option<Ipv4Net> {
        let overlap = |share: &Ipv4Net, m: &Member| share.contains(&m.pod_range) || m.pod_range.contains(share);
        pods.subnets(prefix).ok()?.find(|share| !self.iter().any(|m| overlap(share, m)))
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
