//! `agent backup` and `agent restore`: the cluster's state as one file, and a new cluster out of it.
//!
//! A backup is made of what is on this node's disk, without asking the agent, which may run meanwhile: the log is
//! appended to and replaced as a whole, so what is read is all that was acknowledged. It holds neither identity nor vote
//! (rule 22), so a restore founds a *new* cluster, with keys and an authority of its own: two clusters of one identity
//! must never meet.

mod file;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::disk::identity::{REGISTERS, VOTE};
use crate::disk::{DataFolder, Files, FolderFiles, Log, Vote, look, registry, sealed};
use crate::features;
use crate::ids::{NodeId, Term, Uid};
use crate::object::Key;
use crate::store::record::{Body, Record};
use crate::store::{self, Slot};
use crate::trust::Members;

pub use file::{BadBackup, Header};

use super::{clock, genesis, invite, settings};

/// The file that is there while a restore is under way.
const RESTORING: &str = "restoring";
/// How many records are appended at once.
const AT_ONCE: usize = 1_024;

/// What a backup holds.
#[derive(Debug)]
pub struct Made {
    /// What it says of itself.
    pub header: Header,
    /// What of the log could not be read, one sentence each.
    pub damage: Vec<String>,
}

/// Writes a backup of the data folder's state to `to`.
///
/// # Errors
/// One sentence: no agent has started there, the folder is not ours to read, or the file cannot be written.
pub fn create(folder: &Path, to: &Path) -> anyhow::Result<Made> {
    let identity = invite::identity(folder)?;
    let files = FolderFiles::open(folder.to_owned()).with_context(|| folder.display().to_string())?;
    let log = FolderFiles::open(folder.join("log")).and_then(|files| look(&files));
    let log = log.with_context(|| format!("the log in {} cannot be read", folder.display()))?;
    let registry = registry::read(&files, REGISTERS)?.unwrap_or_default();
    let vote: Option<Vote> = sealed::read(&files, VOTE).unwrap_or_default();
    let (records, objects) = living(&log.records);
    let members = Members::of(genesis::cluster_of(&identity)?, registry.registers.values().map(|r| r.value.as_slice()));
    let header = Header {
        cluster: identity.cluster,
        node: identity.name,
        time: clock::now().wall.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        level: genesis::level_of(&registry.registers),
        pods: identity.pods,
        services: identity.service_range,
        term: vote.and_then(|vote| vote.ballot).map_or(Term(0), |ballot| ballot.term),
        members: members.iter().map(|m| (m.id.to_string(), m.name.clone())).collect(),
        objects,
        records: records.len(),
    };
    file::write(to, &header, &records).with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(Made { header, damage: log.damage.into_iter().map(|piece| piece.what).collect() })
}

/// Leaves out of a log what has been replaced since, and counts objects by kind. What is not understood stays.
fn living(log: &[Vec<u8>]) -> (Vec<Vec<u8>>, BTreeMap<String, usize>) {
    let (mut kinds, mut graves) = (BTreeMap::<Uid, String>::new(), BTreeSet::new());
    let (mut newest, mut ceiling) = (BTreeMap::new(), 0);
    for record in log.iter().filter_map(|raw| Record::read(raw.as_slice()).ok()) {
        match &record.body {
            Body::Change { uid, birth: Some(birth), .. } | Body::Epoch { uid, birth, .. } => {
                drop(kinds.insert(*uid, birth.key.kind.to_string()));
            }
            Body::Tombstone { uid, .. } => drop(graves.insert(*uid)),
            Body::Register { uid, slot, stamp, .. } => {
                let known = newest.entry(place(*uid, *slot, record.author)).or_insert(*stamp);
                *known = (*known).max(*stamp);
            }
            Body::Ceiling { ceiling: found } => ceiling = ceiling.max(*found),
            _ => {}
        }
    }
    let counts = |raw: &Vec<u8>| {
        let Ok(record) = Record::read(raw.as_slice()) else { return true };
        match &record.body {
            Body::Tombstone { .. } => true,
            Body::Ceiling { ceiling: found } => *found == ceiling,
            Body::Event { .. } => false,
            Body::Register { uid, slot, stamp, .. } => {
                !graves.contains(uid) && newest.get(&place(*uid, *slot, record.author)) == Some(stamp)
            }
            body => body.uid().is_none_or(|uid| !graves.contains(&uid)),
        }
    };
    let mut objects = BTreeMap::new();
    for (_, kind) in kinds.iter().filter(|(uid, _)| !graves.contains(uid)) {
        *objects.entry(kind.clone()).or_default() += 1;
    }
    (log.iter().filter(|raw| counts(raw)).cloned().collect(), objects)
}

