//! The data folder: one agent at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::files::FolderFiles;

/// An open data folder. Held for as long as the agent lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or written.
    #[error("data folder {path} cannot be written: {error}")]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another agent has it.
    #[error("data folder {path} is in use by another agent")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// Opens what is locked. On a disk that is read-only it can be locked all the same, if it is there.
fn lock_file(path: &Path) -> io::Result<File> {
    let path = path.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    match lock {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
        lock => lock,
    }
}

impl DataFolder {
    /// Opens the folder, which is made (readable by root only) if it is not there, and locks it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let unwritable = |error| FolderError::Unwritable { path: path.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unwritable)?;
        let lock = lock_file(path);
        let lock = Flock::lock(lock.map_err(unwritable)?, FlockArg::LockExclusiveNonblock)
            .map_err(|_| FolderError::InUse { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the files in the folder itself: identity and vote.
    ///
    /// # Errors
    /// [`FolderError::Unwritable`].
    pub fn files(&self) -> Result<FolderFiles, FolderError> {
        self.open_files(self.path.clone())
    }

    /// Opens the files of the log.
    ///
    /// # Errors
    /// [`FolderError::Unwritable`].
    pub fn log_files(&self) -> Result<FolderFiles, FolderError> {
        self.open_files(self.path.join("log"))
    }

    fn open_files(&self, path: PathBuf) -> Result<FolderFiles, FolderError> {
        FolderFiles::open(path.clone()).map_err(|error| FolderError::Unwritable { path, error })
    }
}
