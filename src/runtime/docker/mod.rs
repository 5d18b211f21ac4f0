//! Pods on Docker: containers through its API, their network by our own hands.
//!
//! One worker task a pod carries out its steps in order ([`worker`]); one task for all follows the daemon ([`follow`]):
//! it lists what is there, reports what happens unasked, and connects again for ever. A container is ours if it carries
//! our node's label; nothing else is ever touched. Nothing is remembered that a restart could lose: names, labels and
//! the name of a pod's network port say all, so that what runs is adopted.
//!
//! Reports keep an order: a list never contradicts what was reported before it, and a container's end never comes
//! before its start.

mod body;
mod client;
mod container;
mod error;
mod files;
mod follow;
mod hijack;
mod images;
mod listing;
mod logs;
mod mounts;
mod netlink;
mod network;
mod probe;
mod probe_http;
mod sandbox;
mod sessions;
mod usage;
mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bollard::models::ContainerCreateBody;
use futures_util::future::BoxFuture;
use ipnet::Ipv4Net;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handle::{LogOptions, LogStream, Logs, Meters, Session, Sessions, Talk, Usage};
use crate::ids::Uid;
use crate::kubelet::action::{Action, Observation, PodEvent, PodRef};
use crate::time::Wall;

use super::Runtime;
use client::Client;
use error::Error;
use network::Network;
use volumes::PodFolder;
use worker::Pod;

/// Starts cost so much processor time that more at once only make each slower.
const STARTS: usize = 4;

/// How long tasks under way may take to end when the agent stops. What is half done is found again by its labels.
const DRAIN: Duration = Duration::from_secs(5);

/// What the Docker runtime needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Where volumes, hosts files and termination messages are kept.
    pub folder: PathBuf,
    /// Which node of which cluster this is: the value of [`labels::NODE`](crate::kubelet::action::labels::NODE). Only
    /// containers that carry it are ours.
    pub node: String,
    /// The bridge that pods are on: at most 15 characters, made if missing.
    pub bridge: String,
    /// Addresses of this node's pods; the first is the bridge's.
    pub pod_range: Ipv4Net,
    /// Addresses of all nodes' pods: traffic to them keeps the pod's own address.
    pub cluster_range: Ipv4Net,
    /// Virtual addresses of Services: traffic to them keeps the pod's own address too.
    pub service_range: Ipv4Net,
}

/// The Docker runtime.
pub struct Docker {
    engine: Arc<Engine>,
}

impl Docker {
    /// Makes a runtime that reports to `observations`. It does nothing before [`run`](Self::run). Must be called within
    /// a tokio runtime.
    pub fn new(config: Config, observations: mpsc::Sender<Observation>, shutdown: CancellationToken) -> Self {
        let network = Network::new(config.bridge.clone(), config.pod_range, config.cluster_range, config.service_range);
        let folder = std::path::absolute(&config.folder).unwrap_or_else(|_| config.folder.clone());
        let waiting = format!("cannot reach Docker at {}: not tried yet", config.socket.display());
        let engine = Engine {
            config: Config { folder, ..config },
            network,
            reporter: Reporter { turn: tokio::sync::Mutex::new(()), out: observations },
            shutdown,
            tasks: TaskTracker::new(),
            executor: tokio::runtime::Handle::current(),
            client: Mutex::new(Err(waiting)),
            pods: Mutex::default(),
            starts: Semaphore::new(STARTS),
            doubtful: AtomicBool::new(false),
            network_ready: AtomicBool::new(false),
            systemd: AtomicBool::new(false),
            oom_score_floor: AtomicBool::new(false),
            meter: tokio::sync::Mutex::default(),
        };
        Self { engine: Arc::new(engine) }
    }

    /// Follows the daemon until the shutdown token is cancelled. Pods run on after that.
    pub async fn run(self: Arc<Self>) {
        follow::run(&self.engine).await;
        self.engine.tasks.close();
        if tokio::time::timeout(DRAIN, self.engine.tasks.wait()).await.is_err() {
            tracing::warn!("pod workers were still busy when the agent stopped");
        }
    }
}

impl Runtime for Docker {
    fn act(&self, action: Action) {
        worker::act(&self.engine, action);
    }
}

impl Logs for Docker {
    fn open(&self, _node: &str, container: &str, options: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        logs::open(self.engine.clone(), container.to_owned(), options)
    }
}

impl Sessions for Docker {
    fn begin(&self, _node: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
        sessions::begin(self.engine.clone(), session)
    }
}

impl Meters for Docker {
    fn usage(&self, _node: &str) -> BoxFuture<'static, Result<Usage, String>> {
        usage::usage(self.engine.clone())
    }
}

/// What all tasks share.
struct Engine {
    config: Config,
    network: Network,
    reporter: Reporter,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    executor: tokio::runtime::Handle,
    /// The connection, or why there is none.
    client: Mutex<Result<Client, String>>,
    pods: Mutex<BTreeMap<Uid, Pod>>,
    starts: Semaphore,
    /// A call ended without an answer: what is there must be looked at again.
    doubtful: AtomicBool,
    /// Bridge and firewall were seen in place since the last connection.
    network_ready: AtomicBool,
    /// The daemon has systemd make cgroups.
    systemd: AtomicBool,
    /// The daemon may not lower oom scores (it lacks CAP_SYS_RESOURCE).
    oom_score_floor: AtomicBool,
    /// What was measured last.
    meter: tokio::sync::Mutex<usage::Meter>,
}

impl Engine {
    fn client(&self) -> Result<Client, Error> {
        lock(&self.client).clone().map_err(Error::Disconnected)
    }

    fn folder(&self, uid: Uid) -> PodFolder {
        PodFolder::new(&self.config.folder, uid)
    }

    /// Has a container put where it can be found without Docker, if it must never run twice.
    fn found(&self, pod: &PodRef, held: bool, body: ContainerCreateBody) -> ContainerCreateBody {
        if held { body::held(body, pod, self.systemd.load(Ordering::Relaxed)) } else { body }
    }

    /// Does something with what is known of a pod.
    fn with_pod<T>(&self, uid: Uid, what: impl FnOnce(&mut Pod) -> T) -> T {
        what(lock(&self.pods).entry(uid).or_default())
    }

    /// Notes that a call may have done more than it said.
    fn doubt(&self, error: &Error) {
        if error.is_doubtful() {
            self.doubtful.store(true, Ordering::Relaxed);
        }
    }

    async fn ensure_network(&self) -> Result<(), Error> {
        if !self.network_ready.load(Ordering::Relaxed) {
            self.network.ensure().await?;
            self.network_ready.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn report(&self, pod: &PodRef, event: PodEvent) {
        let _turn = self.reporter.turn.lock().await;
        self.reporter.send(Observation::Pod { pod: pod.clone(), event }).await;
    }
}

/// Hands observations on, in an order that makes sense.
struct Reporter {
    /// Held while the daemon is listed, so that no later news overtake an older list.
    turn: tokio::sync::Mutex<()>,
    out: mpsc::Sender<Observation>,
}

impl Reporter {
    async fn send(&self, observation: Observation) {
        // Nobody listens any more when the agent stops.
        let _ = self.out.send(observation).await;
    }
}

/// Locks what no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work on files off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Files(format!("work on files was lost: {error}"))),
    }
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::default() + since
}

/// Reads Docker's RFC 3339 times; its zero time (the year 1) and nonsense become zero.
fn wall(text: Option<&str>) -> Wall {
    let time = text.and_then(|t| t.parse::<jiff::Timestamp>().ok());
    Wall(time.map_or(0, |t| t.as_microsecond().max(0)))
}
