//! Drives the Docker runtime for the contract.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skein::kubelet::action::{Action, Observation};
use skein::runtime::contract::{Behaviour, Driver, Program};
use skein::runtime::docker::Config;
use skein::runtime::{Docker, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::place;

/// The image of all test programs.
pub const IMAGE: &str = "skein/test-busybox:1";
pub const POD_RANGE: &str = "10.240.7.0/24";

pub struct DockerDriver {
    pub folder: PathBuf,
    runtime: Option<tokio::runtime::Runtime>,
    pub docker: Arc<Docker>,
    observations: mpsc::Receiver<Observation>,
    daemon: Option<Child>,
    addresses: u8,
}

impl DockerDriver {
    /// Begins on the daemon of this place.
    pub fn new() -> Self {
        let folder = PathBuf::from(std::env::var(place::FOLDER).expect("the outer test says where we are"));
        import_busybox(&folder);
        let (runtime, docker, observations) = start_agent(&folder);
        let mut driver = Self { folder, runtime: Some(runtime), docker, observations, daemon: None, addresses: 1 };
        let first = driver.next(Duration::from_secs(20));
        assert!(matches!(&first, Some(Observation::Listed { pods, .. }) if pods.is_empty()), "{first:?}");
        driver
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("there is one between restarts").block_on(future)
    }

    /// Describes a container through the API, as jq would read it.
    pub fn inspect(&self, id: &str) -> bollard::models::ContainerInspectResponse {
        let found = place::with_docker(&place::socket(&self.folder), async |docker| {
            docker.inspect_container(id, None).await.expect("the container is there")
        });
        found.expect("the daemon answers")
    }

    pub fn pid(&self, id: &str) -> i32 {
        let pid = self.inspect(id).state.and_then(|s| s.pid).expect("a pid");
        i32::try_from(pid).expect("a pid")
    }

    /// Names all containers of the daemon.
    pub fn containers(&self) -> Vec<String> {
        let all = bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).build();
        let listed = place::with_docker(&place::socket(&self.folder), async |docker| {
            docker.list_containers(Some(all)).await.expect("a list")
        });
        listed.expect("the daemon answers").into_iter().flat_map(|c| c.names.unwrap_or_default()).collect()
    }

    /// Names what a run should not leave: containers, ports, mounts, folders.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = self.containers();
        let links = Command::new("ip").args(["-o", "link"]).output().expect("ip runs").stdout;
        let links = String::from_utf8_lossy(&links).into_owned();
        left.extend(links.lines().filter(|l| l.contains(": sk") && l.contains('@')).map(str::to_owned));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        let pods = self.folder.join("agent/pods");
        left.extend(mounts.lines().filter(|l| l.contains(&pods.display().to_string())).map(str::to_owned));
        let folders = std::fs::read_dir(pods).into_iter().flatten().flatten();
        left.extend(folders.map(|f| f.path().display().to_string()));
        left
    }
}

fn start_agent(folder: &std::path::Path) -> (tokio::runtime::Runtime, Arc<Docker>, mpsc::Receiver<Observation>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (out, observations) = mpsc::channel(64);
    let config = Config {
        socket: place::socket(folder),
        folder: folder.join("agent"),
        node: "contract/n1".into(),
        bridge: "skbr0".into(),
        pod_range: POD_RANGE.parse().expect("a range"),
        cluster_range: "10.240.0.0/12".parse().expect("a range"),
        service_range: "10.96.0.0/16".parse().expect("a range"),
    };
    let docker = {
        let _within = runtime.enter();
        Arc::new(Docker::new(config, out, CancellationToken::new()))
    };
    runtime.spawn(docker.clone().run());
    (runtime, docker, observations)
}

/// A root file system with a shell and a little web server, as a tar archive.
pub fn busybox() -> Vec<u8> {
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().expect("sh runs").stdout;
    let busybox = std::fs::read(String::from_utf8_lossy(&busybox).trim()).expect("a static busybox");
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).expect("room in memory");
    };
    add("bin/busybox", 0o755, &busybox);
    add("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    add("www/ok", 0o644, b"ok\n");
    for applet in ["sh", "sleep", "cat", "httpd", "hostname", "id", "env", "nc", "stat", "mount", "dd", "ls", "pwd"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("room in memory");
    }
    archive.into_inner().expect("room in memory")
}

fn import_busybox(folder: &std::path::Path) {
    let archive = busybox();
    place::with_docker(&place::socket(folder), async |docker| {
        use futures_util::TryStreamExt;
        let (repository, tag) = IMAGE.split_once(':').expect("a tag");
        let options = bollard::query_parameters::CreateImageOptionsBuilder::default();
        let options = options.from_src("-").repo(repository).tag(tag).build();
        let progress = docker.create_image(Some(options), Some(bollard::body_full(archive.into())), None);
        progress.try_collect::<Vec<_>>().await.expect("an import");
    });
}

pub fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

impl Driver for DockerDriver {
    fn act(&mut self, action: Action) {
        self.docker.act(action);
    }

    fn next(&mut self, patience: Duration) -> Option<Observation> {
        let runtime = self.runtime.as_ref().expect("there is one between restarts");
        let next = async { tokio::time::timeout(patience, self.observations.recv()).await };
        runtime.block_on(next).ok().flatten()
    }

    fn program(&mut self, behaviour: &Behaviour) -> Program {
        let stops = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
        let command = match behaviour {
            Behaviour::Exit { code, message } => {
                shell(&format!("printf %s '{message}' > /dev/termination-log; exit {code}"))
            }
            Behaviour::Run => shell(stops),
            Behaviour::Stubborn => shell("trap '' TERM; while :; do sleep 1; done"),
            Behaviour::Serve { port } => shell(&format!("httpd -p {port} -h /www; {stops}")),
            Behaviour::AwaitFile { path, content } => {
                shell(&format!("until [ \"$(cat {path})\" = '{content}' ]; do sleep 0.1; done"))
            }
            Behaviour::Missing => vec!["/no/such/program".into()],
        };
        Program { image: IMAGE.into(), command }
    }

    fn address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        Ipv4Addr::new(10, 240, 7, self.addresses)
    }

    fn kill(&mut self, container: &str) {
        kill(Pid::from_raw(self.pid(container)), Signal::SIGKILL).expect("it runs");
    }

    fn stop_daemon(&mut self) {
        place::stop_daemon(&self.folder, Signal::SIGKILL);
        if let Some(mut child) = self.daemon.take() {
            let _ = child.wait();
        }
    }

    fn start_daemon(&mut self) {
        self.daemon = Some(place::start_daemon(&self.folder, &[]));
    }

    fn restart_agent(&mut self) {
        // As kill -9 does: nothing gets to end well.
        self.runtime.take().expect("there is one between restarts").shutdown_background();
        let (runtime, docker, observations) = start_agent(&self.folder);
        (self.runtime, self.docker, self.observations) = (Some(runtime), docker, observations);
    }
}

impl Drop for DockerDriver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
