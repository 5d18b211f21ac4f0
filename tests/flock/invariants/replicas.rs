//! When all is calm, every Deployment has exactly its replicas, ready and running where they are bound, and nothing else
//! runs anywhere.

use std::collections::BTreeMap;

use skein::kubelet::action::ContainerState;
use skein::object::kinds;
use skein::store::Snapshot;

use crate::host::Host;
use crate::users::look;

pub const NAME: &str = "replicas are exact";

pub fn check(hosts: &[Host]) -> Result<(), String> {
    for host in hosts {
        check_view(&host.view).map_err(|broken| format!("{broken}, says {}", host.name()))?;
        check_docker(host)?;
    }
    Ok(())
}

fn check_view(view: &Snapshot) -> Result<(), String> {
    let mut pods: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in view.list(&kinds::POD, None) {
        let app = pod.labels.get("app").map_or("", String::as_str);
        if pod.terminating || pod.phase.as_deref() != Some("Running") {
            let (phase, node) = (&pod.phase, &pod.node);
            return Err(format!("{NAME}: {} is {phase:?} on {node:?}, terminating {}", pod.key, pod.terminating));
        }
        *pods.entry(app).or_default() += 1;
    }
    for entry in view.list(&kinds::DEPLOYMENT, None) {
        let (wanted, found) = (look(view, &entry.key).unwrap_or(0), pods.remove(&*entry.key.name).unwrap_or(0));
        if wanted != found {
            return Err(format!("{NAME}: {} wants {wanted} pods and has {found}", entry.key));
        }
    }
    match pods.first_key_value() {
        Some((app, _)) => Err(format!("{NAME}: pods of {app:?} belong to nobody")),
        None => Ok(()),
    }
}

/// Docker runs what the view shows on this node, no more and no less.
fn check_docker(host: &Host) -> Result<(), String> {
    let name = host.name();
    let listed = host.docker.listed();
    for pod in &listed {
        let running = pod.containers.iter().filter(|c| matches!(c.state, ContainerState::Running { .. })).count();
        if host.view.by_uid(pod.pod.uid).is_none_or(|entry| entry.node.as_deref() != Some(name)) || running != 1 {
            return Err(format!("{NAME}: Docker of {name} runs {running} containers of {}", pod.pod.name));
        }
    }
    let shown = host.view.on_node(name).count();
    if shown == listed.len() {
        Ok(())
    } else {
        Err(format!("{NAME}: {shown} pods are shown on {name}, Docker has {}", listed.len()))
    }
}
