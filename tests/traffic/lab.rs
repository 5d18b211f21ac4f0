//! A machine and its pods, made of threads that each have a network namespace of their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use skein::handle::{Call, Calls, Stream};
use skein::proxy::{Config, Exit, Namespace, NamespaceConfig, Proxy};
use skein::routing::Routes;
use skein::routing::routes::{Backends, Endpoint, Listen, Protocol};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The address of the machine on the bridge of its pods.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 1);
/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);
/// What "at once" means on a busy machine.
pub const SOON: Duration = Duration::from_millis(900);

/// Runs `test` on a machine of its own: a namespace with a bridge, where forwarded packets are dropped unless a rule
/// says otherwise, as Docker sets it up.
pub fn machine<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests take root");
        run("ip link set lo up");
        run("ip link add br0 type bridge");
        run(&format!("ip addr add {GATEWAY}/16 dev br0"));
        run("ip link set br0 up");
        run("iptables -w 5 -P FORWARD DROP");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let limited = async { tokio::time::timeout(Duration::from_secs(300), test()).await.expect("the test hangs") };
        runtime.expect("a runtime").block_on(limited);
    };
    let _ = tracing_subscriber::fmt().with_env_filter("skein=debug").with_test_writer().try_init();
    std::thread::spawn(body).join().expect("the test failed");
}

/// Runs a program in the namespace of the calling thread.
pub fn run(command: &str) -> String {
    let (ok, output) = try_run(command);
    assert!(ok, "{command}: {output}");
    output
}

/// The same, telling whether it succeeded.
pub fn try_run(command: &str) -> (bool, String) {
    let output = Command::new("sh").arg("-c").arg(command).output().expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

type Job = Box<dyn FnOnce() + Send>;

/// A pod on the bridge.
pub struct Pod {
    pub address: Ipv4Addr,
    jobs: mpsc::Sender<Job>,
}

impl Pod {
    /// Makes the pod 10.240.0.`last`.
    pub fn new(last: u8) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (thread_in, thread) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests take root");
            thread_in.send(nix::unistd::gettid()).expect("the machine waits");
            while let Ok(job) = inbox.recv() {
                job();
            }
        });
        let thread = thread.recv().expect("the pod's thread");
        let address = Ipv4Addr::new(10, 240, 0, last);
        run(&format!("ip link add v{last} type veth peer name eth0 netns {thread}"));
        run(&format!("ip link set v{last} master br0 up"));
        let pod = Self { address, jobs };
        pod.within(move || {
            run("ip link set lo up");
            run(&format!("ip addr add {address}/16 dev eth0"));
            run("ip link set eth0 up");
            run(&format!("ip route add default via {GATEWAY}"));
        });
        pod
    }

    /// Runs `job` on the pod's network. Blocks, which a test may.
    pub fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer_in, answer) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(answer_in.send(job())))).expect("the pod's thread lives");
        tokio::task::block_in_place(|| answer.recv().expect("the job in the pod failed"))
    }

    /// Gives the pod a resolv.conf of its own, as the kubelet would.
    pub fn resolv_conf(&self, text: &'static str) {
        self.within(move || {
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .expect("a mount namespace of its own");
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("it is written");
            mount(Some(file.path()), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .expect("it is mounted");
        });
    }

    /// Serves TCP at `port`, each client as `behave` says, until the server is dropped.
    pub fn serve(&self, port: u16, behave: fn(TcpStream, &str)) -> Server {
        let address = SocketAddrV4::new(self.address, port);
        let listener = self.within(move || TcpListener::bind(address).expect("the pod's port is free"));
        Server::new(listener, behave, self.address.to_string())
    }

    /// Answers each datagram at `port` with the pod's address and what was sent.
    pub fn echo(&self, port: u16) {
        let address = SocketAddrV4::new(self.address, port);
        let socket = self.within(move || UdpSocket::bind(address).expect("the pod's port is free"));
        let name = self.address.to_string();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
                let _ = socket.send_to(&answer[..answer.len().min(65_000)], client);
            }
        });
    }
}