/// Each observer has a register of its own.
fn place(uid: Uid, slot: Slot, author: NodeId) -> (Uid, Slot, Option<NodeId>) {
    (uid, slot, (slot == Slot::Observation).then_some(author))
}

/// What a restore has done.
#[derive(Debug)]
pub struct Done {
    /// What the backup says of itself.
    pub header: Header,
    /// The new cluster's id.
    pub cluster: String,
    /// How many objects there are now.
    pub kept: usize,
    /// What was left out, and why.
    pub left: Vec<(Key, &'static str)>,
    /// Records of the backup that could not be used, one sentence each.
    pub refused: Vec<String>,
}

/// Makes the data folder of `config` that of the founder of a new cluster with the state of a backup.
///
/// # Errors
/// One sentence: the backup is damaged or too new, the settings are not its own, the folder holds something, or it cannot
/// be written. Nothing has been written then, except in the last case.
pub fn restore(mut config: Config, from: &Path) -> anyhow::Result<Done> {
    let named = || format!("the backup {} is refused", from.display());
    let (header, records) = file::read(from).with_context(named)?;
    if header.level > features::LEVEL {
        let sentence = features::too_old(features::LEVEL, header.level);
        bail!("{}: {sentence}", named());
    }
    adopt(&mut config, &header)?;
    empty(&config.data)?;
    let folder = DataFolder::open(&config.data)?;
    let mut files = folder.files()?;
    files.append(RESTORING, b"")?;
    files.sync_folder()?;

    let now = clock::now();
    let genesis = genesis::found_after(&mut files, &config, header.term, now.wall)?;
    let address = std::net::Ipv4Addr::UNSPECIFIED;
    let node = settings::node_config(&config, &genesis, address, Vec::new());
    let restored = store::restore(node.store, records, &header.names(), now);
    if restored.term > header.term {
        genesis::found_after(&mut files, &config, restored.term, now.wall)?;
    }
    let (mut log, _) = Log::open(folder.log_files()?)?;
    for records in restored.records.chunks(AT_ONCE) {
        log.append(records)?;
        log.sync()?;
    }
    files.remove(RESTORING)?;
    files.sync_folder()?;
    Ok(Done {
        header,
        cluster: genesis.cluster.to_string(),
        kept: restored.kept.len(),
        left: restored.left,
        refused: restored.refused,
    })
}

/// Refuses a folder in which a restore was not finished.
///
/// # Errors
/// That sentence.
pub fn whole(folder: &DataFolder) -> anyhow::Result<()> {
    if folder.path().join(RESTORING).exists() {
        bail!("a restore into {} was interrupted: empty the folder and restore again", folder.path().display());
    }
    Ok(())
}

/// Takes the ranges of the old cluster, in which its Services have their addresses.
fn adopt(config: &mut Config, header: &Header) -> anyhow::Result<()> {
    // A folder of the first release does not tell the range of all pods.
    let pods = header.pods.unwrap_or(config.pods);
    let ranges = [("pods", config.given.pods, pods), ("services", config.given.services, header.services)];
    for (what, given, theirs) in ranges {
        if let Some(given) = given.filter(|given| *given != theirs) {
            bail!("the backup's {what} range is {theirs}, not {given}: leave --{what} out when restoring");
        }
    }
    (config.pods, config.services) = (pods, header.services);
    Ok(())
}

/// Refuses a folder in which there is anything.
fn empty(folder: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| folder.display().to_string())?,
    };
    for entry in entries {
        let name = entry?.file_name();
        // A mounted file system of its own has the latter.
        if name != "lock" && name != "lost+found" {
            bail!(
                "the data folder {} is not empty (it holds {}): restore into a fresh one",
                folder.display(),
                name.display()
            );
        }
    }
    Ok(())
}
