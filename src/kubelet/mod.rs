//! What this node should run: desired x observed -> actions; probes, restarts, pod status.
//!
//! Desired are the pods of the view that are bound to this node, actual is what the runtime lists and reports.
//! A worker a pod (`pod.rs`) holds both and takes one step after the other; the kubelet only deals inputs out.
//!
//! It must never
//! - act before the runtime has listed what is there: what runs is adopted first (*adoption before trust*);
//! - start one attempt of a container twice, or a container beside its earlier run (*one run a slot*);
//! - take silence of the runtime for absence of containers (*down is not gone*);
//! - write a status that says nothing new (*quiet when idle*).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::ids::Uid;
use crate::object::{Key, Note};
use crate::store::Snapshot;
use crate::time::{Mono, Now};
use crate::trust::Issuer;

pub mod action;

mod address;
mod admission;
mod adopt;
mod conditions;
mod decide;
mod env;
mod ephemeral;
mod expansion;
mod fields;
mod held;
mod hooks;
mod image;
mod launch;
pub mod node_status;
mod observe;
mod pod;
mod probes;
mod resources;
mod restart;
mod sandbox;
mod slot;
mod status;
mod teardown;
mod tokens;
mod volumes;

pub use held::{Claim, Claims};

use action::{Action, DnsSpec, ListedPod, Observation, PodRef};
use address::Addresses;
use node_status::{NodeReport, Runtime};
use pod::{Context, Worker};
use resources::Capacity;

/// What a kubelet has to know about its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The Node's name.
    pub node: String,
    /// Where pods get their addresses from. The first host address is the gateway's.
    pub pod_range: Ipv4Net,
    /// The node's own address.
    pub host_address: Ipv4Addr,
    /// Where pods ask for names.
    pub dns: Ipv4Addr,
    /// As `cluster.local`.
    pub cluster_domain: String,
    /// The host's own resolv.conf, for `dnsPolicy: Default`.
    pub upstream_dns: DnsSpec,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// As `v1.33.0+skein`.
    pub version: String,
    /// Where the node serves what upstream's kubelet serves.
    pub port: u16,
    /// Names of the machine.
    pub machine: Machine,
    /// What signs service account tokens for pods; without it, volumes that ask for one are not made.
    pub issuer: Option<Issuer>,
}

/// Names of the machine, as `Node.status.nodeInfo` has them; empty if not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The firmware's system UUID.
    pub system_uuid: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What is wrong with the disk that holds this node's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Why it cannot be written.
    pub trouble: Option<String>,
    /// What it has lost, a sentence each.
    pub lost: Vec<String>,
}

/// What happens to a kubelet.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The view has changed. The first one says that it is loaded: what is not in it then is gone.
    Changed,
    /// The runtime reports.
    Observed(Observation),
    /// Time has passed.
    Tick,
}

/// What a kubelet wants.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "outputs are few and short-lived")]
pub enum Output {
    /// Have the runtime do something.
    Act(Action),
    /// Write a pod's status.
    Status {
        /// The pod.
        key: Key,
        /// Its uid: a pod of another uid is not meant.
        uid: Uid,
        /// The whole of `.status`.
        status: Value,
    },
    /// Nothing is left of a pod that is being deleted: delete the object with grace 0.
    Finished {
        /// The pod.
        key: Key,
        /// Its uid: a pod of another uid is not meant.
        uid: Uid,
    },
    /// Write the whole of `.status` of this node's Node.
    NodeStatus(Value),
    /// Tell the user.
    Note(Note),
}

/// The kubelet of one node.
#[derive(Debug)]
pub struct Kubelet {
    config: Config,
    runtime: Runtime,
    capacity: Capacity,
    addresses: Addresses,
    workers: BTreeMap<Uid, Worker>,
    report: NodeReport,
    /// Observations that came before the view was loaded; `None` since it is.
    early: Option<Vec<Observation>>,
    /// Until when each pod may run that must never run twice; `None` while that is not asked for.
    leases: Option<BTreeMap<Uid, Mono>>,
    /// When something is due without any input.
    due: Option<Mono>,
}

impl Kubelet {
    /// Makes a kubelet that knows of no pod yet.
    pub fn new(config: Config) -> Self {
        Self {
            addresses: Addresses::new(config.pod_range),
            config,
            runtime: Runtime::default(),
            capacity: Capacity::default(),
            workers: BTreeMap::new(),
            report: NodeReport::default(),
            early: Some(Vec::new()),
            leases: None,
            due: None,
        }
    }

    /// Takes note that the host has another address. Shown with the next input.
    pub fn set_host_address(&mut self, address: Ipv4Addr) {
        self.config.host_address = address;
        self.report.refresh();
        self.workers.values_mut().for_each(|worker| worker.dirty = true);
    }

    /// Takes note of how the disk is. Shown with the next input.
    pub fn set_disk(&mut self, disk: Disk) {
        self.report.disk = disk;
        self.report.refresh();
    }

    /// Takes note of what is wrong with the clock, if something is. Shown with the next input.
    pub fn set_clock(&mut self, trouble: Option<String>) {
        self.report.clock = trouble;
        self.report.refresh();
    }

