//! The composition root: owns the node, executes its outputs, ticks, starts and drains tasks.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod checks;
pub mod clock;
pub mod driver;
pub mod genesis;
pub mod machine;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rcgen::KeyPair;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, DOMAIN, NODE_PORTS};
use crate::disk::{DataFolder, Log, Writer};
use crate::handle::{self, Handle};
use crate::node::{self, Node};
use crate::runtime::{Docker, docker};
use crate::trust::{Context, Kubeconfig};
use crate::{api, dns, kubelet, proxy, routing, store};

use driver::Driver;
use genesis::Genesis;

/// How long tasks may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(10);
/// How many observations may wait for the loop.
const OBSERVATIONS: usize = 1_024;
/// How many reports of the disk may wait for the loop.
const REPORTS: usize = 64;

/// Runs an agent until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence on why it cannot start.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let start = clock::now();
    checks::check(&config, start.wall)?;
    checks::root()?;
    let address = checks::address(&config)?;
    let folder = DataFolder::open(&config.data)?;
    let genesis = genesis::load(&mut folder.files()?, &config, start.wall)?;
    let listener = listen(config.api_port).await?;
    announce(&config, &genesis, address);

    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (log, mut recovered) = Log::open(folder.log_files()?).context("the log cannot be read")?;
    for damage in &recovered.damage {
        tracing::error!("the log is damaged: {damage}");
    }
    let (mut node, report) =
        Node::new(node_config(&config, &genesis, address), std::mem::take(&mut recovered.records), start);
    for refused in &report.refused {
        tracing::error!("record {} of the log is refused: {}", refused.index, refused.reason);
    }
    if !recovered.damage.is_empty() {
        node.lost_records();
    }
    tracing::info!(objects = node.snapshot().all().count(), "state loaded");

    let (handle, door) = handle::door(node.snapshot().clone());
    let (observer, observations) = mpsc::channel(OBSERVATIONS);
    let runtime = Arc::new(Docker::new(docker_config(&config, &genesis), observer, shutdown.clone()));
    tasks.spawn(Arc::clone(&runtime).run());

    start_traffic(&config, &genesis, &handle, &tasks, &shutdown).await?;
    start_api(&config, &genesis, address, listener, &handle, &runtime, &tasks, &shutdown)?;
    write_kubeconfig(folder.path(), &config, &genesis, address)?;

    let (reporter, reports) = mpsc::channel(REPORTS);
    // The loop is gone only when the agent ends; then nobody waits for a report.
    let writer = Writer::spawn(log, move |report| drop(reporter.blocking_send(report)));
    let driver = Driver { node, door, writer, reports, observations, runtime };
    tasks.spawn(driver.run(shutdown.clone()));

    tell_systemd(&handle, config.node_name.clone(), &tasks, &shutdown);
    wait_for_signal().await?;
    tracing::info!("stopping; pods go on running");
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end within {DRAIN:?}");
    }
    Ok(())
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("port {port} is taken by another program: stop that, or choose another port with --api-port")
        }
        _ => anyhow!("port {port} cannot be listened on: {error}"),
    })
}

fn announce(config: &Config, genesis: &Genesis, address: Ipv4Addr) {
    let cluster = &genesis.identity.cluster[..16];
    let (node, term) = (&config.node_name, genesis.vote.term.0);
    let deed = if genesis.fresh { "founded a cluster" } else { "resuming" };
    tracing::info!(cluster, node, %address, term, pods = %genesis.identity.pod_range, services = %config.services, "{deed}");
    if !checks::memory_cgroup() {
        tracing::warn!(
            "the kernel's memory cgroup is off, so memory limits are not enforced: \
             boot with cgroup_enable=memory cgroup_memory=1"
        );
    }
}

fn node_config(config: &Config, genesis: &Genesis, address: Ipv4Addr) -> node::Config {
    let store = store::Config {
        node: genesis.node_id(),
        key: genesis.key.clone(),
        tag: genesis.identity.tag,
        incarnation: genesis.vote.incarnation,
        seed: rand::random(),
        service_range: config.services,
        reserved_addresses: vec![config.dns_address(), config.api_address()],
        node_ports: NODE_PORTS.0..=NODE_PORTS.1,
        list_keys: crate::object::schema::list_map_keys,
    };
    let kubelet = kubelet::Config {
        node: config.node_name.clone(),
        pod_range: genesis.identity.pod_range,
        host_address: address,
        dns: config.dns_address(),
        cluster_domain: DOMAIN.into(),
        upstream_dns: machine::resolv_conf(),
        max_pods: MAX_PODS,
        version: api::git_version(),
        port: config.api_port,
        machine: machine::names(),
    };
    node::Config {
        name: config.node_name.clone(),
        address,
        api_port: config.api_port,
        api_address: config.api_address(),
        pod_range: genesis.identity.pod_range,
        cluster: todo!(),
        settings: todo!(),
        mesh_port: todo!(),
        ballot: todo!(),
        registers: todo!(),
        seeds: todo!(),
        store,
        kubelet,
        routing: routing::Config {
            node: config.node_name.clone(),
            cluster_domain: DOMAIN.into(),
            service_range: config.services,
        },
    }
}

