//! What a DNS question is answered: names of the cluster from the routes, all else from elsewhere.
//!
//! Follows *Kubernetes DNS-Based Service Discovery* 1.1.0; where that is silent, what CoreDNS answers.

use std::net::Ipv4Addr;

use super::routes::{Name, Routes};

/// For how many seconds an answer may be kept.
pub const TTL: u32 = 5;
/// The version of the specification, as the TXT record `dns-version` states it.
const SCHEMA_VERSION: &str = "1.1.0";
/// How many aliases are followed within the cluster before the last one is taken for a loop.
const ALIASES_MAX: usize = 8;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name in any case, with or without the last dot.
    pub name: String,
    /// What is wanted of it.
    pub kind: Kind,
}

/// The types of record that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address, which nothing in the cluster has.
    Aaaa,
    /// Another name.
    Cname,
    /// The name of an address.
    Ptr,
    /// The head of the zone.
    Soa,
    /// A named port.
    Srv,
    /// Text.
    Txt,
    /// Any type that no name in the cluster has.
    Other,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is: lower-case, without the last dot.
    pub name: String,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// The name it stands for.
    Cname(String),
    /// The name of an address.
    Ptr(String),
    /// The head of the zone; its fields are the server's to fill in.
    Soa,
    /// Target and port; priority and weight are all alike.
    Srv(String, u16),
    /// One text.
    Txt(&'static str),
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These records.
    Found {
        /// They answer the question.
        records: Vec<Record>,
        /// They spare the client the next question.
        additional: Vec<Record>,
    },
    /// These records, and what a server elsewhere answers the same question about `target`.
    Elsewhere {
        /// The aliases that lead to the target.
        records: Vec<Record>,
        /// A name outside the cluster.
        target: String,
    },
    /// The name is there, but has no such record (NOERROR without answers).
    Empty,
    /// There is no such name (NXDOMAIN).
    Unknown,
    /// The name is not the cluster's: ask elsewhere.
    Forward,
}

/// Answers a question about the cluster domain `domain`, or about an address that has a name in it.
pub fn answer(routes: &Routes, domain: &str, question: &Question) -> Answer {
    let name = question.name.trim_end_matches('.').to_ascii_lowercase();
    if name.ends_with(".in-addr.arpa") {
        return pointer(routes, &name, question.kind);
    }
    let Some(within) = labels_within(&name, domain) else { return Answer::Forward };
    match within {
        "" if question.kind == Kind::Soa => found(vec![Record { name, data: Data::Soa }]),
        "" | "svc" | "pod" => Answer::Empty,
        "dns-version" if question.kind == Kind::Txt => found(vec![Record { name, data: Data::Txt(SCHEMA_VERSION) }]),
        "dns-version" => Answer::Empty,
        _ => match within.strip_suffix(".pod") {
            Some(pod) => pod_address(routes, domain, pod, &name, question.kind),
            None => service(routes, domain, name, question.kind),
        },
    }
}

/// Returns the part of `name` that lies before `domain`, empty for the domain itself; `None` outside of it.
fn labels_within<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    match name.strip_suffix(domain)? {
        "" => Some(""),
        rest => rest.strip_suffix('.'),
    }
}

fn found(records: Vec<Record>) -> Answer {
    if records.is_empty() { Answer::Empty } else { Answer::Found { records, additional: Vec::new() } }
}

/// An address of which the cluster knows nothing may still have a name elsewhere.
fn pointer(routes: &Routes, name: &str, kind: Kind) -> Answer {
    match routes.names.get(name).map(|n| &**n) {
        Some(Name::Pointer(target)) if kind == Kind::Ptr => {
            found(vec![Record { name: name.to_owned(), data: Data::Ptr(target.clone()) }])
        }
        Some(_) => Answer::Empty,
        None => Answer::Forward,
    }
}

/// `10-240-0-5.shop.pod`: the address is in the name, and only the namespace has to be there.
fn pod_address(routes: &Routes, domain: &str, within: &str, name: &str, kind: Kind) -> Answer {
    let (host, namespace) = match within.rsplit_once('.') {
        Some((host, namespace)) => (Some(host), namespace),
        None => (None, within),
    };
    if !routes.names.contains_key(&format!("{namespace}.svc.{domain}")) {
        return Answer::Unknown;
    }
    let Some(host) = host else { return Answer::Empty };
    match host.replace('-', ".").parse() {
        Ok(address) if !host.contains('.') && kind == Kind::A => {
            found(vec![Record { name: name.to_owned(), data: Data::A(address) }])
        }
        Ok(Ipv4Addr { .. }) if !host.contains('.') => Answer::Empty,
        _ => Answer::Unknown,
    }
}

/// A Service's name or one below it; follows aliases for as long as they stay within the cluster.
fn service(routes: &Routes, domain: &str, mut name: String, kind: Kind) -> Answer {
    let mut records = Vec::new();
    for _ in 0..ALIASES_MAX {
        let Some(meaning) = routes.names.get(&name) else {
            // An alias that leads nowhere is still an answer.
            return if records.is_empty() { Answer::Unknown } else { found(records) };
        };
        let Name::Alias(target) = &**meaning else {
            let mut answer = records_of(routes, &name, meaning, kind);
            if let Answer::Found { records: own, .. } = &mut answer {
                records.append(own);
                *own = records;
                return answer;
            }
            return found(records);
        };
        records.push(Record { name, data: Data::Cname(target.clone()) });
        if kind == Kind::Cname {
            return found(records);
        }
        if labels_within(target, domain).is_none() {
            return Answer::Elsewhere { records, target: target.clone() };
        }
        name = target.clone();
    }
    found(records)
}

fn records_of(routes: &Routes, name: &str, meaning: &Name, kind: Kind) -> Answer {
    let record = |data| Record { name: name.to_owned(), data };
    match (meaning, kind) {
        (Name::Addresses(addresses), Kind::A) => found(addresses.iter().map(|a| record(Data::A(*a))).collect()),
        (Name::Service(targets), Kind::Srv) if !targets.is_empty() => Answer::Found {
            records: targets.iter().map(|(target, port)| record(Data::Srv(target.clone(), *port))).collect(),
            additional: targets.iter().flat_map(|(target, _)| addresses_of(routes, target)).collect(),
        },
        _ => Answer::Empty,
    }
}

fn addresses_of(routes: &Routes, name: &str) -> Vec<Record> {
    match routes.names.get(name).map(|n| &**n) {
        Some(Name::Addresses(addresses)) => {
            addresses.iter().map(|a| Record { name: name.to_owned(), data: Data::A(*a) }).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
