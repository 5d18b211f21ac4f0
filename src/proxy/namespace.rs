//! A network namespace of the agent's own in which every virtual address is local.
//!
//! It has no name: it is the namespace of one thread, and goes when that thread and the last socket in it have gone,
//! so that a killed agent leaves nothing behind for long. Sockets made in it work from any thread.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, unshare};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use crate::hostnet::{FirewallError, Rule};

use super::link::Links;
use super::redirect;

/// How many requests may wait for the namespace's thread.
const MAILBOX: usize = 64;
/// How many connections may wait to be accepted at one listener.
const BACKLOG: i32 = 1_024;
/// The name of the link within the namespace, where nothing else has one.
const INSIDE: &str = "services";

/// What the namespace is to be like. Several agents on one machine must differ in all three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// The name of the link on the host that leads to it: at most 15 bytes.
    pub link: String,
    /// A /30 of which the host has the first address, and the namespace the second.
    pub network: Ipv4Net,
    /// The range of virtual addresses.
    pub service_range: Ipv4Net,
    /// The pods of all nodes. What goes to those of other nodes is led here.
    pub pods: Ipv4Net,
    /// The pods of this node, which the host reaches itself.
    pub own_pods: Ipv4Net,
}

impl NamespaceConfig {
    fn host_address(&self) -> Ipv4Addr {
        nth(self.network, 1)
    }

    fn inside_address(&self) -> Ipv4Addr {
        nth(self.network, 2)
    }
}

fn nth(network: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.network()).saturating_add(n))
}

