//! The form of a backup file.
//!
//! `SKEINBK` and the version's digit; then the header and the records, each with its length before it (four bytes,
//! big-endian); then the SHA-256 of everything before. The header is JSON, so that it can grow; the records are as
//! their authors signed them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, Term};
use crate::store::Verified;

const MARK: &[u8] = b"SKEINBK";
const VERSION: u8 = b'1';
const SUM_BYTES: usize = 32;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The cluster's id, hexadecimal.
    pub cluster: String,
    /// The name of the node that wrote it.
    pub node: String,
    /// When, in RFC 3339.
    pub time: String,
    /// The version of the program that wrote it.
    pub version: String,
    /// The least feature level of a program that understands all of it.
    pub level: u32,
    /// The range of all pods, if it is known.
    pub pods: Option<Ipv4Net>,
    /// The range of all Services.
    pub services: Ipv4Net,
    /// The newest term that the node knew.
    pub term: Term,
    /// The names of the members.
    pub members: BTreeMap<String, String>,
    /// How many objects there are, by kind.
    pub objects: BTreeMap<String, usize>,
    /// How many records follow.
    pub records: usize,
}

impl Header {
    /// Returns the members' names by key.
    pub fn names(&self) -> BTreeMap<NodeId, String> {
        let id = |text: &String| hex::decode(text).ok()?.try_into().ok().map(NodeId);
        self.members.iter().filter_map(|(key, name)| Some((id(key)?, name.clone()))).collect()
    }
}

/// Why a file cannot be restored from.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Something else altogether.
    #[error("it is no backup: `agent backup` writes one")]
    Foreign,
    /// Of another version.
    #[error("it is a backup of format {0}, this agent reads format {known}: use a newer agent", known = char::from(VERSION))]
    Version(char),
    /// Its end is missing.
    #[error("it is cut short: it ends within {0}")]
    Cut(String),
    /// Something is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Writes a backup in place of what may be there, at once and readable by its owner only.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, header: &Header, records: &[Vec<u8>]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let written = write_to(Path::new(&draft), header, records).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // Half a backup helps nobody.
        let _ = fs::remove_file(&draft);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_to(path: &Path, header: &Header, records: &[Vec<u8>]) -> io::Result<()> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(&file);
    let mut sum = Sha256::new();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        out.write_all(bytes)
    };
    put(MARK)?;
    put(&[VERSION])?;
    let header = serde_json::to_vec(header).expect("it has string keys only");
    for piece in std::iter::once(&header).chain(records) {
        put(&u32::try_from(piece.len()).map_err(io::Error::other)?.to_be_bytes())?;
        put(piece)?;
    }
    out.write_all(&sum.finalize())?;
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// Reads a backup and checks all of it.
///
/// # Errors
/// [`BadBackup`] names what is wrong.
pub fn read(path: &Path) -> Result<(Header, Vec<Vec<u8>>), BadBackup> {
    let bytes = fs::read(path).map_err(|error| BadBackup::Unreadable { path: path.to_owned(), error })?;
    parse(&bytes)
}

/// Reads the bytes of a backup.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<(Header, Vec<Vec<u8>>), BadBackup> {
    let rest = bytes.strip_prefix(MARK).ok_or(BadBackup::Foreign)?;
    let (version, mut rest) = rest.split_first().ok_or_else(|| BadBackup::Cut("its first line".into()))?;
    if *version != VERSION {
        return Err(BadBackup::Version(char::from(*version)));
    }
    let header = piece(&mut rest, || "its header".into())?;
    let header: Header = serde_json::from_slice(header).map_err(|e| BadBackup::Damaged(format!("its header: {e}")))?;
    let mut records = Vec::new();
    for number in 1..=header.records {
        let raw = piece(&mut rest, || format!("record {number} of {}", header.records))?;
        Verified::read(raw).map_err(|e| BadBackup::Damaged(format!("record {number} of {}: {e}", header.records)))?;
        records.push(raw.to_vec());
    }
    match rest.len() {
        SUM_BYTES => {}
        0..SUM_BYTES => return Err(BadBackup::Cut("its checksum".into())),
        more => return Err(BadBackup::Damaged(format!("{} bytes follow its end", more - SUM_BYTES))),
    }
    if Sha256::digest(&bytes[..bytes.len() - SUM_BYTES]).as_slice() != rest {
        return Err(BadBackup::Damaged("its checksum does not match".into()));
    }
    Ok((header, records))
}

fn piece<'a>(rest: &mut &'a [u8], what: impl Fn() -> String) -> Result<&'a [u8], BadBackup> {
    let (length, after) = rest.split_first_chunk().ok_or_else(|| BadBackup::Cut(what()))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (piece, after) = after.split_at_checked(length).ok_or_else(|| BadBackup::Cut(what()))?;
    *rest = after;
    Ok(piece)
}
