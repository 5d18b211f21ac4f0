//! TCP through virtual addresses and node ports.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein::proxy::{Config, Namespace, NamespaceError};
use skein::routing::Routes;
use skein::routing::routes::{Backends, Endpoint, Listen, Protocol};
use tokio::task::block_in_place as blocking;

use crate::lab::{
    GATEWAY, LONG, Pod, Server, Traffic, assert_refused, call, eventually, greet, hear, machine, mirror,
    namespace_config, parrot, run, tcp, there_and_back, try_run, vip,
};

fn at(pod: &Pod) -> SocketAddrV4 {
    SocketAddrV4::new(pod.address, 8080)
}

fn open(address: SocketAddrV4) {
    eventually("the port is open", || hear(address).is_ok());
}

#[test]
fn a_virtual_address_answers_host_and_pods_beside_what_the_host_listens_on() {
    machine(|| async {
        let on_80 = Server::here("0.0.0.0:80", greet);
        let on_22 = Server::here("0.0.0.0:22", greet);
        let (a, b) = (Pod::new(5), Pod::new(6));
        let _server = a.serve(8080, greet);
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        open(vip(1, 80));

        assert_eq!(blocking(|| hear(vip(1, 80))).expect("the host is answered"), "10.240.0.5");
        assert_eq!(b.within(|| hear(vip(1, 80))).expect("a pod is answered"), "10.240.0.5");
        assert_eq!(a.within(|| hear(vip(1, 80))).expect("a pod reaches itself"), "10.240.0.5");
        for unused in [vip(1, 22), vip(1, 81), vip(2, 80), vip(2, 22)] {
            blocking(|| assert_refused(|| hear(unused)));
            b.within(move || assert_refused(|| hear(unused)));
        }
        assert_eq!((on_80.count(), on_22.count()), (0, 0), "the host's own servers saw nothing of it");
        let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        assert_eq!(blocking(|| hear(own)).expect("the host's own server answers"), "host");
    });
}

#[test]
fn a_node_port_answers_on_every_address_of_the_host() {
    machine(|| async {
        let (a, b) = (Pod::new(5), Pod::new(6));
        let _server = a.serve(8080, greet);
        let traffic = Traffic::start().await;
        traffic.route(&[(Listen::Node { protocol: Protocol::Tcp, port: 30080 }, &[at(&a)])]);
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 30080);
        open(local);
        let bridge = SocketAddrV4::new(GATEWAY, 30080);
        assert_eq!(blocking(|| hear(bridge)).expect("the host is answered"), "10.240.0.5");
        assert_eq!(b.within(move || hear(bridge)).expect("a pod is answered"), "10.240.0.5");
        traffic.route(&[]);
        eventually("the port is closed", || hear(local).is_err());
        blocking(|| assert_refused(|| hear(bridge)));
    });
}

#[test]
fn a_port_that_is_taken_is_opened_when_it_is_free_and_holds_up_no_other() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, greet);
        let taken = Server::here("0.0.0.0:30080", greet);
        let traffic = Traffic::with(Config { retry: Duration::from_millis(50), ..Config::default() }).await;
        let node = |port| Listen::Node { protocol: Protocol::Tcp, port };
        let endpoints: &[SocketAddrV4] = &[at(&a)];
        traffic.route(&[(node(30080), endpoints), (node(30081), endpoints), (tcp(vip(1, 80)), endpoints)]);
        let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        open(local(30081));
        open(vip(1, 80));
        assert_eq!(blocking(|| hear(local(30080))).expect("somebody answers"), "host");
        drop(taken);
        eventually("the port is ours", || hear(local(30080)).is_ok_and(|name| name == "10.240.0.5"));
    });
}

#[test]
fn six_hundred_connections_spread_over_three() {
    machine(|| async {
        let pods = [Pod::new(5), Pod::new(6), Pod::new(7)];
        let _servers = pods.each_ref().map(|pod| pod.serve(8080, greet));
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &pods.each_ref().map(at))]);
        open(vip(1, 80));
        let counts = pods[0].within(|| {
            let mut counts = BTreeMap::<String, u32>::new();
            for _ in 0..600 {
                *counts.entry(hear(vip(1, 80)).expect("an answer")).or_default() += 1;
            }
            counts
        });
        assert!(counts.len() == 3 && counts.values().all(|n| (150..=252).contains(n)), "{counts:?}");
    });
}

