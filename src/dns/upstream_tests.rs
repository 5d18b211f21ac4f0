//! Servers that answer, do not, lie, or are ourselves. All on 127.0.0.1.

use hickory_proto::op::{MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_millis(300);

fn question() -> Query {
    Query::query(Name::from_ascii("Example.com.").expect("a name"), RecordType::A)
}

fn packet() -> Vec<u8> {
    let mut message = Message::new(4_711, MessageType::Query, OpCode::Query);
    message.add_query(question());
    message.to_vec().expect("it encodes")
}

fn forwarder(servers: Vec<SocketAddr>) -> Forwarder {
    Forwarder::new(Upstreams::Fixed(servers), Ipv4Addr::new(10, 96, 0, 10).into(), PATIENCE, 200)
}

fn answer(query: &[u8], last: u8) -> Message {
    let query = Message::from_vec(query).expect("it decodes");
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_queries(query.queries.iter().cloned());
    answer.add_answer(Record::from_rdata(query.queries[0].name().clone(), 60, RData::A(A::new(192, 0, 2, last))));
    answer
}

/// A server that answers each packet with what `behave` makes of it, in order.
async fn server(behave: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            for packet in behave(&buffer[..length]) {
                socket.send_to(&packet, client).await.expect("it is sent");
            }
        }
    });
    address
}

fn honest(query: &[u8]) -> Vec<Vec<u8>> {
    vec![answer(query, 1).to_vec().expect("it encodes")]
}

fn silent(_: &[u8]) -> Vec<Vec<u8>> {
    Vec::new()
}

fn failing(query: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = answer(query, 1);
    answer.answers.clear();
    answer.metadata.response_code = ResponseCode::ServFail;
    vec![answer.to_vec().expect("it encodes")]
}

async fn forwarded(servers: Vec<SocketAddr>) -> Result<Message, ForwardError> {
    let bytes = forwarder(servers).forward(&packet(), &question(), false).await?;
    Ok(Message::from_vec(&bytes).expect("it decodes"))
}

#[tokio::test]
async fn an_answer_comes_back_under_the_clients_id() {
    let answer = forwarded(vec![server(honest).await]).await.expect("an answer");
    assert_eq!(answer.metadata.id, 4_711);
    assert_eq!(answer.answers[0].to_string(), "Example.com. 60 IN A 192.0.2.1");
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_is_silent_absent_or_fails() {
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.local_addr().expect("an address")
    };
    for bad in [server(silent).await, closed, server(failing).await] {
        let answer = forwarded(vec![bad, server(honest).await]).await.expect("an answer");
        assert_eq!(answer.answers.len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_answered_is_asked_first_next_time() {
    let forwarder = forwarder(vec![server(silent).await, server(honest).await]);
    forwarder.forward(&packet(), &question(), false).await.expect("an answer");
    let start = Instant::now();
    forwarder.forward(&packet(), &question(), false).await.expect("an answer");
    assert!(start.elapsed() < PATIENCE, "the silent one was waited for again");
}

#[tokio::test]
async fn without_an_answer_there_is_an_error() {
    assert!(matches!(forwarded(vec![]).await, Err(ForwardError::NoServer)));
    assert!(matches!(forwarded(vec![server(silent).await]).await, Err(ForwardError::Silent(..))));
    let answer = forwarded(vec![server(failing).await]).await.expect("the failure is handed on");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let own = SocketAddr::from((Ipv4Addr::new(10, 96, 0, 10), 53));
    assert!(matches!(forwarded(vec![own]).await, Err(ForwardError::NoServer)), "never ourselves");
}

#[tokio::test]
async fn forged_answers_are_passed_over() {
    let forging = server(|query| {
        let real = answer(query, 1).to_vec().expect("it encodes");
        let mut other_id = answer(query, 66).to_vec().expect("it encodes");
        other_id[0] ^= 0xff;
        let mut other_name = answer(query, 67);
        other_name.queries[0].set_name(Name::from_ascii("example.org.").expect("a name"));
        let no_answer = query.to_vec();
        vec![vec![], vec![0; 5], other_id, other_name.to_vec().expect("it encodes"), no_answer, real]
    });
    let answer = forwarded(vec![forging.await]).await.expect("an answer");
    assert_eq!(answer.answers[0].to_string(), "Example.com. 60 IN A 192.0.2.1");
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    // UDP and TCP at one port.
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = tcp.local_addr().expect("an address");
    let udp = UdpSocket::bind(address).await.expect("the same port");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        let (length, client) = udp.recv_from(&mut buffer).await.expect("a query");
        let mut cut = answer(&buffer[..length], 1);
        cut.answers.clear();
        cut.metadata.truncation = true;
        udp.send_to(&cut.to_vec().expect("it encodes"), client).await.expect("it is sent");
    });
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.expect("a client");
        let mut query = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
        stream.read_exact(&mut query).await.expect("a query");
        let whole = answer(&query, 2).to_vec().expect("it encodes");
        stream.write_u16(u16::try_from(whole.len()).expect("it fits")).await.expect("sent");
        stream.write_all(&whole).await.expect("sent");
    });
    let answer = forwarder(vec![address]).resolve(&question()).await.expect("an answer");
    assert_eq!(answer.answers[0].to_string(), "Example.com. 60 IN A 192.0.2.2");
}

#[tokio::test]
async fn equal_questions_are_bounded_and_the_bound_is_given_back() {
    let forwarder = forwarder(vec![server(silent).await]);
    let (query, question) = (packet(), question());
    let (first, second) = (&forwarder, &question);
    let many = (0..EQUAL_MAX + 10).map(|_| first.forward(&query, second, false));
    let ends = futures_util::future::join_all(many).await;
    let loops = ends.iter().filter(|end| matches!(end, Err(ForwardError::Loop))).count();
    assert_eq!(loops, 10);
    assert!(forwarder.open.lock().expect("not poisoned").is_empty());
    assert!(matches!(forwarder.forward(&query, &question, false).await, Err(ForwardError::Silent(..))));
}

#[tokio::test]
async fn the_file_is_read_and_ourselves_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    let text = "# by hand\nsearch lan\nnameserver 10.96.0.10\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 \n\
        nameserver fe80::1%eth0\nnameserver\noptions ndots:5\nnameserver 192.0.2.54\nnameserver 192.0.2.55\n";
    std::fs::write(&file, text).expect("it is written");
    let own = Ipv4Addr::new(10, 96, 0, 10).into();
    let forwarder = Forwarder::new(Upstreams::File(file), own, PATIENCE, 1);
    let servers: Vec<_> = forwarder.servers().await.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:53"]);
    let missing = Forwarder::new(Upstreams::File("/nowhere/resolv.conf".into()), own, PATIENCE, 1);
    assert!(missing.servers().await.is_empty());
}
