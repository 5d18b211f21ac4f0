//! Who is admitted, as what, and who is not.

use super::super::fixtures::{cluster, id, key};
use super::super::token::TokenId;
use super::*;

const NOW: Wall = Wall(1_800_000_000_000_000);

fn settings() -> ClusterSettings {
    ClusterSettings { pods: "10.240.0.0/22".parse().unwrap(), services: "10.96.0.0/16".parse().unwrap() }
}

fn token(n: u8) -> Token {
    Token {
        cluster: cluster(),
        issuer: id(1),
        id: TokenId([n; 16]),
        expires: Wall(NOW.0 + 1_000_000),
        addresses: Vec::new(),
    }
}

/// Who has key `n`, and a token of that number.
fn request(n: u8, name: &str) -> JoinRequest {
    JoinRequest { token: token(n).text(&key(1)), id: id(n), name: name.into(), level: 1 }
}

fn founder() -> Member {
    Member {
        cluster: cluster(),
        id: id(1),
        name: "n1".into(),
        tag: 1,
        pod_range: "10.240.0.0/24".parse().unwrap(),
        joined: NOW,
        token: None,
        by: id(1),
    }
}

fn table(members: &[Member]) -> Members {
    let records: Vec<_> = members.iter().map(|m| m.sign(&key(1))).collect();
    Members::of(cluster(), records.iter().map(Vec::as_slice))
}

fn admit(members: &[Member], request: &JoinRequest) -> Result<Member, Refused> {
    table(members).admit(&settings(), request, id(1), NOW)
}

#[test]
fn a_newcomer_gets_the_lowest_free_tag_and_range() {
    let second = admit(&[founder()], &request(2, "n2")).unwrap();
    assert_eq!((second.name.as_str(), second.tag), ("n2", 2));
    assert_eq!(second.pod_range, "10.240.1.0/24".parse().unwrap());
    assert_eq!((second.token, second.by), (Some(TokenId([2; 16])), id(1)));
    let third = admit(&[founder(), second.clone()], &request(3, "n3")).unwrap();
    assert_eq!((third.tag, third.pod_range.to_string().as_str()), (3, "10.240.2.0/24"));
    let refilled = admit(&[founder(), third], &request(4, "n4")).unwrap();
    assert_eq!((refilled.tag, refilled.pod_range), (2, second.pod_range));
}

#[test]
fn the_same_machine_gets_the_same_record_again() {
    let second = admit(&[founder()], &request(2, "n2")).unwrap();
    let again = admit(&[founder(), second.clone()], &request(2, "renamed")).unwrap();
    assert_eq!(again, second);
    let late = table(&[founder(), second.clone()]).admit(&settings(), &request(2, "n2"), id(1), Wall(i64::MAX));
    assert_eq!(late, Ok(second.clone()));
    let other = JoinRequest { id: id(2), ..request(3, "n2") };
    assert_eq!(admit(&[founder(), second.clone()], &other), Ok(second), "one that lost the token takes another");
}

#[test]
fn a_taken_name_gets_a_suffix() {
    let mut members = vec![founder()];
    for (n, name) in [(2, "n1-2"), (3, "n1-3")] {
        let member = admit(&members, &request(n, "n1")).unwrap();
        assert_eq!(member.name, name);
        members.push(member);
    }
    let long = "a".repeat(63);
    let named = [Member { name: long.clone(), ..founder() }];
    assert_eq!(admit(&named, &request(2, &long)).unwrap().name, format!("{}-2", "a".repeat(61)));
}

#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["", "UPPER", "a_b", "-a", &"a".repeat(64), &"ü".repeat(40)] {
        assert!(matches!(admit(&[founder()], &request(2, name)), Err(Refused::Name { .. })), "{name}");
    }
}

#[test]
fn another_clusters_token_is_refused_naming_both() {
    let foreign = Token { cluster: ClusterId([0xab; 32]), ..token(2) };
    let request = JoinRequest { token: foreign.text(&key(1)), ..request(2, "n2") };
    let why = admit(&[founder()], &request).unwrap_err().to_string();
    assert!(why.contains("abababababababab,") && why.contains(&cluster().to_string()[..16]), "{why}");
}

#[test]
fn expired_used_forged_and_foreign_tokens_are_refused() {
    let refused = |members: &[Member], token: &Token, signer: u8| {
        let request = JoinRequest { token: token.text(&key(signer)), ..request(5, "n5") };
        admit(members, &request).unwrap_err()
    };
    let expired = Token { expires: NOW, ..token(2) };
    assert_eq!(refused(&[founder()], &expired, 1), Refused::Expired(NOW));
    assert!(Refused::Expired(NOW).to_string().contains("2027-01-15T08:00:00Z"));
    let second = admit(&[founder()], &request(2, "n2")).unwrap();
    assert_eq!(refused(&[founder(), second], &token(2), 1), Refused::Used("n2".into()));
    assert_eq!(refused(&[founder()], &token(2), 9), Refused::Token(BadToken::Forged));
    let stranger = Token { issuer: id(9), ..token(2) };
    assert_eq!(refused(&[founder()], &stranger, 9), Refused::Issuer(id(9)));
}

#[test]
fn a_full_cluster_says_so() {
    let mut members = vec![founder()];
    for n in 2..=4 {
        members.push(admit(&members, &request(n, "n")).unwrap());
    }
    let why = admit(&members, &request(5, "n")).unwrap_err();
    assert_eq!(why, Refused::Full(settings().pods));
}

#[test]
fn only_a_member_admits() {
    assert_eq!(table(&[]).admit(&settings(), &request(2, "n2"), id(1), NOW), Err(Refused::Stranger));
}

#[test]
fn requests_and_admissions_travel_as_json_and_print_no_secret() {
    let asked = request(2, "n2");
    let read: JoinRequest = serde_json::from_str(&serde_json::to_string(&asked).unwrap()).unwrap();
    assert_eq!(read, asked);
    assert!(!format!("{asked:?}").contains("SK1"));
    let record = founder().sign(&key(1));
    let admission = Admission { member: record.clone(), members: vec![record], settings: settings() };
    let text = serde_json::to_string(&admission).unwrap();
    assert!(text.len() < 900, "{}", text.len());
    assert_eq!(serde_json::from_str::<Admission>(&text).unwrap(), admission);
}
