//! `agent token create`: makes a join token of what is in the data folder, without asking the agent.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::disk::identity::{IDENTITY, REGISTERS};
use crate::disk::{FolderFiles, Identity, registry, sealed};
use crate::ids::NodeId;
use crate::trust::{Token, TokenId};

use super::places::Places;
use super::{clock, genesis};

/// Makes a token that is valid for `ttl`.
///
/// # Errors
/// One sentence: no agent has started there, or the folder is not ours to read.
pub fn create(folder: &Path, ttl: Duration) -> anyhow::Result<String> {
    let (identity, places) = (identity(folder)?, Places::read(folder));
    let Some(places) = places else { bail!(none(folder)) };
    let key = genesis::key_of(&identity.key)?;
    let token = Token {
        cluster: genesis::cluster_of(&identity)?,
        issuer: NodeId(key.verifying_key().to_bytes()),
        id: TokenId(rand::random()),
        expires: clock::now().wall + ttl,
        addresses: places.all(),
    };
    Ok(token.text(&key))
}

/// Tells the id of the cluster that a data folder belongs to.
///
/// # Errors
/// As [`create`].
pub fn cluster(folder: &Path) -> anyhow::Result<String> {
    Ok(identity(folder)?.cluster)
}

/// Tells the feature level of the cluster that a data folder belongs to, as far as this node knows.
///
/// # Errors
/// As [`create`].
pub fn level(folder: &Path) -> anyhow::Result<u32> {
    identity(folder)?;
    let files = FolderFiles::open(folder.to_owned()).with_context(|| folder.display().to_string())?;
    let registry = registry::read(&files, REGISTERS).with_context(|| folder.display().to_string())?;
    Ok(genesis::level_of(&registry.unwrap_or_default().registers))
}

/// Reads the identity in a data folder.
///
/// # Errors
/// As [`create`].
pub(super) fn identity(folder: &Path) -> anyhow::Result<Identity> {
    // Opening the files would make the folder.
    if !folder.exists() {
        bail!(none(folder));
    }
    let files = FolderFiles::open(folder.to_owned()).with_context(|| folder.display().to_string())?;
    let identity = sealed::read(&files, IDENTITY).with_context(|| folder.display().to_string())?;
    identity.with_context(|| none(folder))
}

fn none(folder: &Path) -> String {
    format!(
        "no agent has started with the data folder {}: start it first (agent up), or name its folder with --data",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_folder_without_an_agent_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("x");
        assert!(create(&missing, Duration::from_secs(1)).unwrap_err().to_string().contains("no agent has started"));
        assert!(!missing.exists());
        assert!(
            create(folder.path(), Duration::from_secs(1)).unwrap_err().to_string().contains("no agent has started")
        );
    }

    #[test]
    fn a_token_is_made_of_identity_and_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = FolderFiles::open(folder.path().to_owned()).unwrap();
        let config = Settings::default().complete("n1").unwrap();
        let genesis = genesis::load(&mut files, &config, clock::now().wall).unwrap();
        std::fs::write(folder.path().join("addresses"), r#"{"own":"192.0.2.1:7443","others":["192.0.2.2:7443"]}"#)
            .unwrap();
        let text = create(folder.path(), Duration::from_secs(60)).unwrap();
        let token = Token::parse(&text).unwrap();
        assert_eq!((token.cluster, token.issuer), (genesis.cluster, genesis.node_id()));
        assert_eq!(token.addresses.len(), 2);
        assert!(token.expires > clock::now().wall);
        assert_eq!(cluster(folder.path()).unwrap(), genesis.cluster.to_string());
    }
}
