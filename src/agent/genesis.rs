//! Who this node is: read from the data folder, or made when the folder is new.

use ed25519_dalek::SigningKey;
use rcgen::KeyPair;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::disk::identity::{IDENTITY, VOTE};
use crate::disk::{Files, Identity, Vote, sealed};
use crate::ids::NodeId;
use crate::time::Wall;
use crate::trust::Authority;

/// The node's secrets, ready for use.
pub struct Genesis {
    /// What the identity file holds.
    pub identity: Identity,
    /// The node's key.
    pub key: SigningKey,
    /// The cluster's certificate authority.
    pub authority: Authority,
    /// The term and incarnation of this start, durable already.
    pub vote: Vote,
    /// Whether the cluster was made just now.
    pub fresh: bool,
}

impl Genesis {
    /// Returns the node's id.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }
}

/// Why a node cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// A file cannot be read or written, or is damaged.
    #[error(transparent)]
    Sealed(#[from] sealed::SealError),
    /// A certificate or key is not what it should be.
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
    /// A key cannot be made.
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The identity file holds no key.
    #[error("file identity holds no key")]
    NoKey,
    /// The settings are not those of the cluster in the data folder.
    #[error(
        "the data folder belongs to a node with {what} {there}, not {here}: give it back its {what}, or use another folder"
    )]
    Other {
        /// Which setting.
        what: &'static str,
        /// The folder's.
        there: String,
        /// The settings'.
        here: String,
    },
}

/// Reads the node's identity, or founds a cluster; then begins a new term and incarnation.
///
/// # Errors
/// [`GenesisError`].
pub fn load(files: &mut dyn Files, config: &Config, wall: Wall) -> Result<Genesis, GenesisError> {
    let known: Option<Identity> = sealed::read(files, IDENTITY)?;
    let fresh = known.is_none();
    let identity = match known {
        Some(identity) => identity,
        None => found(files, config, wall)?,
    };
    agree(&identity, config)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(&identity.key, &mut seed).map_err(|_| GenesisError::NoKey)?;
    let key = SigningKey::from_bytes(&seed);
    let authority = Authority::of_pem(&identity.authority, &identity.authority_key)?;
    let vote = next_vote(files)?;
    Ok(Genesis { identity, key, authority, vote, fresh })
}

fn found(files: &mut dyn Files, config: &Config, wall: Wall) -> Result<Identity, GenesisError> {
    let key = SigningKey::from_bytes(&rand::random());
    let cluster = hex::encode(Sha256::digest(key.verifying_key().to_bytes()));
    let authority = Authority::new(KeyPair::generate()?, "skein", wall)?;
    let identity = Identity {
        key: hex::encode(key.to_bytes()),
        name: config.node_name.clone(),
        cluster,
        tag: 1,
        pod_range: config.pod_range(0).expect("the range holds one node's share at least"),
        service_range: config.services,
        authority_key: authority.key_pem(),
        authority: authority.pem().to_owned(),
    };
    sealed::write(files, IDENTITY, &identity)?;
    Ok(identity)
}

/// A node keeps its name and ranges: its Node, pods and Services carry them.
fn agree(identity: &Identity, config: &Config) -> Result<(), GenesisError> {
    let differ = |what, there: String, here: String| Err(GenesisError::Other { what, there, here });
    if identity.name != config.node_name {
        return differ("node-name", identity.name.clone(), config.node_name.clone());
    }
    if identity.service_range != config.services {
        return differ("services", identity.service_range.to_string(), config.services.to_string());
    }
    if !config.pods.contains(&identity.pod_range) {
        return differ("pods", identity.pod_range.to_string(), config.pods.to_string());
    }
    Ok(())
}

/// Raises term and incarnation, durably. A sole voter elects itself; if its vote file is damaged it goes on at a term
/// above all it may have held (rule 22): terms grow by one a start, so a jump by 2^32 clears them.
fn next_vote(files: &mut dyn Files) -> Result<Vote, GenesisError> {
    let last = match sealed::read::<Vote>(files, VOTE) {
        Ok(vote) => vote.unwrap_or_default(),
        Err(sealed::SealError::Damaged { reason, .. }) => {
            tracing::warn!(%reason, "the vote file is damaged; going on far above every term it may have held");
            Vote { term: crate::ids::Term(1 << 32), incarnation: 1 << 32 }
        }
        Err(error) => return Err(error.into()),
    };
    let vote = Vote { term: last.term.next(), incarnation: last.incarnation + 1 };
    sealed::write(files, VOTE, &vote)?;
    Ok(vote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::disk::MemoryFiles;

    const WALL: Wall = Wall(1_800_000_000_000_000);

    fn config(name: &str) -> Config {
        Settings::default().complete(name).unwrap()
    }

    #[test]
    fn a_restart_keeps_the_identity_and_raises_the_term() {
        let mut files = MemoryFiles::default();
        let first = load(&mut files, &config("n1"), WALL).unwrap();
        files.crash(0);
        let second = load(&mut files, &config("n1"), WALL).unwrap();
        assert!(first.fresh && !second.fresh);
        assert_eq!(first.node_id(), second.node_id());
        assert_eq!(first.authority.pem(), second.authority.pem());
        assert!(second.vote.term > first.vote.term && second.vote.incarnation > first.vote.incarnation);
    }

    #[test]
    fn another_name_is_refused_naming_both() {
        let mut files = MemoryFiles::default();
        load(&mut files, &config("n1"), WALL).unwrap();
        let why = load(&mut files, &config("n2"), WALL).err().unwrap().to_string();
        assert!(why.contains("n1") && why.contains("n2"), "{why}");
    }

    #[test]
    fn a_damaged_vote_never_leads_to_a_term_twice() {
        let mut files = MemoryFiles::default();
        let first = load(&mut files, &config("n1"), WALL).unwrap();
        files.damage(VOTE, 40);
        let second = load(&mut files, &config("n1"), WALL).unwrap();
        assert!(second.vote.term > first.vote.term && second.vote.incarnation > first.vote.incarnation);
    }
}