    /// Takes one input and returns what is to be done, in order. A tick before anything is due costs nothing.
    pub fn handle(&mut self, now: Now, view: &Snapshot, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Tick if self.due.is_none_or(|due| now.mono < due) => return out,
            Input::Tick => {}
            Input::Changed => {
                self.look(now, view, &mut out);
                for observation in self.early.take().into_iter().flatten() {
                    self.observe(now, view, observation, &mut out);
                }
            }
            Input::Observed(observation) => match &mut self.early {
                Some(early) => early.push(observation),
                None => self.observe(now, view, observation, &mut out),
            },
        }
        self.advance(now, view, &mut out);
        out
    }

    /// Takes in the pods that the view binds to this node.
    fn look(&mut self, now: Now, view: &Snapshot, out: &mut Vec<Output>) {
        let mut new = Vec::new();
        for entry in view.on_node(&self.config.node) {
            let worker = self.workers.entry(entry.uid).or_insert_with(|| {
                new.push(entry.uid);
                let (namespace, name) = (entry.key.namespace.clone(), entry.key.name.clone());
                Worker::new(PodRef { namespace, name, uid: entry.uid })
            });
            worker.look(now, view, entry);
        }
        let here = |worker: &Worker| {
            let entry = view.by_uid(worker.pod.uid);
            entry.is_some_and(|e| e.node.as_ref() == Some(&self.config.node) && e.key == worker.key)
        };
        self.workers.values_mut().filter(|w| !here(w)).for_each(|w| w.lose(now));
        self.apply_leases(now);
        if self.runtime != Runtime::Unknown {
            // The runtime has been asked before the pod came: there is nothing of it.
            new.into_iter().for_each(|uid| self.adopt(now, view, uid, None, out));
        }
    }

    fn observe(&mut self, now: Now, view: &Snapshot, observation: Observation, out: &mut Vec<Output>) {
        match observation {
            Observation::Listed { pods, info } => {
                self.runtime = Runtime::Up;
                self.capacity = Capacity { cpus: info.cpus, memory: info.memory };
                self.report.learn(info);
                self.list(now, view, pods, out);
            }
            Observation::Down { message } => {
                self.runtime = Runtime::Down(message);
                self.workers.values_mut().for_each(Worker::forget_commands);
            }
            Observation::Pod { pod, event } => {
                let Some(worker) = self.workers.get_mut(&pod.uid) else { return };
                let up = self.runtime == Runtime::Up;
                worker
                    .observe(&mut context(now, up, view, &self.config, self.capacity, &mut self.addresses, out), event);
            }
        }
    }

    /// Brings all workers in line with what the runtime has; what nobody asked for gets a worker that ends it.
    fn list(&mut self, now: Now, view: &Snapshot, pods: Vec<ListedPod>, out: &mut Vec<Output>) {
        let mut listed: BTreeMap<Uid, ListedPod> = pods.into_iter().map(|l| (l.pod.uid, l)).collect();
        for pod in listed.values().map(|l| &l.pod) {
            self.workers.entry(pod.uid).or_insert_with(|| {
                let mut orphan = Worker::new(pod.clone());
                orphan.lose(now);
                orphan
            });
        }
        for uid in self.workers.keys().copied().collect::<Vec<_>>() {
            self.adopt(now, view, uid, listed.remove(&uid).as_ref(), out);
        }
    }

    fn adopt(&mut self, now: Now, view: &Snapshot, uid: Uid, listed: Option<&ListedPod>, out: &mut Vec<Output>) {
        let up = self.runtime == Runtime::Up;
        if let Some(worker) = self.workers.get_mut(&uid) {
            worker.adopt(&mut context(now, up, view, &self.config, self.capacity, &mut self.addresses, out), listed);
        }
    }

    /// Looks at the pods that have not been admitted yet, one after the other.
    fn admit(&mut self, now: Now, view: &Snapshot, out: &mut Vec<Output>) {
        let waiting = |w: &&Worker| !w.admitted && w.dirty && !w.over && w.verdict.is_none() && w.teardown.is_none();
        for uid in self.workers.values().filter(waiting).map(|w| w.pod.uid).collect::<Vec<_>>() {
            let Some(pod) = self.workers[&uid].object.clone() else { continue };
            let refusal = admission::refusal(view, &self.config.node, &self.workers, &pod);
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            let mut cx = context(now, true, view, &self.config, self.capacity, &mut self.addresses, out);
            worker.admit(&mut cx, refusal);
        }
    }

    /// Lets every worker act that has reason to; while the runtime is away they only watch.
    fn advance(&mut self, now: Now, view: &Snapshot, out: &mut Vec<Output>) {
        out.extend(self.report.publish(now, view, &self.config, &self.runtime).map(Output::NodeStatus));
        self.due = None;
        if self.early.is_some() || self.runtime == Runtime::Unknown {
            return;
        }
        let up = self.runtime == Runtime::Up;
        if up {
            self.admit(now, view, out);
        }
        for worker in self.workers.values_mut().filter(|w| up || w.is_alive()) {
            if worker.dirty || worker.due.is_some_and(|due| due <= now.mono) {
                let mut cx = context(now, up, view, &self.config, self.capacity, &mut self.addresses, out);
                if up { worker.advance(&mut cx) } else { worker.watch(&mut cx) }
            }
            // What a step found out about itself is looked at on the next tick.
            let due = if worker.dirty { Some(now.mono) } else { worker.due };
            self.due = [self.due, due].into_iter().flatten().min();
        }
        if !up {
            return;
        }
        self.workers.retain(|uid, worker| {
            if worker.is_done() {
                self.addresses.release(*uid);
            }
            !worker.is_done()
        });
    }
}

fn context<'a>(
    now: Now,
    up: bool,
    view: &'a Snapshot,
    config: &'a Config,
    capacity: Capacity,
    addresses: &'a mut Addresses,
    out: &'a mut Vec<Output>,
) -> Context<'a> {
    Context { now, up, view, config, capacity, addresses, out }
}

#[cfg(test)]
mod tests;
