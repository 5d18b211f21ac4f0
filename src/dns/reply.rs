//! Questions and answers as DNS messages.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::routing::answer::{Data, Kind, Record as Fact, TTL};
use crate::routing::{Answer, Question, Routes, answer};

/// The largest answer over UDP, whatever the client would take: it fits every network unfragmented (DNS flag day
/// 2020).
const PAYLOAD: u16 = 1_232;
/// The largest answer over UDP to a client that does not say what it takes (RFC 1035).
const PAYLOAD_PLAIN: u16 = 512;
/// The head of the zone: it never changes for secondaries, of which there are none.
const SERIAL: u32 = 1;
const REFRESH: i32 = 7_200;
const RETRY: i32 = 1_800;
const EXPIRE: i32 = 86_400;

/// What is to be done about a packet.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing: it is no query.
    Ignore,
    /// Send this answer.
    Send(Box<Reply>),
    /// Hand the query on as it is; without an answer, `refusal` is what is left to say.
    Forward { question: Query, refusal: Box<Reply> },
    /// Ask elsewhere about `target` and complete the answer with what is found there.
    Complete { reply: Box<Reply>, target: Query },
}

/// An answer, and how long it may be.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) message: Message,
    limit: u16,
}

/// Decides about a packet that came over UDP or, with `stream`, TCP.
pub(super) fn decide(routes: &Routes, domain: &str, packet: &[u8], stream: bool) -> Outcome {
    let query = match Message::from_vec(packet) {
        Ok(message) if message.metadata.message_type == MessageType::Query => message,
        Ok(_) => return Outcome::Ignore,
        Err(_) => return unreadable(packet),
    };
    let mut reply = Reply::to(&query, stream);
    let refusal = match query.queries.as_slice() {
        _ if query.metadata.op_code != OpCode::Query => Some(ResponseCode::NotImp),
        _ if query.edns.as_ref().is_some_and(|e| e.version() > 0) => Some(ResponseCode::BADVERS),
        [question] if question.query_class() == DNSClass::IN => None,
        [_] => Some(ResponseCode::Refused),
        _ => Some(ResponseCode::FormErr),
    };
    if let Some(code) = refusal {
        return Outcome::Send(Box::new(reply.failed(code)));
    }
    let question = query.queries[0].clone();
    let asked = Question { name: question.name().to_ascii(), kind: kind(question.query_type()) };
    let zone = Zone { domain, question: &question };
    let filled = match answer(routes, domain, &asked) {
        Answer::Forward => return Outcome::Forward { question, refusal: Box::new(reply) },
        Answer::Found { records, additional } => zone.add(&mut reply.message, &records, &additional),
        Answer::Empty => zone.add_head(&mut reply.message, ResponseCode::NoError),
        Answer::Unknown => zone.add_head(&mut reply.message, ResponseCode::NXDomain),
        Answer::Elsewhere { records, target } => {
            let target = Name::from_ascii(&target).map(|mut name| {
                name.set_fqdn(true);
                Query::query(name, question.query_type())
            });
            match (zone.add(&mut reply.message, &records, &[]), target) {
                (Some(()), Ok(target)) => return Outcome::Complete { reply: Box::new(reply), target },
                _ => None,
            }
        }
    };
    // A name that a user made up may not be one that DNS can carry.
    Outcome::Send(Box::new(if filled.is_some() { reply } else { reply.failed(ResponseCode::ServFail) }))
}

/// An answer for what is not readable, if it may be a query at all: it would be impolite to leave the client waiting.
fn unreadable(packet: &[u8]) -> Outcome {
    match packet {
        [high, low, flags, _, _, _, _, _, _, _, _, _, ..] if flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            Outcome::Send(Box::new(Reply { message, limit: PAYLOAD_PLAIN }))
        }
        _ => Outcome::Ignore,
    }
}

fn kind(record_type: RecordType) -> Kind {
    match record_type {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::CNAME => Kind::Cname,
        RecordType::PTR => Kind::Ptr,
        RecordType::SOA => Kind::Soa,
        RecordType::SRV => Kind::Srv,
        RecordType::TXT => Kind::Txt,
        _ => Kind::Other,
    }
}

