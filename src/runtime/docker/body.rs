//! Kubernetes' words turned into Docker's: pure translation, no calls.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::kubelet::action::{ContainerSpec, PodRef, SandboxSpec, labels};
use crate::runtime::cgroup_parents;

/// Values of [`labels::TYPE`].
pub const SANDBOX: &str = "sandbox";
/// Values of [`labels::TYPE`].
pub const CONTAINER: &str = "container";

/// The name of a pod's sandbox, as dockershim named it.
pub fn sandbox_name(pod: &PodRef) -> String {
    format!("k8s_POD_{}_{}_{}_0", pod.name, pod.namespace, pod.uid)
}

/// The name of a container, as dockershim named it: one attempt can be made once only.
pub fn container_name(pod: &PodRef, container: &str, attempt: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{attempt}", pod.name, pod.namespace, pod.uid)
}

/// The label that all of a node's containers carry.
pub fn node_label(node: &str) -> String {
    format!("{}={node}", labels::NODE)
}

/// The label that all of a pod's containers carry.
pub fn pod_label(pod: &PodRef) -> String {
    format!("{}={}", labels::POD_UID, pod.uid)
}

/// The sandbox's container: holds the pod's namespaces and does nothing.
pub fn sandbox(node: &str, pod: &PodRef, spec: &SandboxSpec, image: &str) -> ContainerCreateBody {
    let mut labels = pod_labels(node, pod, SANDBOX);
    if let Some(address) = spec.address {
        labels.insert(labels::ADDRESS.into(), address.to_string());
    }
    let host = HostConfig {
        network_mode: Some(if spec.address.is_some() { "none" } else { "host" }.into()),
        ipc_mode: Some("shareable".into()),
        dns: Some(spec.dns.servers.clone()),
        dns_search: Some(spec.dns.searches.clone()),
        dns_options: Some(spec.dns.options.clone()),
        cpu_shares: Some(2),
        // The last to be killed for memory: with it the whole pod goes.
        oom_score_adj: Some(-998),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        ..never_restarted()
    };
    ContainerCreateBody {
        image: Some(image.into()),
        entrypoint: Some(vec!["/pause".into()]),
        hostname: Some(spec.hostname.clone()),
        labels: Some(labels),
        host_config: Some(host),
        ..Default::default()
    }
}

/// A container of a pod, in the namespaces of its sandbox.
pub fn container(
    node: &str,
    pod: &PodRef,
    spec: &ContainerSpec,
    sandbox: &str,
    mounts: Vec<Mount>,
) -> ContainerCreateBody {
    let mut labels = pod_labels(node, pod, CONTAINER);
    labels.insert(labels::CONTAINER_NAME.into(), spec.name.clone());
    labels.insert(labels::ATTEMPT.into(), spec.attempt.to_string());
    labels.insert(labels::HASH.into(), spec.hash.clone());
    labels.insert(labels::TERMINATION_MESSAGE_PATH.into(), spec.termination_message_path.clone());
    // With an entry point given, Docker forgets the image's command, as Kubernetes wants it.
    let given = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: given(&spec.command),
        cmd: given(&spec.args),
        working_dir: spec.working_dir.clone(),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.security.user.clone(),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        tty: Some(spec.tty),
        labels: Some(labels),
        // An image's own health check would run beside the probes and mean nothing to Kubernetes.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
        host_config: Some(container_host(spec, sandbox, mounts)),
        ..Default::default()
    }
}

fn container_host(spec: &ContainerSpec, sandbox: &str, mounts: Vec<Mount>) -> HostConfig {
    let (resources, security) = (&spec.resources, &spec.security);
    let join = Some(format!("container:{sandbox}"));
    let log = HashMap::from([("max-size".into(), "10m".into()), ("max-file".into(), "2".into())]);
    HostConfig {
        network_mode: join.clone(),
        ipc_mode: join,
        pid_mode: spec.processes.as_ref().map(|id| format!("container:{id}")),
        mounts: Some(mounts),
        memory: resources.memory_limit,
        // As much as memory alone: no swap.
        memory_swap: resources.memory_limit,
        nano_cpus: resources.nano_cpus,
        cpu_shares: resources.cpu_shares,
        oom_score_adj: resources.oom_score_adj,
        privileged: Some(security.privileged),
        readonly_rootfs: Some(security.read_only_root),
        cap_add: Some(security.add_capabilities.clone()),
        cap_drop: Some(security.drop_capabilities.clone()),
        group_add: Some(security.groups.iter().map(i64::to_string).collect()),
        security_opt: security.no_new_privileges.then(|| vec!["no-new-privileges".into()]),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".into()), config: Some(log) }),
        ..never_restarted()
    }
}

/// Puts a container of a pod that must never run twice under a cgroup of the pod's own, where the agent's warden finds it.
pub fn held(body: ContainerCreateBody, pod: &PodRef, systemd: bool) -> ContainerCreateBody {
    let [plain, slice] = cgroup_parents(pod.uid);
    let parent = match slice.rsplit_once('/') {
        Some((_, slice)) if systemd => slice.to_owned(),
        _ => format!("/{plain}"),
    };
    let host = HostConfig { cgroup_parent: Some(parent), ..body.host_config.unwrap_or_default() };
    ContainerCreateBody { host_config: Some(host), ..body }
}

