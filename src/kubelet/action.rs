//! What the kubelet wants done, and what it is told: the words between it and a runtime.
//!
//! The kubelet never has more than one [`Step`] under way for a pod, except that [`Step::Probe`]s run beside, and
//! that a [`Step::RemovePod`] may be sent while a [`Step::PullImage`], [`Step::StopContainer`] or longer
//! [`Step::RemovePod`] is under way: its grace holds from then on.
//! A runtime answers every action with at least one [`Observation`] about that pod, and reports on its own
//! what it was not asked for: a container that exits, a daemon that goes away and comes back.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::ids::Uid;
use crate::time::Wall;

/// Which pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
}

/// One thing to do for one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The pod.
    pub pod: PodRef,
    /// What to do.
    pub step: Step,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "steps are few and short-lived")]
pub enum Step {
    /// Make the sandbox: volumes on disk, the pause container that holds the namespaces, the pod's address.
    /// A half-made or dead sandbox of the same pod is removed first. Answer: `SandboxReady` or `SandboxFailed`.
    CreateSandbox(SandboxSpec),
    /// Make sure that an image is there. Answer: `ImageReady` or `ImageFailed`.
    PullImage {
        /// The reference, as the manifest has it.
        image: String,
        /// Ask the registry even if a local image has the name.
        always: bool,
        /// Never ask the registry.
        never: bool,
    },
    /// Create and start a container in the sandbox. Answer: `ContainerStarted` or `ContainerFailed`.
    StartContainer(ContainerSpec),
    /// Ask a container to stop, kill it after `grace`. Answer: `ContainerExited` (also if it had exited already).
    StopContainer {
        /// The runtime's id.
        id: String,
        /// The container's name in the pod.
        name: String,
        /// How long it may take.
        grace: Duration,
    },
    /// Forget an exited container and its logs. Answer: `ContainerRemoved`.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Rewrite the files of configMap, secret and downward volumes. Answer: `VolumesWritten` or `SandboxFailed`.
    WriteVolumes(Vec<VolumeSpec>),
    /// Kill and remove all that is left of the pod: containers, sandbox, address, volumes. Answer: `PodRemoved`,
    /// also if nothing was there.
    RemovePod {
        /// How long containers that still run may take to stop.
        grace: Duration,
    },
    /// Ask a container how it is, by HTTP and TCP also while the runtime's daemon is away. Answer: `Probed`; for a
    /// probe by a command that the daemon could not be asked for, only `Down` or `Listed`.
    Probe(ProbeSpec),
}

/// What a sandbox is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxSpec {
    /// The pod's host name (`spec.hostname`, or the pod's name).
    pub hostname: String,
    /// The address it gets from the node's pod range; `None` for host networking.
    pub address: Option<Ipv4Addr>,
    /// What goes into its resolv.conf.
    pub dns: DnsSpec,
    /// Its volumes.
    pub volumes: Vec<VolumeSpec>,
    /// Lines of /etc/hosts: address and names. If the first has the own address, it takes the place of the own line.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Whether the pod must never run twice: what runs of it must be found without the runtime.
    pub held: bool,
}

/// Contents of a pod's resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsSpec {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, such as `ndots:5`.
    pub options: Vec<String>,
}

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeSpec {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeSource {
    /// An empty folder that lives as long as the pod.
    Empty {
        /// Whether it is kept in memory.
        memory: bool,
        /// At most so many bytes, where the medium can enforce it.
        limit: Option<u64>,
    },
    /// Files of a configMap, secret, downward API or projected volume.
    Files(Vec<FileSpec>),
    /// A path of the host.
    Host {
        /// The path.
        path: String,
        /// `spec.volumes[].hostPath.type`; empty for no check.
        kind: String,
    },
}

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Relative to the volume, no `..`.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    /// Its name in the pod.
    pub name: String,
    /// How often it was restarted before this start: 0 the first time.
    pub attempt: u32,
    /// Changes when the container's part of the pod spec does.
    pub hash: String,
    /// The image reference.
    pub image: String,
    /// `command`: replaces the image's entry point if not empty.
    pub command: Vec<String>,
    /// `args`: replaces the image's command if not empty.
    pub args: Vec<String>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// The resolved environment, in order.
    pub env: Vec<(String, String)>,
    /// Where volumes appear.
    pub mounts: Vec<MountSpec>,
    /// Limits.
    pub resources: ResourceSpec,
    /// What it may do.
    pub security: SecuritySpec,
    /// `stdin`.
    pub stdin: bool,
    /// `stdinOnce`: its input ends when the first who attaches has gone.
    pub stdin_once: bool,
    /// `tty`.
    pub tty: bool,
    /// `terminationMessagePath`: what the container leaves there is its exit message.
    pub termination_message_path: String,
    /// As [`SandboxSpec::held`].
    pub held: bool,
    /// The runtime's id of the container whose processes it sees beside its own; `None`: it sees its own only.
    pub processes: Option<String>,
}

