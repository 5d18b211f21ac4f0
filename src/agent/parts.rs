//! Makes all parts of an agent and connects them.
//!
//! ```text
//!   mesh ──events──> frames ──inputs──> driver (node) ──effects──> mesh, disk, runtime, door
//!                       └──calls──> callee ──> proxy's exit, Docker's containers, certificates, welcome ──joins──> driver
//!   address, directory (watched) ──> driver, certificates, access (kubeconfig), places (for tokens)
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::disk::{DataFolder, FolderFiles, Log, Votes, Writer};
use crate::handle::{self, Calls, Containers, Handle};
use crate::kubelet::action::Observation;
use crate::mesh::{self, Directory, Mesh};
use crate::node::Node;
use crate::runtime::{Docker, Nothing, Runtime};
use crate::trust::{Authority, Issuer, JoinRequest};
use crate::{api, dns, proxy};

use super::access::Access;
use super::callee::Callee;
use super::certificates::Certificates;
use super::damage::Damage;
use super::driver::{Driver, Parting, Verdict};
use super::frames::{self, Inlets};
use super::genesis::Genesis;
use super::keepsakes::Keepsakes;
use super::places::{self, Places};
use super::reach::Reach;
use super::signer;
use super::warden::Board;
use super::welcome::Welcome;
use super::{clock, settings, tell_systemd};

/// How many observations may wait for the loop.
const OBSERVATIONS: usize = 1_024;
/// How many reports of the disk may wait for the loop.
const REPORTS: usize = 64;
/// How many strangers may wait to be admitted.
const JOINS: usize = 16;

/// Where an agent is made.
pub struct Site<'a> {
    /// Its settings.
    pub config: &'a Config,
    /// Who it is.
    pub genesis: &'a Genesis,
    /// Its data folder.
    pub folder: &'a DataFolder,
    /// Its tasks.
    pub tasks: &'a TaskTracker,
    /// What comes before they end.
    pub parting: &'a Parting,
    /// What ends them.
    pub shutdown: &'a CancellationToken,
}

/// What several parts watch.
struct Watched {
    address: watch::Sender<Ipv4Addr>,
    directory: watch::Sender<Arc<Directory>>,
    places: watch::Sender<Places>,
}

type Joins = mpsc::Sender<(JoinRequest, oneshot::Sender<Verdict>)>;

/// Starts all tasks. `listener`: where the API is served.
///
/// # Errors
/// One sentence on what cannot start.
pub async fn start(site: &Site<'_>, address: Ipv4Addr, listener: TcpListener) -> anyhow::Result<()> {
    let (node, log, damage) = site.open_node(address)?;
    let (handle, door) = handle::door(node.snapshot().clone());
    let (observer, observations) = mpsc::channel(OBSERVATIONS);
    let (runtime, local) = site.start_runtime(observer);

    let own = SocketAddrV4::new(address, site.config.mesh_port);
    let watched = Watched {
        address: watch::Sender::new(address),
        directory: watch::Sender::default(),
        places: watch::Sender::new(Places::of(own, &Directory::default())),
    };
    let (events_in, events) = mpsc::channel(frames::EVENTS);
    let mesh = site.start_mesh(events_in).await?;
    let calls: Arc<dyn Calls> = Arc::new(mesh.clone());
    let exit = site.start_traffic(&handle, Arc::clone(&calls)).await?;
    let authority = site.authority()?;
    let reach = Reach { node: site.config.node_name.clone(), local: Arc::clone(&local), calls: Arc::clone(&calls) };
    let certificates = site.certificates(authority.clone(), calls, &watched)?;
    site.start_api(listener, &handle, Arc::new(reach), certificates, &watched).await?;

    let (joins_in, joins) = mpsc::channel(JOINS);
    let (urgent_in, urgent) = mpsc::channel(frames::URGENT);
    let (bulk_in, bulk) = mpsc::channel(frames::BULK);
    let callee = site.callee(exit, local, authority, joins_in, &watched);
    let inlets = Inlets { urgent: urgent_in, bulk: bulk_in };
    site.tasks.spawn(frames::run(events, inlets, callee, site.tasks.clone(), site.shutdown.clone()));

    let (reporter, reports) = mpsc::channel(REPORTS);
    let also = reporter.clone();
    // The loop is gone only when the agent ends; then nobody waits for a report.
    let writer = Writer::spawn(log, move |report| drop(reporter.blocking_send(report)));
    let (vote, registers) = (site.genesis.vote.clone(), site.genesis.registers.clone());
    let (files, owed) = (site.files()?, site.genesis.owed);
    let votes = Votes::spawn(files, vote, registers, owed, move |report| drop(also.blocking_send(report)));
    let (address, directory) = (watched.address.subscribe(), watched.directory.clone());
    site.watch(watched);
    let driver = Driver {
        node,
        door,
        keepsakes: Keepsakes::new(site.folder.path().to_owned()),
        writer,
        votes,
        damage,
        troubles: BTreeMap::new(),
        reports,
        observations,
        runtime,
        board: Board::new(site.folder.path()),
        mesh,
        urgent,
        bulk,
        joins,
        address,
        directory,
    };
    site.tasks.spawn(driver.run(site.parting.clone(), site.shutdown.clone()));
    tell_systemd(&handle, site.config.node_name.clone(), site.tasks, site.shutdown);
    Ok(())
}

