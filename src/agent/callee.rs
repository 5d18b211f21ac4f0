//! Answers calls of other agents: traffic, logs, sessions, certificates, admission.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handle::{Call, Containers, Stream};
use crate::ids::NodeId;
use crate::proxy::Exit;
use crate::trust::Authority;

use super::places::Places;
use super::welcome::Welcome;
use super::{certificates, logs, meters, sessions};

/// How many logs may be read by other nodes at the same time.
const LOGS: usize = 256;
/// How many sessions of other nodes may be open.
const SESSIONS: usize = 256;
/// How many other calls may be under way.
const ERRANDS: usize = 16;
/// How long a call other than for traffic, logs and sessions may take; a stranger's connection lives no longer either.
const PATIENCE: Duration = Duration::from_secs(15);

/// What serves calls. Cheap to clone.
#[derive(Clone)]
pub struct Callee(Arc<Inner>);

struct Inner {
    exit: Exit,
    containers: Arc<dyn Containers>,
    authority: Option<Arc<Authority>>,
    welcome: Welcome,
    places: watch::Receiver<Places>,
    log_room: Arc<Semaphore>,
    session_room: Arc<Semaphore>,
    errand_room: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Callee {
    /// Makes what serves calls until `shutdown`: traffic by `exit`, logs and sessions by `containers`, certificates if it holds the
    /// authority's key, strangers by `welcome`.
    pub fn new(
        exit: Exit,
        containers: Arc<dyn Containers>,
        authority: Option<Arc<Authority>>,
        welcome: Welcome,
        places: watch::Receiver<Places>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let room = |count| Arc::new(Semaphore::new(count));
        let (log_room, session_room, errand_room) = (room(LOGS), room(SESSIONS), room(ERRANDS));
        Self(Arc::new(Inner {
            exit,
            containers,
            authority,
            welcome,
            places,
            log_room,
            session_room,
            errand_room,
            tasks,
            shutdown,
        }))
    }

    /// Serves a call in a task of its own. What cannot be served is dropped, by which the caller knows.
    pub fn serve(&self, from: NodeId, call: Call, stream: Stream) {
        let inner = Arc::clone(&self.0);
        match call {
            Call::Tcp(_) | Call::Udp(_) => inner.exit.serve(&call, stream),
            Call::Log { container, options } => {
                self.spawn(&self.0.log_room, async move {
                    logs::serve(&*inner.containers, &container, options, stream).await
                });
            }
            Call::Session(session) => {
                self.spawn(
                    &self.0.session_room,
                    async move { sessions::serve(&*inner.containers, session, stream).await },
                );
            }
            Call::Usage => self.spawn(&self.0.errand_room, async move {
                timeout(PATIENCE, meters::serve(&*inner.containers, stream)).await?
            }),
            Call::Sign => self.spawn(&self.0.errand_room, async move {
                timeout(PATIENCE, certificates::serve(inner.authority.as_deref(), stream)).await?
            }),
            Call::Join => self.spawn(&self.0.errand_room, async move {
                let addresses = inner.places.borrow().all();
                timeout(PATIENCE, inner.welcome.serve(from, addresses, stream)).await?
            }),
        }
    }

    fn spawn(&self, room: &Arc<Semaphore>, work: impl Future<Output = io::Result<()>> + Send + 'static) {
        let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
            return tracing::warn!("too many calls of other nodes at once; one is dropped");
        };
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            if let Some(Err(error)) = shutdown.run_until_cancelled(work).await {
                tracing::debug!(%error, "a call of another node ended early");
            }
            drop(permit);
        });
    }
}