/// The namespace could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel refuses a new namespace: it takes root.
    #[error("no network namespace for services: {0}")]
    Unshare(#[source] io::Error),
    /// The range is routed to another place already.
    #[error("the service range {0} is routed elsewhere on this machine")]
    RangeTaken(Ipv4Net),
    /// A link, an address or a route could not be made.
    #[error("{what}: {source}")]
    Network {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host's firewall could not be opened.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

type Job = Box<dyn FnOnce() + Send>;

/// A door to the namespace. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    config: NamespaceConfig,
    jobs: mpsc::Sender<Job>,
    /// Whether connections to pods of other nodes are redirected here.
    redirects: bool,
}

impl Namespace {
    /// Makes the namespace, routes the service range and other nodes' pods into it and lets traffic to and from it pass the host's
    /// firewall. What an earlier agent left under the same names is removed first.
    ///
    /// # Errors
    /// [`NamespaceError`] says in a sentence what the machine does not permit. A machine without iptables is no
    /// error: then nothing there drops forwarded packets.
    pub async fn open(config: NamespaceConfig) -> Result<Self, NamespaceError> {
        let host = Links::connect().map_err(|e| network("netlink", e))?;
        host.delete(&config.link).await.map_err(|e| network(format!("removing link {}", config.link), e))?;
        let mut namespace = Self { jobs: start_thread().await?, config, redirects: false };
        namespace.plug(&host).await?;
        match namespace.lead_pods_here(&host).await {
            Ok(()) => namespace.redirects = true,
            Err(error) => tracing::warn!("pods of other nodes are reached by Services only: {error}"),
        }
        forward_packets().map_err(|e| network("net.ipv4.ip_forward", e))?;
        match namespace.permit().await {
            Err(FirewallError::Missing(error)) => {
                tracing::warn!(%error, "without iptables it is left to the host that pods reach virtual addresses");
            }
            other => other?,
        }
        Ok(namespace)
    }

    /// Returns the range of virtual addresses.
    pub fn service_range(&self) -> Ipv4Net {
        self.config.service_range
    }

    /// Listens for TCP connections at a virtual address.
    ///
    /// # Errors
    /// As bind(2) and listen(2).
    pub async fn tcp(&self, address: SocketAddrV4) -> io::Result<TcpListener> {
        TcpListener::from_std(self.within(move || listen(address)).await??)
    }

    /// Listens for connections to pods of other nodes, each of which knows where it was to go. `None` if they are not
    /// redirected here.
    ///
    /// # Errors
    /// As bind(2) and listen(2).
    pub(super) async fn redirected(&self) -> io::Result<Option<TcpListener>> {
        if !self.redirects {
            return Ok(None);
        }
        self.tcp(SocketAddrV4::new(self.config.inside_address(), redirect::PORT)).await.map(Some)
    }

    /// Receives UDP datagrams at a virtual address.
    ///
    /// # Errors
    /// As bind(2).
    pub async fn udp(&self, address: SocketAddrV4) -> io::Result<UdpSocket> {
        let socket = self.within(move || std::net::UdpSocket::bind(address)).await??;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    /// Lets traffic to and from the namespace pass the host's firewall. Repeated now and then, because others set
    /// the firewall up anew: Docker drops what is forwarded (rules, 23).
    ///
    /// # Errors
    /// [`FirewallError`] if iptables is missing or refuses.
    pub async fn permit(&self) -> Result<(), FirewallError> {
        for rule in self.rules() {
            rule.ensure().await?;
        }
        Ok(())
    }

    /// Takes away what is on the host: firewall rules, the link, and with it the route.
    ///
    /// # Errors
    /// [`NamespaceError`] if the kernel or iptables refuses.
    pub async fn close(self) -> Result<(), NamespaceError> {
        for rule in self.rules() {
            rule.remove().await?;
        }
        let host = Links::connect().map_err(|e| network("netlink", e))?;
        host.delete(&self.config.link).await.map_err(|e| network(format!("removing link {}", self.config.link), e))
    }

    fn rules(&self) -> [Rule; 2] {
        let link = &self.config.link;
        ["-o", "-i"].map(|way| Rule::new("filter", "FORWARD", &format!("{way} {link} -j ACCEPT")))
    }

    /// Runs `job` on the namespace's thread.
    async fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let ended = || io::Error::other("the thread of the service namespace has ended");
        let (answer_in, answer) = oneshot::channel();
        // Nobody listens any more: then the answer, a socket, is closed.
        let job: Job = Box::new(move || drop(answer_in.send(job())));
        self.jobs.send(job).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    async fn plug(&self, host: &Links) -> Result<(), NamespaceError> {
        let NamespaceConfig { link, network: net, service_range, .. } = &self.config;
        let file = self.within(|| File::open("/proc/thread-self/ns/net")).await;
        let file = file.and_then(|f| f).map_err(NamespaceError::Unshare)?;
        let inside = self.within(Links::connect).await.and_then(|c| c).map_err(|e| network("netlink", e))?;

        host.add_pair(link, INSIDE, file.as_fd()).await.map_err(|e| network(format!("making link {link}"), e))?;
        let (here, there) = (self.config.host_address(), self.config.inside_address());
        let addressing = |e| network(format!("addressing link {link} with {net}"), e);
        let outer = host.up(link).await.map_err(addressing)?;
        host.add_address(outer, here, net.prefix_len()).await.map_err(addressing)?;
        let inner = inside.up(INSIDE).await.map_err(addressing)?;
        inside.add_address(inner, there, net.prefix_len()).await.map_err(addressing)?;
        let lo = inside.up("lo").await.map_err(addressing)?;

        let routing = |e| network(format!("routing {service_range} to link {link}"), e);
        let everything = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0).expect("a prefix of 0 is a prefix");
        inside.route_via(everything, here, inner).await.map_err(routing)?;
        inside.route_local(*service_range, lo).await.map_err(routing)?;
        host.route_via(*service_range, there, outer).await.map_err(|e| match e.raw_os_error() {
            Some(nix::libc::EEXIST) => NamespaceError::RangeTaken(*service_range),
            _ => routing(e),
        })
    }
}

impl Namespace {
    /// Leads what goes to pods of other nodes here: TCP to one listener, and all else is refused.
    async fn lead_pods_here(&self, host: &Links) -> io::Result<()> {
        let NamespaceConfig { pods, own_pods, service_range, .. } = self.config;
        let inside = self.within(Links::connect).await??;
        let (here, there) = (self.config.host_address(), self.config.inside_address());
        self.within(move || redirect::set_up(pods)).await??;
        if let Err(error) = self.within(move || redirect::spare(service_range)).await? {
            tracing::debug!(%error, "Services' connections are tracked, which costs some time");
        }
        let inner = inside.up(INSIDE).await?;
        inside.route_via(own_pods, here, inner).await?;
        if own_pods != pods {
            inside.route_nowhere(pods).await?;
        }
        let outer = host.up(&self.config.link).await?;
        host.route_via(pods, there, outer).await.map_err(|e| match e.raw_os_error() {
            Some(nix::libc::EEXIST) => {
                io::Error::other(format!("the range {pods} is routed elsewhere on this machine"))
            }
            _ => e,
        })
    }
}

fn network(what: impl Into<String>, source: io::Error) -> NamespaceError {
    NamespaceError::Network { what: what.into(), source }
}

/// Starts a thread that leaves for a namespace of its own and works there until the last door is dropped.
async fn start_thread() -> Result<mpsc::Sender<Job>, NamespaceError> {
    let (jobs_in, mut jobs) = mpsc::channel::<Job>(MAILBOX);
    let (ready_in, ready) = oneshot::channel();
    // Netlink sockets made on the thread are served by the runtime.
    let runtime = tokio::runtime::Handle::current();
    let body = move || {
        let _runtime = runtime.enter();
        let left = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        let failed = left.is_err();
        if ready_in.send(left).is_err() || failed {
            return;
        }
        while let Some(job) = jobs.blocking_recv() {
            job();
        }
    };
    std::thread::Builder::new().name("services".into()).spawn(body).map_err(NamespaceError::Unshare)?;
    let left = ready.await.unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
    left.map(|()| jobs_in).map_err(NamespaceError::Unshare)
}

fn listen(address: SocketAddrV4) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // A port that was closed and is opened again may still have connections.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::V4(address).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes the host pass packets on from pods to the namespace and back.
fn forward_packets() -> io::Result<()> {
    const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(SWITCH)?.trim() == "1" { Ok(()) } else { std::fs::write(SWITCH, "1") }
}
