//! The certificates of this node: the API server's and the administrator's. Members that hold the authority's key sign
//! for themselves and for others, which ask them (rule 4). Kept on disk, so that a node that starts cut off from all
//! others serves its API at once; renewed while the agent runs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, SubjectPublicKeyInfo};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::disk::{Files, sealed};
use crate::handle::{Call, Calls, Stream};
use crate::mesh::Directory;
use crate::time::Wall;
use crate::trust::authority::LEAF_LIFETIME;
use crate::trust::{ADMINS, Authority, TrustError};
use crate::{api, config};

use super::{clock, wire};

/// The file that keeps certificates and their keys.
pub const FILE: &str = "certificates";
/// Whom the administrator's certificate names.
pub const ADMIN: &str = "skein-admin";

/// How long a member may take to sign.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon an attempt that failed is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether certificates are old.
const LOOK: Duration = Duration::from_secs(600);
/// How many names and addresses a certificate may have.
const MAX_NAMES: usize = 16;

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// What this node has.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Under which names the server may be called.
    names: Vec<String>,
    /// At which addresses.
    addresses: Vec<IpAddr>,
    /// When they were issued.
    issued: Wall,
    /// The API server's.
    server: Pair,
    /// The administrator's.
    pub admin: Pair,
}

impl Kept {
    fn serves(&self, names: &[String], addresses: &[IpAddr]) -> bool {
        self.names == names && self.addresses == addresses
    }

    /// Tells whether a third of the life is left at most; or they are of the future, by a clock that was wrong.
    fn is_old(&self, now: Wall) -> bool {
        now >= self.issued + LEAF_LIFETIME * 2 / 3 || self.issued.0 > now.0 + 3_600_000_000
    }
}

/// What a member asks another to sign.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignRequest {
    server_key: String,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    admin_key: String,
}

/// What comes back: both certificates, or why not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signed {
    server: String,
    admin: String,
}

/// Signs for members.
///
/// # Errors
/// One sentence.
pub fn sign(authority: Option<&Authority>, request: &SignRequest, now: Wall) -> Result<Signed, String> {
    let authority = authority.ok_or("this node does not hold the authority's key")?;
    if request.names.is_empty() || request.names.len() + request.addresses.len() > MAX_NAMES {
        return Err(format!("a certificate has 1 to {MAX_NAMES} names and addresses"));
    }
    let key = |pem: &str| {
        let source = |source| TrustError::Certificate { what: "the public key".into(), source };
        SubjectPublicKeyInfo::from_pem(pem).map_err(source).map_err(|e| e.to_string())
    };
    let (server_key, admin_key) = (key(&request.server_key)?, key(&request.admin_key)?);
    let server = authority.server(&server_key, &request.names, &request.addresses, now).map_err(|e| e.to_string())?;
    let admin = authority.client(&admin_key, ADMIN, &[ADMINS.to_owned()], now).map_err(|e| e.to_string())?;
    Ok(Signed { server, admin })
}

/// Answers a member that asks for certificates.
///
/// # Errors
/// The stream's.
pub async fn serve(authority: Option<&Authority>, mut stream: Stream) -> io::Result<()> {
    let request: SignRequest = wire::read(&mut stream).await?;
    wire::write(&mut stream, &sign(authority, &request, clock::now().wall)).await
}

/// Keeps this node's certificates.
pub struct Certificates {
    /// This node's name, and the address of the API's Service.
    pub node: (String, Ipv4Addr),
    /// The authority, if this node signs.
    pub authority: Option<Arc<Authority>>,
    /// The way to members that may.
    pub calls: Arc<dyn Calls>,
    /// Who they are.
    pub directory: watch::Receiver<Arc<Directory>>,
    /// Where they are kept.
    pub files: Box<dyn Files + Sync>,
    /// What the API shows.
    pub api: api::Certificate,
    /// What the kubeconfig carries.
    pub admin: watch::Sender<Option<Pair>>,
    kept: Option<Kept>,
}

