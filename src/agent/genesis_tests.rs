//! What a data folder becomes at a start, whole or damaged.

use super::*;
use crate::config::Settings;
use crate::disk::MemoryFiles;
use crate::trust::{JoinRequest, Token, TokenId};

const WALL: Wall = Wall(1_800_000_000_000_000);

fn config(name: &str) -> Config {
    Settings { node_name: Some(name.into()), ..Settings::default() }.complete("host").unwrap()
}

fn start(files: &mut MemoryFiles, name: &str) -> Genesis {
    load(files, &config(name), WALL).unwrap()
}

fn vote(files: &MemoryFiles) -> Ballot {
    sealed::read::<Vote>(files, VOTE).unwrap().unwrap().ballot.unwrap()
}

fn members(genesis: &Genesis) -> Members {
    Members::of(genesis.cluster, genesis.registers.values().map(|r| r.value.as_slice()))
}

/// A machine that the founder of `first` admits. Returns its files.
fn join(first: &Genesis, name: &str) -> MemoryFiles {
    let mut files = MemoryFiles::default();
    let key = draft(&mut files, first.cluster).unwrap();
    let token = Token {
        cluster: first.cluster,
        issuer: first.node_id(),
        id: TokenId([1; 16]),
        expires: Wall(i64::MAX),
        addresses: Vec::new(),
    };
    let request = JoinRequest { token: token.text(&first.key), id: id_of(&key), name: name.into(), level: 1 };
    let member = members(first).admit(&first.settings, &request, first.node_id(), WALL).unwrap().sign(&first.key);
    let founder = first.registers.values().next().unwrap().value.clone();
    let admission = Admission { members: vec![founder, member.clone()], member, settings: first.settings.clone() };
    let authority = first.identity.authority.clone();
    let seeds = vec!["192.0.2.1:7443".parse().unwrap()];
    let joined = Joined { key, admission, authority, authority_key: None, witness: false, seeds };
    assert_eq!(settle(&mut files, first.cluster, joined).unwrap().tag, 2);
    files
}

#[test]
fn a_founder_is_a_member_and_the_only_voter() {
    let mut files = MemoryFiles::default();
    let first = start(&mut files, "n1");
    let ballot = first.vote.ballot.clone().unwrap();
    assert!(first.fresh && ballot.voters.only(&first.node_id()));
    assert!(members(&first).named("n1").unwrap().is_founder());
}

#[test]
fn a_start_on_a_full_disk_runs_on_what_is_there_and_owes_its_vote() {
    let mut files = MemoryFiles::default();
    let first = start(&mut files, "n1");
    assert!(!first.owed);
    files.fail_after(0);
    let second = start(&mut files, "n1");
    assert!(second.owed && second.vote.incarnation > first.vote.incarnation);
    assert_eq!((second.node_id(), second.vote.ballot), (first.node_id(), first.vote.ballot.clone()));
    files.repair();
    let third = start(&mut files, "n1");
    assert!(!third.owed && third.vote.incarnation > first.vote.incarnation);
    let nothing = MemoryFiles::default();
    nothing.fail_after(0);
    assert!(load(&mut nothing.clone(), &config("n1"), WALL).is_err(), "no cluster is founded on a full disk");
}