#[test]
fn without_a_ready_endpoint_connections_are_refused_at_once() {
    machine(|| async {
        let a = Pod::new(5);
        let server = a.serve(8080, parrot);
        let traffic = Traffic::start().await;
        let listen = tcp(vip(1, 80));
        traffic.route(&[(listen, &[at(&a)])]);
        eventually("the port is open", || call(vip(1, 80)).is_ok());
        let (mut kept, _) = blocking(|| call(vip(1, 80))).expect("an answer");

        traffic.route(&[(listen, &[])]);
        eventually("the port is closed", || call(vip(1, 80)).is_err());
        blocking(|| assert_refused(|| call(vip(1, 80))));
        a.within(|| assert_refused(|| call(vip(1, 80))));
        // Who was connected stays connected, whatever becomes of the routes.
        let mut echo = |text: &[u8]| {
            blocking(|| {
                kept.write_all(text).expect("it is sent");
                let mut answer = vec![0; text.len()];
                kept.read_exact(&mut answer).expect("it comes back");
                assert_eq!(answer, text);
            });
        };
        echo(b"still here");
        traffic.route(&[(listen, &[at(&a)])]);
        eventually("the port is open again", || call(vip(1, 80)).is_ok());
        echo(b"and here");
        traffic.route(&[]);
        drop(server);
        eventually("the port is closed", || call(vip(1, 80)).is_err());
        echo(b"and still");
    });
}

#[test]
fn a_failed_dial_is_repeated_elsewhere_before_the_client_notices() {
    machine(|| async {
        let pods = [Pod::new(5), Pod::new(6), Pod::new(7)];
        let [_first, second, _third] = pods.each_ref().map(|pod| pod.serve(8080, greet));
        let mut endpoints = pods.each_ref().map(at).to_vec();
        // One that nobody answers for, one that swallows all it is sent.
        endpoints.push(SocketAddrV4::new(Ipv4Addr::new(10, 240, 0, 99), 8080));
        pods[2].within(|| run("iptables -w 5 -A INPUT -p tcp --dport 8080 -j DROP"));
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &endpoints)]);
        open(vip(1, 80));
        let mut second = Some(second);
        for n in 0..60 {
            if n == 20 {
                // It dies, and the routes do not know yet.
                drop(second.take());
            }
            let start = Instant::now();
            let name = blocking(|| hear(vip(1, 80))).expect("the client notices nothing");
            assert!(name == "10.240.0.5" || (name == "10.240.0.6" && n < 20), "{name}");
            // Two silent ones in a row, and a busy machine.
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
    });
}

#[test]
fn when_no_endpoint_answers_the_connection_is_reset() {
    machine(|| async {
        let a = Pod::new(5);
        let server = a.serve(8080, greet);
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        open(vip(1, 80));
        drop(server);
        eventually("it is reset", || hear(vip(1, 80)).is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
        let _again = a.serve(8080, greet);
        eventually("it is back", || hear(vip(1, 80)).is_ok());
    });
}

#[test]
fn each_side_finishes_on_its_own_and_a_reset_passes_through() {
    machine(|| async {
        let a = Pod::new(5);
        // Waits for the end of what it is sent, then answers with its length.
        let _counting = a.serve(8080, |mut stream, _| {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).expect("the client finishes");
            std::thread::sleep(Duration::from_millis(50));
            let _ = stream.write_all(text.len().to_string().as_bytes());
        });
        let _resetting = a.serve(8081, |mut stream, _| {
            let _ = stream.read(&mut [0]);
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is set");
        });
        let traffic = Traffic::start().await;
        let resetting = SocketAddrV4::new(a.address, 8081);
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)]), (tcp(vip(1, 81)), &[resetting])]);
        eventually("the ports are open", || {
            TcpStream::connect(vip(1, 80)).is_ok() && TcpStream::connect(vip(1, 81)).is_ok()
        });
        blocking(|| {
            let mut stream = TcpStream::connect(vip(1, 80)).expect("a connection");
            let much = vec![7; 3_000_000];
            stream.write_all(&much).expect("it is sent");
            stream.shutdown(Shutdown::Write).expect("the client finishes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the server answers after that");
            assert_eq!(answer, "3000000");

            let mut stream = TcpStream::connect(vip(1, 81)).expect("a connection");
            stream.write_all(b"x").expect("it is sent");
            stream.set_read_timeout(Some(LONG)).expect("it is set");
            let error = stream.read(&mut [0]).expect_err("a reset is no end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn much_data_arrives_whole_while_both_sides_send() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, mirror);
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        eventually("the port is open", || TcpStream::connect(vip(1, 80)).is_ok());
        blocking(|| there_and_back(vip(1, 80)));
    });
}

#[test]
fn beyond_the_limit_clients_wait_for_their_turn() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, parrot);
        let traffic = Traffic::with(Config { connections: 2, ..Config::default() }).await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        eventually("the port is open", || call(vip(1, 80)).is_ok());
        blocking(|| {
            let first = call(vip(1, 80)).expect("one");
            let _second = call(vip(1, 80)).expect("two");
            let mut third = TcpStream::connect(vip(1, 80)).expect("the kernel takes it in");
            third.set_read_timeout(Some(Duration::from_millis(300))).expect("it is set");
            let error = third.read(&mut [0; 64]).expect_err("not its turn yet");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            drop(first);
            third.set_read_timeout(Some(LONG)).expect("it is set");
            assert!(third.read(&mut [0; 64]).expect("its turn") > 0);
        });
    });
}

