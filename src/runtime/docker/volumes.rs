//! A pod's files on the host: its volumes, its /etc/hosts, its termination messages.
//!
//! ```text
//! FOLDER/pods/UID/volumes/NAME             a volume; for a hostPath a symbolic link to it
//! FOLDER/pods/UID/etc-hosts                what containers see as /etc/hosts
//! FOLDER/pods/UID/messages/NAME/ATTEMPT    what a container leaves in its termination message path
//! FOLDER/pods/UID/parts/NAME/N             a sub path of a volume, mounted here so that it cannot be swapped
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::ids::Uid;
use crate::kubelet::action::{SandboxSpec, VolumeSource, VolumeSpec};

use super::error::{Error, reason};
use super::mounts;

/// Kubernetes keeps so much of a termination message, from its end.
const MESSAGE_LIMIT: u64 = 4_096;

/// The folder of one pod.
#[derive(Clone, Debug)]
pub struct PodFolder(PathBuf);

impl PodFolder {
    /// Names the folder of pod `uid` below the runtime's `folder`.
    pub fn new(folder: &Path, uid: Uid) -> Self {
        Self(folder.join("pods").join(uid.to_string()))
    }

    /// The file that containers see as /etc/hosts.
    pub fn hosts(&self) -> PathBuf {
        self.0.join("etc-hosts")
    }

    /// Where sub paths of a container's mounts are mounted.
    pub fn parts(&self, container: &str) -> PathBuf {
        self.0.join("parts").join(file_name(container))
    }

    fn message(&self, container: &str, attempt: u32) -> PathBuf {
        self.0.join("messages").join(file_name(container)).join(attempt.to_string())
    }

    /// Makes the pod's /etc/hosts and all its volumes. What an emptyDir holds is kept.
    pub fn prepare(&self, spec: &SandboxSpec) -> Result<(), Error> {
        fs::create_dir_all(&self.0).map_err(failed("make", &self.0))?;
        let hosts = self.hosts();
        fs::write(&hosts, hosts_file(spec)).map_err(failed("write", &hosts))?;
        self.write_volumes(&spec.volumes)
    }

    /// Makes volumes, or rewrites their files.
    pub fn write_volumes(&self, volumes: &[VolumeSpec]) -> Result<(), Error> {
        for volume in volumes {
            let path = self.volume_path(&volume.name)?;
            match &volume.source {
                VolumeSource::Empty { memory, limit } => empty(&path, *memory, *limit)?,
                VolumeSource::Files(files) => {
                    folder(&path, 0o777)?;
                    super::files::write(&path, files)?;
                }
                VolumeSource::Host { path: target, kind } => {
                    host_path(Path::new(target), kind)?;
                    link(&path, Path::new(target))?;
                }
            }
        }
        Ok(())
    }

    /// Returns where a volume of the pod is on the host.
    pub fn volume(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.volume_path(name)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => fs::read_link(&path).map_err(failed("read", &path)),
            Ok(_) => Ok(path),
            Err(_) => Err(Error::Files(format!("volume {name:?} is not there"))),
        }
    }

    fn volume_path(&self, name: &str) -> Result<PathBuf, Error> {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(Error::Files(format!("volume name {name:?} is no file name")));
        }
        Ok(self.0.join("volumes").join(name))
    }

    /// Makes the empty file that becomes a container's termination message.
    pub fn make_message(&self, container: &str, attempt: u32) -> Result<PathBuf, Error> {
        let path = self.message(container, attempt);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        fs::write(&path, "").map_err(failed("write", &path))?;
        // Containers run as any user.
        mode(&path, 0o666)?;
        Ok(path)
    }

    /// Returns the end of a container's termination message; empty if there is none.
    pub fn read_message(&self, container: &str, attempt: u32) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.message(container, attempt))?;
            let start = file.metadata()?.len().saturating_sub(MESSAGE_LIMIT);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(MESSAGE_LIMIT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        // What is no text has become longer.
        let surplus = text.len().saturating_sub(MESSAGE_LIMIT as usize);
        let start = (surplus..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text[start..].to_owned()
    }

    /// Forgets a container's termination message.
    pub fn forget_message(&self, container: &str, attempt: u32) {
        let _ = fs::remove_file(self.message(container, attempt));
    }

    /// Unmounts and deletes all of it. Nothing is deleted while something is still mounted below: it could be a part
    /// of the host.
    pub fn delete(&self) -> Result<(), Error> {
        mounts::unmount_below(&self.0)?;
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", &self.0)(error)),
            _ => Ok(()),
        }
    }
}

