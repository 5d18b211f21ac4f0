//! Questions and answers.

use std::sync::Arc;

use super::*;

const DOMAIN: &str = "cluster.local";

fn routes() -> Routes {
    let names = [
        ("shop.svc.cluster.local", Name::Addresses(vec![])),
        ("web.shop.svc.cluster.local", Name::Addresses(vec![[10, 96, 7, 7].into()])),
        ("_http._tcp.web.shop.svc.cluster.local", Name::Service(vec![("web.shop.svc.cluster.local".into(), 80)])),
        ("_none._tcp.web.shop.svc.cluster.local", Name::Service(vec![])),
        ("7.7.96.10.in-addr.arpa", Name::Pointer("web.shop.svc.cluster.local".into())),
        ("db.shop.svc.cluster.local", Name::Addresses(vec![[10, 240, 0, 5].into(), [10, 240, 0, 6].into()])),
        ("out.shop.svc.cluster.local", Name::Alias("example.com".into())),
        ("in.shop.svc.cluster.local", Name::Alias("web.shop.svc.cluster.local".into())),
        ("twice.shop.svc.cluster.local", Name::Alias("out.shop.svc.cluster.local".into())),
        ("lost.shop.svc.cluster.local", Name::Alias("gone.shop.svc.cluster.local".into())),
        ("loop.shop.svc.cluster.local", Name::Alias("loop.shop.svc.cluster.local".into())),
    ];
    let names = names.into_iter().map(|(name, meaning)| (name.to_owned(), Arc::new(meaning))).collect();
    Routes { names, ..Routes::default() }
}

fn ask(name: &str, kind: Kind) -> Answer {
    answer(&routes(), DOMAIN, &Question { name: name.into(), kind })
}

fn record(name: &str, data: Data) -> Record {
    Record { name: name.into(), data }
}

fn a(name: &str, address: [u8; 4]) -> Record {
    record(name, Data::A(address.into()))
}

fn cname(name: &str, target: &str) -> Record {
    record(name, Data::Cname(target.into()))
}

fn records(records: Vec<Record>) -> Answer {
    Answer::Found { records, additional: vec![] }
}

#[test]
fn addresses_are_answered() {
    let web = "web.shop.svc.cluster.local";
    for spelling in [web, "WEB.Shop.svc.Cluster.LOCAL", "web.shop.svc.cluster.local."] {
        assert_eq!(ask(spelling, Kind::A), records(vec![a(web, [10, 96, 7, 7])]));
    }
    let db = "db.shop.svc.cluster.local";
    assert_eq!(ask(db, Kind::A), records(vec![a(db, [10, 240, 0, 5]), a(db, [10, 240, 0, 6])]));
}

#[test]
fn a_name_without_such_a_record_is_there_all_the_same() {
    let table = [
        ("web.shop.svc.cluster.local", Kind::Aaaa),
        ("web.shop.svc.cluster.local", Kind::Other),
        ("web.shop.svc.cluster.local", Kind::Srv),
        ("shop.svc.cluster.local", Kind::A),
        ("svc.cluster.local", Kind::A),
        ("cluster.local", Kind::A),
        ("shop.pod.cluster.local", Kind::A),
        ("10-240-0-5.shop.pod.cluster.local", Kind::Aaaa),
        ("_none._tcp.web.shop.svc.cluster.local", Kind::Srv),
        ("_http._tcp.web.shop.svc.cluster.local", Kind::A),
        ("dns-version.cluster.local", Kind::A),
        ("7.7.96.10.in-addr.arpa", Kind::A),
    ];
    for (name, kind) in table {
        assert_eq!(ask(name, kind), Answer::Empty, "{name} {kind:?}");
    }
}

#[test]
fn names_that_are_not_there_are_unknown() {
    let table = [
        "api.shop.svc.cluster.local",
        "web.svc.cluster.local",
        "web.elsewhere.svc.cluster.local",
        "elsewhere.svc.cluster.local",
        "x.web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.svc.cluster.local",
        "example.com.cluster.local",
        "10-240-0-5.elsewhere.pod.cluster.local",
        "10-240-0-500.shop.pod.cluster.local",
        "10-240-0.shop.pod.cluster.local",
        "10.240-0-5.shop.pod.cluster.local",
        "goose.shop.pod.cluster.local",
    ];
    for name in table {
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
            assert_eq!(ask(name, kind), Answer::Unknown, "{name} {kind:?}");
        }
    }
}

#[test]
fn other_names_are_asked_elsewhere() {
    for name in ["example.com", "notcluster.local", "local", "web", "", "1.2.0.192.in-addr.arpa", "b.a.8.ip6.arpa"] {
        assert_eq!(ask(name, Kind::A), Answer::Forward, "{name}");
        assert_eq!(ask(name, Kind::Ptr), Answer::Forward, "{name}");
    }
}

#[test]
fn named_ports_and_reverse_names_are_answered() {
    let (name, web) = ("_http._tcp.web.shop.svc.cluster.local", "web.shop.svc.cluster.local");
    let want = Answer::Found {
        records: vec![record(name, Data::Srv(web.into(), 80))],
        additional: vec![a(web, [10, 96, 7, 7])],
    };
    assert_eq!(ask(name, Kind::Srv), want);
    let reverse = "7.7.96.10.in-addr.arpa";
    assert_eq!(ask(reverse, Kind::Ptr), records(vec![record(reverse, Data::Ptr(web.into()))]));
}

#[test]
fn pod_addresses_are_read_from_the_name() {
    let name = "10-240-0-5.shop.pod.cluster.local";
    assert_eq!(ask(name, Kind::A), records(vec![a(name, [10, 240, 0, 5])]));
}

#[test]
fn aliases_are_followed_to_where_the_cluster_ends() {
    let name = |n: &str| format!("{n}.shop.svc.cluster.local");
    let (within, web, out) = (name("in"), name("web"), name("out"));
    assert_eq!(ask(&within, Kind::A), records(vec![cname(&within, &web), a(&web, [10, 96, 7, 7])]));
    assert_eq!(ask(&within, Kind::Aaaa), records(vec![cname(&within, &web)]));
    for kind in [Kind::A, Kind::Aaaa] {
        let want = Answer::Elsewhere { records: vec![cname(&out, "example.com")], target: "example.com".into() };
        assert_eq!(ask(&out, kind), want);
    }
    assert_eq!(ask(&out, Kind::Cname), records(vec![cname(&out, "example.com")]));
    let twice = name("twice");
    let chain = vec![cname(&twice, &out), cname(&out, "example.com")];
    assert_eq!(ask(&twice, Kind::A), Answer::Elsewhere { records: chain, target: "example.com".into() });
    let lost = name("lost");
    assert_eq!(ask(&lost, Kind::A), records(vec![cname(&lost, &name("gone"))]));
    let Answer::Found { records, .. } = ask(&name("loop"), Kind::A) else { panic!("a loop ends") };
    assert_eq!(records.len(), ALIASES_MAX);
}

#[test]
fn the_zone_speaks_of_itself() {
    assert_eq!(ask("cluster.local", Kind::Soa), records(vec![record("cluster.local", Data::Soa)]));
    let version = "dns-version.cluster.local";
    assert_eq!(ask(version, Kind::Txt), records(vec![record(version, Data::Txt("1.1.0"))]));
}
