//! Small files that are whole or not there: a line that names kind, version and checksum, then JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{Files, remove_if_there};

/// The form's version: stands in the first line.
const VERSION: u32 = 1;

/// Why a sealed file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It cannot be read or written.
    #[error("file {name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// What the system says.
        error: io::Error,
    },
    /// It is not what was written.
    #[error("file {name} is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Replaces file `name` by `content`, durably: after a crash it holds the old content or the new.
///
/// # Errors
/// [`SealError::Io`].
pub fn write<T: Serialize>(files: &mut dyn Files, name: &str, content: &T) -> Result<(), SealError> {
    let body = serde_json::to_vec_pretty(content).expect("our own types serialise");
    let mut bytes = seal(name, &body).into_bytes();
    bytes.extend_from_slice(&body);
    let draft = format!("{name}.tmp");
    replace(files, name, &draft, &bytes).map_err(|error| SealError::Io { name: name.to_owned(), error })
}

/// Reads file `name`; `None` if it is not there.
///
/// # Errors
/// [`SealError`] if it cannot be read, or is damaged or of another kind or version.
pub fn read<T: DeserializeOwned>(files: &(impl Files + ?Sized), name: &str) -> Result<Option<T>, SealError> {
    let bytes = match files.read(name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SealError::Io { name: name.to_owned(), error }),
    };
    let damaged = |reason: &str| SealError::Damaged { name: name.to_owned(), reason: reason.to_owned() };
    let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let (line, body) = bytes.split_at(end + 1);
    if let Some(version) = other_version(line, name) {
        return Err(damaged(&format!("it is of version {version}, this agent reads version {VERSION}")));
    }
    if line != seal(name, body).as_bytes() {
        return Err(damaged("its checksum does not match"));
    }
    serde_json::from_slice(body).map(Some).map_err(|e| damaged(&e.to_string()))
}

/// Returns the checksum in a sealed file's first line, and the file's length; `None` if there is none.
///
/// # Errors
/// [`SealError::Io`].
pub(super) fn sum(files: &(impl Files + ?Sized), name: &str) -> Result<Option<(u32, usize)>, SealError> {
    let bytes = match files.read(name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SealError::Io { name: name.to_owned(), error }),
    };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let sum = std::str::from_utf8(line).ok().and_then(|line| u32::from_str_radix(line.rsplit(' ').next()?, 16).ok());
    Ok(sum.map(|sum| (sum, bytes.len())))
}

fn seal(name: &str, body: &[u8]) -> String {
    format!("skein {name} {VERSION} crc32 {:08x}\n", crc32fast::hash(body))
}

/// Tells the version in a first line, if it is not this one.
fn other_version(line: &[u8], name: &str) -> Option<u32> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix(&format!("skein {name} "))?;
    let (version, rest) = rest.split_once(' ')?;
    let version: u32 = version.parse().ok()?;
    (version != VERSION && rest.starts_with("crc32 ")).then_some(version)
}

fn replace(files: &mut dyn Files, name: &str, draft: &str, bytes: &[u8]) -> io::Result<()> {
    remove_if_there(files, draft)?;
    files.append(draft, bytes)?;
    files.sync(draft)?;
    files.rename(draft, name)?;
    files.sync_folder()
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFiles;
    use super::*;

    #[test]
    fn a_crash_at_any_point_leaves_the_old_content_or_the_new() {
        for point in 0..10 {
            let mut files = MemoryFiles::default();
            write(&mut files, "vote", &1).expect("writes");
            files.fail_after(point);
            let done = write(&mut files, "vote", &2).is_ok();
            files.crash(3);
            let found: Option<i32> = read(&files, "vote").expect("is whole");
            assert!(if done { found == Some(2) } else { matches!(found, Some(1 | 2)) }, "point {point}: {found:?}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut files = MemoryFiles::default();
        files.append("vote", b"skein vote 2 crc32 00000000\n{}").expect("writes");
        let error = read::<i32>(&files, "vote").expect_err("is refused").to_string();
        assert_eq!(error, "file vote is damaged: it is of version 2, this agent reads version 1");
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let mut files = MemoryFiles::default();
        write(&mut files, "vote", &"hello").expect("writes");
        let size = files.read("vote").expect("is there").len();
        for offset in 0..size {
            files.damage("vote", offset);
            assert!(read::<String>(&files, "vote").is_err(), "offset {offset}");
            files.damage("vote", offset);
        }
        assert_eq!(read::<String>(&files, "vote").expect("is whole again").as_deref(), Some("hello"));
    }
}