/// Container names are file names already; a daemon's word for one need not be.
fn file_name(name: &str) -> &OsStr {
    Path::new(name).file_name().unwrap_or(OsStr::new("-"))
}

/// Whether a path goes down only: no root, no `..`, not empty.
pub fn is_plain(path: &Path) -> bool {
    let goes_down = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    path.components().next().is_some() && path.components().all(goes_down)
}

/// Returns what turns an I/O error into ours.
pub fn failed<'a>(what: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |error| Error::Files(format!("cannot {what} {}: {}", path.display(), reason(&error)))
}

/// Makes a folder that everybody may enter, whatever our umask is.
fn folder(path: &Path, bits: u32) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(failed("make", path))?;
    mode(path, bits)
}

pub(super) fn mode(path: &Path, bits: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).map_err(failed("set permissions of", path))
}

fn empty(path: &Path, memory: bool, limit: Option<u64>) -> Result<(), Error> {
    if memory {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        mounts::mount_memory(path, limit)?;
        return mode(path, 0o777);
    }
    folder(path, 0o777)
}

fn link(path: &Path, target: &Path) -> Result<(), Error> {
    if fs::read_link(path).is_ok_and(|to| to == target) {
        return Ok(());
    }
    let _ = fs::remove_file(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
    }
    symlink(target, path).map_err(failed("link", path))
}

/// Checks a hostPath, or makes it, as its type says; the words are upstream's (pkg/volume/hostpath).
fn host_path(path: &Path, kind: &str) -> Result<(), Error> {
    let fails =
        |what: &str| Err(Error::Files(format!("hostPath type check failed: {} is not a {what}", path.display())));
    let found = fs::metadata(path).ok();
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(|m| test(&m.file_type()));
    match kind {
        // The runtime makes what is not there, as container runtimes do for a mount's source.
        "" if found.is_none() => fs::create_dir_all(path).map_err(failed("make", path)),
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => folder(path, 0o755),
        "FileOrCreate" if found.is_none() => {
            fs::File::create(path).map_err(failed("make", path))?;
            mode(path, 0o644)
        }
        "Directory" | "DirectoryOrCreate" if !is(fs::FileType::is_dir) => fails("directory"),
        "File" | "FileOrCreate" if !is(fs::FileType::is_file) => fails("file"),
        "Socket" if !is(fs::FileType::is_socket) => fails("socket file"),
        "CharDevice" if !is(fs::FileType::is_char_device) => fails("character device"),
        "BlockDevice" if !is(fs::FileType::is_block_device) => fails("block device"),
        "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" | "Socket" | "CharDevice" | "BlockDevice" => Ok(()),
        other => Err(Error::Files(format!("{other:?} is an invalid volume type"))),
    }
}

