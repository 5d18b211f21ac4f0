//! Files of a volume, changed as one: a reader sees all of the old ones or all of the new ones.
//!
//! As the kubelet does it (pkg/volume/util/atomic_writer.go): the files are in a folder of their own, `..data` is a
//! symbolic link to it that is replaced by renaming, and names in the volume are links through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::kubelet::action::FileSpec;

use super::error::Error;
use super::volumes::{failed, is_plain, mode};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes `volume`, an existing folder, hold exactly `files`.
pub fn write(volume: &Path, files: &[FileSpec]) -> Result<(), Error> {
    for file in files {
        if !is_plain(Path::new(&file.path)) || file.path.starts_with("..") {
            return Err(Error::Files(format!("{:?} is no path in a volume", file.path)));
        }
    }
    if !is_written(volume, files) {
        let fresh = write_fresh(volume, files)?;
        let next = volume.join(NEXT);
        let _ = fs::remove_file(&next);
        symlink(&fresh, &next).map_err(failed("link", &next))?;
        fs::rename(&next, volume.join(DATA)).map_err(failed("replace", &next))?;
    }
    link_names(volume, files)?;
    sweep(volume)
}

/// Whether the volume has exactly these files already: an equal rewrite must not wake those who watch it.
fn is_written(volume: &Path, files: &[FileSpec]) -> bool {
    let data = volume.join(DATA);
    let wanted: BTreeMap<&str, &FileSpec> = files.iter().map(|f| (f.path.as_str(), f)).collect();
    let Ok(there) = walk(&data, "") else { return false };
    there.len() == wanted.len()
        && there.iter().all(|path| {
            let same = |file: &&FileSpec| {
                let at = data.join(path);
                fs::metadata(&at).is_ok_and(|m| m.permissions().mode() & 0o7777 == file.mode & 0o7777)
                    && fs::read(&at).is_ok_and(|bytes| bytes == file.bytes)
            };
            wanted.get(path.as_str()).is_some_and(same)
        })
}

fn walk(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            found.extend(walk(&entry.path(), &format!("{path}/"))?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Writes the files into a new folder and returns its name.
fn write_fresh(volume: &Path, files: &[FileSpec]) -> Result<String, Error> {
    let name = (0..).map(|n| format!("..{n}")).find(|name| fs::symlink_metadata(volume.join(name)).is_err());
    let name = name.expect("there are more numbers than folders");
    let folder = volume.join(&name);
    make_folder(&folder)?;
    for file in files {
        let path = folder.join(&file.path);
        let mut above = folder.clone();
        for part in Path::new(&file.path).parent().into_iter().flat_map(Path::components) {
            above.push(part);
            make_folder(&above)?;
        }
        fs::write(&path, &file.bytes).map_err(failed("write", &path))?;
        mode(&path, file.mode & 0o7777)?;
    }
    Ok(name)
}

fn make_folder(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
        _ => mode(path, 0o755),
    }
}

/// Makes a link for each name at the top of the volume, and takes those away that are no more.
fn link_names(volume: &Path, files: &[FileSpec]) -> Result<(), Error> {
    let top = |file: &FileSpec| file.path.split('/').find(|p| !p.is_empty()).map(str::to_owned);
    let wanted: BTreeSet<String> = files.iter().filter_map(top).collect();
    for name in &wanted {
        let (link, target) = (volume.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).is_ok_and(|to| to == target) {
            continue;
        }
        symlink(&target, &link).map_err(failed("link", &link))?;
    }
    for (name, path) in names(volume)? {
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(&path).map_err(failed("delete", &path))?;
        }
    }
    Ok(())
}

/// Deletes folders that `..data` does not lead to any more.
fn sweep(volume: &Path) -> Result<(), Error> {
    let current = fs::read_link(volume.join(DATA)).unwrap_or_default();
    for (name, path) in names(volume)? {
        if name.starts_with("..") && name != DATA && Path::new(&name) != current {
            fs::remove_dir_all(&path).map_err(failed("delete", &path))?;
        }
    }
    Ok(())
}

fn names(volume: &Path) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
    let entries = fs::read_dir(volume).map_err(failed("list", volume))?;
    Ok(entries.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn file(path: &str, text: &str, mode: u32) -> FileSpec {
        FileSpec { path: path.into(), bytes: text.as_bytes().to_vec(), mode }
    }

    #[test]
    fn files_are_replaced_as_one() {
        let volume = tempfile::tempdir().unwrap();
        let read = |path: &str| fs::read_to_string(volume.path().join(path)).ok();
        write(volume.path(), &[file("a", "1", 0o644), file("sub/b", "2", 0o400)]).unwrap();
        assert_eq!((read("a").as_deref(), read("sub/b").as_deref()), (Some("1"), Some("2")));
        let mode = fs::metadata(volume.path().join("sub/b")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o400);

        // A reader who holds the old folder open still sees the old files as one.
        write(volume.path(), &[file("a", "3", 0o644), file("c", "4", 0o644)]).unwrap();
        assert_eq!((read("a").as_deref(), read("c").as_deref(), read("sub/b")), (Some("3"), Some("4"), None));
        assert!(fs::symlink_metadata(volume.path().join("sub")).is_err(), "a name that is no more is gone");
        let left = names(volume.path()).unwrap().len();
        assert_eq!(left, 4, "a, c, ..data and its folder");
    }

    #[test]
    fn an_equal_rewrite_changes_nothing() {
        let volume = tempfile::tempdir().unwrap();
        let files = [file("a", "1", 0o644)];
        write(volume.path(), &files).unwrap();
        let data = || fs::read_link(volume.path().join(DATA)).unwrap();
        let before = data();
        write(volume.path(), &files).unwrap();
        assert_eq!(data(), before);
        write(volume.path(), &[file("a", "1", 0o600)]).unwrap();
        assert_ne!(data(), before, "a mode is a change");
    }

    #[test]
    fn what_a_crash_left_is_swept() {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("..0")).unwrap();
        symlink("..0", volume.path().join(NEXT)).unwrap();
        write(volume.path(), &[file("a", "1", 0o644)]).unwrap();
        assert_eq!(fs::read_to_string(volume.path().join("a")).unwrap(), "1");
        assert_eq!(names(volume.path()).unwrap().len(), 3, "a, ..data and its folder");
    }

    #[test]
    fn a_volume_may_have_no_files() {
        let volume = tempfile::tempdir().unwrap();
        write(volume.path(), &[file("a", "1", 0o644)]).unwrap();
        write(volume.path(), &[]).unwrap();
        assert!(fs::metadata(volume.path().join("a")).is_err());
    }
}