#[test]
fn a_client_keeps_its_endpoint_where_the_service_asks_for_it() {
    machine(|| async {
        let pods = [Pod::new(5), Pod::new(6), Pod::new(7)];
        let _servers = pods.each_ref().map(|pod| pod.serve(8080, greet));
        let traffic = Traffic::start().await;
        let endpoints = pods.iter().map(|pod| Endpoint { address: at(pod), node: None }).collect();
        let backends = Backends { service: "shop/web:80".into(), endpoints, affinity_seconds: Some(600) };
        let listeners = BTreeMap::from([(tcp(vip(1, 80)), Arc::new(backends))]);
        traffic.show(Routes { listeners, ..Routes::default() });
        open(vip(1, 80));
        for pod in &pods {
            let names: Vec<_> = pod.within(|| (0..10).map(|_| hear(vip(1, 80)).expect("an answer")).collect());
            assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        }
    });
}

#[test]
fn open_connections_may_finish_when_the_proxy_stops_but_not_for_ever() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, parrot);
        let drain = Duration::from_millis(700);
        let traffic = Traffic::with(Config { drain, ..Config::default() }).await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        eventually("the port is open", || call(vip(1, 80)).is_ok());
        let (mut stream, _) = blocking(|| call(vip(1, 80))).expect("a connection");
        let start = Instant::now();
        traffic.shutdown.cancel();
        eventually("the port is closed", || call(vip(1, 80)).is_err());
        blocking(|| {
            stream.write_all(b"bye").expect("it is sent");
            assert_eq!(stream.read(&mut [0; 64]).expect("it comes back"), 3);
        });
        traffic.running.await.expect("the proxy ends");
        assert!(start.elapsed() >= drain);
        let end = blocking(|| stream.read(&mut [0; 64])).expect_err("it is cut off");
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_a_killed_agent_left_is_taken_over_and_what_is_closed_leaves_nothing() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, greet);
        // The links and the route of an agent that was killed.
        run("ip link add sk-test type veth peer name left-over");
        run("ip addr add 169.254.77.1/30 dev sk-test && ip link set sk-test up && ip link set left-over up");
        run("ip route add 10.96.0.0/16 via 169.254.77.2 dev sk-test");
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        open(vip(1, 80));
        let rules = || run("iptables -w 5 -S FORWARD | grep -c sk-test || true");
        assert_eq!(rules(), "2");
        // Others set the firewall up anew, then ours is asserted again.
        run("iptables -w 5 -F FORWARD");
        traffic.namespace.permit().await.expect("permitted");
        traffic.namespace.permit().await.expect("permitted");
        assert_eq!(rules(), "2", "put back, and once");

        traffic.shutdown.cancel();
        traffic.running.await.expect("the proxy ends");
        traffic.namespace.close().await.expect("it is closed");
        assert_eq!(rules(), "0");
        assert_eq!(run("ip route show 10.96.0.0/16"), "");
        assert!(!try_run("ip link show sk-test").0, "the link is gone");
    });
}

#[test]
fn two_agents_share_a_machine_and_a_range_belongs_to_one() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, greet);
        let traffic = Traffic::start().await;
        traffic.route(&[(tcp(vip(1, 80)), &[at(&a)])]);
        let mut other = namespace_config("sk-other");
        other.network = "169.254.77.4/30".parse().expect("a network");
        let error = Namespace::open(other.clone()).await.expect_err("the range is taken");
        assert!(matches!(error, NamespaceError::RangeTaken(_)), "{error}");
        assert_eq!(error.to_string(), "the service range 10.96.0.0/16 is routed elsewhere on this machine");

        other.service_range = "10.97.0.0/16".parse().expect("a range");
        let second = Namespace::open(other).await.expect("a second namespace");
        let listener = second.tcp(SocketAddrV4::new(Ipv4Addr::new(10, 97, 0, 1), 80)).await.expect("a port there");
        assert!(second.tcp(vip(1, 80)).await.is_err(), "the first one's addresses are not here");
        open(vip(1, 80));
        let client = std::thread::spawn(|| TcpStream::connect("10.97.0.1:80").map(drop));
        listener.accept().await.expect("a client");
        blocking(|| client.join()).expect("no panic").expect("connected");
        assert!(TcpListener::bind(vip(1, 80)).is_err(), "virtual addresses are not the host's");
    });
}
