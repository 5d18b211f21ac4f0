//! `Node.status`: what this machine has, and whether it can run pods. Shown when it changes, only then.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::ids::Revision;
use crate::object::{Key, kinds};
use crate::store::Snapshot;
use crate::time::Now;

use super::action::RuntimeInfo;
use super::conditions::Transitions;
use super::{Config, Disk};

/// The condition that says that this node's disk has lost records, and which; not there while it has not.
pub const DATA_LOST: &str = "DataLost";
/// The condition that says that this node's clock is wrong, and by how much; not there while it is not.
pub const CLOCK_SKEWED: &str = "ClockSkewed";
/// How many lost pieces are named.
const SHOWN: usize = 20;

/// Whether the runtime answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Runtime {
    /// It has not said a word yet.
    #[default]
    Unknown,
    Up,
    Down(String),
}

/// What was shown of the node.
#[derive(Debug, Default)]
pub(super) struct NodeReport {
    transitions: Option<Transitions>,
    /// What the runtime said it is, or what an earlier agent wrote.
    info: Option<RuntimeInfo>,
    shown: Option<Value>,
    /// Whether the runtime answered when the status was made last.
    runtime: Runtime,
    /// The Node's revision when it was looked at last.
    revision: Option<Revision>,
    /// Something may have changed.
    stale: bool,
    /// How the disk is.
    pub disk: Disk,
    /// What is wrong with the clock, if something is.
    pub clock: Option<String>,
}

impl NodeReport {
    /// Takes what the runtime says it is.
    pub fn learn(&mut self, info: RuntimeInfo) {
        self.stale |= self.info.as_ref() != Some(&info);
        self.info = Some(info);
    }

    /// Returns the node's status if it is another than before.
    pub fn publish(&mut self, now: Now, view: &Snapshot, config: &Config, runtime: &Runtime) -> Option<Value> {
        if *runtime == Runtime::Unknown {
            return None;
        }
        if self.transitions.is_none() {
            self.recall(view, config);
        }
        self.look(view, config);
        if *runtime == self.runtime && !std::mem::take(&mut self.stale) {
            return None;
        }
        self.runtime = runtime.clone();
        let mut status = self.status(now, config, runtime);
        // Compared without the time of looking, which alone is no change.
        let bare = serde_json::to_value(&status).ok()?;
        if self.shown.as_ref() == Some(&bare) {
            return None;
        }
        self.shown = Some(bare);
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = Some(now.wall.time());
        }
        serde_json::to_value(&status).ok()
    }

    /// Has the status looked at again: the configuration has changed.
    pub fn refresh(&mut self) {
        self.stale = true;
    }

    /// Shows the status again if the Node in the view has none: it may have been made after the first time.
    fn look(&mut self, view: &Snapshot, config: &Config) {
        let Some(entry) = view.get(&Key::cluster(&kinds::NODE, config.node.as_str())) else { return };
        if self.revision.replace(entry.revision) != Some(entry.revision)
            && entry.value()["status"]["nodeInfo"].is_null()
        {
            self.shown = None;
            self.stale = true;
        }
    }

    fn recall(&mut self, view: &Snapshot, config: &Config) {
        let node: Option<Node> = view.get(&Key::cluster(&kinds::NODE, config.node.as_str())).and_then(|e| e.typed());
        let status = node.and_then(|n| n.status).unwrap_or_default();
        self.transitions = Some(Transitions::of_node(&status));
        if self.info.is_none() {
            self.info = recalled(&status);
        }
    }

    fn status(&mut self, now: Now, config: &Config, runtime: &Runtime) -> NodeStatus {
        let info = self.info.clone().unwrap_or_default();
        let capacity: BTreeMap<String, Quantity> = BTreeMap::from([
            ("cpu".into(), Quantity(info.cpus.to_string())),
            ("memory".into(), Quantity(format!("{}Ki", info.memory / 1024))),
            ("pods".into(), Quantity(config.max_pods.to_string())),
        ]);
        let address = |kind: &str, address: String| NodeAddress { address, type_: kind.into() };
        NodeStatus {
            addresses: Some(vec![
                address("InternalIP", config.host_address.to_string()),
                address("Hostname", config.node.clone()),
            ]),
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            conditions: Some(self.conditions(now, runtime)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: config.port.into() }),
            }),
            node_info: Some(NodeSystemInfo {
                architecture: info.architecture,
                boot_id: config.machine.boot_id.clone(),
                container_runtime_version: info.version,
                kernel_version: info.kernel,
                kube_proxy_version: config.version.clone(),
                kubelet_version: config.version.clone(),
                machine_id: config.machine.machine_id.clone(),
                operating_system: info.operating_system,
                os_image: info.os_image,
                swap: None,
                system_uuid: config.machine.system_uuid.clone(),
            }),
            ..NodeStatus::default()
        }
    }

    fn conditions(&mut self, now: Now, runtime: &Runtime) -> Vec<NodeCondition> {
        let (ready, reason, message) = match runtime {
            Runtime::Down(why) => ("False", "KubeletNotReady", format!("container runtime is down: {why}")),
            _ => ("True", "KubeletReady", "kubelet is posting ready status".into()),
        };
        let pressure = match &self.disk.trouble {
            Some(why) => ("DiskPressure", "True", "DataDiskUnwritable", why.clone()),
            None => ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure".into()),
        };
        let lost = lost(&self.disk.lost).map(|what| (DATA_LOST, "True", "RecordsLost", what));
        let clock = self.clock.clone().map(|what| (CLOCK_SKEWED, "True", "DisagreesWithMembers", what));
        let transitions = self.transitions.get_or_insert_default();
        [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available".into()),
            pressure,
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available".into()),
            ("Ready", ready, reason, message),
        ]
        .into_iter()
        .chain(lost)
        .chain(clock)
        .map(|(name, status, reason, message)| NodeCondition {
            last_heartbeat_time: None,
            last_transition_time: Some(transitions.since(name, status, now.wall)),
            message: Some(message),
            reason: Some(reason.into()),
            status: status.into(),
            type_: name.into(),
        })
        .collect()
    }
}

