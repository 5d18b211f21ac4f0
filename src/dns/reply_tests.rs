//! Messages in, messages out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::routing::routes::Name as Meaning;

const DOMAIN: &str = "cluster.local";
const WEB: &str = "web.shop.svc.cluster.local.";
const CROWD: &str = "crowd.shop.svc.cluster.local.";

fn routes() -> Routes {
    let crowd = (0..200).map(|i| Ipv4Addr::new(10, 240, 0, i)).collect();
    let names = BTreeMap::from([
        ("web.shop.svc.cluster.local", Meaning::Addresses(vec![[10, 96, 7, 7].into()])),
        ("crowd.shop.svc.cluster.local", Meaning::Addresses(crowd)),
        ("out.shop.svc.cluster.local", Meaning::Alias("example.com".into())),
        ("bad.shop.svc.cluster.local", Meaning::Alias("x".repeat(70))),
        ("_http._tcp.web.shop.svc.cluster.local", Meaning::Service(vec![("web.shop.svc.cluster.local".into(), 80)])),
    ]);
    let names = names.into_iter().map(|(name, meaning)| (name.to_owned(), Arc::new(meaning))).collect();
    Routes { names, ..Routes::default() }
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), record_type));
    message
}

fn with_payload(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn ask(message: &Message) -> Outcome {
    decide(&routes(), DOMAIN, &message.to_vec().expect("it encodes"), false)
}

fn sent(outcome: Outcome) -> (Message, usize) {
    let Outcome::Send(reply) = outcome else { panic!("not an answer: {outcome:?}") };
    let bytes = reply.encode().expect("it encodes");
    (Message::from_vec(&bytes).expect("it decodes"), bytes.len())
}

#[test]
fn an_address_is_answered_in_the_spelling_of_the_question() {
    let (answer, _) = sent(ask(&query("wEb.sHop.svc.Cluster.local.", RecordType::A)));
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, ResponseCode::NoError));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available && answer.metadata.recursion_desired);
    let lines: Vec<_> = answer.answers.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["wEb.sHop.svc.Cluster.local. 5 IN A 10.96.7.7"]);
    assert_eq!(answer.queries[0].name().to_ascii(), "wEb.sHop.svc.Cluster.local.");
}

#[test]
fn what_is_not_there_comes_with_the_head_of_the_zone() {
    for (name, record_type, code) in
        [(WEB, RecordType::AAAA, ResponseCode::NoError), ("no.cluster.local.", RecordType::A, ResponseCode::NXDomain)]
    {
        let (answer, _) = sent(ask(&query(name, record_type)));
        assert_eq!(answer.metadata.response_code, code);
        assert_eq!(answer.answers.len(), 0);
        let head = answer.authorities[0].to_string();
        assert!(head.starts_with("cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local."), "{head}");
    }
}

