//! The composition root: owns the node, executes its outputs, ticks, starts and drains tasks.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod access;
pub mod backup;
pub mod callee;
pub mod certificates;
pub mod checks;
pub mod clock;
pub mod damage;
pub mod driver;
pub mod frames;
pub mod genesis;
#[cfg(test)]
mod golden;
pub mod history;
pub mod invite;
pub mod join;
pub mod keepsakes;
pub mod logs;
pub mod machine;
mod meters;
mod parts;
pub mod places;
mod reach;
mod sessions;
mod settings;
mod signer;
pub mod warden;
pub mod welcome;
mod wire;

pub use crate::kubelet::node_status::{CLOCK_SKEWED, DATA_LOST};
pub use crate::node::partition::Partition;
pub use crate::node::{CARETAKER, LEADER};

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::disk::DataFolder;
use crate::features;
use crate::handle::Handle;

use driver::Parting;
use genesis::Genesis;
pub use join::Ticket;
use parts::Site;

/// How long a leader that stops waits for another to take over.
const HAND_OVER: Duration = Duration::from_millis(300);
/// How long tasks may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs an agent until SIGTERM or SIGINT. With a `token` the machine joins its cluster first, unless it is a member.
///
/// # Errors
/// One sentence on why it cannot start, or is not admitted.
pub async fn run(mut config: Config, ticket: Option<Ticket>) -> anyhow::Result<()> {
    let start = clock::now();
    checks::clock(start.wall)?;
    checks::root()?;
    let address = checks::address(&config)?;
    let folder = DataFolder::open(&config.data)?;
    backup::whole(&folder)?;
    let listener = listen(config.api_port).await?;
    if let Some(ticket) = ticket {
        mesh_port_is_free(config.mesh_port)?;
        join::join(&config, &folder, &ticket).await?;
    }
    genesis::adopt(&folder.files()?, &mut config)?;
    checks::ranges(&config)?;
    let genesis = genesis::load_traced(&mut folder.files()?, &config, start.wall, &|me| damage::traces(&folder, me))?;
    understands(&genesis)?;
    announce(&config, &genesis, address);
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    let parting = Parting::default();
    let site = Site {
        config: &config,
        genesis: &genesis,
        folder: &folder,
        tasks: &tasks,
        parting: &parting,
        shutdown: &shutdown,
    };
    parts::start(&site, address, listener).await?;
    wait_for_signal().await?;
    tracing::info!("stopping; pods go on running");
    parting.asked.cancel();
    // Whom the others cannot do without for longer than this, they replace as one that has crashed.
    tokio::time::timeout(HAND_OVER, parting.done.cancelled()).await.ok();
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end within {DRAIN:?}");
    }
    Ok(())
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(|error| cannot_listen(port, &error, "api-port"))
}

/// Looks before anything is asked of the cluster: a token must not be spent on a machine that then cannot start.
fn mesh_port_is_free(port: u16) -> anyhow::Result<()> {
    let probe = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    probe.map(drop).map_err(|error| cannot_listen(port, &error, "mesh-port"))
}

fn cannot_listen(port: u16, error: &std::io::Error, setting: &str) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("port {port} is taken by another program: stop that, or choose another port with --{setting}")
        }
        _ => anyhow!("port {port} cannot be listened on: {error}"),
    }
}

/// An agent that is older than what its cluster uses already would not understand what it is told.
fn understands(genesis: &Genesis) -> anyhow::Result<()> {
    let level = genesis.level();
    if level > features::LEVEL {
        bail!("this agent cannot be part of its cluster: {}", features::too_old(features::LEVEL, level));
    }
    Ok(())
}

fn announce(config: &Config, genesis: &Genesis, address: Ipv4Addr) {
    let cluster = &genesis.identity.cluster[..16];
    let node = &config.node_name;
    let deed = if genesis.fresh { "founded a cluster" } else { "resuming" };
    tracing::info!(cluster, node, %address, pods = %genesis.identity.pod_range, services = %config.services, "{deed}");
    if !checks::memory_cgroup() {
        tracing::warn!(
            "the kernel's memory cgroup is off, so memory limits are not enforced: \
             boot with cgroup_enable=memory cgroup_memory=1"
        );
    }
}

/// Replaces a file that only its owner may read, at once.
fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600).open(&draft)?.write_all(bytes)?;
    std::fs::rename(draft, path)
}

/// Tells systemd when the node is Ready; a unit without Type=notify hears nothing.
fn tell_systemd(handle: &Handle, name: String, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let (mut snapshots, shutdown) = (handle.snapshots(), shutdown.clone());
    tasks.spawn(async move {
        let ready = snapshots.wait_for(|view| machine::is_ready(view, &name));
        tokio::select! {
            () = shutdown.cancelled() => return,
            found = ready => if found.is_err() { return },
        }
        tracing::info!("ready");
        // Nobody listens: nothing to do about it.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    });
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}
