//! Keeps listeners as the routes have them.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handle::Calls;
use crate::hostnet::FirewallError;
use crate::routing::Routes;
use crate::routing::routes::{Backends, Listen, Protocol};
use crate::time::Mono;

use super::guide::Guide;
use super::namespace::Namespace;
use super::target::{Pick, Target, now};
use super::{tcp, udp};

/// How often the host's firewall is looked after.
const FIREWALL: Duration = Duration::from_secs(30);
/// When a port that could not be opened is tried again for the first time, and only then complained of: a child process
/// that is just being started may still have a copy of the socket that was open there before.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// For how long a complaint of one kind is not made again.
const QUIET: Duration = Duration::from_secs(10);

/// Limits and patience of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node's name: endpoints of other nodes are reached through their agents.
    pub node: String,
    /// The pods of all nodes. What is not in it is dialled directly, whatever node it is on.
    pub pods: Ipv4Net,
    /// The pods of this node.
    pub own_pods: Ipv4Net,
    /// How many TCP connections may be open at once; each takes two files. Beyond, clients wait to be accepted.
    pub connections: usize,
    /// How many UDP flows there may be at once; each takes one file. Beyond, the oldest give way.
    pub flows: usize,
    /// How many connections and flows from other nodes' agents there may be at once; each takes one file. Beyond, calls
    /// are refused.
    pub exits: usize,
    /// How long an endpoint may be silent before another one is dialled beside it (rules, 24).
    pub patience: Duration,
    /// How long a client waits in all before it is told that no endpoint answers.
    pub give_up: Duration,
    /// How long a UDP flow may be silent before it ends.
    pub udp_idle: Duration,
    /// How often a port that cannot be opened is tried again.
    pub retry: Duration,
    /// How long connections may take to finish when the proxy stops.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: String::new(),
            pods: Ipv4Net::new_assert(Ipv4Addr::new(10, 240, 0, 0), 12),
            own_pods: Ipv4Net::new_assert(Ipv4Addr::new(10, 240, 0, 0), 24),
            connections: 8_192,
            flows: 2_048,
            exits: 4_096,
            patience: Duration::from_millis(250),
            give_up: Duration::from_secs(5),
            udp_idle: Duration::from_secs(60),
            retry: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

/// What all listeners share.
pub(super) struct Shared {
    pub(super) config: Config,
    /// Leads to other nodes' agents.
    pub(super) calls: Arc<dyn Calls>,
    /// Open connections.
    pub(super) tasks: TaskTracker,
    /// Cancelled when connections have to end.
    pub(super) cut: CancellationToken,
    pub(super) complaints: Complaints,
    connections: Arc<Semaphore>,
    flows: Arc<Semaphore>,
}

impl Shared {
    fn new(config: Config, calls: Arc<dyn Calls>) -> Self {
        let (connections, flows) = (Semaphore::new(config.connections), Semaphore::new(config.flows));
        Self {
            config,
            calls,
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
            complaints: Complaints::default(),
            connections: Arc::new(connections),
            flows: Arc::new(flows),
        }
    }

    /// The node whose agent leads to an endpoint; `None` for one that is dialled directly.
    pub(super) fn far<'a>(&self, pick: &'a Pick) -> Option<&'a str> {
        let node = pick.node.as_deref()?;
        (node != self.config.node && self.config.pods.contains(pick.address.ip())).then_some(node)
    }

    /// Waits for room for one more connection. `None` when the proxy has stopped.
    pub(super) async fn connection(&self, service: impl FnOnce() -> String) -> Option<OwnedSemaphorePermit> {
        if self.connections.available_permits() == 0 {
            let (service, limit) = (service(), self.config.connections);
            self.complaints
                .say("connections", || tracing::warn!(service, limit, "too many connections: clients have to wait"));
        }
        Arc::clone(&self.connections).acquire_owned().await.ok()
    }

    pub(super) fn flow(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.flows).try_acquire_owned().ok()
    }
}

/// Keeps the log readable while something goes wrong thousands of times a second.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    /// Until when nothing more is said, by kind.
    quiet: Mutex<BTreeMap<&'static str, Mono>>,
}

impl Complaints {
    /// Makes a complaint unless one of its kind has just been made.
    pub(super) fn say(&self, kind: &'static str, complaint: impl FnOnce()) {
        let now = now();
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let until = quiet.entry(kind).or_default();
        if *until <= now {
            *until = now + QUIET;
            drop(quiet);
            complaint();
        }
    }
}

/// The proxy: carries connections from where the routes say to whom they say.
pub struct Proxy {
    namespace: Namespace,
    routes: watch::Receiver<Arc<Routes>>,
    shared: Arc<Shared>,
    open: BTreeMap<Listen, Open>,
    /// Ports that could not be opened, and how often.
    failing: BTreeMap<Listen, u32>,
}

struct Open {
    target: Arc<Target>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Open {
    /// Returns when the socket is closed.
    async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a listener failed");
        }
    }
}

impl Proxy {
    /// Makes a proxy that listens in `namespace` and on the host, and reaches pods of other nodes by `calls`.
    pub fn new(
        config: Config,
        namespace: Namespace,
        routes: watch::Receiver<Arc<Routes>>,
        calls: Arc<dyn Calls>,
    ) -> Self {
        let shared = Arc::new(Shared::new(config, calls));
        Self { namespace, routes, shared, open: BTreeMap::new(), failing: BTreeMap::new() }
    }