#[test]
fn a_named_port_brings_its_address_along() {
    let (answer, _) = sent(ask(&query("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV)));
    assert_eq!(answer.answers[0].to_string(), format!("_http._tcp.{WEB} 5 IN SRV 0 100 80 {WEB}"));
    assert_eq!(answer.additionals[0].to_string(), format!("{WEB} 5 IN A 10.96.7.7"));
}

#[test]
fn an_answer_is_cut_to_what_the_client_takes() {
    let plain = query(CROWD, RecordType::A);
    let table = [
        (plain.clone(), false, 512, true),
        (with_payload(plain.clone(), 100), false, 512, true),
        (with_payload(plain.clone(), 1_000), false, 1_000, true),
        (with_payload(plain.clone(), 65_000), false, 1_232, true),
        (plain, true, 65_535, false),
    ];
    for (query, stream, limit, cut) in table {
        let packet = query.to_vec().expect("it encodes");
        let (answer, length) = sent(decide(&routes(), DOMAIN, &packet, stream));
        assert!(length <= limit, "{length} > {limit}");
        assert_eq!(answer.metadata.truncation, cut);
        assert_eq!(answer.edns.is_some(), query.edns.is_some(), "EDNS is answered with EDNS");
        let fits = usize::from(cut) * 16;
        assert!(answer.answers.len() >= fits && (cut || answer.answers.len() == 200), "{}", answer.answers.len());
    }
}

#[test]
fn the_first_address_differs_from_question_to_question() {
    let first = |id| {
        let mut message = query(CROWD, RecordType::A);
        message.metadata.id = id;
        sent(ask(&message)).0.answers[0].to_string()
    };
    assert_ne!(first(1), first(2));
}

#[test]
fn other_names_are_forwarded_and_aliases_completed() {
    let Outcome::Forward { question, refusal } = ask(&query("example.com.", RecordType::AAAA)) else {
        panic!("not forwarded")
    };
    assert_eq!(question.name().to_ascii(), "example.com.");
    assert_eq!(refusal.failed(ResponseCode::ServFail).message.metadata.id, 7);
    let Outcome::Complete { reply, target } = ask(&query("out.shop.svc.cluster.local.", RecordType::AAAA)) else {
        panic!("not completed")
    };
    // Behind it stand flags, as other parts of the program have the library built.
    assert!(target.to_string().starts_with("example.com. IN AAAA"), "{target}");
    let mut found = Message::response(0, OpCode::Query);
    found.add_answer(Record::from_rdata(target.name().clone(), 9, RData::A(A::new(192, 0, 2, 1))));
    let lines: Vec<_> = reply.completed(found).message.answers.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["out.shop.svc.cluster.local. 5 IN CNAME example.com.", "example.com. 9 IN A 192.0.2.1"]);
}

#[test]
fn what_is_no_plain_question_is_refused_by_name() {
    let good = query(WEB, RecordType::A);
    let with = |change: fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    let table = [
        (with(|m| m.metadata.op_code = OpCode::Notify), ResponseCode::NotImp),
        (with(|m| m.queries.clear()), ResponseCode::FormErr),
        (with(|m| m.queries.push(m.queries[0].clone())), ResponseCode::FormErr),
        (
            with(|m| {
                m.queries[0].set_query_class(DNSClass::CH);
            }),
            ResponseCode::Refused,
        ),
        (
            with(|m| {
                let mut edns = Edns::new();
                edns.set_version(1);
                m.set_edns(edns);
            }),
            ResponseCode::BADVERS,
        ),
        (query("bad.shop.svc.cluster.local.", RecordType::A), ResponseCode::ServFail),
    ];
    for (message, code) in table {
        let (answer, _) = sent(ask(&message));
        // Compared as numbers: 16 is BADVERS here, and BADSIG in a signed message.
        let number = u16::from(answer.metadata.response_code);
        assert_eq!((answer.metadata.id, number), (7, u16::from(code)));
    }
}

#[test]
fn what_is_no_query_is_ignored_and_what_is_garbled_is_said_to_be() {
    let mut response = query(WEB, RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(ask(&response), Outcome::Ignore));
    let packet = query(WEB, RecordType::A).to_vec().expect("it encodes");
    let mut ignored = 0;
    for length in 0..packet.len() {
        match decide(&routes(), DOMAIN, &packet[..length], false) {
            Outcome::Ignore => ignored += 1,
            outcome => assert_eq!(sent(outcome).0.metadata.response_code, ResponseCode::FormErr),
        }
    }
    assert_eq!(ignored, 12, "without a header there is nobody to answer");
}

proptest::proptest! {
    #[test]
    fn no_packet_is_too_much(packet in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64), at in 0..40usize) {
        decide(&routes(), DOMAIN, &packet, false);
        let mut query = query(WEB, RecordType::A).to_vec().expect("it encodes");
        for (byte, noise) in query.iter_mut().skip(at).zip(&packet) {
            *byte ^= noise;
        }
        if let Outcome::Send(reply) = decide(&routes(), DOMAIN, &query, false) {
            reply.encode();
        }
    }
}