/// The lines of a pod's /etc/hosts, as the kubelet writes them: of its own names the full one is the first, which is
/// what `hostname -f` answers with.
fn hosts_file(spec: &SandboxSpec) -> String {
    let own = spec.address.map(|address| address.to_string());
    let (names, aliases) = match spec.host_aliases.split_first() {
        Some(((address, names), rest)) if Some(address) == own.as_ref() => (names.join("\t"), rest),
        _ => (spec.hostname.clone(), &spec.host_aliases[..]),
    };
    let mut text = match own {
        Some(address) => format!(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n\
             {address}\t{names}\n"
        ),
        None => {
            let host = fs::read_to_string("/etc/hosts").unwrap_or_default();
            format!("# Kubernetes-managed hosts file (host network).\n{host}")
        }
    };
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
    }
    for (address, names) in aliases {
        text += &format!("{address}\t{}\n", names.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::action::FileSpec;

    fn pod() -> (tempfile::TempDir, PodFolder) {
        let folder = tempfile::tempdir().unwrap();
        let pod = PodFolder::new(folder.path(), Uid::derived(&[b"pod"]));
        (folder, pod)
    }

    fn volume(name: &str, source: VolumeSource) -> VolumeSpec {
        VolumeSpec { name: name.into(), source }
    }

    fn host(path: &Path, kind: &str) -> VolumeSpec {
        volume("host", VolumeSource::Host { path: path.display().to_string(), kind: kind.into() })
    }

    #[test]
    fn an_empty_volume_keeps_what_it_holds_and_everybody_may_write() {
        let (_keep, pod) = pod();
        let spec = [volume("data", VolumeSource::Empty { memory: false, limit: None })];
        pod.write_volumes(&spec).unwrap();
        let path = pod.volume("data").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o777);
        fs::write(path.join("kept"), "x").unwrap();
        pod.write_volumes(&spec).unwrap();
        assert!(path.join("kept").exists());
        pod.delete().unwrap();
        assert!(!path.exists());
        pod.delete().unwrap();
    }

    #[test]
    fn names_and_paths_cannot_leave_the_pod() {
        let (_keep, pod) = pod();
        for name in ["..", ".", "", "a/b", "/etc"] {
            let spec = [volume(name, VolumeSource::Empty { memory: false, limit: None })];
            assert!(pod.write_volumes(&spec).is_err(), "{name:?}");
            assert!(pod.volume(name).is_err(), "{name:?}");
        }
        for path in ["../x", "/x", "", "a/../../x"] {
            let file = FileSpec { path: path.into(), bytes: vec![], mode: 0o644 };
            let spec = [volume("config", VolumeSource::Files(vec![file]))];
            assert!(pod.write_volumes(&spec).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_host_path_is_checked_and_made_as_its_type_says() {
        let (keep, pod) = pod();
        let at = |name: &str| keep.path().join(name);
        let says = |path: &Path, kind: &str| pod.write_volumes(&[host(path, kind)]).map_err(|e| e.to_string());
        let not =
            |path: &Path, what: &str| Err(format!("hostPath type check failed: {} is not a {what}", path.display()));

        assert_eq!(says(&at("dir"), "Directory"), not(&at("dir"), "directory"));
        assert_eq!(says(&at("dir"), "DirectoryOrCreate"), Ok(()));
        assert_eq!(pod.volume("host").unwrap(), at("dir"));
        assert_eq!(says(&at("dir"), "Directory"), Ok(()));
        assert_eq!(says(&at("dir"), "File"), not(&at("dir"), "file"));
        assert_eq!(says(&at("file"), "File"), not(&at("file"), "file"));
        assert_eq!(says(&at("file"), "FileOrCreate"), Ok(()));
        assert_eq!(says(&at("file"), "Directory"), not(&at("file"), "directory"));
        assert_eq!(says(&at("file"), "Socket"), not(&at("file"), "socket file"));
        assert_eq!(says(Path::new("/dev/null"), "CharDevice"), Ok(()));
        assert_eq!(says(Path::new("/dev/null"), "BlockDevice"), not(Path::new("/dev/null"), "block device"));
        assert_eq!(says(&at("made"), ""), Ok(()));
        assert!(at("made").is_dir());
        assert!(says(&at("dir"), "Potato").is_err());

        fs::write(at("dir").join("precious"), "x").unwrap();
        says(&at("dir"), "Directory").unwrap();
        pod.delete().unwrap();
        assert!(at("dir").join("precious").exists(), "the host's files outlive the pod");
    }

    #[test]
    fn the_end_of_a_termination_message_is_kept() {
        let (_keep, pod) = pod();
        assert_eq!(pod.read_message("web", 0), "");
        let path = pod.make_message("web", 0).unwrap();
        fs::write(&path, "x".repeat(5_000) + "the end").unwrap();
        let message = pod.read_message("web", 0);
        assert_eq!(message.len(), 4_096);
        assert!(message.ends_with("xthe end"));
        assert_eq!(pod.message("../../x", 0), pod.message("x", 0), "a name cannot lead elsewhere");
        fs::write(&path, [0xff; 4_096]).unwrap();
        assert!(pod.read_message("web", 0).len() <= 4_096, "what is no text is not longer either");
    }

    #[test]
    fn a_hosts_file_reads_as_the_kubelets() {
        let spec = SandboxSpec {
            hostname: "web-0".into(),
            address: Some([10, 240, 0, 5].into()),
            dns: Default::default(),
            volumes: vec![],
            host_aliases: vec![("1.2.3.4".into(), vec!["foo".into(), "bar".into()])],
            held: false,
        };
        let text = hosts_file(&spec);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.240.0.5\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"));
        let own = vec![("10.240.0.5".into(), vec!["web-0.db.shop.svc.cluster.local".into(), "web-0".into()])];
        let text = hosts_file(&SandboxSpec { host_aliases: own, ..spec.clone() });
        assert!(text.ends_with("fe00::2\tip6-allrouters\n10.240.0.5\tweb-0.db.shop.svc.cluster.local\tweb-0\n"));
        let host = hosts_file(&SandboxSpec { address: None, host_aliases: vec![], ..spec });
        assert!(host.starts_with("# Kubernetes-managed hosts file (host network).\n"));
    }
}
