//! The same writes through Skein's log, redb, fjall and SQLite: bytes written, time, memory, and time to open again.
//!
//!     cargo run --release --manifest-path testnet/bench/engines/Cargo.toml -- FOLDER
//!
//! 10,000 objects of about 1 kB are written, then each once more, all durably: in groups of 100, and 2,000 of them one by
//! one. FOLDER should be on the disk that is asked about. Bytes are what the kernel charges the process for
//! (`write_bytes` in /proc/self/io), journals of the file system not counted. Each run is a process of its own.

mod disk;

use std::path::{Path, PathBuf};
use std::time::Instant;

use disk::files::FolderFiles;
use disk::log::Log;
use fjall::{KeyspaceCreateOptions, PersistMode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{ReadableDatabase, ReadableTable};

const OBJECTS: usize = 10_000;
const SINGLE: usize = 2_000;
const ENGINES: [&str; 4] = ["log", "redb", "fjall", "sqlite"];
const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

/// One way to keep records by key.
trait Engine {
    /// Writes records durably, all or none of them seen before it returns.
    fn write(&mut self, records: &[(Vec<u8>, Vec<u8>)]);
    /// Rewrites what is there without what is superseded, where the engine does so by order.
    fn tidy(&mut self, _live: &[(Vec<u8>, Vec<u8>)]) {}
    /// Reads everything; returns how many bytes.
    fn read(&mut self) -> usize;
}

struct Ours(Log<FolderFiles>, PathBuf);

impl Engine for Ours {
    fn write(&mut self, records: &[(Vec<u8>, Vec<u8>)]) {
        let records: Vec<Vec<u8>> = records.iter().map(|(_, value)| value.clone()).collect();
        self.0.append(&records).and_then(|()| self.0.sync()).expect("writes");
    }

    fn tidy(&mut self, live: &[(Vec<u8>, Vec<u8>)]) {
        let records: Vec<Vec<u8>> = live.iter().map(|(_, value)| value.clone()).collect();
        self.0.compact(&records).expect("compacts");
    }

    fn read(&mut self) -> usize {
        let files = FolderFiles::open(self.1.clone()).expect("opens");
        Log::open(files).expect("opens").1.records.iter().map(Vec::len).sum()
    }
}

struct Redb(redb::Database);

impl Engine for Redb {
    fn write(&mut self, records: &[(Vec<u8>, Vec<u8>)]) {
        let transaction = self.0.begin_write().expect("begins");
        {
            let mut table = transaction.open_table(TABLE).expect("opens");
            for (key, value) in records {
                table.insert(key.as_slice(), value.as_slice()).expect("writes");
            }
        }
        transaction.commit().expect("commits");
    }

    fn read(&mut self) -> usize {
        let transaction = self.0.begin_read().expect("begins");
        let table = transaction.open_table(TABLE).expect("opens");
        table.iter().expect("reads").map(|entry| entry.expect("reads").1.value().len()).sum()
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Engine for Fjall {
    fn write(&mut self, records: &[(Vec<u8>, Vec<u8>)]) {
        let mut batch = self.0.batch();
        for (key, value) in records {
            batch.insert(&self.1, key.as_slice(), value.as_slice());
        }
        batch.commit().expect("commits");
        self.0.persist(PersistMode::SyncData).expect("syncs");
    }

    fn read(&mut self) -> usize {
        self.1.iter().map(|entry| entry.value().expect("reads").len()).sum()
    }
}

struct Sqlite(rusqlite::Connection);

impl Engine for Sqlite {
    fn write(&mut self, records: &[(Vec<u8>, Vec<u8>)]) {
        let transaction = self.0.transaction().expect("begins");
        {
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO records VALUES (?, ?)").expect("prepares");
            for (key, value) in records {
                insert.execute((key, value)).expect("writes");
            }
        }
        transaction.commit().expect("commits");
    }

    fn read(&mut self) -> usize {
        let mut select = self.0.prepare("SELECT value FROM records").expect("prepares");
        let lengths = select.query_map((), |row| row.get_ref(0).map(|v| v.as_blob().map_or(0, <[u8]>::len)));
        lengths.expect("reads").map(|length| length.expect("reads")).sum()
    }
}

fn open(engine: &str, folder: &Path) -> Box<dyn Engine> {
    match engine {
        "log" => Box::new(Ours(Log::open(FolderFiles::open(folder.into()).expect("opens")).expect("opens").0, folder.into())),
        "redb" => Box::new(Redb(redb::Database::create(folder.join("redb")).expect("opens"))),
        "fjall" => {
            let database = fjall::Database::builder(folder).open().expect("opens");
            let keyspace = database.keyspace("records", KeyspaceCreateOptions::default).expect("opens");
            Box::new(Fjall(database, keyspace))
        }
        _ => {
            let connection = rusqlite::Connection::open(folder.join("sqlite")).expect("opens");
            connection.pragma_update(None, "journal_mode", "WAL").expect("sets");
            connection.pragma_update(None, "synchronous", "FULL").expect("sets");
            connection
                .execute("CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID", ())
                .expect("makes");
            Box::new(Sqlite(connection))
        }
    }
}

/// Records of 900 to 1,100 bytes that no compression makes smaller; `round` makes other values of the same keys.
fn records(count: usize, round: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut random = StdRng::seed_from_u64(round);
    let mut keys = StdRng::seed_from_u64(77);
    let mut bytes = |length: usize| (0..length).map(|_| random.random()).collect::<Vec<u8>>();
    (0..count).map(|_| ((0..16).map(|_| keys.random()).collect(), bytes(1_000))).collect()
}

fn number(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("reads");
    let line = text.lines().find(|line| line.starts_with(field)).expect("is there");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn written() -> u64 {
    number("/proc/self/io", "write_bytes")
}

/// One engine, one size of group; in this process.
fn run(engine: &str, group: usize, folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("makes");
    let count = if group == 1 { SINGLE } else { OBJECTS };
    let rounds = [records(count, 1), records(count, 2)];
    let payload: usize = rounds.iter().flatten().map(|(_, value)| value.len()).sum();
    let memory = number("/proc/self/status", "VmRSS");
    let (before, start) = (written(), Instant::now());
    let mut store = open(engine, folder);
    for records in &rounds {
        records.chunks(group).for_each(|chunk| store.write(chunk));
    }
    let took = start.elapsed();
    let memory = number("/proc/self/status", "VmRSS").saturating_sub(memory);
    let bytes = written() - before;
    store.tidy(&rounds[1]);
    let tidied = written() - before;
    drop(store);
    let start = Instant::now();
    let read = open(engine, folder).read();
    println!(
        "{engine:<7} groups of {group:>3}: {:>6.0} writes/s, {:>5.2} bytes written a byte ({:.2} once superseded is \
         dropped), {:>5.1} MB of memory, opened and read {:.1} MB in {:.0} ms",
        2.0 * count as f64 / took.as_secs_f64(),
        bytes as f64 / payload as f64,
        tidied as f64 / payload as f64,
        memory as f64 / 1024.0,
        read as f64 / 1e6,
        start.elapsed().as_secs_f64() * 1e3,
    );
    let _ = std::fs::remove_dir_all(folder);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [folder] => {
            for group in ["1", "100"] {
                for engine in ENGINES {
                    let program = std::env::current_exe().expect("has a name");
                    let done = std::process::Command::new(program).args([folder, engine, group]).status();
                    assert!(done.is_ok_and(|status| status.success()), "{engine} fails");
                }
            }
        }
        [folder, engine, group] => run(engine, group.parse().expect("a number"), &Path::new(folder).join("engines")),
        _ => eprintln!("usage: engines FOLDER"),
    }
}