/// Upstream's default for a node.
const MAX_PODS: u32 = 110;

/// A short name for what this node has on its host: several agents may share one.
fn tag(genesis: &Genesis) -> String {
    hex::encode(&genesis.node_id().0[..4])
}

fn docker_config(config: &Config, genesis: &Genesis) -> docker::Config {
    docker::Config {
        socket: config.docker.clone(),
        folder: config.data.clone(),
        node: hex::encode(genesis.node_id().0),
        bridge: format!("{}b{}", checks::OUR_LINKS, tag(genesis)),
        pod_range: genesis.identity.pod_range,
        cluster_range: config.pods,
        service_range: config.services,
    }
}

/// Starts what carries traffic.
async fn start_traffic(
    config: &Config,
    genesis: &Genesis,
    handle: &Handle,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let link = format!("{}v{}", checks::OUR_LINKS, tag(genesis));
    let network = link_network(genesis);
    let own_pods = genesis.identity.pod_range;
    let namespace =
        proxy::NamespaceConfig { link, network, service_range: config.services, pods: config.pods, own_pods };
    let namespace = proxy::Namespace::open(namespace).await?;
    let at = std::net::SocketAddrV4::new(config.dns_address(), 53);
    let (udp, tcp) = (namespace.udp(at).await?, namespace.tcp(at).await?);
    let server = dns::Server::new(dns::Config { domain: DOMAIN.into(), ..dns::Config::default() }, handle.routes());
    tasks.spawn(server.run(udp, tcp, shutdown.clone()));
    let traffic =
        proxy::Config { node: config.node_name.clone(), pods: config.pods, own_pods, ..proxy::Config::default() };
    let calls: Arc<dyn handle::Calls> = todo!();
    tasks.spawn(proxy::Proxy::new(traffic, namespace, handle.routes(), calls).run(shutdown.clone()));
    Ok(())
}

/// A /30 out of 169.254.0.0/16 for the link to the proxy's namespace, by the node's key: agents that share a host
/// take different ones.
fn link_network(genesis: &Genesis) -> ipnet::Ipv4Net {
    let id = genesis.node_id().0;
    let third = 64 + id[4] % 128;
    ipnet::Ipv4Net::new(Ipv4Addr::new(169, 254, third, id[5] & 0xfc), 30).expect("30 is a prefix length")
}

#[allow(clippy::too_many_arguments, reason = "the composition root hands everything to everybody")]
fn start_api(
    config: &Config,
    genesis: &Genesis,
    address: Ipv4Addr,
    listener: TcpListener,
    handle: &Handle,
    runtime: &Arc<Docker>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
    names.extend([format!("kubernetes.default.svc.{DOMAIN}"), config.node_name.clone()]);
    let addresses = [address, Ipv4Addr::LOCALHOST, config.api_address()].map(IpAddr::V4);
    let certificate = genesis.authority.server(&key, &names, &addresses, clock::now().wall)?;
    let ca = genesis.authority.pem().to_owned();
    let tls = api::Tls { chain: certificate, key: key.serialize_pem(), client_ca: ca };
    let api = Arc::new(api::Api::new(handle.clone(), Arc::clone(runtime) as Arc<dyn handle::Logs>, shutdown.clone()));
    tasks.spawn(api::Server::new(api, &tls)?.run(listener, shutdown.clone()));
    Ok(())
}

/// Writes the administrator's kubeconfig, with a certificate of its own a start.
fn write_kubeconfig(folder: &Path, config: &Config, genesis: &Genesis, address: Ipv4Addr) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let groups = [crate::trust::ADMINS.to_owned()];
    let certificate = genesis.authority.client(&key, "skein-admin", &groups, clock::now().wall)?;
    let server = format!("https://{}", SocketAddr::from((address, config.api_port)));
    let text = Kubeconfig {
        user: "skein-admin",
        contexts: &[Context { name: "skein".into(), server }],
        ca: genesis.authority.pem(),
        certificate: &certificate,
        key: &key.serialize_pem(),
    }
    .yaml();
    replace_file(&folder.join("kubeconfig"), text.as_bytes()).context("the kubeconfig cannot be written")
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