/// A volume mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// The volume's name.
    pub volume: String,
    /// Where in the container.
    pub path: String,
    /// Which part of the volume; empty for all.
    pub sub_path: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// Limits of a container, in Docker's units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSpec {
    /// Bytes of memory.
    pub memory_limit: Option<i64>,
    /// Billionths of a core.
    pub nano_cpus: Option<i64>,
    /// Relative weight, 1,024 a core.
    pub cpu_shares: Option<i64>,
    /// Who is killed first when memory runs out: -1000 to 1000.
    pub oom_score_adj: Option<i64>,
}

/// A container's security context, resolved against the pod's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecuritySpec {
    /// `uid` or `uid:gid`.
    pub user: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<i64>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only_root: bool,
    /// Capabilities to add.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop.
    pub drop_capabilities: Vec<String>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
}

/// One try of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// Correlates with [`PodEvent::Probed`].
    pub id: ProbeId,
    /// The runtime's id of the container.
    pub container: String,
    /// How to ask.
    pub handler: ProbeHandler,
    /// No answer within this time is a failure.
    pub timeout: Duration,
}

/// Which probe of which start of which container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeId {
    /// The container's name in the pod.
    pub container: String,
    /// The container's attempt.
    pub attempt: u32,
    /// Which of its probes.
    pub probe: ProbeKind,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds.
    Startup,
    /// Restarts the container when it fails.
    Liveness,
    /// Takes the pod out of Services while it fails.
    Readiness,
    /// Not a probe: the `postStart` hook, run once by the same means.
    PostStart,
    /// Not a probe: the `preStop` hook, run once by the same means.
    PreStop,
}

/// How to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeHandler {
    /// GET a path; 200 to 399 is success.
    Http {
        /// `http` or `https` (certificates are not checked, as in Kubernetes).
        https: bool,
        /// The host to connect to.
        host: String,
        /// The port.
        port: u16,
        /// The path.
        path: String,
        /// Extra headers.
        headers: Vec<(String, String)>,
    },
    /// Open a connection.
    Tcp {
        /// The host to connect to.
        host: String,
        /// The port.
        port: u16,
    },
    /// Run a command in the container; exit code 0 is success.
    Exec {
        /// The command.
        command: Vec<String>,
    },
}

/// What a runtime reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The runtime answers (first, or again): all that is there of ours. What is not in it is gone.
    Listed {
        /// Everything that carries our labels.
        pods: Vec<ListedPod>,
        /// What the runtime is.
        info: RuntimeInfo,
    },
    /// The runtime does not answer; what runs is unknown, not gone.
    Down {
        /// One sentence why.
        message: String,
    },
    /// Something about one pod.
    Pod {
        /// The pod.
        pod: PodRef,
        /// What.
        event: PodEvent,
    },
}

/// What the runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// As `docker://27.1.0`.
    pub version: String,
    /// As `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// As `6.1.0-18-amd64`.
    pub kernel: String,
    /// As `amd64`.
    pub architecture: String,
    /// As `linux`.
    pub operating_system: String,
    /// Cores.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
}

/// One of our pods as the runtime has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedPod {
    /// The pod, from the labels.
    pub pod: PodRef,
    /// Its sandbox, if that runs.
    pub sandbox: Option<ListedSandbox>,
    /// Its containers, running or exited, oldest first.
    pub containers: Vec<ListedContainer>,
}

