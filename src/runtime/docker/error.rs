//! What can go wrong between us and the daemon, told apart by what a caller does about it.

use std::error::Error as _;
use std::io;
use std::time::Duration;

/// A call to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or the connection broke.
    #[error("cannot reach Docker at {socket}: {reason}")]
    Unreachable {
        /// The path of its socket.
        socket: String,
        /// What the system said.
        reason: String,
    },
    /// There is no connection; the message says why.
    #[error("{0}")]
    Disconnected(String),
    /// It did not answer in time; what it did meanwhile is unknown.
    #[error("docker did not {what} within {} s", limit.as_secs())]
    Late {
        /// What it was asked to do.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// It answered something that is no answer.
    #[error("docker gave an answer that makes no sense: {0}")]
    Nonsense(String),
    /// Files or mounts of a pod could not be made.
    #[error("{0}")]
    Files(String),
    /// The pod's network could not be made.
    #[error("{0}")]
    Network(#[from] super::network::NetworkError),
}

impl Error {
    /// Sorts an error of the client library.
    pub fn sort(socket: &str, error: bollard::errors::Error) -> Self {
        use bollard::errors::Error as E;
        let unreachable = |reason: String| Self::Unreachable { socket: socket.to_owned(), reason };
        match error {
            E::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, message: one_line(&message) }
            }
            E::DockerStreamError { error } => Self::Refused { status: 500, message: one_line(&error) },
            E::SocketNotFoundError(_) => unreachable("no such file or directory".into()),
            E::RequestTimeoutError => unreachable("no answer".into()),
            E::JsonDataError { message, .. } => Self::Nonsense(message),
            E::JsonSerdeError { err } => Self::Nonsense(err.to_string()),
            E::APIVersionParseError {} => Self::Nonsense("its API version is no version".into()),
            other => unreachable(innermost(&other)),
        }
    }

    /// Whether the daemon said that there is no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the daemon said that something is in the way, such as a name in use.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Whether it is unknown what the daemon did.
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Unreachable { .. })
    }
}

/// Returns the words of the innermost cause: of a chain "client error: connection error: permission denied" only the
/// last part tells the user anything.
fn innermost(error: &bollard::errors::Error) -> String {
    let mut cause = error.source();
    let mut text = match error {
        bollard::errors::Error::IOError { err } => reason(err),
        other => other.to_string(),
    };
    while let Some(inner) = cause {
        text = match inner.downcast_ref::<io::Error>() {
            Some(io) => reason(io),
            None => inner.to_string(),
        };
        cause = inner.source();
    }
    one_line(&text)
}

/// Returns what the system says, without its number.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_socket_is_one_sentence() {
        let error = Error::sort("/run/d.sock", bollard::errors::Error::SocketNotFoundError("/run/d.sock".into()));
        assert_eq!(error.to_string(), "cannot reach Docker at /run/d.sock: no such file or directory");
    }

    #[test]
    fn the_innermost_cause_is_told_without_its_number() {
        let io = io::Error::from_raw_os_error(13);
        let error = Error::sort("/run/d.sock", bollard::errors::Error::IOError { err: io });
        assert_eq!(error.to_string(), "cannot reach Docker at /run/d.sock: permission denied");
        assert!(error.is_doubtful());
    }

    #[test]
    fn the_daemons_own_words_are_kept_on_one_line() {
        let refused = |status_code| bollard::errors::Error::DockerResponseServerError {
            status_code,
            message: "no such\n image: x".into(),
        };
        let error = Error::sort("s", refused(404));
        assert_eq!(error.to_string(), "no such image: x");
        assert!(error.is_missing() && !error.is_conflict());
        assert!(Error::sort("s", refused(409)).is_conflict());
    }
}
