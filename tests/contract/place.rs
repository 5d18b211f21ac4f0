//! A host of its own for a test: a network namespace with a dockerd, and a second namespace as the world outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Tells the inner test where it is.
pub const FOLDER: &str = "SKEIN_CONTRACT_FOLDER";
/// Tells the inner test where the world is.
pub const OUTSIDE: &str = "SKEIN_CONTRACT_OUTSIDE";
/// The host's address, and the one of the world outside.
pub const ADDRESSES: (&str, &str) = ("10.203.0.1", "10.203.0.254");

const LIMIT: Duration = Duration::from_secs(600);

/// A place; taken down when dropped.
pub struct Place {
    name: String,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Place {
    /// Makes namespaces, links and the daemon.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skc{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("skc").tempdir().expect("a temporary folder");
        let mut place = Self { name, folder, daemon: None };
        place.make_network();
        place.daemon = Some(start_daemon(place.folder.path(), &["nsenter", &place.enter()]));
        place
    }

    fn enter(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }

    fn make_network(&self) {
        let (n, out) = (&self.name, format!("{}-out", self.name));
        let (here, there) = ADDRESSES;
        ip(&format!("netns add {n}"));
        ip(&format!("netns add {out}"));
        ip(&format!("link add eth0 netns {n} type veth peer name eth0 netns {out}"));
        for (namespace, address) in [(n, here), (&out, there)] {
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        ip(&format!("-n {n} route add default via {there}"));
    }

    /// Runs an ignored test of this file in the namespace.
    pub fn run(self, test: &str) {
        let program = std::env::current_exe().expect("the path of this test");
        let mut inner = Command::new("nsenter")
            .arg(self.enter())
            .arg(program)
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, self.folder.path())
            .env(OUTSIDE, format!("/run/netns/{}-out", self.name))
            // Its harness counts its tests there, which are ours; what scenarios say goes to stderr.
            .stdout(Stdio::null())
            .spawn()
            .expect("nsenter runs");
        let status = wait(&mut inner, LIMIT);
        let passed = status.is_some_and(|s| s.success());
        assert!(passed, "{test} failed; the daemon's last words:\n{}", last_words(self.folder.path()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Containers outlive their daemon. The inner test may have replaced it: its pid file tells which one runs.
        if !answers(&socket(self.folder.path())) {
            self.daemon = Some(spawn_daemon(self.folder.path(), &["nsenter", &self.enter()]));
            let _ = await_daemon(self.folder.path());
        }
        remove_containers(&socket(self.folder.path()));
        stop_daemon(self.folder.path(), nix::sys::signal::Signal::SIGTERM);
        if let Some(mut child) = self.daemon.take() {
            let _ = child.wait();
        }
        unmount_below(self.folder.path());
        for namespace in [self.name.clone(), format!("{}-out", self.name)] {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

/// The daemon's socket.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

/// Starts a dockerd below `folder` and waits until it answers.
pub fn start_daemon(folder: &Path, through: &[&str]) -> Child {
    let child = spawn_daemon(folder, through);
    assert!(await_daemon(folder), "dockerd does not answer:\n{}", last_words(folder));
    child
}

fn await_daemon(folder: &Path) -> bool {
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        if answers(&socket(folder)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn spawn_daemon(folder: &Path, through: &[&str]) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut words: Vec<String> = through.iter().map(|w| (*w).to_owned()).collect();
    words.extend(["dockerd", "--live-restore", "--userland-proxy=false"].map(str::to_owned));
    for (flag, path) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        words.extend([flag.to_owned(), folder.join(path).display().to_string()]);
    }
    words.extend(["-H".to_owned(), format!("unix://{}", socket(folder).display())]);
    Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("dockerd runs")
}

fn answers(socket: &Path) -> bool {
    with_docker(socket, async |docker| docker.ping().await.is_ok()).unwrap_or(false)
}

/// Asks a dockerd something, if it is there.
pub fn with_docker<T>(socket: &Path, ask: impl AsyncFnOnce(bollard::Docker) -> T) -> Option<T> {
    let docker =
        bollard::Docker::connect_with_unix(&socket.display().to_string(), 60, bollard::API_DEFAULT_VERSION).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { Some(ask(docker.negotiate_version().await.ok()?).await) })
}

/// Ends the daemon that the pid file names, and its containerd; containers run on.
pub fn stop_daemon(folder: &Path, signal: nix::sys::signal::Signal) {
    let of = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.trim().parse().ok().map(nix::unistd::Pid::from_raw)
    };
    let (daemon, containerd) = (of("pid"), of("exec/containerd/containerd.pid"));
    if let Some(pid) = daemon {
        let _ = nix::sys::signal::kill(pid, signal);
    }
    // The next daemon would take one that is just dying for its own.
    for pid in [daemon, containerd].into_iter().flatten() {
        let patience = Instant::now() + Duration::from_secs(20);
        while is_alive(pid) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for file in ["pid", "exec/containerd/containerd.pid"] {
        let _ = fs::remove_file(folder.join(file));
    }
}

/// A zombie is dead: its parent may be another process than ours.
fn is_alive(pid: nix::unistd::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn remove_containers(socket: &Path) {
    use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
    with_docker(socket, async |docker| {
        let all = ListContainersOptionsBuilder::default().all(true).build();
        for container in docker.list_containers(Some(all)).await.unwrap_or_default() {
            let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let _ = docker.remove_container(&container.id.unwrap_or_default(), Some(force)).await;
        }
    });
}

fn unmount_below(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|l| l.split(' ').nth(4)).filter(|p| Path::new(p).starts_with(folder));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn last_words(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {words}: {status}");
}

fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let patience = Instant::now() + limit;
    while Instant::now() < patience {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    None
}
