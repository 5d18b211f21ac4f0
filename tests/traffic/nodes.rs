//! Pods of other nodes, through a mesh.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skein::proxy::Config;
use skein::routing::Routes;
use tokio::task::block_in_place as blocking;

use crate::lab::{
    LONG, Mesh, Pod, Traffic, ask, call, endpoint, eventually, far, greet, hear, machine, mirror, parrot, tcp,
    there_and_back, udp, vip,
};

const AT_ONCE: Duration = Duration::ZERO;

async fn traffic(members: &[(&'static str, Duration)]) -> Traffic {
    Traffic::on(Config::default(), Mesh::of(members)).await
}

fn open(address: SocketAddrV4) {
    eventually("the port is open", || TcpStream::connect(address).is_ok());
}

#[test]
fn a_service_reaches_pods_of_other_nodes() {
    machine(|| async {
        let (client, a, b) = (Pod::new(5), Pod::new(6), Pod::new(7));
        let _servers = [a.serve(8080, greet), b.serve(8080, greet)];
        let traffic = traffic(&[("n2", AT_ONCE), ("n3", AT_ONCE)]).await;
        traffic.route_to(vec![(tcp(vip(1, 80)), vec![endpoint(far(6, 8080), "n2"), endpoint(far(7, 8080), "n3")])]);
        open(vip(1, 80));
        let names: Vec<_> = client.within(|| (0..40).map(|_| hear(vip(1, 80)).expect("an answer")).collect());
        for pod in [&a, &b] {
            assert!(names.contains(&pod.address.to_string()), "{names:?}");
        }
    });
}

#[test]
fn pods_of_this_node_and_addresses_outside_of_the_pod_range_are_dialled_directly() {
    machine(|| async {
        let a = Pod::new(5);
        let _servers = [a.serve(8080, greet)];
        let _host = crate::lab::Server::here("127.0.0.1:8081", greet);
        let mesh = Mesh::of(&[("n1", AT_ONCE), ("n2", AT_ONCE)]);
        let calls = mesh.calls.clone();
        let traffic = Traffic::on(Config::default(), mesh).await;
        let on_host = "127.0.0.1:8081".parse().expect("an address");
        traffic.route_to(vec![
            (tcp(vip(1, 80)), vec![endpoint(SocketAddrV4::new(a.address, 8080), "n1")]),
            (tcp(vip(2, 80)), vec![endpoint(on_host, "n2")]),
        ]);
        open(vip(2, 80));
        assert_eq!(blocking(|| hear(vip(1, 80))).expect("an answer"), "10.240.0.5");
        assert_eq!(blocking(|| hear(vip(2, 80))).expect("an answer"), "host");
        assert_eq!(calls.load(Ordering::SeqCst), 0, "the mesh was not asked");
    });
}

#[test]
fn a_node_that_is_silent_gets_a_rival_and_one_that_is_gone_is_passed_over_at_once() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, greet);
        let traffic = traffic(&[("slow", LONG), ("n2", AT_ONCE)]).await;
        traffic.route_to(vec![
            (tcp(vip(1, 80)), vec![endpoint(far(4, 8080), "slow"), endpoint(far(5, 8080), "n2")]),
            (tcp(vip(2, 80)), vec![endpoint(far(4, 8080), "gone"), endpoint(far(5, 8080), "n2")]),
            // There nothing listens.
            (tcp(vip(3, 80)), vec![endpoint(far(5, 8081), "n2"), endpoint(far(5, 8080), "n2")]),
            (tcp(vip(4, 80)), vec![endpoint(far(4, 8080), "gone"), endpoint(far(5, 8081), "n2")]),
        ]);
        open(vip(4, 80));
        for (last, patience) in [(1, 1_500), (2, 240), (3, 240)] {
            for _ in 0..20 {
                let start = Instant::now();
                assert_eq!(blocking(|| hear(vip(last, 80))).expect("the client notices nothing"), "10.240.0.5");
                assert!(start.elapsed() < Duration::from_millis(patience), "{last}: {:?}", start.elapsed());
            }
        }
        let error = blocking(|| hear(vip(4, 80))).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_the_client_says_is_held_until_a_pod_has_answered() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, parrot);
        let traffic = traffic(&[("slow", Duration::from_millis(400))]).await;
        traffic.route_to(vec![(tcp(vip(1, 80)), vec![endpoint(far(5, 8080), "slow")])]);
        open(vip(1, 80));
        blocking(|| {
            let mut stream = TcpStream::connect(vip(1, 80)).expect("a connection");
            stream.write_all(b"hello").expect("it is sent");
            stream.shutdown(Shutdown::Write).expect("the client finishes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the answer comes");
            assert_eq!(answer, "10.240.0.5hello");
        });
    });
}

