//! Files with what only this node held when it came back after too long, for its user to look through.

use std::fs::File;
use std::path::PathBuf;

use super::replace_file;

/// Writes the files, and tries again what could not be written.
pub struct Keepsakes {
    folder: PathBuf,
    waiting: Vec<(String, Vec<u8>)>,
}

impl Keepsakes {
    /// Writes into the data folder `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, waiting: Vec::new() }
    }

    /// Writes a file, durably, or as soon as the disk takes it.
    pub fn keep(&mut self, name: String, text: Vec<u8>) {
        self.waiting.push((name, text));
        self.try_again();
    }

    /// Tries what could not be written before.
    pub fn try_again(&mut self) {
        let folder = &self.folder;
        self.waiting.retain(|(name, text)| {
            let path = folder.join(name);
            let kept = replace_file(&path, text).and_then(|()| File::open(&path)?.sync_all());
            let kept = kept.and_then(|()| File::open(folder)?.sync_all());
            match &kept {
                Ok(()) => tracing::warn!(file = name, "what only this node held is kept there"),
                Err(error) => tracing::error!(file = name, %error, "what only this node held cannot be kept yet"),
            }
            kept.is_err()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_does_not_take_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keepsakes = Keepsakes::new(folder.path().join("later"));
        keepsakes.keep("displaced-1.json".into(), b"{}".to_vec());
        assert_eq!(keepsakes.waiting.len(), 1);
        std::fs::create_dir(folder.path().join("later")).expect("a folder");
        keepsakes.try_again();
        assert_eq!(keepsakes.waiting.len(), 0);
        assert_eq!(std::fs::read(folder.path().join("later/displaced-1.json")).expect("a file"), b"{}");
    }
}
