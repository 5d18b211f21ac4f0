//! The one place that touches Automerge: a flat document of path -> text, as signed changes and nothing else.
//!
//! The actor is always ours to name, there are no timestamps and no sync messages, so that equal histories are equal
//! bytes on every replica.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, Change, ROOT, ReadDoc};

use super::leaves::Leaves;

/// Marks changes that touch the spec; generation counts them (rule 18).
const SPEC: &str = "spec";

/// A document in memory. Costly (about 20 KB): kept only while it is worked on.
pub struct Document {
    doc: AutoCommit,
}

/// A document's changes cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are no change.
    #[error("not a change: {0}")]
    Malformed(String),
    /// A change it builds on is not here yet.
    #[error("a change that it builds on is missing")]
    Missing,
}

impl Document {
    /// Makes an empty document that `actor` writes.
    pub fn new(actor: &[u8]) -> Self {
        let mut doc = AutoCommit::new();
        doc.set_actor(ActorId::from(actor));
        Self { doc }
    }

    /// Applies a change. Applying one twice is nothing.
    ///
    /// # Errors
    /// [`DocumentError`]; the document is as before then.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), DocumentError> {
        let malformed = |e: &dyn std::fmt::Display| DocumentError::Malformed(e.to_string());
        let change = Change::from_bytes(bytes.to_vec()).map_err(|e| malformed(&e))?;
        if change.deps().iter().any(|dep| self.doc.get_change_meta_by_hash(dep).is_none()) {
            return Err(DocumentError::Missing);
        }
        self.doc.apply_changes([change]).map_err(|e| malformed(&e))
    }

    /// Returns the leaves.
    pub fn leaves(&self) -> Leaves {
        let read = |(path, value): (&str, automerge::Value<'_>)| Some((path.to_owned(), value.as_str()?.to_owned()));
        self.doc.map_range(ROOT, ..).filter_map(|item| read((&item.key, item.value.into()))).collect()
    }

    /// Changes the leaves to `wanted` by a minimal change, and returns that, uncompressed. `None` if nothing differs.
    pub fn write(&mut self, wanted: &Leaves) -> Option<Vec<u8>> {
        let current = self.leaves();
        let mut spec = false;
        for path in current.keys().filter(|p| !wanted.contains_key(*p)) {
            spec |= is_spec(path);
            self.doc.delete(ROOT, path.as_str()).expect("a leaf that is there can be deleted");
        }
        for (path, text) in wanted.iter().filter(|(p, t)| current.get(*p) != Some(t)) {
            spec |= is_spec(path);
            self.doc.put(ROOT, path.as_str(), text.as_str()).expect("the root is a map");
        }
        let mut options = CommitOptions::default().with_time(0);
        if spec {
            options = options.with_message(SPEC);
        }
        self.doc.commit_with(options)?;
        self.doc.get_last_local_change().map(|change| change.raw_bytes().to_vec())
    }

    /// Returns how many changes touched the spec: Kubernetes' generation.
    pub fn generation(&mut self) -> u64 {
        let changes = self.doc.get_changes_meta(&[]);
        changes.iter().filter(|c| c.message.as_deref() == Some(SPEC)).count() as u64
    }
}

fn is_spec(path: &str) -> bool {
    path == "/spec" || path.starts_with("/spec/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(pairs: &[(&str, &str)]) -> Leaves {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn edits_of_two_replicas_both_survive() {
        let (mut a, mut b) = (Document::new(b"a"), Document::new(b"b"));
        let first = a.write(&leaves(&[("/spec/replicas", "1"), ("/spec/image", "\"x\"")])).unwrap();
        b.apply(&first).unwrap();
        let scaled = a.write(&leaves(&[("/spec/replicas", "3"), ("/spec/image", "\"x\"")])).unwrap();
        let rolled = b.write(&leaves(&[("/spec/replicas", "1"), ("/spec/image", "\"y\"")])).unwrap();
        a.apply(&rolled).unwrap();
        b.apply(&scaled).unwrap();
        assert_eq!(a.leaves(), leaves(&[("/spec/replicas", "3"), ("/spec/image", "\"y\"")]));
        assert_eq!(a.leaves(), b.leaves());
        assert_eq!((a.generation(), b.generation()), (3, 3));
    }

    #[test]
    fn equal_leaves_are_no_change() {
        let mut doc = Document::new(b"a");
        assert!(doc.write(&leaves(&[("/x", "1")])).is_some());
        assert!(doc.write(&leaves(&[("/x", "1")])).is_none());
        assert!(doc.write(&leaves(&[])).is_some());
        assert_eq!(doc.generation(), 0);
    }

    #[test]
    fn changes_are_applied_once_and_after_their_parents() {
        let mut a = Document::new(b"a");
        let first = a.write(&leaves(&[("/x", "1")])).unwrap();
        let second = a.write(&leaves(&[("/x", "2")])).unwrap();
        let mut b = Document::new(b"b");
        assert_eq!(b.apply(&second), Err(DocumentError::Missing));
        b.apply(&first).unwrap();
        b.apply(&second).unwrap();
        b.apply(&first).unwrap();
        assert_eq!(b.leaves(), leaves(&[("/x", "2")]));
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(matches!(Document::new(b"a").apply(b"rubbish"), Err(DocumentError::Malformed(_))));
    }
}