#[test]
fn each_side_finishes_on_its_own_and_a_reset_passes_through_both_ways() {
    machine(|| async {
        let a = Pod::new(5);
        let _counting = a.serve(8080, |mut stream, _| {
            let mut text = Vec::new();
            let answer = match stream.read_to_end(&mut text) {
                Ok(length) => length.to_string(),
                Err(error) => error.kind().to_string(),
            };
            let _ = stream.write_all(answer.as_bytes());
            // Tells a later client what became of this one.
            LAST.lock().expect("not poisoned").replace(answer);
        });
        let _resetting = a.serve(8081, |mut stream, _| {
            let _ = stream.read(&mut [0]);
            let _ = stream.write_all(b"half an answer");
            std::thread::sleep(Duration::from_millis(50));
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is set");
        });
        let mesh = Mesh::of(&[("n2", AT_ONCE)]);
        let traffic = Traffic::on(Config::default(), mesh).await;
        let to = |port| vec![endpoint(far(5, port), "n2")];
        traffic.route_to(vec![(tcp(vip(1, 80)), to(8080)), (tcp(vip(1, 81)), to(8081))]);
        open(vip(1, 81));
        blocking(|| {
            let mut stream = TcpStream::connect(vip(1, 80)).expect("a connection");
            stream.write_all(&vec![7; 3_000_000]).expect("it is sent");
            stream.shutdown(Shutdown::Write).expect("the client finishes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the server answers after that");
            assert_eq!(answer, "3000000");

            // The pod resets.
            let (mut stream, half) = {
                let mut stream = TcpStream::connect(vip(1, 81)).expect("a connection");
                stream.write_all(b"x").expect("it is sent");
                stream.set_read_timeout(Some(LONG)).expect("it is set");
                let mut buffer = [0; 64];
                let length = stream.read(&mut buffer).expect("half an answer");
                (stream, buffer[..length].to_vec())
            };
            assert_eq!(half, b"half an answer");
            let error = stream.read(&mut [0]).expect_err("a reset is no end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);

            // The client resets.
            let mut stream = TcpStream::connect(vip(1, 80)).expect("a connection");
            stream.write_all(b"half a question").expect("it is sent");
            std::thread::sleep(Duration::from_millis(100));
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is set");
            drop(stream);
        });
        eventually("the pod was reset", || {
            LAST.lock().expect("not poisoned").as_deref() == Some(&ErrorKind::ConnectionReset.to_string())
        });
    });
}

static LAST: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

#[test]
fn a_stream_that_is_cut_is_no_end() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, parrot);
        let mesh = Mesh::of(&[("n2", AT_ONCE)]);
        let cut = mesh.cut.clone();
        let traffic = Traffic::on(Config { drain: Duration::from_millis(10), ..Config::default() }, mesh).await;
        traffic.route_to(vec![(tcp(vip(1, 80)), vec![endpoint(far(5, 8080), "n2")])]);
        open(vip(1, 80));
        let (mut stream, name) = blocking(|| call(vip(1, 80))).expect("a connection");
        assert_eq!(name, "10.240.0.5");
        cut.cancel();
        let error = blocking(|| stream.read(&mut [0; 9])).expect_err("it is cut off");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn much_data_arrives_whole_while_both_sides_send() {
    machine(|| async {
        let a = Pod::new(5);
        let _server = a.serve(8080, mirror);
        let traffic = traffic(&[("n2", AT_ONCE)]).await;
        traffic.route_to(vec![(tcp(vip(1, 80)), vec![endpoint(far(5, 8080), "n2")])]);
        open(vip(1, 80));
        blocking(|| there_and_back(vip(1, 80)));
    });
}

