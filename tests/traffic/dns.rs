//! Names, asked by the programs that people use.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein::dns::{Config, Server, Upstreams};
use skein::routing::Routes;
use skein::routing::routes::{Backends, Endpoint, Name};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::block_in_place as blocking;
use tokio_util::sync::CancellationToken;

use crate::lab::{Pod, Server as Web, Traffic, eventually, is_refused, machine, run, tcp, try_run, vip};

const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const RESOLV_CONF: &str = "nameserver 10.96.0.10\n\
    search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

fn names(names: &[(&str, Name)]) -> BTreeMap<String, Arc<Name>> {
    names.iter().map(|(name, meaning)| ((*name).to_owned(), Arc::new(meaning.clone()))).collect()
}

fn cluster() -> BTreeMap<String, Arc<Name>> {
    let web = "web.shop.svc.cluster.local";
    names(&[
        ("shop.svc.cluster.local", Name::Addresses(vec![])),
        (web, Name::Addresses(vec![*vip(1, 80).ip()])),
        ("_http._tcp.web.shop.svc.cluster.local", Name::Service(vec![(web.into(), 80)])),
        ("1.7.96.10.in-addr.arpa", Name::Pointer(web.into())),
        ("out.shop.svc.cluster.local", Name::Alias("www.example.com".into())),
        ("crowd.shop.svc.cluster.local", Name::Addresses((1..=200).map(|i| Ipv4Addr::new(10, 240, 1, i)).collect())),
    ])
}

/// Serves `names` of `domain` in the cluster's namespace.
async fn serve(traffic: &Traffic, upstreams: Vec<SocketAddr>) {
    let at = SocketAddrV4::new(DNS, 53);
    let udp = traffic.namespace.udp(at).await.expect("a UDP socket");
    let tcp = traffic.namespace.tcp(at).await.expect("a TCP socket");
    let patience = Duration::from_millis(500);
    let config = Config { upstreams: Upstreams::Fixed(upstreams), patience, ..Config::default() };
    tokio::spawn(Server::new(config, traffic.routes()).run(udp, tcp, CancellationToken::new()));
}

/// A server on the host that knows `example.com`.
async fn outside() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = tcp.local_addr().expect("an address");
    let udp = UdpSocket::bind(address).await.expect("the same port");
    let many = (1..=200).map(|i| Ipv4Addr::new(192, 0, 2, i)).collect();
    let names = names(&[
        ("www.example.com", Name::Addresses(vec![[192, 0, 2, 80].into()])),
        ("many.example.com", Name::Addresses(many)),
    ]);
    let (keep, routes) = watch::channel(Arc::new(Routes { names, ..Routes::default() }));
    let config = Config { domain: "example.com".into(), upstreams: Upstreams::Fixed(vec![]), ..Config::default() };
    tokio::spawn(async move {
        Server::new(config, routes).run(udp, tcp, CancellationToken::new()).await;
        drop(keep);
    });
    address
}

fn dig(question: &str) -> String {
    run(&format!("dig +time=3 +tries=1 @{DNS} {question}"))
}

fn short(question: &str) -> String {
    dig(&format!("+short {question}"))
}

#[test]
fn dig_is_answered_over_udp_and_tcp_by_host_and_pods() {
    machine(|| async {
        // Whatever the host's own name server is.
        let _host_udp = std::net::UdpSocket::bind("0.0.0.0:53").expect("the port is free");
        let _host_tcp = std::net::TcpListener::bind("0.0.0.0:53").expect("the port is free");
        let pod = Pod::new(5);
        let traffic = Traffic::start().await;
        traffic.show(Routes { names: cluster(), ..Routes::default() });
        serve(&traffic, vec![outside().await]).await;
        let check = || {
            for transport in ["+notcp", "+tcp"] {
                let short = |question: &str| short(&format!("{transport} {question}"));
                assert_eq!(short("web.shop.svc.cluster.local"), "10.96.7.1");
                assert_eq!(short("web.shop.svc.cluster.local AAAA"), "");
                assert_eq!(short("-x 10.96.7.1"), "web.shop.svc.cluster.local.");
                assert_eq!(short("10-240-0-5.shop.pod.cluster.local"), "10.240.0.5");
                assert_eq!(short("_http._tcp.web.shop.svc.cluster.local SRV"), "0 100 80 web.shop.svc.cluster.local.");
                assert_eq!(short("www.example.com"), "192.0.2.80");
                assert_eq!(short("out.shop.svc.cluster.local"), "www.example.com.\n192.0.2.80");
                let missing = dig(&format!("{transport} missing.shop.svc.cluster.local"));
                assert!(missing.contains("status: NXDOMAIN") && missing.contains("SOA"), "{missing}");
                let missing = dig(&format!("{transport} missing.example.com"));
                assert!(missing.contains("status: NXDOMAIN"), "{missing}");
                let none = dig(&format!("{transport} web.shop.svc.cluster.local AAAA"));
                assert!(none.contains("status: NOERROR") && none.contains("flags: qr aa rd ra"), "{none}");
            }
        };
        blocking(check);
        pod.within(check);
    });
}