impl Reply {
    /// Makes an empty answer to `query`.
    fn to(query: &Message, stream: bool) -> Self {
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.metadata = Metadata::response_from_request(&query.metadata);
        message.metadata.recursion_available = true;
        message.add_queries(query.queries.iter().cloned());
        let mut limit = PAYLOAD_PLAIN;
        if let Some(theirs) = &query.edns {
            let mut ours = Edns::new();
            ours.set_max_payload(PAYLOAD);
            message.set_edns(ours);
            limit = theirs.max_payload().clamp(PAYLOAD_PLAIN, PAYLOAD);
        }
        Self { message, limit: if stream { u16::MAX } else { limit } }
    }

    /// The same answer without records, saying only `code`.
    pub(super) fn failed(mut self, code: ResponseCode) -> Self {
        self.message.answers.clear();
        self.message.authorities.clear();
        self.message.additionals.clear();
        self.message.metadata.response_code = code;
        self.message.metadata.authoritative = false;
        self
    }

    /// The same answer with what another server found about the name that it ends with.
    pub(super) fn completed(mut self, found: Message) -> Self {
        self.message.metadata.response_code = found.metadata.response_code;
        self.message.metadata.authoritative = false;
        self.message.answers.extend(found.answers);
        self.message.authorities.extend(found.authorities);
        self
    }

    /// Encodes it. What is too long loses first what was not asked for, then answers from the end, and is marked as
    /// truncated: old resolvers that never ask over TCP still have something.
    pub(super) fn encode(mut self) -> Option<Vec<u8>> {
        loop {
            let bytes = self.message.to_vec().ok()?;
            if bytes.len() <= usize::from(self.limit) {
                return Some(bytes);
            }
            if !self.message.additionals.is_empty() {
                self.message.additionals.clear();
                continue;
            }
            self.message.metadata.truncation = true;
            let answers = self.message.answers.len();
            if answers == 0 {
                return None;
            }
            let fitting = answers * usize::from(self.limit) / bytes.len();
            self.message.answers.truncate(fitting.min(answers - 1));
        }
    }
}

/// Makes records of facts about a zone.
struct Zone<'a> {
    domain: &'a str,
    question: &'a Query,
}

impl Zone<'_> {
    /// `None` if one of the names cannot be encoded.
    fn add(&self, message: &mut Message, answers: &[Fact], additional: &[Fact]) -> Option<()> {
        message.metadata.authoritative = true;
        for fact in answers {
            message.add_answer(self.record(fact)?);
        }
        for fact in additional {
            message.add_additional(self.record(fact)?);
        }
        // Clients take the first address: let it be another one each time.
        let id = usize::from(message.metadata.id);
        if answers.len() > 1 && answers.iter().all(|fact| matches!(fact.data, Data::A(_))) {
            message.answers.rotate_left(id % answers.len());
        }
        Some(())
    }

    /// Says that there is nothing, and for how long that may be believed.
    fn add_head(&self, message: &mut Message, code: ResponseCode) -> Option<()> {
        message.metadata.authoritative = true;
        message.metadata.response_code = code;
        let head = Fact { name: self.domain.to_owned(), data: Data::Soa };
        message.add_authority(self.record(&head)?);
        Some(())
    }

    fn record(&self, fact: &Fact) -> Option<Record> {
        let data = match &fact.data {
            Data::A(address) => RData::A(A(*address)),
            Data::Cname(target) => RData::CNAME(CNAME(name(target)?)),
            Data::Ptr(target) => RData::PTR(PTR(name(target)?)),
            Data::Srv(target, port) => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
            Data::Txt(text) => RData::TXT(TXT::new(vec![(*text).to_owned()])),
            Data::Soa => RData::SOA(self.head()?),
        };
        // The question's own spelling comes back: some resolvers mix case to tell forged answers.
        let own = name(&fact.name)?;
        let own = if own == *self.question.name() { self.question.name().clone() } else { own };
        Some(Record::from_rdata(own, TTL, data))
    }

    fn head(&self) -> Option<SOA> {
        let (server, mailbox) =
            (name(&format!("ns.dns.{}", self.domain))?, name(&format!("hostmaster.{}", self.domain))?);
        Some(SOA::new(server, mailbox, SERIAL, REFRESH, RETRY, EXPIRE, TTL))
    }
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
