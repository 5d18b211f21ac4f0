//! `agent join`: makes this machine a member, after which it starts as with `agent up`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::disk::DataFolder;
use crate::handle::Call;
use crate::ids::ClusterId;
use crate::mesh::{self, Directory, Mesh};
use crate::trust::{ClusterSettings, Token};

use super::checks;
use super::genesis::{self, Joined};
use super::welcome::{Admitted, Applicant, Failure, sentence};

/// For how long members that do not answer are called.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long one of them is.
const DIAL: Duration = Duration::from_secs(3);
/// How long one of them may take over an application.
const ANSWER: Duration = Duration::from_secs(15);
/// How long to wait before they are called again.
const PAUSE: Duration = Duration::from_millis(500);

/// With what a machine joins.
pub struct Ticket {
    /// The token, as text.
    pub token: String,
    /// Whether it shall run no pods.
    pub witness: bool,
}

/// Makes the machine a member of the token's cluster, unless it is already.
///
/// # Errors
/// One sentence: the token, the folder or the machine does not do, nobody answers, or the cluster refuses.
pub async fn join(config: &Config, folder: &DataFolder, ticket: &Ticket) -> anyhow::Result<()> {
    let text = &*ticket.token;
    let token = Token::parse(text)?;
    let mut files = folder.files()?;
    if let Some(there) = genesis::cluster_in(&files)? {
        return resume(there, token.cluster, config);
    }
    let key = genesis::draft(&mut files, token.cluster)?;
    let applicant = Applicant { token: &token, text, name: &config.node_name };
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    // A door of its own, that nobody is told of, for as long as it takes.
    let listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let (events, _nobody_calls) = mpsc::channel(1);
    let mesh_config = mesh::Config { key: key.clone(), listen, discover: false };
    let mesh = Mesh::start(mesh_config, Directory::new(), events, stop).await?;
    let Admitted { admission, authority, authority_key, addresses } = ask_around(&mesh, &applicant, config).await?;
    let mut seeds = token.addresses.clone();
    seeds.extend(addresses.into_iter().filter(|a| !token.addresses.contains(a)));
    let joined = Joined { key, admission, authority, authority_key, witness: ticket.witness, seeds };
    let member = genesis::settle(&mut files, token.cluster, joined)?;
    tracing::info!(cluster = short(token.cluster), node = member.name, "joined");
    if member.name != config.node_name {
        tracing::warn!("the cluster has a node {} already: this one is called {}", config.node_name, member.name);
    }
    Ok(())
}

fn resume(there: ClusterId, wanted: ClusterId, config: &Config) -> anyhow::Result<()> {
    if there != wanted {
        bail!(
            "the data folder {} belongs to a node of cluster {}, the token is for cluster {}: use another folder",
            config.data.display(),
            short(there),
            short(wanted)
        );
    }
    tracing::info!(cluster = short(there), "a member already; the token is not used");
    Ok(())
}

fn short(cluster: ClusterId) -> String {
    cluster.to_string()[..16].to_owned()
}

/// Applies to one member after the other, until one admits or the cluster refuses.
async fn ask_around(mesh: &Mesh, applicant: &Applicant<'_>, config: &Config) -> anyhow::Result<Admitted> {
    let look = |settings: &ClusterSettings| {
        genesis::agree(config, settings)?;
        let theirs = Config { pods: settings.pods, services: settings.services, ..config.clone() };
        checks::ranges(&theirs).map_err(|e| e.for_joiner())
    };
    let (end, mut failures) = (Instant::now() + PATIENCE, BTreeMap::new());
    if applicant.token.addresses.is_empty() {
        bail!("the join token names no address to dial: make another with `agent token create`");
    }
    loop {
        for address in &applicant.token.addresses {
            match apply_at(mesh, applicant, *address, look).await {
                Ok(admitted) => return Ok(admitted),
                Err(Failure::Final(reason)) => return Err(anyhow!(reason)),
                Err(Failure::Passing(reason)) => {
                    if failures.insert(*address, reason.clone()).as_ref() != Some(&reason) {
                        tracing::info!(%address, reason, "not admitted yet");
                    }
                }
            }
        }
        if Instant::now() >= end {
            bail!("no member has admitted this machine within {} s: {}", PATIENCE.as_secs(), sentence(&failures));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn apply_at(
    mesh: &Mesh,
    applicant: &Applicant<'_>,
    address: SocketAddrV4,
    look: impl Fn(&ClusterSettings) -> Result<(), String>,
) -> Result<Admitted, Failure> {
    let called = mesh.call_stranger(&[address], None, Call::Join, DIAL).await;
    let (member, stream) = called.map_err(|reason| {
        // It names the address, which the caller does too.
        Failure::Passing(reason.strip_prefix(&format!("{address}: ")).unwrap_or(&reason).to_owned())
    })?;
    let applied = tokio::time::timeout(ANSWER, applicant.apply(member, stream, look)).await;
    applied.unwrap_or_else(|_| Err(Failure::Passing("it does not answer in time".into())))
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