#[test]
fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    machine(|| async {
        let traffic = Traffic::start().await;
        traffic.show(Routes { names: cluster(), ..Routes::default() });
        serve(&traffic, vec![outside().await]).await;
        blocking(|| {
            for name in ["crowd.shop.svc.cluster.local", "many.example.com"] {
                let cut = dig(&format!("+ignore +bufsize=1232 {name}"));
                assert!(cut.contains("flags: qr aa tc rd ra"), "{cut}");
                // dig asks again over TCP, as resolvers do.
                assert_eq!(short(name).lines().count(), 200);
                assert_eq!(short(&format!("+noedns {name}")).lines().count(), 200);
            }
        });
    });
}

#[test]
fn a_pod_finds_services_by_their_short_names() {
    machine(|| async {
        let (client, server) = (Pod::new(5), Pod::new(6));
        let _web: Web = server.serve(8080, |mut stream, name| {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 1_024]);
            let body = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
            let _ = stream.write_all(body.as_bytes());
        });
        let traffic = Traffic::start().await;
        let endpoints = vec![Endpoint { address: SocketAddrV4::new(server.address, 8080), node: None }];
        let backends = Backends { service: "shop/web:80".into(), endpoints, affinity_seconds: None };
        let listeners = BTreeMap::from([(tcp(vip(1, 80)), Arc::new(backends))]);
        traffic.show(Routes { listeners, names: cluster(), ..Routes::default() });
        serve(&traffic, vec![outside().await]).await;
        client.resolv_conf(RESOLV_CONF);
        for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local."] {
            eventually("curl is answered", || {
                let (ok, text) = client.within(move || try_run(&format!("curl -sS -m 5 http://{name}/")));
                ok && text == "10.240.0.6"
            });
        }
        client.within(|| {
            assert_eq!(run("dig +search +short web"), "10.96.7.1");
            assert_eq!(run("getent ahostsv4 out | head -1 | cut -d ' ' -f 1"), "192.0.2.80");
            assert_eq!(run("getent ahostsv4 www.example.com | head -1 | cut -d ' ' -f 1"), "192.0.2.80");
            let (ok, text) = try_run("curl -sS -m 5 http://goose/");
            assert!(!ok && text.contains("Could not resolve host"), "{text}");
        });
    });
}

#[test]
fn names_change_with_the_routes() {
    machine(|| async {
        let traffic = Traffic::start().await;
        serve(&traffic, vec![]).await;
        traffic.show(Routes { names: cluster(), ..Routes::default() });
        blocking(|| assert_eq!(short("web.shop.svc.cluster.local"), "10.96.7.1"));
        traffic.show(Routes::default());
        blocking(|| assert!(dig("web.shop.svc.cluster.local").contains("NXDOMAIN")));
    });
}

#[test]
fn names_outside_fail_in_time_when_nobody_knows_them() {
    machine(|| async {
        let traffic = Traffic::start().await;
        // Nobody is asked; nobody listens there; and there it is ourselves, by another way round.
        let echo = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let nobody: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        let ways = [vec![], vec![nobody], vec![echo.local_addr().expect("an address")]];
        let own = |way: u8| SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10 + way), 53);
        tokio::spawn(send_back(echo, own(2)));
        for (way, upstreams) in (0..).zip(ways) {
            let udp = traffic.namespace.udp(own(way)).await.expect("a UDP socket");
            let tcp = traffic.namespace.tcp(own(way)).await.expect("a TCP socket");
            let patience = Duration::from_millis(900);
            let config = Config { upstreams: Upstreams::Fixed(upstreams), patience, ..Config::default() };
            let shutdown = CancellationToken::new();
            let server = tokio::spawn(Server::new(config, traffic.routes()).run(udp, tcp, shutdown.clone()));
            let start = Instant::now();
            let answer = blocking(|| run(&format!("dig +time=3 +tries=1 @{} www.example.com", own(way).ip())));
            assert!(answer.contains("status: SERVFAIL"), "{answer}");
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            shutdown.cancel();
            server.await.expect("the server ends");
            eventually("its port is closed", || is_refused(own(way)));
        }
    });
}

/// Sends every question back to where it came from, as a forwarder does that has us for its own forwarder.
async fn send_back(echo: UdpSocket, to: SocketAddrV4) {
    let echo = Arc::new(echo);
    let mut buffer = [0; 2_048];
    while let Ok((length, client)) = echo.recv_from(&mut buffer).await {
        let (echo, packet) = (Arc::clone(&echo), buffer[..length].to_vec());
        tokio::spawn(async move {
            let back = UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
            back.send_to(&packet, to).await.expect("it is sent");
            let mut answer = [0; 2_048];
            let (length, _) = back.recv_from(&mut answer).await.expect("an answer");
            echo.send_to(&answer[..length], client).await.expect("it is sent");
        });
    }
}
