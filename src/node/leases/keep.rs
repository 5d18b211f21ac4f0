//! Shows what the registers say; and what the leader does of itself: it moves documents, and lets go of what has lost
//! its namespace.

use std::time::Duration;

use crate::election::Registers;
use crate::features::Feature;
use crate::object::kinds;
use crate::store::{Author, Change, Precondition};
use crate::time::Now;

use super::super::{Node, Waiter};
use super::decide::Asker;
use super::record::{LeaseWrite, MAX_LEASE, REGISTERS, Record, Version, key_of, register_of, uid_of, version_of};

/// How often the leader looks.
const LOOK: Duration = Duration::from_secs(5);

impl Node {
    /// Shows all Leases in the registers of its disk.
    pub(in crate::node) fn show_all_leases(&mut self, now: Now) {
        let all = self.leading.registers().clone();
        self.show_leases(now, &all);
    }

    /// Shows what registers say of Leases now.
    pub(in crate::node) fn show_leases(&mut self, now: Now, registers: &Registers) {
        let leases = registers.range(REGISTERS.to_owned()..).take_while(|(key, _)| key.starts_with(REGISTERS));
        for (name, register) in leases {
            let read = Record::read(&register.value);
            let found = read.as_ref().and_then(|(record, object)| Some((record, key_of(object)?, uid_of(object)?)));
            match found {
                Some((record, key, uid)) if register_of(&key) == *name => {
                    let version = Version { uid, number: record.version };
                    self.leases.shown.insert(name.clone(), (key.clone(), version));
                    self.store.show_decided(now, &key, read.as_ref().map(|(_, object)| object));
                }
                _ => {
                    if let Some((key, _)) = self.leases.shown.remove(name) {
                        self.store.show_decided(now, &key, None);
                    }
                }
            }
        }
    }

    /// Does what is due as the leader.
    pub(in crate::node) fn keep_leases(&mut self, now: Now) {
        if !self.leading.is_leader() || now.mono < self.leases.next_look || !self.may_use(Feature::Leases) {
            return;
        }
        self.leases.next_look = now.mono + LOOK;
        self.move_leases(now);
        self.let_go_of_leases(now);
    }

    /// Makes registers of documents, and removes those of which there is a register.
    fn move_leases(&mut self, now: Now) {
        let documents =
            self.store.snapshot().list(&kinds::LEASE, None).filter(|entry| self.store.has_document(&entry.key));
        let documents: Vec<_> = documents.cloned().collect();
        for entry in documents {
            let key = entry.key.clone();
            let register = register_of(&key);
            if self.leases.shown.contains_key(&register) {
                // Of whatever uid the document is: the register has the name.
                let change = Change::Remove { key: key.clone(), when: Precondition::default() };
                if let Err(rejected) = self.commit_document(now, Author::Leader, None, change, Waiter::Nobody) {
                    tracing::debug!(%key, %rejected, "not removed yet");
                }
                continue;
            }
            let mut object = entry.value();
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
            let record = Record::new(&object, 1, self.store.home_of(&key));
            if record.object.len() > MAX_LEASE {
                tracing::warn!(%key, "a Lease of {} bytes stays a document: at most {MAX_LEASE}", record.object.len());
                continue;
            }
            let write = LeaseWrite { register, expected: None, record: Some(record.to_bytes()) };
            self.decide_lease(now, Asker::Nobody, write);
        }
    }

    /// Lets go of Leases that were made in a namespace while it went.
    fn let_go_of_leases(&mut self, now: Now) {
        let registers = self.leading.registers().range(REGISTERS.to_owned()..);
        let leases = registers.take_while(|(key, _)| key.starts_with(REGISTERS));
        let homeless = |value: &[u8]| {
            let home = Record::read(value).and_then(|(record, _)| record.home());
            home.is_some_and(|home| self.store.snapshot().is_buried(home))
        };
        let homeless = leases.filter(|(_, register)| homeless(&register.value));
        let homeless: Vec<_> = homeless.map(|(key, register)| (key.clone(), version_of(&register.value))).collect();
        for (register, expected) in homeless {
            self.decide_lease(now, Asker::Nobody, LeaseWrite { register, expected, record: None });
        }
    }
}