/// A server that stops listening when dropped; connections it has accepted go on.
pub struct Server {
    pub accepted: Arc<AtomicUsize>,
    listener: Arc<Mutex<Option<TcpListener>>>,
}

impl Server {
    fn new(listener: TcpListener, behave: fn(TcpStream, &str), name: String) -> Self {
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, incoming) = (Arc::clone(&accepted), listener.try_clone().expect("it is cloned"));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                count.fetch_add(1, Ordering::SeqCst);
                let name = name.clone();
                std::thread::spawn(move || behave(stream, &name));
            }
        });
        Self { accepted, listener: Arc::new(Mutex::new(Some(listener))) }
    }

    /// Listens at an address of the machine itself.
    pub fn here(address: &str, behave: fn(TcpStream, &str)) -> Self {
        Self::new(TcpListener::bind(address).expect("the port is free"), behave, "host".into())
    }

    pub fn count(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.lock().expect("not poisoned").take() {
            // Shutting it down ends the accept() of the other thread too, and with it the last copy of the socket.
            let _ = socket2::SockRef::from(&listener).shutdown(Shutdown::Both);
        }
    }
}

/// Says who it is and hangs up.
pub fn greet(mut stream: TcpStream, name: &str) {
    let _ = stream.write_all(name.as_bytes());
}

/// Says who it is, then gives back what it is sent.
pub fn parrot(mut stream: TcpStream, name: &str) {
    let _ = stream.write_all(name.as_bytes());
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let _ = stream.write_all(&buffer[..length]);
    }
}

/// Gives back what it is sent, until the end.
pub fn mirror(mut stream: TcpStream, _: &str) {
    let mut back = stream.try_clone().expect("it is cloned");
    std::io::copy(&mut stream, &mut back).expect("it is copied");
}

/// Sends 20 MB to a [`mirror`] and finishes; all of it must come back.
pub fn there_and_back(address: SocketAddrV4) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let sent: Vec<u8> = (0..20_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut writer, copy) = (stream.try_clone().expect("it is cloned"), sent.clone());
    let sender = std::thread::spawn(move || {
        writer.write_all(&copy).expect("it is sent");
        writer.shutdown(Shutdown::Write).expect("the client finishes");
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("it comes back");
    sender.join().expect("all is sent");
    assert!(sent == received, "{} bytes of {} came back", received.len(), sent.len());
}

/// Connects, and reads what it is told until the end.
pub fn hear(address: SocketAddrV4) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Connects and reads the first words.
pub fn call(address: SocketAddrV4) -> std::io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut buffer = [0; 64];
    let length = stream.read(&mut buffer)?;
    Ok((stream, String::from_utf8_lossy(&buffer[..length]).into_owned()))
}

/// Sends a datagram and waits for the answer.
pub fn ask(address: SocketAddrV4, text: &str) -> std::io::Result<String> {
    ask_within(LONG, address, text)
}

fn ask_within(patience: Duration, address: SocketAddrV4, text: &str) -> std::io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(address)?;
    socket.send(text.as_bytes())?;
    let mut buffer = [0; 65_536];
    loop {
        match socket.recv(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            received => return received.map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()),
        }
    }
}

/// Tells whether datagrams are refused. A port that has just been closed may swallow one: a child process that is being
/// started, of another test, has a copy of the socket for a moment.
pub fn is_refused(address: SocketAddrV4) -> bool {
    let answer = ask_within(Duration::from_millis(100), address, "?");
    answer.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

/// Asserts that `what` is refused, and soon: not timed out, not dropped.
pub fn assert_refused<T: std::fmt::Debug>(what: impl FnOnce() -> std::io::Result<T>) {
    let start = Instant::now();
    let error = what().expect_err("it should be refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
}

/// Tries until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !tokio::task::block_in_place(&mut is_so) {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(10)));
    }
}

pub fn vip(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 96, 7, last), port)
}

pub fn tcp(address: SocketAddrV4) -> Listen {
    Listen::Virtual { protocol: Protocol::Tcp, address }
}

pub fn udp(address: SocketAddrV4) -> Listen {
    Listen::Virtual { protocol: Protocol::Udp, address }
}

