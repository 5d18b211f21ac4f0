//! Both ends of a join, in one process.

use ed25519_dalek::SigningKey;

use super::*;
use crate::time::Wall;
use crate::trust::{Member, TokenId};

const NOW: Wall = Wall(1_800_000_000_000_000);

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

/// The founder of the cluster of key `n`.
fn founder(n: u8) -> Member {
    Member {
        cluster: ClusterId::founded_by(id(n)),
        id: id(n),
        name: "n1".into(),
        tag: 1,
        pod_range: "10.240.0.0/24".parse().unwrap(),
        joined: NOW,
        token: None,
        by: id(n),
    }
}

fn settings() -> ClusterSettings {
    ClusterSettings { pods: "10.240.0.0/12".parse().unwrap(), services: "10.96.0.0/16".parse().unwrap() }
}

fn token() -> Token {
    let cluster = ClusterId::founded_by(id(1));
    Token { cluster, issuer: id(1), id: TokenId([5; 16]), expires: Wall(i64::MAX), addresses: Vec::new() }
}

/// Applies as key 9 to the founder of the cluster of key `n`, whose node answers by `verdict`.
async fn apply(
    n: u8,
    verdict: impl Fn(&Members, &JoinRequest) -> Verdict + Send + 'static,
    look: impl Fn(&ClusterSettings) -> Result<(), String>,
) -> (Result<Admitted, Failure>, bool) {
    let record = founder(n).sign(&key(n));
    let (joins, mut asked) = mpsc::channel::<(JoinRequest, oneshot::Sender<Verdict>)>(1);
    let (authority, authority_key) = ("CERT".to_owned(), Some("KEY".to_owned()));
    let welcome = Welcome { chain: vec![hex::encode(&record)], settings: settings(), authority, authority_key, joins };
    let (here, there) = tokio::io::duplex(1024);
    let served = tokio::spawn(async move { welcome.serve(id(9), Vec::new(), Box::new(there)).await });
    let node = tokio::spawn(async move {
        let Some((request, answer)) = asked.recv().await else { return false };
        let members = Members::of(founder(n).cluster, [record.as_slice()]);
        let _ = answer.send(verdict(&members, &request));
        true
    });
    let (token, text) = (token(), token().text(&key(1)));
    let applicant = Applicant { token: &token, text: &text, name: "n2" };
    let result = applicant.apply(id(n), Box::new(here), look).await;
    let _ = served.await;
    (result, node.await.unwrap())
}

fn admit(members: &Members, request: &JoinRequest) -> Verdict {
    assert_eq!(request.id, id(9));
    let member = members.admit(&settings(), request, id(1), NOW)?.sign(&key(1));
    let members = vec![founder(1).sign(&key(1)), member.clone()];
    Ok(Admission { member, members, settings: settings() })
}

#[tokio::test]
async fn a_stranger_with_a_token_is_admitted_and_told_what_it_needs() {
    let Ok(admitted) = apply(1, admit, |_| Ok(())).await.0 else { panic!("is not admitted") };
    assert_eq!(Member::read(&admitted.admission.member).unwrap().name, "n2");
    assert_eq!((admitted.authority.as_str(), admitted.authority_key.as_deref()), ("CERT", Some("KEY")));
}

#[tokio::test]
async fn a_large_cluster_keeps_its_key() {
    let many = |members: &Members, request: &JoinRequest| {
        let mut admission = admit(members, request)?;
        admission.members.resize(4, Vec::new());
        Ok(admission)
    };
    let Ok(admitted) = apply(1, many, |_| Ok(())).await.0 else { panic!("is not admitted") };
    assert_eq!(admitted.authority_key, None);
}

#[tokio::test]
async fn another_cluster_never_sees_the_token() {
    let (result, asked) = apply(2, |_, _| panic!("nobody asks"), |_| Ok(())).await;
    let Err(Failure::Passing(why)) = result else { panic!("is believed") };
    let ids = [1, 2].map(|n| ClusterId::founded_by(id(n)).to_string()[..16].to_owned());
    assert!(ids.iter().all(|id| why.contains(id)) && !asked, "{why}");
}

#[tokio::test]
async fn ranges_that_do_not_fit_end_it_before_the_token_is_shown() {
    let (result, asked) = apply(1, |_, _| panic!("nobody asks"), |_| Err("overlaps".into())).await;
    assert_eq!(result.err(), Some(Failure::Final("overlaps".into())));
    assert!(!asked);
}

#[tokio::test]
async fn refusals_are_told_and_those_that_pass_are_told_apart() {
    let refused = apply(1, |_, _| Err(Declined::for_good("the token is used")), |_| Ok(())).await.0;
    assert_eq!(refused.err(), Some(Failure::Final("the token is used".into())));
    let passing = apply(1, |_, _| Err(Declined::for_now("no leader: try again")), |_| Ok(())).await.0;
    assert_eq!(passing.err(), Some(Failure::Passing("no leader: try again".into())));
}

#[test]
fn another_version_is_named_whatever_else_it_says() {
    let hello = serde_json::json!({"protocol": 7, "novelty": true});
    let why = read_hello(hello, ClusterId([0; 32]), id(1)).unwrap_err();
    assert!(matches!(why, Failure::Final(text) if text.contains("version 7") && text.contains("version 1")));
    assert!(matches!(read_hello(serde_json::json!([]), ClusterId([0; 32]), id(1)), Err(Failure::Passing(_))));
}
