//! Fairness, ejection and affinity.

use super::*;

fn backends(n: u8) -> Backends {
    let endpoint = |i| Endpoint { address: address(i), node: None };
    Backends { service: "shop/web:http".into(), endpoints: (0..n).map(endpoint).collect(), affinity_seconds: None }
}

fn address(i: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 240, 0, i + 5), 8080)
}

fn client(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, 1, i)
}

fn at(millis: u64) -> Mono {
    Mono(Duration::from_millis(100_000 + millis))
}

fn picked(balancer: &mut Balancer, now: Mono, backends: &Backends) -> Option<SocketAddrV4> {
    balancer.pick(now, client(1), backends, &[]).map(|e| e.address)
}

#[test]
fn six_hundred_connections_spread_over_three() {
    let backends = backends(3);
    for seed in 0..200 {
        for stay_open in [false, true] {
            let mut balancer = Balancer::new(seed);
            let mut counts = BTreeMap::<_, u32>::new();
            for _ in 0..600 {
                let chosen = picked(&mut balancer, at(0), &backends).expect("an endpoint");
                *counts.entry(chosen).or_default() += 1;
                if !stay_open {
                    balancer.closed(chosen);
                }
            }
            let fair = counts.len() == 3 && counts.values().all(|n| (150..=252).contains(n));
            assert!(fair, "seed {seed}, open {stay_open}: {counts:?}");
        }
    }
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let mut balancer = Balancer::new(1);
    let one = backends(1);
    for _ in 0..5 {
        picked(&mut balancer, at(0), &one);
    }
    let two = backends(2);
    for _ in 0..5 {
        assert_eq!(picked(&mut balancer, at(0), &two), Some(address(1)));
    }
    for _ in 0..5 {
        balancer.closed(address(0));
    }
    assert_eq!(picked(&mut balancer, at(0), &two), Some(address(0)));
}

#[test]
fn those_tried_are_not_chosen_again() {
    let (mut balancer, backends) = (Balancer::new(1), backends(3));
    let mut tried = Vec::new();
    while let Some(endpoint) = balancer.pick(at(0), client(1), &backends, &tried) {
        assert!(!tried.contains(&endpoint.address));
        tried.push(endpoint.address);
    }
    assert_eq!(tried.len(), 3);
}

#[test]
fn a_failed_endpoint_is_passed_over_then_probed_by_one() {
    let (mut balancer, backends) = (Balancer::new(1), backends(2));
    balancer.failed(at(0), address(0));
    balancer.closed(address(0));
    let choose = |balancer: &mut Balancer, now| {
        let chosen = picked(balancer, now, &backends).expect("an endpoint");
        balancer.closed(chosen);
        chosen
    };
    for t in 0..100 {
        assert_eq!(choose(&mut balancer, at(t * 9)), address(1));
    }
    // Its time is up: sooner or later a connection goes there, and while that one's fate is open no other does.
    let probe = (0..100).find(|_| choose(&mut balancer, at(1_000)) == address(0));
    assert!(probe.is_some(), "never probed");
    for _ in 0..100 {
        assert_eq!(choose(&mut balancer, at(1_100)), address(1));
    }
    // It failed again: twice as long.
    balancer.failed(at(1_100), address(0));
    for t in 0..100 {
        assert_eq!(choose(&mut balancer, at(1_100 + t * 19)), address(1));
    }
    let probe = (0..100).find(|_| choose(&mut balancer, at(3_200)) == address(0));
    assert!(probe.is_some(), "never probed again");
    balancer.succeeded(address(0));
    let back = (0..100).filter(|_| choose(&mut balancer, at(3_201)) == address(0)).count();
    assert!(back > 20, "taken back, but chosen {back} times of 100");
}

#[test]
fn when_all_have_failed_one_is_tried_all_the_same() {
    let (mut balancer, backends) = (Balancer::new(1), backends(2));
    balancer.failed(at(0), address(1));
    balancer.failed(at(100), address(0));
    assert_eq!(picked(&mut balancer, at(200), &backends), Some(address(1)), "its time is up first");
    assert_eq!(picked(&mut balancer, at(200), &Backends::default()), None);
}

#[test]
fn a_client_keeps_its_endpoint_for_as_long_as_asked() {
    let mut balancer = Balancer::new(7);
    let backends = Backends { affinity_seconds: Some(10), ..backends(8) };
    let mut pick = |now, who| balancer.pick(now, client(who), &backends, &[]).expect("an endpoint").address;
    let first: Vec<_> = (0..20).map(|who| pick(at(0), who)).collect();
    // Each connection starts the time anew.
    for t in [9_000, 18_000, 27_000] {
        let again: Vec<_> = (0..20).map(|who| pick(at(t), who)).collect();
        assert_eq!(first, again);
    }
    let later: Vec<_> = (0..20).map(|who| pick(at(60_000), who)).collect();
    assert_ne!(first, later, "forgotten when the time is up");
}

#[test]
fn affinity_moves_on_from_an_endpoint_that_fails_or_goes() {
    let mut balancer = Balancer::new(7);
    let all = Backends { affinity_seconds: Some(600), ..backends(3) };
    let first = balancer.pick(at(0), client(1), &all, &[]).expect("an endpoint").address;
    balancer.failed(at(0), first);
    let second = balancer.pick(at(1), client(1), &all, &[first]).expect("another").address;
    assert_ne!(first, second);
    assert_eq!(balancer.pick(at(5_000), client(1), &all, &[]).map(|e| e.address), Some(second), "stays there");
    let mut fewer = all.clone();
    fewer.endpoints.retain(|e| e.address != second);
    balancer.retain(&fewer);
    let third = balancer.pick(at(5_000), client(1), &fewer, &[]).expect("an endpoint").address;
    assert_ne!(second, third);
}

#[test]
fn endpoints_that_went_are_forgotten_when_their_last_connection_ends() {
    let (mut balancer, two, none) = (Balancer::new(1), backends(2), Backends::default());
    let open = picked(&mut balancer, at(0), &two).expect("an endpoint");
    balancer.retain(&none);
    assert_eq!(balancer.loads.keys().collect::<Vec<_>>(), [&open]);
    balancer.closed(open);
    balancer.retain(&none);
    assert!(balancer.loads.is_empty());
}

#[test]
fn not_more_clients_are_remembered_than_the_limit() {
    let mut balancer = Balancer::new(1);
    let backends = Backends { affinity_seconds: Some(600), ..backends(2) };
    for i in 0..u32::try_from(STICKY_MAX).expect("it fits") + 10 {
        let who = Ipv4Addr::from(0x0a00_0000 + i);
        let chosen = balancer.pick(at(u64::from(i)), who, &backends, &[]).expect("an endpoint");
        balancer.closed(chosen.address);
    }
    assert_eq!(balancer.sticky.len(), STICKY_MAX);
    assert!(!balancer.sticky.contains_key(&Ipv4Addr::new(10, 0, 0, 0)), "the oldest is forgotten first");
}