#[test]
fn runs_have_numbers_of_their_own_on_a_disk_that_was_given_an_older_copy_and_a_clock_that_begins_anew() {
    let mut files = MemoryFiles::default();
    start(&mut files, "n1");
    let mut copy = files.copy();
    let runs = [start(&mut files, "n1"), start(&mut copy, "n1")].map(|genesis| genesis.vote.incarnation);
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn a_restart_keeps_the_identity_and_raises_the_incarnation() {
    let mut files = MemoryFiles::default();
    let first = start(&mut files, "n1");
    files.crash(0);
    let second = start(&mut files, "n1");
    assert!(first.fresh && !second.fresh);
    assert_eq!(first.node_id(), second.node_id());
    assert_eq!(first.identity.authority, second.identity.authority);
    assert_eq!(first.registers, second.registers);
    assert!(second.vote.incarnation > first.vote.incarnation, "the clock stands still");
}

#[test]
fn a_crash_at_any_point_of_the_founding_leaves_a_folder_that_starts() {
    for point in 0..60 {
        let mut files = MemoryFiles::default();
        files.fail_after(point);
        let done = load(&mut files, &config("n1"), WALL).is_ok();
        files.crash(0);
        files.repair();
        let again = start(&mut files, "n1");
        assert!(vote(&files).voters.only(&again.node_id()), "point {point}");
        assert_eq!(members(&again).iter().count(), 1, "point {point}");
        if done {
            return;
        }
    }
    panic!("the founding takes more than 60 steps");
}

#[test]
fn a_folder_of_the_release_before_becomes_a_cluster_of_one_member() {
    let mut files = MemoryFiles::default();
    let authority = Authority::new(KeyPair::generate().unwrap(), "skein", WALL).unwrap();
    let key = SigningKey::from_bytes(&[7; 32]);
    let identity = serde_json::json!({
        "key": hex::encode(key.to_bytes()), "name": "n1", "cluster": ClusterId::founded_by(id_of(&key)).to_string(),
        "tag": 1, "pod_range": "10.240.0.0/24", "service_range": "10.96.0.0/16",
        "authority_key": authority.key_pem(), "authority": authority.pem(),
    });
    sealed::write(&mut files, IDENTITY, &identity).unwrap();
    sealed::write(&mut files, VOTE, &serde_json::json!({"term": 41, "incarnation": 41})).unwrap();
    adopt(&files, &mut config("n1")).unwrap();
    assert_eq!(cluster_in(&files).unwrap(), Some(ClusterId::founded_by(id_of(&key))));
    let first = start(&mut files, "n1");
    let ballot = first.vote.ballot.clone().unwrap();
    assert_eq!(ballot.term, Term(41));
    assert!(first.vote.incarnation > 42);
    assert!(first.identity.authority_key.is_some() && ballot.voters.only(&first.node_id()));
    assert_eq!(members(&first).named("n1").unwrap().pod_range, "10.240.0.0/24".parse().unwrap());
    files.crash(0);
    assert_eq!(start(&mut files, "n1").registers, first.registers);
}

#[test]
fn what_is_given_and_differs_is_refused_naming_both() {
    let mut files = MemoryFiles::default();
    start(&mut files, "n1");
    let why = adopt(&files, &mut config("n2")).unwrap_err().to_string();
    assert!(why.contains("n1") && why.contains("n2"), "{why}");
    let range = |pods: &str| Settings { pods: Some(pods.parse().unwrap()), ..Settings::default() };
    let why = adopt(&files, &mut range("10.0.0.0/12").complete("n1").unwrap()).unwrap_err().to_string();
    assert!(why.contains("10.240.0.0/12") && why.contains("10.0.0.0/12"), "{why}");
}

#[test]
fn what_is_not_given_comes_from_the_folder() {
    let mut files = MemoryFiles::default();
    let wide = Settings { pods: Some("10.128.0.0/10".parse().unwrap()), ..Settings::default() };
    load(&mut files, &wide.complete("n1").unwrap(), WALL).unwrap();
    let mut renamed = Settings::default().complete("renamed").unwrap();
    adopt(&files, &mut renamed).unwrap();
    assert_eq!((renamed.node_name.as_str(), renamed.pods.to_string().as_str()), ("n1", "10.128.0.0/10"));
}

#[test]
fn a_name_that_got_a_suffix_is_still_asked_for_by_the_old_one() {
    assert!(is_name_for("n1-2", "n1") && is_name_for("n1", "n1"));
    assert!(!is_name_for("n1-b", "n1") && !is_name_for("n12", "n1") && !is_name_for("n1", "n1-2"));
}

#[test]
fn a_sole_voter_that_has_lost_its_vote_goes_on_far_above_it() {
    for lose in [
        |files: &mut MemoryFiles| assert!(files.damage(VOTE, 40)),
        |files: &mut MemoryFiles| files.remove(VOTE).unwrap(),
    ] {
        let mut files = MemoryFiles::default();
        let first = start(&mut files, "n1");
        lose(&mut files);
        let second = start(&mut files, "n1");
        let ballot = second.vote.ballot.clone().unwrap();
        assert!(ballot.term > Term(1 << 19) && ballot.voters.only(&second.node_id()));
        assert!(second.vote.incarnation > first.vote.incarnation);
    }
}

#[test]
fn one_voter_of_several_that_has_lost_its_vote_or_registers_votes_no_more() {
    for lost in [VOTE, REGISTERS] {
        let mut files = MemoryFiles::default();
        let first = start(&mut files, "n1");
        let voters = Voters {
            term: Term(3),
            version: 2,
            members: [first.node_id(), NodeId([1; 32])].into(),
            ..Voters::default()
        };
        let ballot = Ballot { term: Term(3), voters: voters.clone(), ..Ballot::default() };
        sealed::write(&mut files, VOTE, &Vote { ballot: Some(ballot), ..first.vote }).unwrap();
        sealed::write(&mut files, REGISTERS, &Registry { voters, registers: first.registers.clone() }).unwrap();
        files.damage(lost, 40);
        let _ = files.remove(REGISTERS_COPY);
        let second = start(&mut files, "n1");
        let ballot = second.vote.ballot.clone().unwrap();
        assert!(ballot.voters.members.is_empty() && ballot.seat != 0, "{lost}");
        assert_eq!(members(&second).iter().count(), 1, "{lost}");
    }
}

#[test]
fn a_joiner_is_a_member_without_a_vote_and_stays_one() {
    let first = start(&mut MemoryFiles::default(), "n1");
    let mut files = join(&first, "n1");
    assert!(files.read(JOINING).is_err());
    let mut config = Settings::default().complete("whatever").unwrap();
    adopt(&files, &mut config).unwrap();
    assert_eq!(cluster_in(&files).unwrap(), Some(first.cluster));
    let mut before = WALL.millis() as u64 - 1;
    for _ in 0..2 {
        files.crash(0);
        let second = load(&mut files, &config, WALL).unwrap();
        assert_eq!(second.identity.name, "n1-2");
        assert!(second.vote.incarnation > before);
        before = second.vote.incarnation;
        assert_eq!(second.vote.ballot, Some(Ballot::default()));
        assert_eq!(members(&second).iter().count(), 2);
        assert!(second.identity.authority_key.is_none() && !second.fresh);
        assert_eq!(second.identity.chain.len(), 2);
    }
}

#[test]
fn an_attempt_that_failed_is_taken_up_with_the_same_key() {
    let (here, there) = (ClusterId([1; 32]), ClusterId([2; 32]));
    let mut files = MemoryFiles::default();
    let key = draft(&mut files, here).unwrap();
    files.crash(0);
    assert_eq!(draft(&mut files, here).unwrap().to_bytes(), key.to_bytes());
    assert_ne!(draft(&mut files, there).unwrap().to_bytes(), key.to_bytes());
}

#[test]
fn an_admission_of_another_machine_is_not_kept() {
    let first = start(&mut MemoryFiles::default(), "n1");
    let record = first.registers.values().next().unwrap().value.clone();
    let admission = Admission { member: record.clone(), members: vec![record], settings: first.settings.clone() };
    let mut files = MemoryFiles::default();
    let key = draft(&mut files, first.cluster).unwrap();
    let authority = first.identity.authority.clone();
    let joined = Joined { key, admission, authority, authority_key: None, witness: false, seeds: Vec::new() };
    assert!(matches!(settle(&mut files, first.cluster, joined), Err(GenesisError::NoMembership)));
    assert!(files.read(IDENTITY).is_err());
}

#[test]
fn ranges_that_are_given_must_be_the_clusters() {
    let settings = ClusterSettings { pods: "10.0.0.0/12".parse().unwrap(), services: "10.96.0.0/16".parse().unwrap() };
    assert_eq!(agree(&config("n1"), &settings), Ok(()));
    let other = Settings { pods: Some("10.240.0.0/12".parse().unwrap()), ..Settings::default() };
    let why = agree(&other.complete("n1").unwrap(), &settings).unwrap_err();
    assert!(why.contains("10.0.0.0/12") && why.contains("10.240.0.0/12"), "{why}");
}

#[test]
fn an_older_copy_of_the_vote_does_not_bring_a_run_back() {
    let mut files = MemoryFiles::default();
    start(&mut files, "n1");
    let copy = files.copy();
    let later = Wall(WALL.0 + 60_000_000);
    let run = load(&mut files, &config("n1"), later).unwrap().vote.incarnation;
    let latest = Wall(WALL.0 + 120_000_000);
    let restored = load(&mut copy.clone(), &config("n1"), latest).unwrap().vote.incarnation;
    assert!(restored > run);
}

#[test]
fn registers_are_read_from_their_copy() {
    let mut files = MemoryFiles::default();
    let first = start(&mut files, "n1");
    let registry: Registry = sealed::read(&files, REGISTERS).unwrap().unwrap();
    sealed::write(&mut files, REGISTERS_COPY, &registry).unwrap();
    files.damage(REGISTERS, 40);
    assert_eq!(start(&mut files, "n1").registers, first.registers);
}

#[test]
fn a_founder_that_has_lost_all_but_its_log_goes_on_if_it_is_alone_there() {
    let lose = |files: &mut MemoryFiles| [VOTE, REGISTERS].map(|name| files.remove(name).unwrap());
    let mut files = MemoryFiles::default();
    start(&mut files, "n1");
    lose(&mut files);
    let traces = |_| Some(Traces { term: Term(77) });
    let second = load_traced(&mut files, &config("n1"), WALL, &traces).unwrap();
    let ballot = second.vote.ballot.clone().unwrap();
    assert!(ballot.term > Term(77) && ballot.voters.only(&second.node_id()));
    assert_eq!(members(&second).iter().count(), 1);
    let mut files = MemoryFiles::default();
    start(&mut files, "n1");
    lose(&mut files);
    assert!(start(&mut files, "n1").vote.ballot.unwrap().voters.members.is_empty(), "there are others");
}
