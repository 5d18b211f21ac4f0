//! What befalls a simulated runtime from outside: its agent dies, its daemon goes, somebody kills and removes.

use crate::ids::Uid;
use crate::kubelet::action::PodEvent;
use crate::time::Now;

use super::knobs::strikes;
use super::{Due, FakeRuntime, daemon};

impl FakeRuntime {
    /// Forgets all that an agent's death forgets. What Docker was told goes on half of the time; what runs, runs on,
    /// and nobody hears of it.
    pub fn kill_agent(&mut self, now: Now) {
        self.now = now;
        self.fault("agent crash");
        for queue in std::mem::take(&mut self.queues).into_values() {
            let Some((pod, step)) = queue.steps.into_iter().next() else { continue };
            if self.up && !queue.hanging && strikes(&mut self.rng, 500) {
                self.carry_out(&pod, step);
            }
        }
        self.ready.clear();
        self.due.retain(|_, due| !due.is_agents());
        self.heard = false;
    }

    /// Starts a new agent, killing the old one if it lives. The new one is told what is there.
    pub fn restart_agent(&mut self, now: Now) {
        if self.heard {
            self.kill_agent(now);
        }
        self.now = now;
        self.heard = true;
        let due = if self.up { Due::List } else { Due::Lost };
        let at = self.soon(self.knobs.quick);
        self.at(at, due);
    }

    /// Makes the daemon go away. Containers run on if it is configured so (`live_restore`), else they are killed.
    pub fn stop_daemon(&mut self, now: Now, live_restore: bool) {
        self.now = now;
        self.up = false;
        self.fault("daemon down");
        if !live_restore {
            self.kill_all();
        }
        let at = self.soon(self.knobs.quick);
        self.at(at, Due::Lost);
    }

    /// Brings the daemon back.
    pub fn start_daemon(&mut self, now: Now) {
        self.now = now;
        self.up = true;
        let at = self.soon(self.knobs.quick);
        self.at(at, Due::List);
    }

    /// Kills a container or a sandbox by signal 9, behind the runtime's back.
    pub fn kill(&mut self, now: Now, id: &str) {
        self.now = now;
        let sandbox = |p: &daemon::Pod| p.sandbox.as_ref().is_some_and(|s| s.id == id);
        match self.daemon.pods.values().find(|p| sandbox(p)).map(|p| p.pod.uid) {
            Some(pod) => self.sandbox_dies(pod, id),
            None => self.exits(id, 137, ""),
        }
    }

    /// Kills all that runs of a pod, its sandbox too.
    pub fn kill_pod(&mut self, now: Now, uid: Uid) {
        let Some(pod) = self.daemon.pods.get(&uid) else { return };
        let running = pod.containers.iter().filter(|c| c.is_running()).map(|c| c.listed.id.clone());
        let sandbox = pod.sandbox.iter().map(|sandbox| sandbox.id.clone());
        for id in running.chain(sandbox).collect::<Vec<_>>() {
            self.kill(now, &id);
        }
    }

    /// Returns the pods of which a container runs.
    pub fn running(&self) -> impl Iterator<Item = Uid> + '_ {
        let runs = |pod: &&daemon::Pod| pod.containers.iter().any(daemon::Container::is_running);
        self.daemon.pods.values().filter(runs).map(|pod| pod.pod.uid)
    }

    /// Removes a container behind the runtime's back. A list will say so.
    pub fn vanish(&mut self, now: Now, id: &str) {
        self.now = now;
        self.vanishes(id);
    }

    pub(super) fn exits(&mut self, id: &str, code: i32, message: &str) {
        if let Some((pod, name, exit)) = self.daemon.exit(id, code, message, self.now.wall) {
            self.tell_unasked(pod, PodEvent::ContainerExited { name, id: id.to_owned(), exit });
        }
    }

    pub(super) fn vanishes(&mut self, id: &str) {
        let uid = self.daemon.container(id).map(|(pod, _)| pod.uid);
        if let Some(pod) = uid.and_then(|uid| self.daemon.pods.get_mut(&uid)) {
            pod.containers.retain(|c| c.listed.id != id);
            self.relist();
        }
    }

    pub(super) fn sandbox_dies(&mut self, pod: Uid, id: &str) {
        let Some(pod) = self.daemon.pods.get_mut(&pod) else { return };
        if pod.sandbox.take_if(|s| s.id == id).is_some() {
            let pod = pod.pod.clone();
            self.tell_unasked(pod, PodEvent::SandboxDied);
        }
    }

    fn kill_all(&mut self) {
        let pods = self.daemon.pods.values_mut();
        let ids: Vec<String> = pods
            .flat_map(|pod| {
                pod.sandbox = None;
                pod.containers.iter().map(|c| c.listed.id.clone()).collect::<Vec<_>>()
            })
            .collect();
        for id in ids {
            self.daemon.exit(&id, 137, "", self.now.wall);
        }
    }
}