/// Names what is lost, as far as it fits.
fn lost(all: &[String]) -> Option<String> {
    let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
    let more = all.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| shown.join("; ") + &rest)
}

/// Reads back what an earlier agent wrote, for a node whose runtime does not answer yet.
fn recalled(status: &NodeStatus) -> Option<RuntimeInfo> {
    let info = status.node_info.clone()?;
    let amount =
        |name: &str| -> Option<crate::object::Quantity> { status.capacity.as_ref()?.get(name)?.0.parse().ok() };
    Some(RuntimeInfo {
        version: info.container_runtime_version,
        os_image: info.os_image,
        kernel: info.kernel_version,
        architecture: info.architecture,
        operating_system: info.operating_system,
        cpus: amount("cpu").and_then(|q| u32::try_from(q.value()).ok()).unwrap_or_default(),
        memory: amount("memory").and_then(|q| u64::try_from(q.value()).ok()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::tests::world;
    use serde_json::json;

    fn info() -> RuntimeInfo {
        RuntimeInfo { version: "docker://27.1.0".into(), cpus: 4, memory: 8 << 30, ..RuntimeInfo::default() }
    }

    #[test]
    fn a_node_is_shown_once_per_change_with_stable_transitions() {
        let (config, view) = (world::config(), world::view(&[]));
        let mut report = NodeReport::default();
        assert_eq!(report.publish(world::at(0), &view, &config, &Runtime::Unknown), None);
        report.learn(info());
        let up = report.publish(world::at(5), &view, &config, &Runtime::Up).unwrap();
        assert_eq!(up["capacity"], json!({"cpu": "4", "memory": "8388608Ki", "pods": "110"}));
        assert_eq!(up["nodeInfo"]["containerRuntimeVersion"], "docker://27.1.0");
        assert_eq!(up["conditions"][3]["reason"], "KubeletReady");
        assert_eq!(report.publish(world::at(9), &view, &config, &Runtime::Up), None);
        let down = report.publish(world::at(10), &view, &config, &Runtime::Down("no socket".into())).unwrap();
        assert_eq!(down["conditions"][3]["status"], "False");
        assert_eq!(down["conditions"][3]["message"], "container runtime is down: no socket");
        assert_eq!(down["conditions"][3]["lastTransitionTime"], world::at(10).wall.to_string());
        assert_eq!(down["conditions"][0]["lastTransitionTime"], world::at(5).wall.to_string());
        assert_eq!(down["capacity"], up["capacity"], "what was known stays");
    }

    #[test]
    fn a_node_that_was_registered_late_gets_its_status_again() {
        let config = world::config();
        let mut report = NodeReport::default();
        report.learn(info());
        let mut view = world::view(&[]);
        let first = report.publish(world::at(5), &view, &config, &Runtime::Up).unwrap();
        let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        world::show(&mut view, node.clone());
        let again = report.publish(world::at(6), &view, &config, &Runtime::Up).unwrap();
        assert_eq!(again["conditions"][3]["lastTransitionTime"], first["conditions"][3]["lastTransitionTime"]);
        assert_eq!(report.publish(world::at(7), &view, &config, &Runtime::Up), None);
        node["status"] = again;
        world::show(&mut view, node);
        assert_eq!(report.publish(world::at(8), &view, &config, &Runtime::Up), None);
    }

    #[test]
    fn a_restarted_agent_keeps_transition_times_and_what_it_knew() {
        let config = world::config();
        let mut report = NodeReport::default();
        report.learn(info());
        let before = report.publish(world::at(5), &world::view(&[]), &config, &Runtime::Up).unwrap();
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": before});
        let down = NodeReport::default()
            .publish(world::at(60), &world::view(&[node]), &config, &Runtime::Down("gone".into()))
            .unwrap();
        assert_eq!(down["capacity"], before["capacity"]);
        assert_eq!(down["conditions"][0]["lastTransitionTime"], before["conditions"][0]["lastTransitionTime"]);
        assert_eq!(down["conditions"][3]["lastTransitionTime"], world::at(60).wall.to_string());
    }
}
