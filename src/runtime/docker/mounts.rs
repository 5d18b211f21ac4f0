//! Mounts below a pod's folder: memory volumes, and sub paths of volumes.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

use super::error::Error;
use super::volumes::{failed, is_plain};

/// Mounts memory of at most `limit` bytes at `path`, unless something is mounted there.
pub fn mount_memory(path: &Path, limit: Option<u64>) -> Result<(), Error> {
    if mount_points()?.iter().any(|p| p == path) {
        return Ok(());
    }
    let options = limit.map(|bytes| format!("size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, options.as_deref()).map_err(refused("mount memory at", path))
}

/// Mounts `sub_path` of `volume` at `place`, which is made. What the volume's users put in the way (a link that leads
/// out, swapped at any moment) cannot make it anything outside the volume: the kernel resolves it beneath, and what was
/// opened is what is mounted. A folder that is not there is made.
pub fn mount_part(volume: &Path, sub_path: &str, place: &Path) -> Result<(), Error> {
    if !is_plain(Path::new(sub_path)) {
        return Err(Error::Files(format!("subPath {sub_path:?} must be a path below its volume")));
    }
    let root = File::open(volume).map_err(failed("open", volume))?;
    let part = open_beneath(&OwnedFd::from(root), Path::new(sub_path))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
    let is_folder = fs::metadata(&source).map_err(failed("read", volume))?.is_dir();
    make_place(place, is_folder)?;
    mount(Some(&source), place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(refused("mount a sub path at", place))
}

/// Opens a path below `root`, and makes folders that are not there: open to whom `root` is, as upstream does, so that
/// a container that is not root may write below an emptyDir.
fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Error> {
    let how = || OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    let how = || how().resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let fails = |errno: Errno| match errno {
        Errno::EXDEV => Error::Files(format!("subPath {:?} leads out of its volume", path.display())),
        errno => refused("open subPath", path)(errno),
    };
    match openat2(root, path, how()) {
        Err(Errno::ENOENT) => {}
        result => return result.map_err(fails),
    }
    let itself = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let open_to = fs::metadata(itself(root)).map_err(failed("read volume of subPath", path))?.permissions();
    let mut above = root.try_clone().map_err(failed("open subPath", path))?;
    for part in path.components() {
        let part = Path::new(part.as_os_str());
        let made = match mkdirat(&above, part, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(fails(errno)),
        };
        above = openat2(&above, part, how()).map_err(fails)?;
        if made {
            // By what was opened, not by name: the name may be a link by now.
            fs::set_permissions(itself(&above), open_to.clone()).map_err(failed("open up subPath", path))?;
        }
    }
    Ok(above)
}

/// Makes an empty folder or file to mount something on; a mount of an earlier try goes.
fn make_place(place: &Path, is_folder: bool) -> Result<(), Error> {
    unmount_below(place)?;
    let _ = fs::remove_file(place);
    let _ = fs::remove_dir(place);
    if is_folder {
        return fs::create_dir_all(place).map_err(failed("make", place));
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    fs::write(place, "").map_err(failed("make", place))
}

/// Unmounts all that is mounted at or below `folder`, the last first.
///
/// # Errors
/// [`Error::Files`] also if something is mounted there afterwards.
pub fn unmount_below(folder: &Path) -> Result<(), Error> {
    let below = || -> Result<Vec<PathBuf>, Error> {
        Ok(mount_points()?.into_iter().filter(|p| p.starts_with(folder)).collect())
    };
    for point in below()?.iter().rev() {
        // Containers that still see it keep their own view of it.
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        umount2(point, flags).map_err(refused("unmount", point))?;
    }
    match below()?.first() {
        Some(point) => Err(Error::Files(format!("{} is still mounted", point.display()))),
        None => Ok(()),
    }
}

/// Returns where things are mounted, in the order of mounting.
fn mount_points() -> Result<Vec<PathBuf>, Error> {
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(failed("read", table))?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field))).collect())
}

/// Undoes the kernel's `\040` for blanks and the like.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refused<'a>(what: &'a str, path: &'a Path) -> impl Fn(Errno) -> Error + 'a {
    move |errno| failed(what, path)(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn beneath(root: &Path, path: &str) -> Result<PathBuf, String> {
        let root = OwnedFd::from(File::open(root).unwrap());
        let fd = open_beneath(&root, Path::new(path)).map_err(|e| e.to_string())?;
        Ok(fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap())
    }

    #[test]
    fn a_sub_path_stays_beneath_its_volume() {
        let keep = tempfile::tempdir().unwrap();
        let volume = keep.path().join("volume");
        fs::create_dir_all(volume.join("in")).unwrap();
        fs::write(keep.path().join("secret"), "x").unwrap();
        symlink("../secret", volume.join("up")).unwrap();
        symlink("/etc", volume.join("root")).unwrap();
        symlink("in", volume.join("link")).unwrap();

        assert_eq!(beneath(&volume, "link"), Ok(volume.join("in")), "a link within is followed");
        assert_eq!(beneath(&volume, "new/deep"), Ok(volume.join("new/deep")), "what is missing is made");
        assert_eq!(beneath(&volume, "up"), Err("subPath \"up\" leads out of its volume".into()));
        assert_eq!(beneath(&volume, "root"), Err("subPath \"root\" leads out of its volume".into()));
        assert!(beneath(&volume, "root/passwd").is_err());
        assert!(beneath(&volume, "root/made-by-us").is_err());
        assert!(!Path::new("/etc/made-by-us").exists());
    }

    #[test]
    fn folders_made_for_a_sub_path_are_as_open_as_the_volume() {
        let keep = tempfile::tempdir().unwrap();
        fs::set_permissions(keep.path(), Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(keep.path().join("there")).unwrap();
        let mode = |path: &str| fs::metadata(keep.path().join(path)).unwrap().permissions().mode() & 0o777;
        let before = mode("there");
        beneath(keep.path(), "there/new/deep").unwrap();
        assert_eq!((mode("there/new"), mode("there/new/deep")), (0o777, 0o777));
        assert_eq!(mode("there"), before, "what was there is left as it is");
    }

    #[test]
    fn a_path_up_is_refused_before_anything_is_opened() {
        let keep = tempfile::tempdir().unwrap();
        for path in ["..", "/etc", "a/../../b", ""] {
            assert!(mount_part(keep.path(), path, &keep.path().join("place")).is_err(), "{path:?}");
        }
    }

    #[test]
    fn the_kernels_escapes_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/end\04"), r"/end\04");
        assert_eq!(unescape(r"/plain\"), r"/plain\");
    }
}