impl Site<'_> {
    fn files(&self) -> anyhow::Result<FolderFiles> {
        Ok(self.folder.files()?)
    }

    fn open_node(&self, address: Ipv4Addr) -> anyhow::Result<(Node, Log<FolderFiles>, Damage)> {
        let (log, mut recovered) = Log::open(self.folder.log_files()?).context("the log cannot be read")?;
        let config = settings::node_config(self.config, self.genesis, address, self.seeds());
        let (mut node, report) = Node::new(config, std::mem::take(&mut recovered.records), clock::now());
        let damage = Damage::note(self.folder.path(), &recovered, &report, clock::now().wall);
        if !damage.lines().is_empty() {
            node.lost_records(damage.lines().to_vec());
        }
        tracing::info!(objects = node.snapshot().all().count(), "state loaded");
        Ok((node, log, damage))
    }

    /// Where members may be: where they were seen last, and those that this node has joined by.
    fn seeds(&self) -> Vec<SocketAddrV4> {
        let mut seeds = Places::read(self.folder.path()).map(|places| places.others).unwrap_or_default();
        let joined_by = self.genesis.identity.seeds.iter().copied();
        seeds.extend(joined_by.filter(|seed| !seeds.contains(seed)).collect::<Vec<_>>());
        seeds
    }

    /// Starts what runs pods, and reaches into their containers.
    fn start_runtime(&self, observer: mpsc::Sender<Observation>) -> (Arc<dyn Runtime>, Arc<dyn Containers>) {
        if self.genesis.identity.witness {
            tracing::info!("a witness: it votes and runs no pods");
            let nothing = Arc::new(Nothing::new(&observer));
            return (Arc::clone(&nothing) as _, nothing);
        }
        let config = settings::docker_config(self.config, self.genesis);
        let docker = Arc::new(Docker::new(config, observer, self.shutdown.clone()));
        self.tasks.spawn(Arc::clone(&docker).run());
        (Arc::clone(&docker) as _, docker)
    }

    async fn start_mesh(&self, events: mpsc::Sender<mesh::Event>) -> anyhow::Result<Mesh> {
        let listen = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.config.mesh_port);
        let config = mesh::Config { key: self.genesis.key.clone(), listen, discover: true };
        let mesh = Mesh::start(config, Directory::new(), events, self.shutdown.clone()).await;
        mesh.map_err(|error| anyhow!("{error}: stop what has it, or choose another port with --mesh-port"))
    }

    /// Starts what carries traffic. Returns what serves other nodes' connections to pods of this one.
    async fn start_traffic(&self, handle: &Handle, calls: Arc<dyn Calls>) -> anyhow::Result<proxy::Exit> {
        let namespace = proxy::Namespace::open(settings::namespace_config(self.config, self.genesis)).await?;
        let at = SocketAddrV4::new(self.config.dns_address(), 53);
        let (udp, tcp) = (namespace.udp(at).await?, namespace.tcp(at).await?);
        let server = dns::Server::new(settings::dns_config(), handle.routes());
        self.tasks.spawn(server.run(udp, tcp, self.shutdown.clone()));
        let config = settings::proxy_config(self.config, self.genesis);
        let exit = proxy::Exit::new(config.clone());
        self.tasks.spawn(exit.clone().run(self.shutdown.clone()));
        let proxy = proxy::Proxy::new(config, namespace, handle.routes(), calls);
        self.tasks.spawn(proxy.run(self.shutdown.clone()));
        Ok(exit)
    }

    fn authority(&self) -> anyhow::Result<Option<Arc<Authority>>> {
        let identity = &self.genesis.identity;
        let authority = identity.authority_key.as_ref().map(|key| Authority::of_pem(&identity.authority, key));
        Ok(authority.transpose()?.map(Arc::new))
    }

    fn certificates(
        &self,
        authority: Option<Arc<Authority>>,
        calls: Arc<dyn Calls>,
        watched: &Watched,
    ) -> anyhow::Result<Certificates> {
        let node = (self.config.node_name.clone(), self.config.api_address());
        let files = Box::new(self.files()?);
        Ok(Certificates::open(node, authority, calls, watched.directory.subscribe(), files))
    }

    /// Starts the API and what keeps its certificate and the kubeconfig.
    async fn start_api(
        &self,
        listener: TcpListener,
        handle: &Handle,
        containers: Arc<dyn Containers>,
        mut certificates: Certificates,
        watched: &Watched,
    ) -> anyhow::Result<()> {
        let ca = &self.genesis.identity.authority;
        let directory = watched.directory.subscribe();
        let members = Arc::new(move || directory.borrow().keys().copied().collect());
        let tokens = api::Tokens { issuer: Issuer::new(self.genesis.key.clone()), members };
        let mut api = api::Api::new(handle.clone(), containers, self.shutdown.clone()).with_tokens(tokens);
        if self.config.audit_log > 0 {
            let limit = u64::from(self.config.audit_log) << 20;
            api = api.with_audit(api::Audit::open(self.folder.path(), limit)?);
        }
        let api = Arc::new(api);
        if let Some(authority) = &certificates.authority {
            self.tasks.spawn(signer::run(handle.clone(), Arc::clone(authority), self.shutdown.clone()));
        }
        let server = api::Server::with(api, certificates.api.clone(), ca)?;
        self.tasks.spawn(server.run(listener, self.shutdown.clone()));

        let address = *watched.address.borrow();
        // One that cannot sign for itself and has nothing on disk yet asks the others once they are connected.
        let first = certificates.refresh(address).await;
        let access = Access {
            folder: self.folder.path().to_owned(),
            node: (self.config.node_name.clone(), self.config.api_port),
            ca: ca.clone(),
        };
        let admin = certificates.admin.borrow().clone();
        match (first, admin) {
            (Err(reason), _) if self.genesis.identity.authority_key.is_some() => return Err(anyhow!(reason)),
            (_, Some(admin)) => {
                if let Err(error) = access.write(&admin, &access.contexts(&handle.snapshot(), address)) {
                    // It is written again as soon as anything changes.
                    tracing::warn!("{error:#}");
                }
            }
            (_, None) => tracing::info!("the API waits for a member that signs its certificate"),
        }
        let admin = certificates.admin.subscribe();
        let watch = || watched.address.subscribe();
        self.tasks.spawn(access.run(admin, watch(), handle.snapshots(), self.shutdown.clone()));
        self.tasks.spawn(certificates.run(watch(), self.shutdown.clone()));
        Ok(())
    }

    fn callee(
        &self,
        exit: proxy::Exit,
        containers: Arc<dyn Containers>,
        authority: Option<Arc<Authority>>,
        joins: Joins,
        watched: &Watched,
    ) -> Callee {
        let identity = &self.genesis.identity;
        let welcome = Welcome {
            chain: identity.chain.clone(),
            settings: self.genesis.settings.clone(),
            authority: identity.authority.clone(),
            authority_key: identity.authority_key.clone(),
            joins,
        };
        let places = watched.places.subscribe();
        Callee::new(exit, containers, authority, welcome, places, self.tasks.clone(), self.shutdown.clone())
    }

    /// Starts what watches this host's address, and what writes down where members are.
    fn watch(&self, watched: Watched) {
        let Watched { address, directory, places } = watched;
        let folder = self.folder.path().to_owned();
        let (here, directory) = (address.subscribe(), directory.subscribe());
        let port = self.config.mesh_port;
        self.tasks.spawn(places::keep(folder, port, here, directory, places, self.shutdown.clone()));
        self.tasks.spawn(places::watch_address(self.config.clone(), address, self.shutdown.clone()));
    }
}
