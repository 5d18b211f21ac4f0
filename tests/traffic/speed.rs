//! How fast it is beside HAProxy, on one machine and through a real mesh of two nodes in this process. Takes iperf3, wrk,
//! nginx and haproxy; `testnet/bench/traffic` measures the real thing.
//!
//!   cargo test --release --test traffic speed -- --ignored --nocapture

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;
use skein::ids::NodeId;
use skein::mesh::{self, Directory, Event, Mesh, Peer};
use skein::node::message::Lane;
use skein::proxy::{Config, Exit};
use skein::routing::routes::{Listen, Protocol};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lab::{GATEWAY, Pod, Traffic, endpoint, eventually, machine, run, tcp, try_run, vip};

const NGINX: &str = "daemon off; worker_processes 1; pid /run/nginx-speed.pid; error_log /dev/null;
    events { worker_connections 4096; }
    http { access_log off; server { listen 80; location / { return 200 ok; } } }";
const HAPROXY: &str = "global\n maxconn 4096\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s
listen a\n bind GW:7201\n server s NEAR:5201\nlisten b\n bind GW:7080\n server s NEAR:80
listen c\n bind GW:8201\n server s 127.0.0.1:9201 ssl verify none\nlisten d\n bind GW:8080\n server s 127.0.0.1:9080 ssl verify none\n";
const HAPROXY_FAR: &str = "global\n maxconn 4096\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s
listen e\n bind 127.0.0.1:9201 ssl crt PEM\n server s NEAR:5201\nlisten f\n bind 127.0.0.1:9080 ssl crt PEM\n server s NEAR:80\n";