/// A running sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSandbox {
    /// The runtime's id.
    pub id: String,
    /// The pod's address; `None` for host networking.
    pub address: Option<Ipv4Addr>,
    /// When it started.
    pub started: Wall,
}

/// A container as the runtime has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedContainer {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Its attempt, from the label.
    pub attempt: u32,
    /// Its spec's hash, from the label.
    pub hash: String,
    /// The image reference it was made from.
    pub image: String,
    /// The image's id (`sha256:…`).
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Made, never started (the agent died in between).
    Created,
    /// It runs.
    Running {
        /// Since when.
        started: Wall,
    },
    /// It has exited.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + n for signal n.
    pub code: i32,
    /// Whether the kernel killed it for memory.
    pub oom: bool,
    /// When it had started.
    pub started: Wall,
    /// When it ended.
    pub finished: Wall,
    /// What it left in its termination message file, at most 4,096 bytes.
    pub message: String,
}

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum PodEvent {
    /// The sandbox runs.
    SandboxReady(ListedSandbox),
    /// The sandbox could not be made, or its volumes not written.
    SandboxFailed {
        /// The runtime's words.
        message: String,
    },
    /// The sandbox has died under its pod.
    SandboxDied,
    /// The image is there.
    ImageReady {
        /// The reference.
        image: String,
        /// Its id.
        id: String,
        /// How long the pull took; `None` if nothing had to be pulled.
        pulled_in: Option<Duration>,
        /// Its size in bytes.
        size: u64,
        /// Whom its containers run as unless told otherwise, as the image has it (`nginx`, `1000:1000`); `None` for
        /// root.
        user: Option<String>,
    },
    /// The image is not to be had.
    ImageFailed {
        /// The reference.
        image: String,
        /// What kind of failure.
        kind: ImageError,
        /// The runtime's words.
        message: String,
    },
    /// A container runs.
    ContainerStarted {
        /// Its name in the pod.
        name: String,
        /// Its attempt.
        attempt: u32,
        /// The runtime's id.
        id: String,
        /// The image's id.
        image_id: String,
        /// Since when.
        started: Wall,
    },
    /// A container could not be made or started.
    ContainerFailed {
        /// Its name in the pod.
        name: String,
        /// Its attempt.
        attempt: u32,
        /// Whether it could not even be made (`CreateContainerError`), or made but not started (`RunContainerError`).
        created: bool,
        /// The runtime's words.
        message: String,
    },
    /// A container ended, asked or not.
    ContainerExited {
        /// Its name in the pod.
        name: String,
        /// The runtime's id.
        id: String,
        /// How.
        exit: Exit,
    },
    /// A container is gone.
    ContainerRemoved {
        /// The runtime's id.
        id: String,
    },
    /// Files of volumes are as asked.
    VolumesWritten,
    /// A probe has answered.
    Probed {
        /// Which.
        id: ProbeId,
        /// Whether it succeeded.
        ok: bool,
        /// What it said; shown when it failed.
        message: String,
    },
    /// Nothing is left of the pod.
    PodRemoved,
}

/// What kind of failure an image met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The reference cannot be parsed (`InvalidImageName`).
    InvalidName,
    /// It is not here and may not be pulled (`ErrImageNeverPull`).
    NeverPull,
    /// The pull failed (`ErrImagePull`, then `ImagePullBackOff`).
    PullFailed,
}

/// Labels that tie what a runtime holds to our pods; values are read back on adoption.
pub mod labels {
    /// The pod's uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// The pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// The pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// The container's name in the pod; absent on a sandbox.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// `container` or `sandbox`.
    pub const TYPE: &str = "skein.dev/type";
    /// The attempt.
    pub const ATTEMPT: &str = "skein.dev/attempt";
    /// The spec's hash.
    pub const HASH: &str = "skein.dev/hash";
    /// The pod's address, on a sandbox.
    pub const ADDRESS: &str = "skein.dev/address";
    /// Which node of which cluster made it: several agents may share one daemon in tests.
    pub const NODE: &str = "skein.dev/node";
    /// The termination message path, on a container.
    pub const TERMINATION_MESSAGE_PATH: &str = "skein.dev/termination-message-path";
}
