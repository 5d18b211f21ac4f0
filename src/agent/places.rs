//! Where this node and the other members are: watched, and kept in a file for `agent token create`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::mesh::Directory;

use super::{checks, replace_file};

/// The file, in the data folder.
pub const FILE: &str = "addresses";
/// How often this host's address is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Where members can be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// This node.
    pub own: SocketAddrV4,
    /// The others, without the addresses of which it is not known whose they are.
    pub others: Vec<SocketAddrV4>,
}

impl Places {
    /// Makes the places of a node and of those in a directory.
    pub fn of(own: SocketAddrV4, directory: &Directory) -> Self {
        let mut others: Vec<_> = directory.values().flat_map(|peer| peer.addresses.iter().copied()).collect();
        others.sort();
        others.dedup();
        others.retain(|address| *address != own);
        Self { own, others }
    }

    /// Lists all, this node first.
    pub fn all(&self) -> Vec<SocketAddrV4> {
        [self.own].into_iter().chain(self.others.iter().copied()).collect()
    }

    /// Reads the file of a data folder; `None` if it is not there or not understood.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    fn write(&self, folder: &Path) {
        let text = serde_json::to_vec(self).expect("addresses are valid JSON");
        if let Err(error) = replace_file(&folder.join(FILE), &text) {
            tracing::warn!(%error, "the file {FILE} cannot be written: join tokens made now have old addresses");
        }
    }
}

/// Looks at this host's address and tells when it has changed. What cannot be told keeps the last one: a cable that is
/// out has no address, and the one it had is the best guess.
pub async fn watch_address(config: Config, address: watch::Sender<Ipv4Addr>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Ok(now) = checks::address(&config) {
            address.send_if_modified(|last| std::mem::replace(last, now) != now);
        }
    }
}

/// Keeps `places`, and the file in `folder`, as address and directory say.
pub async fn keep(
    folder: PathBuf,
    mesh_port: u16,
    mut address: watch::Receiver<Ipv4Addr>,
    mut directory: watch::Receiver<Arc<Directory>>,
    places: watch::Sender<Places>,
    shutdown: CancellationToken,
) {
    let work = async {
        loop {
            let own = SocketAddrV4::new(*address.borrow_and_update(), mesh_port);
            let now = Places::of(own, &directory.borrow_and_update());
            now.write(&folder);
            places.send_replace(now);
            let changed = tokio::select! {
                changed = address.changed() => changed,
                changed = directory.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::mesh::Peer;

    #[test]
    fn own_address_comes_first_and_none_twice() {
        let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        let peer = |list: &[&str]| Peer { name: "n".into(), addresses: list.iter().map(|a| at(a)).collect() };
        let directory = Directory::from([
            (NodeId([1; 32]), peer(&["192.0.2.3:7443", "192.0.2.1:7443"])),
            (NodeId([2; 32]), peer(&["192.0.2.3:7443", "192.0.2.2:7443"])),
        ]);
        let places = Places::of(at("192.0.2.1:7443"), &directory);
        assert_eq!(places.all(), ["192.0.2.1:7443", "192.0.2.2:7443", "192.0.2.3:7443"].map(at));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Places::read(folder.path()), None);
        places.write(folder.path());
        assert_eq!(Places::read(folder.path()), Some(places));
    }
}
