//! The administrator's kubeconfig: a context for every node that is known, this one's current.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::object::kinds;
use crate::store::Snapshot;
use crate::trust::{Context, Kubeconfig};

use super::certificates::{ADMIN, Pair};
use super::replace_file;

/// Nodes that come one after the other are written at once.
const PAUSE: Duration = Duration::from_secs(1);

/// What writes the file.
pub struct Access {
    /// The data folder.
    pub folder: PathBuf,
    /// This node's name, and its API's port.
    pub node: (String, u16),
    /// The authority's certificate, PEM.
    pub ca: String,
}

impl Access {
    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, admin: &Pair, contexts: &[Context]) -> anyhow::Result<()> {
        let (ca, certificate, key) = (&self.ca, &admin.certificate, &admin.key);
        let text = Kubeconfig { user: ADMIN, contexts, ca, certificate, key }.yaml();
        replace_file(&self.folder.join("kubeconfig"), text.as_bytes()).context("the kubeconfig cannot be written")
    }

    /// Returns the ways to the cluster: this node at `address`, then the others as `view` has them.
    pub fn contexts(&self, view: &Snapshot, address: Ipv4Addr) -> Vec<Context> {
        let own = context(&self.node.0, SocketAddr::from((address, self.node.1)));
        let nodes = view.list(&kinds::NODE, None).map(|node| (node.key.name.clone(), node.value()));
        let others = nodes.filter(|(name, _)| *name != self.node.0);
        let others = others.filter_map(|(name, node)| Some(context(&name, server(&node)?)));
        [own].into_iter().chain(others).collect()
    }

    /// Keeps the file as certificate, address and nodes say, until `shutdown`.
    pub async fn run(
        self,
        mut admin: watch::Receiver<Option<Pair>>,
        mut address: watch::Receiver<Ipv4Addr>,
        mut snapshots: watch::Receiver<Snapshot>,
        shutdown: CancellationToken,
    ) {
        let mut written = None;
        let work = async {
            loop {
                let pair = admin.borrow_and_update().clone();
                let here = *address.borrow_and_update();
                let contexts = self.contexts(&snapshots.borrow_and_update().clone(), here);
                if let Some(pair) = pair
                    && written.as_ref() != Some(&(pair.clone(), contexts.clone()))
                {
                    match self.write(&pair, &contexts) {
                        Ok(()) => written = Some((pair, contexts)),
                        Err(error) => tracing::warn!("{error:#}"),
                    }
                }
                sleep(PAUSE).await;
                let changed = tokio::select! {
                    changed = admin.changed() => changed,
                    changed = address.changed() => changed,
                    changed = snapshots.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }
}

fn context(name: &str, server: SocketAddr) -> Context {
    Context { name: name.to_owned(), server: format!("https://{server}") }
}

/// Where a node says that its API is.
fn server(node: &Value) -> Option<SocketAddr> {
    let addresses = node["status"]["addresses"].as_array()?;
    let address = addresses.iter().find(|a| a["type"] == "InternalIP")?["address"].as_str()?.parse().ok()?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?;
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_nodes_api_is_where_its_status_says() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n2"}, {"type": "InternalIP", "address": "192.0.2.2"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 6443}},
        }});
        assert_eq!(server(&node).map(|s| s.to_string()).as_deref(), Some("192.0.2.2:6443"));
        assert_eq!(server(&json!({"status": {}})), None);
    }
}
