//! Pods reach each other, the host and the world, and are reached.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use skein::kubelet::action::{ProbeHandler, SandboxSpec};
use skein::runtime::contract::{Behaviour, Driver, Plan, Pod};

use crate::Play;
use crate::driver::{DockerDriver, shell};
use crate::place::{ADDRESSES, OUTSIDE};

pub const SCENARIOS: &[(&str, Play)] = &[
    ("pods_reach_each_other_the_host_and_the_world", pods_reach_each_other_the_host_and_the_world),
    ("the_firewall_is_mended_when_the_daemon_comes_back", the_firewall_is_mended_when_the_daemon_comes_back),
    ("pods_survive_a_deleted_bridge", pods_survive_a_deleted_bridge),
    ("a_sandbox_without_its_network_is_not_adopted", a_sandbox_without_its_network_is_not_adopted),
    ("a_host_network_pod_is_on_the_hosts_network", a_host_network_pod_is_on_the_hosts_network),
];

const SOON: Duration = Duration::from_secs(5);

fn pods_reach_each_other_the_host_and_the_world(driver: &mut DockerDriver) {
    let server = serving(driver, "server");
    let mut client = Pod::new(driver, "client");
    client.sandbox();
    let (id, _) = client.start("client", 0, &Behaviour::Run);
    let own = client.plan.address.to_string();
    let (host, world) = ADDRESSES;
    tell_callers(None, 9091);
    tell_callers(Some(OUTSIDE), 9090);
    // The world knows the way to Services, as the proxy's namespace does, and the way back.
    ip(&format!("route replace 10.96.0.0/16 via {world}"));
    outside(&["ip", "route", "replace", "local", "10.96.0.0/16", "dev", "lo"]);
    outside(&["ip", "route", "replace", "10.240.7.0/24", "via", host]);

    let mut fetch = |to: &str, port: u16| {
        let script = format!("printf 'GET /ok HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {to} {port}");
        client.probe(&id, ProbeHandler::Exec { command: shell(&script) }, SOON).1
    };
    assert!(fetch(&server.address.to_string(), 8080).contains("200 OK"), "a pod reaches another");
    assert!(!fetch(&own, 8080).contains("200"), "nobody serves here");
    assert_eq!(fetch(host, 9091), own, "the host sees a pod's own address");
    assert_eq!(fetch("10.240.7.1", 9091), own, "the host answers at the bridge, too");
    assert_eq!(fetch(world, 9090), host, "the world sees the host's address");
    assert_eq!(fetch("10.96.0.10", 9090), own, "services see a pod's own address");

    assert_eq!(dial(None, server.address), "HTTP/1.0 200 OK", "the host reaches a pod");
    assert_eq!(dial(Some(OUTSIDE), server.address), "HTTP/1.0 200 OK", "who knows the way reaches a pod");
    client.remove();
    Pod::again(driver, &server).remove();
}

fn the_firewall_is_mended_when_the_daemon_comes_back(driver: &mut DockerDriver) {
    let server = serving(driver, "behind");
    for rule in ["-i skbr0 -j ACCEPT", "-o skbr0 -j ACCEPT"] {
        let words = format!("-D FORWARD {rule}");
        assert!(Command::new("iptables").args(words.split(' ')).status().expect("iptables runs").success());
    }
    assert_eq!(dial(Some(OUTSIDE), server.address), "", "the policy is to drop, or this test says nothing");
    driver.stop_daemon();
    driver.start_daemon();
    let mut pod = Pod::again(driver, &server);
    pod.listed().expect("the pod is still there");
    assert_eq!(dial(Some(OUTSIDE), server.address), "HTTP/1.0 200 OK");
    pod.remove();
}

fn pods_survive_a_deleted_bridge(driver: &mut DockerDriver) {
    let server = serving(driver, "unbridged");
    ip("link del skbr0");
    driver.restart_agent();
    let mut pod = Pod::again(driver, &server);
    assert!(pod.listed().is_some_and(|p| p.sandbox.is_some()), "it is mended, not made again");
    // A bridge needs a moment to see that it has a carrier.
    await_server(&server);
    pod.remove();
}

fn a_sandbox_without_its_network_is_not_adopted(driver: &mut DockerDriver) {
    let server = serving(driver, "unplugged");
    ip(&format!("link del sk{}", hex::encode(&server.pod.uid.0[..6])));
    driver.restart_agent();
    let mut pod = Pod::again(driver, &server);
    assert!(pod.listed().is_some_and(|p| p.sandbox.is_none() && p.containers.len() == 1));
    pod.sandbox();
    pod.start("web", 1, &Behaviour::Serve { port: 8080 });
    await_server(&server);
    pod.remove();
}

fn a_host_network_pod_is_on_the_hosts_network(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "hosted");
    let spec = SandboxSpec { address: None, ..pod.sandbox_spec() };
    let sandbox = pod.sandbox_of(spec.clone());
    assert_eq!(sandbox.address, None);
    assert_eq!(pod.sandbox_of(spec).id, sandbox.id, "it is found again");
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    let pid = pod.driver.pid(&id);
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).expect("a namespace");
    assert_eq!(namespace(&pid.to_string()), namespace("self"));
    pod.driver.restart_agent();
    assert_eq!(pod.listed().expect("it is adopted").sandbox, Some(sandbox));
    pod.remove();
}

/// Makes a pod that serves HTTP on port 8080.
fn serving(driver: &mut DockerDriver, name: &str) -> Plan {
    let mut pod = Pod::new(driver, name);
    pod.sandbox();
    pod.start("web", 0, &Behaviour::Serve { port: 8080 });
    await_server(&pod.plan);
    pod.plan
}

fn await_server(plan: &Plan) {
    for _ in 0..100 {
        if dial(None, plan.address) == "HTTP/1.0 200 OK" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} does not serve", plan.pod.name);
}

/// Asks a pod's server, and returns the first line of its answer, or nothing.
fn dial(namespace: Option<&'static str>, to: Ipv4Addr) -> String {
    let dial = move || {
        let mut stream = TcpStream::connect_timeout(&(to, 8080).into(), Duration::from_secs(1)).ok()?;
        stream.write_all(b"GET /ok HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().next().map(|line| line.replace("1.1", "1.0"))
    };
    within(namespace, dial).join().expect("it does not panic").unwrap_or_default()
}

/// Tells all who call what their address is.
fn tell_callers(namespace: Option<&'static str>, port: u16) {
    let (ready_in, ready) = std::sync::mpsc::channel();
    within(namespace, move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
        ready_in.send(()).expect("somebody waits");
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let peer = stream.peer_addr().expect("a peer").ip().to_string();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(peer.as_bytes());
        }
    });
    ready.recv().expect("it listens");
}

/// Runs something on a thread of its own, in another network namespace if one is named.
fn within<T: Send + 'static>(
    namespace: Option<&'static str>,
    what: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        if let Some(variable) = namespace {
            let path = std::env::var(variable).expect("the outer test says where the world is");
            let namespace = std::fs::File::open(path).expect("a namespace");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("we are root");
        }
        what()
    })
}

fn outside(words: &[&str]) {
    let path = std::env::var(OUTSIDE).expect("the outer test says where the world is");
    let status = Command::new("nsenter").arg(format!("--net={path}")).args(words).status().expect("nsenter runs");
    assert!(status.success(), "{words:?}: {status}");
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {words}: {status}");
}
