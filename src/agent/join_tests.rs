//! A machine joins a member over a real mesh on the loopback interface. The node behind the member is a stand-in.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::*;
use crate::agent::callee::Callee;
use crate::agent::driver::Verdict;
use crate::agent::frames::{self, Inlets};
use crate::agent::genesis::Genesis;
use crate::agent::places::Places;
use crate::agent::welcome::Welcome;
use crate::agent::{clock, invite};
use crate::config::Settings;
use crate::handle::{LogOptions, LogStream, Logs, Meters, Session, Sessions, Talk};
use crate::proxy::{self, Exit};
use crate::trust::{Admission, JoinRequest, Member, Members};

struct NoLogs;

impl Logs for NoLogs {
    fn open(&self, _: &str, _: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        Box::pin(async { Err("there are none".into()) })
    }
}

impl Meters for NoLogs {}

impl Sessions for NoLogs {
    fn begin(&self, _: &str, _: Session) -> BoxFuture<'static, Result<Talk, String>> {
        Box::pin(async { Err("no sessions here".to_owned()) })
    }
}

/// A cluster of one member, whose node admits as the real one does but forgets at once.
struct Cluster {
    folder: tempfile::TempDir,
    at: SocketAddrV4,
    _stop: tokio_util::sync::DropGuard,
}

fn config(folder: &Path, name: &str) -> Config {
    let settings = Settings { data: Some(folder.into()), node_name: Some(name.into()), ..Settings::default() };
    settings.complete("host").unwrap()
}

fn admit(genesis: &Genesis, request: &JoinRequest) -> Verdict {
    let records: Vec<_> = genesis.registers.values().map(|r| r.value.clone()).collect();
    let members = Members::of(genesis.cluster, records.iter().map(Vec::as_slice));
    let now = clock::now().wall;
    let member = members.admit(&genesis.settings, request, genesis.node_id(), now)?;
    let member = member.sign(&genesis.key);
    let members = records.into_iter().chain([member.clone()]).collect();
    Ok(Admission { member, members, settings: genesis.settings.clone() })
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut files = DataFolder::open(folder.path()).unwrap().files().unwrap();
        let genesis = genesis::load(&mut files, &config(folder.path(), "n1"), clock::now().wall).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let places = Places { own: at, others: Vec::new() };
        std::fs::write(folder.path().join("addresses"), serde_json::to_vec(&places).unwrap()).unwrap();
        let stop = CancellationToken::new();
        let (events_in, events) = mpsc::channel(16);
        let mesh_config = mesh::Config { key: genesis.key.clone(), listen: at, discover: false };
        let mesh = Mesh::start(mesh_config, Directory::new(), events_in, stop.clone()).await.unwrap();
        let (joins, mut asked) = mpsc::channel::<(JoinRequest, oneshot::Sender<Verdict>)>(1);
        let welcome = Welcome {
            chain: genesis.identity.chain.clone(),
            settings: genesis.settings.clone(),
            authority: genesis.identity.authority.clone(),
            authority_key: genesis.identity.authority_key.clone(),
            joins,
        };
        let (exit, tasks) = (Exit::new(proxy::Config::default()), TaskTracker::new());
        let places = watch::Sender::new(places).subscribe();
        let callee = Callee::new(exit, Arc::new(NoLogs), None, welcome, places, tasks.clone(), stop.clone());
        let inlets = Inlets { urgent: mpsc::channel(1).0, bulk: mpsc::channel(1).0 };
        tasks.spawn(frames::run(events, inlets, callee, tasks.clone(), stop.clone()));
        tokio::spawn(async move {
            let _mesh = mesh;
            while let Some((request, verdict)) = asked.recv().await {
                let _ = verdict.send(admit(&genesis, &request));
            }
        });
        Self { folder, at, _stop: stop.drop_guard() }
    }

    fn token(&self) -> String {
        invite::create(self.folder.path(), Duration::from_secs(60)).unwrap()
    }

    fn id(&self) -> String {
        invite::cluster(self.folder.path()).unwrap()
    }
}

async fn join_as(folder: &Path, name: &str, token: &str) -> anyhow::Result<Member> {
    let data = DataFolder::open(folder)?;
    let ticket = Ticket { token: token.to_owned(), witness: false };
    join(&config(folder, name), &data, &ticket).await?;
    let mut files = data.files()?;
    let mut config = config(folder, name);
    genesis::adopt(&files, &mut config)?;
    let genesis = genesis::load(&mut files, &config, clock::now().wall)?;
    Ok(Member::read(&hex::decode(&genesis.identity.chain[0])?)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_and_is_a_member_from_then_on() {
    let (cluster, folder) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let token = cluster.token();
    let member = join_as(folder.path(), "n1", &token).await.unwrap();
    assert_eq!((member.name.as_str(), member.tag), ("n1-2", 2));
    assert_eq!(cluster.id(), invite::cluster(folder.path()).unwrap());
    // The second time nothing is asked of anybody, whatever has become of the token.
    drop(cluster);
    assert_eq!(join_as(folder.path(), "n1", &token).await.unwrap(), member);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_joins_as_a_witness_is_one_at_every_start() {
    let (cluster, folder) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let data = DataFolder::open(folder.path()).unwrap();
    let config = config(folder.path(), "w");
    join(&config, &data, &Ticket { token: cluster.token(), witness: true }).await.unwrap();
    for _ in 0..2 {
        let genesis = genesis::load(&mut data.files().unwrap(), &config, clock::now().wall).unwrap();
        let node = crate::agent::settings::node_config(&config, &genesis, Ipv4Addr::LOCALHOST, Vec::new());
        assert!(node.witness && node.kubelet.max_pods == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_is_refused_naming_both() {
    let (one, two) = (Cluster::start().await, Cluster::start().await);
    let why = join_as(two.folder.path(), "n1", &one.token()).await.unwrap_err().to_string();
    assert!(why.contains(&one.id()[..16]) && why.contains(&two.id()[..16]), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_and_a_conflict_of_ranges_are_one_sentence() {
    let (cluster, folder) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let expired = invite::create(cluster.folder.path(), Duration::ZERO).unwrap();
    let why = join_as(folder.path(), "n2", &expired).await.unwrap_err().to_string();
    assert!(why.contains("has expired"), "{why}");
    assert!(join_as(folder.path(), "n2", "SK1x").await.unwrap_err().to_string().contains("cut or mistyped"));
    let mut other = config(folder.path(), "n2");
    other.given.pods = Some("10.0.0.0/12".parse().unwrap());
    let data = DataFolder::open(folder.path()).unwrap();
    let why = join(&other, &data, &Ticket { token: cluster.token(), witness: false }).await.unwrap_err().to_string();
    assert!(why.contains("10.0.0.0/12") && why.contains("--pods"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_address_that_answers_for_the_cluster_will_do() {
    let (cluster, folder) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let places = Places { own: nobody, others: vec![cluster.at] };
    std::fs::write(cluster.folder.path().join("addresses"), serde_json::to_vec(&places).unwrap()).unwrap();
    assert_eq!(join_as(folder.path(), "n2", &cluster.token()).await.unwrap().name, "n2");
}