    /// Works until `shutdown`, or until nobody sends routes any more; then lets connections finish for a while.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut firewall = ticker(FIREWALL);
        let _until_the_end = self.open_pods().await.drop_guard();
        loop {
            let routes = Arc::clone(&self.routes.borrow_and_update());
            self.apply(&routes).await;
            let retry = Instant::now() + self.retry();
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return self.finish().await,
                    changed = self.routes.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return self.finish().await,
                    },
                    () = sleep_until(retry), if !self.failing.is_empty() => break,
                    _ = firewall.tick() => self.permit().await,
                }
            }
        }
    }

    /// Takes in what pods and host send to pods of other nodes, until what it returns is cancelled.
    async fn open_pods(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        match self.namespace.redirected().await {
            Ok(Some(listener)) => {
                let guide = Guide::Pods(self.routes.clone());
                tokio::spawn(tcp::serve(listener, guide, Arc::clone(&self.shared), stop.clone()));
            }
            // Said when the namespace was opened.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "pods of other nodes are reached by Services only"),
        }
        stop
    }

    fn retry(&self) -> Duration {
        let is_new = self.failing.values().any(|attempts| *attempts == 1);
        if is_new { RETRY_FIRST } else { self.shared.config.retry }
    }

    async fn permit(&self) {
        match self.namespace.permit().await {
            // Said once, when the namespace was opened.
            Ok(()) | Err(FirewallError::Missing(_)) => {}
            Err(error) => {
                let complaint = || tracing::warn!(%error, "pods may not reach virtual addresses");
                self.shared.complaints.say("firewall", complaint);
            }
        }
    }

    /// Closes what is not wanted any more first: its place may be wanted by another Service.
    async fn apply(&mut self, routes: &Routes) {
        let wanted = |listen: &Listen| routes.listeners.get(listen).filter(|b| !b.endpoints.is_empty());
        let unwanted: Vec<Listen> = self.open.keys().filter(|l| wanted(l).is_none()).copied().collect();
        for listen in unwanted {
            if let Some(open) = self.open.remove(&listen) {
                open.close().await;
            }
        }
        self.failing.retain(|listen, _| wanted(listen).is_some());
        for (listen, backends) in &routes.listeners {
            match self.open.get(listen) {
                Some(open) => open.update(backends),
                None if backends.endpoints.is_empty() => {}
                None => self.open(*listen, backends).await,
            }
        }
    }

    async fn open(&mut self, listen: Listen, backends: &Arc<Backends>) {
        match self.bind(listen, backends).await {
            Ok(open) => {
                if self.failing.remove(&listen).is_some_and(|attempts| attempts > 1) {
                    tracing::info!(service = backends.service, "{} is open now", place(listen));
                }
                self.open.insert(listen, open);
            }
            Err(error) => {
                let attempts = self.failing.entry(listen).or_default();
                *attempts = attempts.saturating_add(1);
                if *attempts == 2 {
                    let (service, place) = (&backends.service, place(listen));
                    tracing::warn!("service {service}: {place} cannot be opened: {error}; it is tried again");
                }
            }
        }
    }

    async fn bind(&self, listen: Listen, backends: &Arc<Backends>) -> io::Result<Open> {
        let target = Arc::new(Target::new(Arc::clone(backends)));
        let stop = CancellationToken::new();
        let (to, shared, until) = (Arc::clone(&target), Arc::clone(&self.shared), stop.clone());
        let task = match listen {
            Listen::Virtual { protocol: Protocol::Tcp, address } => {
                let listener = self.namespace.tcp(address).await?;
                tokio::spawn(tcp::serve(listener, Guide::Service(to), shared, until))
            }
            Listen::Virtual { protocol: Protocol::Udp, address } => {
                tokio::spawn(udp::serve(self.namespace.udp(address).await?, to, shared, until))
            }
            Listen::Node { protocol: Protocol::Tcp, port } => {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
                tokio::spawn(tcp::serve(listener, Guide::Service(to), shared, until))
            }
            Listen::Node { protocol: Protocol::Udp, port } => {
                tokio::spawn(udp::serve(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await?, to, shared, until))
            }
        };
        Ok(Open { target, stop, task })
    }

    async fn finish(mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.close().await;
        }
        self.shared.tasks.close();
        let open = self.shared.tasks.len();
        if timeout(self.shared.config.drain, self.shared.tasks.wait()).await.is_err() {
            tracing::info!(open, left = self.shared.tasks.len(), "connections are cut off");
            self.shared.cut.cancel();
            self.shared.tasks.wait().await;
        }
    }
}

impl Open {
    fn update(&self, backends: &Arc<Backends>) {
        if !Arc::ptr_eq(&self.target.backends(), backends) {
            self.target.replace(Arc::clone(backends));
        }
    }
}

fn place(listen: Listen) -> String {
    let name = |protocol| match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    match listen {
        Listen::Virtual { protocol, address } => format!("{} port {address}", name(protocol)),
        Listen::Node { protocol, port } => format!("node port {port}/{}", name(protocol)),
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
