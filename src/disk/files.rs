//! The file layer: just what the log and the sealed files need, so that it can be made to fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// Files of one folder, by name. Nothing is durable before [`Files::sync`] (contents) and [`Files::sync_folder`]
/// (names) have returned.
pub trait Files: Send {
    /// Lists the names, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Appends to a file, which is made if it is not there. After an error any part may have been written.
    ///
    /// # Errors
    /// What the system says.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's contents durable. After an error they may be lost for good: write them again elsewhere.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file, replacing what has the new name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes names durable: files made, renamed and removed.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// Removes a file; that it is not there is as good.
///
/// # Errors
/// What the system says.
pub fn remove_if_there(files: &mut (impl Files + ?Sized), name: &str) -> io::Result<()> {
    match files.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A real folder. Files are readable by their owner only.
#[derive(Debug)]
pub struct FolderFiles {
    path: PathBuf,
    /// The file appended to last, kept open.
    open: Option<(String, File)>,
}

impl FolderFiles {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if !path.exists() {
            fs::create_dir_all(&path)?;
            // Its name is in its parent, and lasts only once that is synced.
            File::open(path.parent().filter(|parent| parent.is_dir()).unwrap_or(&path))?.sync_all()?;
        }
        Ok(Self { path, open: None })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        use std::os::unix::fs::OpenOptionsExt;
        if self.open.as_ref().is_none_or(|(n, _)| n != name) {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.path.join(name))?;
            self.open = Some((name.to_owned(), file));
        }
        Ok(&mut self.open.as_mut().expect("opened above").1)
    }

    fn close(&mut self, name: &str) {
        if self.open.as_ref().is_some_and(|(n, _)| n == name) {
            self.open = None;
        }
    }
}

impl Files for FolderFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.close(from);
        self.close(to);
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
