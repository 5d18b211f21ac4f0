//! Sessions: a command in a container, a container's own terminal, or a port of a pod, while somebody talks to it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How many frames wait on each way of a session before the speaker waits.
pub const WAITING: usize = 16;
/// The most bytes of one frame that travel in one piece.
pub const PIECE: usize = 32 * 1024;

/// Opens sessions in containers, wherever they run.
pub trait Sessions: Send + Sync {
    /// Opens a session on a node; it lasts until either side drops its [`Talk`].
    ///
    /// # Errors
    /// One sentence: the container does not run there, nobody listens at the port, the node or its runtime does not answer.
    fn begin(&self, node: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>>;
}

/// With what somebody wants to talk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Session {
    /// A command that is started in a container.
    Exec {
        /// The container's id.
        container: String,
        /// The command and its arguments.
        command: Vec<String>,
        /// What of it is wanted.
        streams: Streams,
    },
    /// A container's first process.
    Attach {
        /// The container's id.
        container: String,
        /// What of it is wanted.
        streams: Streams,
    },
    /// A TCP port within a pod, on its loopback interface.
    Forward {
        /// The id of any running container of the pod.
        container: String,
        /// The port.
        port: u16,
    },
}

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// What is said goes to its standard input.
    pub stdin: bool,
    /// Its standard output is told.
    pub stdout: bool,
    /// Its standard error is told; with a terminal there is none of its own.
    pub stderr: bool,
    /// It has a terminal.
    pub tty: bool,
}

/// What is said in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the process, or the port.
    Input(Bytes),
    /// No more input comes.
    InputEnd,
    /// The terminal's new size in characters: columns, then rows.
    Resize(u16, u16),
    /// From standard output, the terminal, or the port.
    Output(Bytes),
    /// From standard error.
    Error(Bytes),
    /// How it ended; nothing comes after it. A session that ends without was cut off.
    Ended(Ended),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The process ended with this code; 0 also for a connection that ended, or if nothing is known.
    Exit(i64),
    /// It could not be begun or went wrong, in one sentence.
    Failed(String),
}

/// One side of a session.
#[derive(Debug)]
pub struct Talk {
    /// To the other side. Dropped: this side has gone.
    pub say: mpsc::Sender<Frame>,
    /// From the other side. At its end the other side has gone.
    pub hear: mpsc::Receiver<Frame>,
}

/// Makes the two sides of a session.
pub fn talk() -> (Talk, Talk) {
    let (one, other) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
    (Talk { say: one.0, hear: other.1 }, Talk { say: other.0, hear: one.1 })
}