/// A mount of a file or folder of the host.
pub fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.into()),
        read_only: Some(read_only),
        ..Default::default()
    }
}

/// Restarting is the kubelet's business, and the first process is the container's own.
fn never_restarted() -> HostConfig {
    let no = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
    HostConfig { restart_policy: Some(no), init: Some(false), ..Default::default() }
}

fn pod_labels(node: &str, pod: &PodRef, kind: &str) -> HashMap<String, String> {
    HashMap::from([
        (labels::NODE.into(), node.into()),
        (labels::TYPE.into(), kind.into()),
        (labels::POD_UID.into(), pod.uid.to_string()),
        (labels::POD_NAME.into(), pod.name.clone()),
        (labels::POD_NAMESPACE.into(), pod.namespace.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uid;
    use crate::kubelet::action::{DnsSpec, ResourceSpec, SecuritySpec};

    fn pod() -> PodRef {
        PodRef { namespace: "shop".into(), name: "web".into(), uid: Uid::derived(&[b"x"]) }
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "nginx".into(),
            attempt: 3,
            hash: "h".into(),
            image: "nginx:1".into(),
            command: vec![],
            args: vec![],
            working_dir: None,
            env: vec![],
            mounts: vec![],
            resources: ResourceSpec::default(),
            security: SecuritySpec::default(),
            stdin: false,
            stdin_once: false,
            tty: false,
            termination_message_path: "/dev/termination-log".into(),
            held: false,
            processes: None,
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).into()).collect()
    }

    #[test]
    fn names_are_dockershims() {
        let uid = pod().uid;
        assert_eq!(container_name(&pod(), "nginx", 3), format!("k8s_nginx_web_shop_{uid}_3"));
        assert_eq!(sandbox_name(&pod()), format!("k8s_POD_web_shop_{uid}_0"));
    }

    #[test]
    fn command_and_args_replace_what_kubernetes_says_they_do() {
        for (command, args, entrypoint, cmd) in [
            (&[][..], &[][..], None, None),
            (&["a"], &[], Some(words(&["a"])), None),
            (&[], &["b"], None, Some(words(&["b"]))),
            (&["a"], &["b"], Some(words(&["a"])), Some(words(&["b"]))),
        ] {
            let spec = ContainerSpec { command: words(command), args: words(args), ..spec() };
            let body = container("n", &pod(), &spec, "s", vec![]);
            assert_eq!((body.entrypoint, body.cmd), (entrypoint, cmd), "{command:?} {args:?}");
        }
    }

    #[test]
    fn limits_and_rights_reach_docker() {
        let resources = ResourceSpec {
            memory_limit: Some(64 << 20),
            nano_cpus: Some(250_000_000),
            cpu_shares: Some(102),
            oom_score_adj: Some(1000),
        };
        let security = SecuritySpec {
            user: Some("1000:2000".into()),
            groups: vec![3000],
            read_only_root: true,
            add_capabilities: words(&["NET_ADMIN"]),
            drop_capabilities: words(&["ALL"]),
            no_new_privileges: true,
            privileged: false,
        };
        let body = container("n", &pod(), &ContainerSpec { resources, security, ..spec() }, "s", vec![]);
        assert_eq!(body.user.as_deref(), Some("1000:2000"));
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.cpu_shares, host.oom_score_adj), (Some(250_000_000), Some(102), Some(1000)));
        assert_eq!((host.cap_add, host.cap_drop), (Some(words(&["NET_ADMIN"])), Some(words(&["ALL"]))));
        assert_eq!((host.readonly_rootfs, host.group_add), (Some(true), Some(words(&["3000"]))));
        assert_eq!(host.security_opt, Some(words(&["no-new-privileges"])));
        assert_eq!(host.network_mode.as_deref(), Some("container:s"));
    }

    #[test]
    fn a_sandbox_carries_its_address_and_resolver() {
        let dns = DnsSpec { servers: words(&["10.96.0.10"]), searches: words(&["svc"]), options: words(&["ndots:5"]) };
        let address = Some([10, 240, 0, 5].into());
        let (volumes, host_aliases) = (vec![], vec![]);
        let mut spec = SandboxSpec { hostname: "web".into(), address, dns, volumes, host_aliases, held: false };
        let body = sandbox("n", &pod(), &spec, "pause");
        assert_eq!(body.labels.unwrap()[labels::ADDRESS], "10.240.0.5");
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), host.dns), (Some("none"), Some(words(&["10.96.0.10"]))));

        spec.address = None;
        let body = sandbox("n", &pod(), &spec, "pause");
        assert!(!body.labels.unwrap().contains_key(labels::ADDRESS));
        assert_eq!(body.host_config.unwrap().network_mode.as_deref(), Some("host"));
    }
}