fn key(n: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

/// Two nodes that are connected. Calls from the first are served by the second.
async fn two_nodes() -> Mesh {
    let at = |n: u8| SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_500 + u16::from(n));
    let start = |n: u8, other: u8| {
        let peer = Peer { name: format!("n{other}"), addresses: vec![at(other)] };
        let (events_in, events) = mpsc::channel(1_024);
        let config = mesh::Config { key: key(n), listen: at(n), discover: false };
        let directory: Directory = BTreeMap::from([(id(other), peer)]);
        async move {
            (Mesh::start(config, directory, events_in, CancellationToken::new()).await.expect("it starts"), events)
        }
    };
    let ((first, mut quiet), (second, mut events)) = (start(1, 2).await, start(2, 1).await);
    let exit = Exit::new(Config { own_pods: "10.240.0.0/24".parse().expect("a range"), ..Config::default() });
    tokio::spawn(async move { while quiet.recv().await.is_some() {} });
    let beating = first.clone();
    tokio::spawn(async move {
        // Agents that say nothing are taken for gone.
        loop {
            beating.send(id(2), Lane::Control, Bytes::from_static(b"beat"));
            second.send(id(1), Lane::Control, Bytes::from_static(b"beat"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Call { call, stream, .. } = event {
                exit.serve(&call, stream);
            }
        }
    });
    first
}

/// What was carried, and the CPU time that it took.
#[derive(Clone, Copy)]
struct Carried {
    rate: f64,
    cpu: f64,
}

fn bulk(address: &SocketAddrV4, connections: u32) -> f64 {
    let (to, port) = (address.ip(), address.port());
    // The server takes one client at a time, and may not have noticed that the last one has left.
    for _ in 0..20 {
        let (_, text) = try_run(&format!("iperf3 -J -c {to} -p {port} -t 3 -P {connections}"));
        let report: serde_json::Value = serde_json::from_str(&text).expect("a report");
        match report["end"]["sum_received"]["bits_per_second"].as_f64() {
            Some(bits) => return bits / 1e9,
            None => println!("iperf3: {}", report["error"]),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("iperf3 does not get through");
}

fn requests(address: &SocketAddrV4, header: &str) -> f64 {
    let text = run(&format!("wrk -t1 -c32 -d3s {header} http://{address}/"));
    assert!(!text.contains("Socket errors"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("a report");
    line.trim().parse().expect("a number")
}

/// Seconds of CPU time that processes have taken.
fn cpu(pids: &[String]) -> f64 {
    let of = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<f64> =
            stat.split(") ").nth(1).expect("a name").split(' ').map(|f| f.parse().unwrap_or(0.0)).collect();
        (fields[11] + fields[12]) / 100.0
    };
    pids.iter().map(of).sum()
}

/// Measures ours and theirs in turn, three times each; prints medians, and CPU time for each thing carried.
fn compare(what: &str, pids: [&[String]; 2], measure: impl Fn(usize) -> f64) {
    let mut carried = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let (who, before) = (round % 2, cpu(pids[round % 2]));
        let rate = measure(who);
        carried[who].push(Carried { rate, cpu: (cpu(pids[who]) - before) / (3.0 * rate) });
    }
    let median = |of: &[Carried], what: fn(&Carried) -> f64| {
        let mut values: Vec<_> = of.iter().map(what).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [ours, theirs] = [0, 1].map(|who| median(&carried[who], |c| c.rate));
    let [our_cpu, their_cpu] = [0, 1].map(|who| median(&carried[who], |c| c.cpu) * 1e6);
    println!(
        "{what}: {ours:.2} / {theirs:.2}: {:.2} x; CPU us each {our_cpu:.1} / {their_cpu:.1}: {:.2} x",
        ours / theirs,
        our_cpu / their_cpu
    );
}

#[test]
#[ignore = "takes a minute and programs to compare with"]
fn beside_haproxy() {
    machine(|| async {
        let (client, pod) = (Pod::new(5), Pod::new(6));
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let pem = path("both.pem");
        run(&format!(
            "cd {0} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=x \
             -keyout k -out c 2>/dev/null && cat c k >{pem}",
            folder.path().display()
        ));
        let fill = |text: &str| {
            text.replace("GW", &GATEWAY.to_string()).replace("NEAR", &pod.address.to_string()).replace("PEM", &pem)
        };
        for (name, text) in [("nginx", NGINX), ("near", HAPROXY), ("far", HAPROXY_FAR)] {
            std::fs::write(path(name), fill(text)).expect("it is written");
        }
        let nginx = std::env::var("NGINX").unwrap_or_else(|_| "nginx".into());
        let (near, far, conf) = (path("near"), path("far"), path("nginx"));
        run(&format!("haproxy -D -p {0}/pid1 -f {near} && haproxy -D -p {0}/pid2 -f {far}", folder.path().display()));
        let pids = folder.path().display().to_string();
        pod.within(move || {
            run(&format!("iperf3 -s -D -I {pids}/pid3; {nginx} -c {conf} >/dev/null 2>&1 & echo $! >{pids}/pid4"));
        });

        let here = Config { pods: "10.240.0.0/12".parse().expect("a range"), ..Config::default() };
        let traffic = Traffic::on(here, two_nodes().await).await;
        let to = |port, node| vec![endpoint(SocketAddrV4::new(pod.address, port), node)];
        traffic.route_to(vec![
            (tcp(vip(1, 80)), to(80, "n1")),
            (tcp(vip(1, 5201)), to(5201, "n1")),
            (Listen::Node { protocol: Protocol::Tcp, port: 30080 }, to(80, "n1")),
            (tcp(vip(2, 80)), to(80, "n2")),
            (tcp(vip(2, 5201)), to(5201, "n2")),
        ]);
        eventually("both answer", || {
            try_run(&format!("curl -sf -m 2 http://{} && curl -sf -m 2 http://{}", vip(1, 80), vip(2, 80))).0
        });
        let pids = ["pid1", "pid2"].map(|name| std::fs::read_to_string(path(name)).expect("it runs").trim().to_owned());
        let only = std::env::var("ONLY").unwrap_or_default();
        client.within(move || {
            let (own, gateway) = ([std::process::id().to_string()], |port| SocketAddrV4::new(GATEWAY, port));
            for (title, n, rivals) in [("same node", 1, (7201, 7080)), ("other node", 2, (8201, 8080))] {
                let pids = [own.as_slice(), &pids[..n.into()]];
                for connections in [1, 8] {
                    let to = [vip(n, 5201), gateway(rivals.0)];
                    let title = format!("{title}: Gbit/s, {connections} connections");
                    if title.contains(&only) {
                        compare(&title, pids, |who| bulk(&to[who], connections));
                    }
                }
                for (what, header) in [("kept", ""), ("new", "-H 'Connection: close'")] {
                    let ours = if std::env::var("NODEPORT").is_ok() { gateway(30080) } else { vip(n, 80) };
                    let to = [ours, gateway(rivals.1)];
                    let title = format!("{title}: requests/s, {what} connections");
                    if title.contains(&only) {
                        compare(&title, pids, |who| requests(&to[who], header));
                    }
                }
            }
        });
        run(&format!("cd {} && kill $(cat pid1 pid2 pid4) $(tr -d '\\0' <pid3)", folder.path().display()));
    });
}
