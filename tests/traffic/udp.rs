//! UDP through virtual addresses and node ports.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use skein::proxy::Config;
use skein::routing::routes::{Listen, Protocol};
use tokio::task::block_in_place as blocking;

use crate::lab::{GATEWAY, LONG, Pod, Traffic, ask, assert_refused, eventually, is_refused, machine, udp, vip};

fn at(pod: &Pod) -> SocketAddrV4 {
    SocketAddrV4::new(pod.address, 5353)
}

fn open(address: SocketAddrV4) {
    eventually("the port is open", || ask(address, "?").is_ok());
}

#[test]
fn a_virtual_address_answers_host_and_pods_beside_what_the_host_listens_on() {
    machine(|| async {
        let host = UdpSocket::bind("0.0.0.0:53").expect("the port is free");
        let (a, b) = (Pod::new(5), Pod::new(6));
        a.echo(5353);
        let traffic = Traffic::start().await;
        let node = Listen::Node { protocol: Protocol::Udp, port: 30053 };
        traffic.route(&[(udp(vip(1, 53)), &[at(&a)]), (node, &[at(&a)])]);
        open(vip(1, 53));
        assert_eq!(blocking(|| ask(vip(1, 53), "host")).expect("the host is answered"), "10.240.0.5 host");
        assert_eq!(b.within(|| ask(vip(1, 53), "pod")).expect("a pod is answered"), "10.240.0.5 pod");
        assert_eq!(a.within(|| ask(vip(1, 53), "self")).expect("a pod reaches itself"), "10.240.0.5 self");
        for address in [GATEWAY, Ipv4Addr::LOCALHOST] {
            let node = SocketAddrV4::new(address, 30053);
            assert_eq!(blocking(|| ask(node, "node")).expect("the node port answers"), "10.240.0.5 node");
        }
        blocking(|| assert_refused(|| ask(vip(1, 54), "?")));
        b.within(|| assert_refused(|| ask(vip(2, 53), "?")));
        host.set_nonblocking(true).expect("it is set");
        assert!(host.recv(&mut [0; 9]).is_err(), "the host's own socket saw nothing of it");
    });
}

#[test]
fn a_client_stays_with_its_endpoint_until_that_goes() {
    machine(|| async {
        let pods = [Pod::new(5), Pod::new(6), Pod::new(7)];
        pods.iter().for_each(|pod| pod.echo(5353));
        let traffic = Traffic::start().await;
        let listen = udp(vip(1, 53));
        traffic.route(&[(listen, &pods.each_ref().map(at))]);
        open(vip(1, 53));
        blocking(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(LONG)).expect("it is set");
            socket.connect(vip(1, 53)).expect("connected");
            let exchange = || {
                socket.send(b"").expect("it is sent");
                let mut buffer = [0; 64];
                let length = socket.recv(&mut buffer).expect("an answer");
                String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
            };
            let first = exchange();
            for _ in 0..20 {
                assert_eq!(exchange(), first);
            }
            let others: Vec<_> = pods.iter().filter(|pod| pod.address.to_string() != first).map(at).collect();
            traffic.route(&[(listen, &others)]);
            eventually("it moved on", || exchange() != first);
            traffic.route(&[(listen, &[])]);
            // What arrives while the port closes is lost, and nobody says so.
            eventually("the port is closed", || is_refused(vip(1, 53)));
            assert_refused(|| ask(vip(1, 53), "?"));
        });
    });
}

#[test]
fn an_endpoint_that_is_not_there_is_passed_over() {
    machine(|| async {
        let (a, b) = (Pod::new(5), Pod::new(6));
        a.echo(5353);
        let traffic = Traffic::start().await;
        // Nothing listens in b: its kernel says `port unreachable`.
        traffic.route(&[(udp(vip(1, 53)), &[at(&a), at(&b)])]);
        blocking(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(300))).expect("it is set");
            eventually("answered", || {
                let _ = socket.send_to(b"?", vip(1, 53));
                socket.recv(&mut [0; 64]).is_ok()
            });
            let lost = (0..50).filter(|_| {
                socket.send_to(b"?", vip(1, 53)).expect("it is sent");
                socket.recv(&mut [0; 64]).is_err()
            });
            assert_eq!(lost.count(), 0, "a client that found its endpoint keeps it");
        });
    });
}

#[test]
fn flows_are_bounded_and_the_oldest_gives_way() {
    machine(|| async {
        let a = Pod::new(5);
        a.echo(5353);
        let traffic = Traffic::with(Config { flows: 4, ..Config::default() }).await;
        traffic.route(&[(udp(vip(1, 53)), &[at(&a)])]);
        open(vip(1, 53));
        blocking(|| {
            let socket = || {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                socket.set_read_timeout(Some(LONG)).expect("it is set");
                socket
            };
            let clients: Vec<_> = std::iter::repeat_with(socket).take(12).collect();
            for client in &clients {
                client.send_to(b"?", vip(1, 53)).expect("it is sent");
                client.recv(&mut [0; 64]).expect("every new client is answered");
            }
        });
    });
}

#[test]
fn silent_flows_end_and_large_datagrams_arrive_whole() {
    machine(|| async {
        let a = Pod::new(5);
        a.echo(5353);
        let idle = Duration::from_millis(100);
        let traffic = Traffic::with(Config { flows: 1, udp_idle: idle, ..Config::default() }).await;
        let endpoints: &[SocketAddrV4] = &[at(&a)];
        traffic.route(&[(udp(vip(1, 53)), endpoints), (udp(vip(2, 53)), endpoints)]);
        // The one flow belongs to another listener, which keeps it until it has been silent for long enough.
        open(vip(1, 53));
        let patient = || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            socket.send_to(&[b'x'; 40_000], vip(2, 53))?;
            let mut buffer = vec![0; 65_536];
            socket.recv(&mut buffer)
        };
        eventually("there is room again", || patient().is_ok_and(|length| length == 40_000 + "10.240.0.5 ".len()));
    });
}
