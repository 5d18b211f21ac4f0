//! When all is calm, every Deployment has exactly its replicas, ready and running, and nothing else is there.

use std::collections::BTreeMap;

use skein::kubelet::action::ContainerState;
use skein::object::kinds;
use skein::runtime::fake::FakeRuntime;
use skein::store::Snapshot;

use crate::users::{Users, look};

pub const NAME: &str = "replicas are exact";

pub fn check(view: &Snapshot, users: &Users, docker: &FakeRuntime) -> Result<(), String> {
    let mut pods: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in view.list(&kinds::POD, None) {
        let app = pod.labels.get("app").map_or("", String::as_str);
        if pod.terminating || pod.phase.as_deref() != Some("Running") {
            return Err(format!("{NAME}: pod {} is {:?}, terminating {}", pod.key, pod.phase, pod.terminating));
        }
        *pods.entry(app).or_default() += 1;
    }
    for key in users.known.keys().filter(|k| k.kind == &kinds::DEPLOYMENT) {
        let (wanted, found) = (look(view, key).unwrap_or(0), pods.remove(key.name.as_str()).unwrap_or(0));
        if wanted != found {
            return Err(format!("{NAME}: {key} wants {wanted} pods and has {found}"));
        }
    }
    if let Some((app, _)) = pods.first_key_value() {
        return Err(format!("{NAME}: pods of {app:?} belong to nobody"));
    }
    check_docker(view, docker)
}

/// Docker runs what the view shows, no more and no less.
fn check_docker(view: &Snapshot, docker: &FakeRuntime) -> Result<(), String> {
    let listed = docker.listed();
    for pod in &listed {
        let running = pod.containers.iter().filter(|c| matches!(c.state, ContainerState::Running { .. })).count();
        if view.by_uid(pod.pod.uid).is_none() || running != 1 {
            return Err(format!("{NAME}: Docker runs {running} containers of {}", pod.pod.name));
        }
    }
    let shown = view.list(&kinds::POD, None).count();
    if shown == listed.len() {
        Ok(())
    } else {
        Err(format!("{NAME}: {shown} pods are shown, Docker has {}", listed.len()))
    }
}