#[test]
fn datagrams_cross_too_and_find_another_node_when_one_is_gone() {
    machine(|| async {
        let a = Pod::new(5);
        a.echo(5353);
        let idle = Duration::from_millis(300);
        let mesh = Mesh::of(&[("n2", AT_ONCE), ("slow", LONG)]);
        let calls = mesh.calls.clone();
        let traffic = Traffic::on(Config { udp_idle: idle, ..Config::default() }, mesh).await;
        let there = endpoint(far(5, 5353), "n2");
        traffic.route_to(vec![
            (udp(vip(1, 53)), vec![there.clone()]),
            (udp(vip(2, 53)), vec![endpoint(far(4, 5353), "gone"), there.clone()]),
            (udp(vip(3, 53)), vec![endpoint(far(4, 5353), "slow"), there]),
        ]);
        eventually("the port is open", || ask(vip(3, 53), "?").is_ok());
        for n in 0..60 {
            let text = format!("question {n}");
            let answer = blocking(|| ask(vip(n % 3 + 1, 53), &text)).expect("no datagram is lost");
            assert_eq!(answer, format!("10.240.0.5 {text}"));
        }
        blocking(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(LONG)).expect("it is set");
            socket.connect(vip(1, 53)).expect("connected");
            let exchange = || {
                socket.send(&[b'x'; 40_000]).expect("it is sent");
                socket.recv(&mut vec![0; 65_536]).expect("an answer")
            };
            assert_eq!(exchange(), 40_000 + "10.240.0.5 ".len());
            let before = calls.load(Ordering::SeqCst);
            exchange();
            assert_eq!(calls.load(Ordering::SeqCst), before, "one flow, one stream");
            std::thread::sleep(3 * idle);
            exchange();
            assert_eq!(calls.load(Ordering::SeqCst), before + 1, "a silent flow has ended");
        });
    });
}

#[test]
fn pods_of_other_nodes_are_reached_by_their_addresses() {
    machine(|| async {
        let (client, a) = (Pod::new(5), Pod::new(6));
        let _server = a.serve(8080, parrot);
        a.echo(8080);
        let traffic = traffic(&[("n2", AT_ONCE)]).await;
        let range = |text: &str| text.parse().expect("a range");
        let pod_ranges = BTreeMap::from([
            (range("10.240.0.0/16"), "n1".to_owned()),
            (range("10.241.0.0/24"), "n2".to_owned()),
            (range("10.241.1.0/24"), "n3".to_owned()),
        ]);
        traffic.show(Routes { pod_ranges, ..Routes::default() });
        let check = || {
            let (mut stream, name) = call(far(6, 8080)).expect("the pod answers");
            assert_eq!(name, "10.240.0.6");
            stream.write_all(b"hello").expect("it is sent");
            stream.shutdown(Shutdown::Write).expect("the client finishes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the answer comes");
            assert_eq!(answer, "hello");
            // A dead port, a node that is not connected, and addresses of nobody: taken in, then reset.
            for nobody in [[10, 241, 0, 6], [10, 241, 1, 6], [10, 242, 0, 6]] {
                let error = hear(SocketAddrV4::new(nobody.into(), 8081)).expect_err("nobody is there");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            // Datagrams go by Services only.
            let error = ask(far(6, 8080), "?").expect_err("they are refused");
            assert!(error.raw_os_error().is_some_and(|e| e == nix::libc::EHOSTUNREACH), "{error}");
        };
        eventually("the routes are known", || call(far(6, 8080)).is_ok());
        blocking(check);
        client.within(check);
    });
}
