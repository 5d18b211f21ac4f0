//! Both ends of a call to be admitted. The member shows first that it is one, then the stranger shows its token.
//!
//! ```text
//!   stranger                         member
//!      │ <──── Hello: chain of records ──│   each says its version; the chain leads to the founder's key,
//!      │ ───── Application: token ─────> │   of which the token holds the hash
//!      │ <──── Answer ───────────────────│
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::features;
use crate::handle::Stream;
use crate::ids::{ClusterId, NodeId};
use crate::trust::{Admission, ClusterSettings, Declined, JoinRequest, Members, Token};

use super::driver::Verdict;
use super::wire;

/// Grows with every change of what members say to each other that an older one does not understand.
pub const PROTOCOL: u32 = 1;
/// How many members a cluster may have so that a new one still gets the authority's key (rule 4).
const KEY_HOLDERS: usize = 3;
/// How long a stranger may take over its application.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a member says first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    protocol: u32,
    /// The member's record, then its signer's, up to the founder's, hexadecimal.
    chain: Vec<String>,
    /// The cluster's ranges.
    settings: ClusterSettings,
}

/// What the stranger says then.
#[derive(Serialize, Deserialize)]
struct Application {
    protocol: u32,
    token: String,
    name: String,
    #[serde(default = "first_level")]
    level: u32,
}

fn first_level() -> u32 {
    features::FIRST
}

/// What it is answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Admitted(Box<Admitted>),
    Refused(Declined),
}

/// What a new member is told.
#[derive(Serialize, Deserialize)]
pub struct Admitted {
    /// Its membership.
    pub admission: Admission,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The authority's key, PEM, in a small cluster.
    pub authority_key: Option<String>,
    /// Where members are.
    pub addresses: Vec<SocketAddrV4>,
}

/// The member's end.
pub struct Welcome {
    /// This member's chain of records, hexadecimal.
    pub chain: Vec<String>,
    /// The cluster's ranges.
    pub settings: ClusterSettings,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The authority's key, PEM, if this member holds it.
    pub authority_key: Option<String>,
    /// Where applications go.
    pub joins: mpsc::Sender<(JoinRequest, oneshot::Sender<Verdict>)>,
}

impl Welcome {
    /// Serves a call. `addresses`: where members are.
    ///
    /// # Errors
    /// The stream's.
    pub async fn serve(&self, from: NodeId, addresses: Vec<SocketAddrV4>, mut stream: Stream) -> io::Result<()> {
        let hello = Hello { protocol: PROTOCOL, chain: self.chain.clone(), settings: self.settings.clone() };
        wire::write(&mut stream, &hello).await?;
        let application: Application = timeout(PATIENCE, wire::read(&mut stream)).await??;
        let answer = self.judge(from, application, addresses).await;
        wire::write(&mut stream, &answer).await
    }

    async fn judge(&self, from: NodeId, application: Application, addresses: Vec<SocketAddrV4>) -> Answer {
        if application.protocol != PROTOCOL {
            return Answer::Refused(Declined::for_good(other_version(PROTOCOL, application.protocol)));
        }
        let Application { token, name, level, .. } = application;
        let request = JoinRequest { token, id: from, name, level };
        let (verdict_in, verdict) = oneshot::channel();
        let stopping = || Answer::Refused(Declined::for_now("the agent is shutting down: try again"));
        if self.joins.send((request, verdict_in)).await.is_err() {
            return stopping();
        }
        match verdict.await {
            Err(_) => stopping(),
            Ok(Err(declined)) => Answer::Refused(declined),
            Ok(Ok(admission)) => {
                let small = admission.members.len() <= KEY_HOLDERS;
                let authority_key = self.authority_key.clone().filter(|_| small);
                let authority = self.authority.clone();
                Answer::Admitted(Box::new(Admitted { admission, authority, authority_key, addresses }))
            }
        }
    }
}

/// Why an application has come to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another member, or the same one later, may do.
    Passing(String),
    /// Nobody will do.
    Final(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Passing(error.to_string())
    }
}

/// Who applies.
pub struct Applicant<'a> {
    /// The invitation.
    pub token: &'a Token,
    /// The same as text: shown only to a proven member.
    pub text: &'a str,
    /// The name that the host would like.
    pub name: &'a str,
}

impl Applicant<'_> {
    /// The stranger's end: applies to `member`, which the connection has proven. `look` sees the cluster's ranges and
    /// may refuse them before the token is shown.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn apply(
        &self,
        member: NodeId,
        mut stream: Stream,
        look: impl Fn(&ClusterSettings) -> Result<(), String>,
    ) -> Result<Admitted, Failure> {
        let hello: serde_json::Value = wire::read(&mut stream).await?;
        let hello = read_hello(hello, self.token.cluster, member)?;
        look(&hello.settings).map_err(Failure::Final)?;
        let (token, name) = (self.text.to_owned(), self.name.to_owned());
        let level = features::LEVEL;
        wire::write(&mut stream, &Application { protocol: PROTOCOL, token, name, level }).await?;
        match wire::read(&mut stream).await? {
            Answer::Admitted(admitted) => Ok(*admitted),
            Answer::Refused(Declined { reason, passing: true }) => Err(Failure::Passing(reason)),
            Answer::Refused(Declined { reason, passing: false }) => Err(Failure::Final(reason)),
        }
    }
}

/// Reads what a member says first, and whether it is one. What another version says besides is not looked at.
fn read_hello(hello: serde_json::Value, cluster: ClusterId, member: NodeId) -> Result<Hello, Failure> {
    let protocol = hello["protocol"].as_u64().and_then(|p| u32::try_from(p).ok());
    if let Some(theirs) = protocol
        && theirs != PROTOCOL
    {
        return Err(Failure::Final(other_version(theirs, PROTOCOL)));
    }
    let malformed = |e: serde_json::Error| Failure::Passing(format!("it does not speak as a member does: {e}"));
    let hello: Hello = serde_json::from_value(hello).map_err(malformed)?;
    let records: Vec<Vec<u8>> = hello.chain.iter().filter_map(|text| hex::decode(text).ok()).collect();
    if Members::of(cluster, records.iter().map(Vec::as_slice)).get(&member).is_none() {
        let there = records.iter().find_map(|raw| Some(crate::trust::Member::read(raw).ok()?.cluster));
        let there = there.map_or_else(|| "no cluster".to_owned(), |id| format!("cluster {}", &id.to_string()[..16]));
        let here = &cluster.to_string()[..16];
        return Err(Failure::Passing(format!("it is a member of {there}, the token is for cluster {here}")));
    }
    Ok(hello)
}

fn other_version(member: u32, stranger: u32) -> String {
    format!(
        "the cluster's agents speak version {member} of their protocol, this one version {stranger}: \
         run the same version on all machines"
    )
}

/// Gathers failures by what they say, for one sentence.
pub fn sentence(failures: &BTreeMap<SocketAddrV4, String>) -> String {
    let each: Vec<String> = failures.iter().map(|(address, reason)| format!("{address}: {reason}")).collect();
    each.join("; ")
}

#[cfg(test)]
#[path = "welcome_tests.rs"]
mod tests;
