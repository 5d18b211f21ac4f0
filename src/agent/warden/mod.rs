//! The warden: a small process of its own that kills pods that must never run twice when their run-lease is over, though the
//! agent be stalled or dead (rule 7).
//!
//! The agent writes until when each pod may run into a file ([`Board`]); the warden reads it and kills
//! what is in the cgroup of a pod whose time is over, and whatever turns up there later, without asking Docker. It outlives
//! the agent that has started it; the next agent finds it at work. There is one a data folder, for it holds a lock.

mod cgroup;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::ids::Uid;
use crate::time::Mono;

use super::clock;

/// The hidden subcommand that is the warden.
pub const COMMAND: &str = "warden";

/// How often the warden looks.
const LOOK: Duration = Duration::from_millis(200);
/// How often it looks while the time of a pod is over: should Docker carry out a start that was asked for long ago, what it
/// is still making is killed.
const WATCH: Duration = Duration::from_millis(20);
/// For how long nothing has run before the warden of a dead agent ends too.
const IDLE: Duration = Duration::from_secs(60);
/// Folders of the state that does not outlive a boot.
const RUN: &str = "/run";

const DEADLINES: &str = "deadlines";
const LOCK: &str = "lock";

/// Where deadlines are written, and the warden that reads them.
#[derive(Debug)]
pub struct Board {
    folder: PathBuf,
    boot: String,
    child: Option<Child>,
    /// What was last complained of.
    trouble: Option<String>,
}

impl Board {
    /// Makes the board of a data folder.
    pub fn new(data: &Path) -> Self {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        let name = hex::encode(&Sha256::digest(data.as_os_str().as_encoded_bytes())[..8]);
        let folder = Path::new(RUN).join(format!("skein-{name}"));
        Self { folder, boot: boot_id(), child: None, trouble: None }
    }

    /// Reads what an earlier agent of this boot has written last.
    pub fn read(&self) -> BTreeMap<Uid, Mono> {
        read(&self.folder, &self.boot).unwrap_or_default()
    }

    /// Writes until when each pod may run, and sees to it that there is a warden while there is any.
    pub fn write(&mut self, deadlines: &BTreeMap<Uid, Mono>) {
        let written = self.try_write(deadlines).err().map(|error| error.to_string());
        if let Some(error) = written.as_ref().filter(|_| written != self.trouble) {
            tracing::error!(
                folder = %self.folder.display(), error,
                "pods that must never run twice are not watched: should this agent die, they go on running"
            );
        }
        self.trouble = written;
    }

    fn try_write(&mut self, deadlines: &BTreeMap<Uid, Mono>) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut text = format!("{}\n", self.boot);
        for (pod, until) in deadlines {
            text.push_str(&format!("{pod} {}\n", until.0.as_micros()));
        }
        let draft = self.folder.join(format!("{DEADLINES}.tmp"));
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, self.folder.join(DEADLINES))?;
        if deadlines.is_empty() { Ok(()) } else { self.ensure_warden() }
    }

    fn ensure_warden(&mut self) -> std::io::Result<()> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        if lock(&self.folder)?.is_none() {
            // That of an earlier agent.
            return Ok(());
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg0("skein-warden").arg(COMMAND).arg(&self.folder);
        // Not in the agent's group, so that what ends the agent at a terminal does not end it.
        let command = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        self.child = Some(command.spawn()?);
        Ok(())
    }
}

/// The warden's own work; returns when there is nothing left to watch, or another does it.
///
/// # Errors
/// The folder cannot be read.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let Some(_lock) = lock(folder)? else { return Ok(()) };
    let boot = boot_id();
    let mut known: BTreeMap<Uid, Mono> = BTreeMap::new();
    let mut active = clock::now().mono;
    loop {
        let now = clock::now().mono;
        // What cannot be read just now stands as it was.
        let deadlines = read(folder, &boot).unwrap_or_else(|_| known.clone());
        for gone in known.keys().filter(|pod| !deadlines.contains_key(pod)) {
            cgroup::forget(*gone);
        }
        known = deadlines;
        for (pod, until) in &known {
            if now < *until {
                active = now;
            } else if cgroup::kill(*pod) > 0 {
                active = now;
                eprintln!("agent warden: the run-lease of pod {pod} is over: its processes are killed");
            }
        }
        if now.since(active) > IDLE {
            return Ok(());
        }
        let over = known.values().any(|until| *until <= now);
        std::thread::sleep(if over { WATCH } else { LOOK });
    }
}

/// Takes the lock of the one warden; `None` if another has it.
fn lock(folder: &Path) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the file; nothing if it is of another boot, whose clock has nothing to do with this one's.
fn read(folder: &Path, boot: &str) -> std::io::Result<BTreeMap<Uid, Mono>> {
    let text = match std::fs::read_to_string(folder.join(DEADLINES)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut lines = text.lines();
    if lines.next() != Some(boot) {
        return Ok(BTreeMap::new());
    }
    let entry = |line: &str| {
        let (pod, until) = line.split_once(' ')?;
        Some((pod.parse().ok()?, Mono(Duration::from_micros(until.parse().ok()?))))
    };
    Ok(lines.filter_map(entry).collect())
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(folder: &Path, boot: &str) -> Board {
        Board { folder: folder.to_owned(), boot: boot.to_owned(), child: None, trouble: None }
    }

    #[test]
    fn what_is_written_is_read_in_the_same_boot_only() {
        let folder = tempfile::tempdir().unwrap();
        // The lock is held, so that no warden is started.
        let _other = lock(folder.path()).unwrap().unwrap();
        let deadlines = BTreeMap::from([(Uid([7; 16]), Mono(Duration::from_micros(12_345_678)))]);
        board(folder.path(), "a").write(&deadlines);
        assert_eq!(board(folder.path(), "a").read(), deadlines);
        assert_eq!(board(folder.path(), "b").read(), BTreeMap::new());
    }

    #[test]
    fn a_damaged_line_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("a\nnonsense\n{} x\n{} 5\n", Uid([1; 16]), Uid([2; 16]));
        std::fs::write(folder.path().join(DEADLINES), text).unwrap();
        assert_eq!(read(folder.path(), "a").unwrap(), BTreeMap::from([(Uid([2; 16]), Mono(Duration::from_micros(5)))]));
    }

    #[test]
    fn there_is_one_warden() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(first.is_some() && lock(folder.path()).unwrap().is_none());
        drop(first);
        assert!(lock(folder.path()).unwrap().is_some());
    }
}