pub fn namespace_config(link: &str) -> NamespaceConfig {
    NamespaceConfig {
        link: link.into(),
        network: "169.254.77.0/30".parse().expect("a network"),
        service_range: "10.96.0.0/16".parse().expect("a range"),
        pods: "10.240.0.0/12".parse().expect("a range"),
        own_pods: "10.240.0.0/16".parse().expect("a range"),
    }
}

/// The address of the pod 10.240.0.`last` on node n2 or n3, as node n1 knows it.
pub fn far(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 241, 0, last), port)
}

/// An endpoint on a node.
pub fn endpoint(address: SocketAddrV4, node: &str) -> Endpoint {
    Endpoint { address, node: Some(node.into()) }
}

/// A mesh to agents that are in this process too. Their pods are the ones on the bridge, under addresses that nothing
/// but the mesh leads to.
#[derive(Default)]
pub struct Mesh {
    /// The members, and how long each takes to get to a call.
    pub members: BTreeMap<&'static str, Duration>,
    pub calls: Arc<AtomicUsize>,
    /// Cuts all streams when it changes.
    pub cut: CancellationToken,
}

impl Mesh {
    pub fn of(members: &[(&'static str, Duration)]) -> Self {
        Self { members: members.iter().copied().collect(), ..Self::default() }
    }
}

impl Calls for Mesh {
    fn call(&self, node: &str, call: Call) -> BoxFuture<'static, std::io::Result<Stream>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let Some(delay) = self.members.get(node).copied() else {
            return async { Err(ErrorKind::NotConnected.into()) }.boxed();
        };
        let near = |a: SocketAddrV4| {
            let [_, _, c, d] = a.ip().octets();
            SocketAddrV4::new(Ipv4Addr::new(10, 240, c, d), a.port())
        };
        let call = match call {
            Call::Tcp(address) => Call::Tcp(near(address)),
            Call::Udp(address) => Call::Udp(near(address)),
            other => other,
        };
        let (ours, theirs) = tokio::io::duplex(100_000);
        let (own_pods, cut) = ("10.240.0.0/16".parse().expect("a range"), self.cut.clone());
        let exit = Exit::new(Config { own_pods, ..Config::default() });
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            exit.serve(&call, Box::new(theirs));
            exit.run(cut).await;
        });
        async { Ok(Box::new(ours) as Stream) }.boxed()
    }
}

/// A proxy at work, and the routes it is given.
pub struct Traffic {
    pub namespace: Namespace,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<()>,
    routes: watch::Sender<Arc<Routes>>,
}

impl Traffic {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::on(config, Mesh::default()).await
    }

    /// A proxy of node n1.
    pub async fn on(config: Config, mesh: impl Calls + 'static) -> Self {
        let config = Config { node: "n1".into(), own_pods: "10.240.0.0/16".parse().expect("a range"), ..config };
        let namespace = Namespace::open(namespace_config("sk-test")).await.expect("a namespace");
        let (routes, watched) = watch::channel(Arc::default());
        let shutdown = CancellationToken::new();
        let proxy = Proxy::new(config, namespace.clone(), watched, Arc::new(mesh));
        let running = tokio::spawn(proxy.run(shutdown.clone()));
        Self { namespace, shutdown, running, routes }
    }

    pub fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.subscribe()
    }

    /// Sends these places to these endpoints.
    pub fn route(&self, listeners: &[(Listen, &[SocketAddrV4])]) {
        let outside = |address: &SocketAddrV4| Endpoint { address: *address, node: None };
        let listeners: Vec<_> = listeners.iter().map(|(l, e)| (*l, e.iter().map(outside).collect())).collect();
        self.route_to(listeners);
    }

    /// The same, to endpoints on nodes.
    pub fn route_to(&self, listeners: Vec<(Listen, Vec<Endpoint>)>) {
        let backends =
            |endpoints| Arc::new(Backends { service: "shop/web:http".into(), endpoints, affinity_seconds: None });
        let listeners = listeners.into_iter().map(|(listen, endpoints)| (listen, backends(endpoints))).collect();
        self.show(Routes { listeners, ..Routes::default() });
    }

    pub fn show(&self, routes: Routes) {
        self.routes.send_replace(Arc::new(routes));
    }
}