impl Certificates {
    /// Takes up what is on disk.
    pub fn open(
        node: (String, Ipv4Addr),
        authority: Option<Arc<Authority>>,
        calls: Arc<dyn Calls>,
        directory: watch::Receiver<Arc<Directory>>,
        files: Box<dyn Files + Sync>,
    ) -> Self {
        let kept = sealed::read::<Kept>(&*files, FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "new certificates are needed");
            None
        });
        let (api, admin) = (api::Certificate::default(), watch::Sender::new(None));
        Self { node, authority, calls, directory, files, api, admin, kept }
    }

    /// Makes sure that there are certificates for this address.
    ///
    /// # Errors
    /// One sentence: nobody signs just now. Those that there are, are shown.
    pub async fn refresh(&mut self, address: Ipv4Addr) -> Result<(), String> {
        let (names, addresses) = (names(&self.node.0), addresses(address, self.node.1));
        let now = clock::now().wall;
        if let Some(kept) = &self.kept {
            self.show(kept)?;
            if kept.serves(&names, &addresses) && !kept.is_old(now) {
                return Ok(());
            }
        }
        let key = || KeyPair::generate().map_err(|e| e.to_string());
        let (server, admin) = (key()?, key()?);
        let request = SignRequest {
            server_key: server.public_key_pem(),
            admin_key: admin.public_key_pem(),
            names: names.clone(),
            addresses: addresses.clone(),
        };
        let signed = self.have_signed(&request, now).await?;
        let pair = |certificate, key: &KeyPair| Pair { certificate, key: key.serialize_pem() };
        let (server, admin) = (pair(signed.server, &server), pair(signed.admin, &admin));
        let kept = Kept { names, addresses, issued: now, server, admin };
        self.show(&kept)?;
        if let Err(error) = sealed::write(&mut *self.files, FILE, &kept) {
            tracing::warn!(%error, "the certificates are not kept; they are made anew at the next start");
        }
        self.kept = Some(kept);
        Ok(())
    }

    fn show(&self, kept: &Kept) -> Result<(), String> {
        self.api.set(&kept.server.certificate, &kept.server.key).map_err(|e| e.to_string())?;
        self.admin.send_if_modified(|admin| {
            let is_new = admin.as_ref() != Some(&kept.admin);
            *admin = Some(kept.admin.clone());
            is_new
        });
        Ok(())
    }

    async fn have_signed(&self, request: &SignRequest, now: Wall) -> Result<Signed, String> {
        if self.authority.is_some() {
            return sign(self.authority.as_deref(), request, now);
        }
        let names: Vec<String> = self.directory.borrow().values().map(|peer| peer.name.clone()).collect();
        let mut refusals = BTreeMap::new();
        for name in names {
            match timeout(PATIENCE, ask(&*self.calls, &name, request)).await {
                Ok(Ok(Ok(signed))) => return Ok(signed),
                Ok(Ok(Err(refusal))) => refusals.insert(name, refusal),
                Ok(Err(error)) => refusals.insert(name, error.to_string()),
                Err(_) => refusals.insert(name, "it does not answer".into()),
            };
        }
        Err(format!("no member that holds the authority's key can be asked ({refusals:?})"))
    }

    /// Keeps certificates fresh and for the right address, until `shutdown`.
    pub async fn run(mut self, mut address: watch::Receiver<Ipv4Addr>, shutdown: CancellationToken) {
        let mut complained = false;
        let work = async {
            loop {
                let here = *address.borrow_and_update();
                let pause = match self.refresh(here).await {
                    Ok(()) => {
                        complained = false;
                        LOOK
                    }
                    Err(reason) => {
                        if !std::mem::replace(&mut complained, true) {
                            tracing::warn!(reason, "the API has no new certificate yet");
                        }
                        RETRY
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = address.changed() => if changed.is_err() { return },
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }
}

async fn ask(calls: &dyn Calls, node: &str, request: &SignRequest) -> io::Result<Result<Signed, String>> {
    let mut stream = calls.call(node, Call::Sign).await?;
    wire::write(&mut stream, request).await?;
    wire::read(&mut stream).await
}

fn names(node: &str) -> Vec<String> {
    let common = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
    let own = [format!("kubernetes.default.svc.{}", config::DOMAIN), node.to_owned()];
    common.into_iter().chain(own).collect()
}

fn addresses(host: Ipv4Addr, service: Ipv4Addr) -> Vec<IpAddr> {
    [host, Ipv4Addr::LOCALHOST, service].map(IpAddr::V4).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryFiles;
    use crate::ids::NodeId;
    use crate::mesh::Peer;
    use futures_util::future::BoxFuture;

    /// A way to n1, which may hold the key, while the wire is whole.
    struct Wire(Option<Arc<Authority>>);

    impl Calls for Wire {
        fn call(&self, _: &str, _: Call) -> BoxFuture<'static, io::Result<Stream>> {
            let authority = self.0.clone();
            Box::pin(async move {
                let (here, there) = tokio::io::duplex(1024);
                tokio::spawn(async move { serve(authority.as_deref(), Box::new(there)).await });
                Ok(Box::new(here) as Stream)
            })
        }
    }

    fn authority() -> Arc<Authority> {
        Arc::new(Authority::new(KeyPair::generate().unwrap(), "skein", clock::now().wall).unwrap())
    }

    fn certificates(own: Option<Arc<Authority>>, far: Option<Arc<Authority>>, files: &MemoryFiles) -> Certificates {
        let peer = Peer { name: "n1".into(), addresses: Vec::new() };
        let directory = watch::Sender::new(Arc::new(Directory::from([(NodeId([1; 32]), peer)])));
        let node = ("n2".to_owned(), Ipv4Addr::new(10, 96, 0, 1));
        Certificates::open(node, own, Arc::new(Wire(far)), directory.subscribe(), Box::new(files.clone()))
    }

    fn here() -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 2)
    }

    #[tokio::test]
    async fn a_member_without_the_key_has_another_sign_and_keeps_what_it_got() {
        let files = MemoryFiles::default();
        let mut first = certificates(None, Some(authority()), &files);
        first.refresh(here()).await.unwrap();
        let got = first.admin.borrow().clone().unwrap();
        // Cut off from all others, it goes on with them after a restart, but gets none for another address.
        let mut again = certificates(None, None, &files);
        again.refresh(here()).await.unwrap();
        assert_eq!(again.admin.borrow().clone(), Some(got.clone()));
        assert!(again.refresh(Ipv4Addr::new(192, 0, 2, 3)).await.unwrap_err().contains("n1"));
        assert_eq!(again.admin.borrow().clone(), Some(got));
    }

    #[tokio::test]
    async fn another_address_or_old_age_calls_for_new_ones() {
        let files = MemoryFiles::default();
        let mut own = certificates(Some(authority()), None, &files);
        own.refresh(here()).await.unwrap();
        let first = own.admin.borrow().clone();
        own.refresh(Ipv4Addr::new(192, 0, 2, 3)).await.unwrap();
        let second = own.admin.borrow().clone();
        assert_ne!(first, second);
        own.kept.as_mut().unwrap().issued.0 -= i64::try_from(LEAF_LIFETIME.as_micros() * 2 / 3).unwrap();
        own.refresh(Ipv4Addr::new(192, 0, 2, 3)).await.unwrap();
        assert_ne!(own.admin.borrow().clone(), second);
    }

    #[test]
    fn bad_requests_are_refused_in_a_sentence() {
        let ca = authority();
        let key = KeyPair::generate().unwrap().public_key_pem();
        let names = vec!["n1".to_owned()];
        let request = |server_key: &str, names: &[String]| SignRequest {
            server_key: server_key.into(),
            names: names.to_vec(),
            addresses: Vec::new(),
            admin_key: key.clone(),
        };
        let now = clock::now().wall;
        assert!(sign(Some(&ca), &request(&key, &names), now).is_ok());
        assert!(sign(None, &request(&key, &names), now).unwrap_err().contains("authority"));
        assert!(sign(Some(&ca), &request("rubbish", &names), now).unwrap_err().contains("public key"));
        assert!(sign(Some(&ca), &request(&key, &vec!["n".into(); 99]), now).is_err());
    }
}
