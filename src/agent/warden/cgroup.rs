//! The cgroup of a pod that must never run twice: where it is, and what is in it.
//!
//! Docker puts the containers of such a pod under a cgroup of the pod's own ([`parent`]), so that all of it is found without
//! Docker: `skein/<uid>` under Docker's cgroupfs driver, `skein.slice/skein-<uid>.slice` under its systemd driver.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use crate::ids::Uid;
use crate::runtime::cgroup_parents;

const ROOT: &str = "/sys/fs/cgroup";
/// Kills everything in a cgroup of the second version at once.
const KILL: &str = "cgroup.kill";
const PROCESSES: &str = "cgroup.procs";

/// Kills all processes of a pod; returns how many there were.
pub fn kill(pod: Uid) -> usize {
    let mut killed = 0;
    for folder in folders(pod) {
        // With the first version there is no such file.
        let at_once = std::fs::write(folder.join(KILL), "1");
        let found = processes(&folder);
        if at_once.is_err() {
            for pid in &found {
                // It may have ended by itself.
                let _ = send(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
        killed += found.len();
    }
    killed
}

/// Removes what is left of a pod's cgroups, if nothing runs in them.
pub fn forget(pod: Uid) {
    folders(pod).iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
}

/// The pod's folder in each hierarchy that has one.
fn folders(pod: Uid) -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = hierarchies.chain([root.to_owned()]);
    let all = roots.flat_map(|root| cgroup_parents(pod).map(|parent| root.join(parent)));
    all.filter(|folder| folder.is_dir()).collect()
}

/// All processes in a folder and below.
fn processes(folder: &Path) -> Vec<i32> {
    let own = std::fs::read_to_string(folder.join(PROCESSES)).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    found.extend(below.filter(|path| path.is_dir()).flat_map(|path| processes(&path)));
    found
}
