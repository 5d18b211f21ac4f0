//! Lists in chunks: every chunk of a list comes from the snapshot of the first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::ids::Revision;
use crate::object::{Key, Kind};
use crate::store::Snapshot;

use super::status::Status;

/// How long a list may take from its first chunk to its last; upstream compacts after as long.
pub const KEPT_FOR: Duration = Duration::from_secs(5 * 60);

/// How many snapshots are kept for lists under way. They share what did not change.
pub const KEPT: usize = 32;

/// Snapshots of lists under way, oldest first.
#[derive(Debug, Default)]
pub struct Lists(Mutex<VecDeque<(Instant, Snapshot)>>);

impl Lists {
    /// Keeps `snapshot` for the chunks to come.
    pub fn keep(&self, snapshot: &Snapshot, now: Instant) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, s)| now.duration_since(*at) < KEPT_FOR && s.revision() != snapshot.revision());
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((now, snapshot.clone()));
    }

    /// Finds the snapshot of `revision`, if it is kept still.
    pub fn find(&self, revision: Revision, now: Instant) -> Option<Snapshot> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|(at, s)| s.revision() == revision && now.duration_since(*at) < KEPT_FOR);
        found.map(|(_, snapshot)| snapshot.clone())
    }
}

/// Where a list goes on; what a continue token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The form of the token, as upstream names it.
    v: String,
    /// The revision of the list's snapshot.
    rv: Revision,
    /// The last key that was shown, as `namespace/name`.
    start: String,
}

const FORM: &str = "meta.k8s.io/v1";

impl Token {
    /// Makes the token of a list at `revision` whose last item so far is `last`.
    pub fn new(revision: Revision, last: &Key) -> Self {
        Self { v: FORM.into(), rv: revision, start: format!("{}/{}", last.namespace, last.name) }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 if it is none of ours.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| bad(&e.to_string()))?;
        let token: Self = serde_json::from_slice(&json).map_err(|e| bad(&e.to_string()))?;
        if token.v != FORM {
            return Err(bad(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        token.start.contains('/').then_some(token).ok_or_else(|| bad("the start is no key"))
    }

    /// Writes the token.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token is plain data"))
    }

    /// Returns the revision of the list's snapshot.
    pub fn revision(&self) -> Revision {
        self.rv
    }

    /// Returns the last key of `kind` that was shown.
    pub fn last(&self, kind: &'static Kind) -> Key {
        let (namespace, name) = self.start.split_once('/').unwrap_or_default();
        Key::new(kind, namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds::POD;

    #[test]
    fn a_token_is_read_back_and_anything_else_is_a_bad_request() {
        let key = Key::new(&POD, "shop", "web");
        let token = Token::new(Revision(7), &key);
        let read = Token::parse(&token.text()).unwrap();
        assert_eq!((read.revision(), read.last(&POD)), (Revision(7), key));
        let other = URL_SAFE_NO_PAD.encode(r#"{"v":"v9","rv":1,"start":"a/b"}"#);
        let no_key = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"ab"}"#);
        for text in ["", "%%%", "YWJj", &other, &no_key] {
            assert_eq!(Token::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn snapshots_are_kept_for_a_while_and_in_bounds() {
        let lists = Lists::default();
        let start = Instant::now();
        for i in 1..=KEPT as u64 + 1 {
            lists.keep(&Snapshot::starting_at(Revision(i)), start);
        }
        assert!(lists.find(Revision(1), start).is_none(), "the oldest made room");
        assert!(lists.find(Revision(2), start).is_some());
        assert!(lists.find(Revision(2), start + KEPT_FOR).is_none(), "its time is up");
    }
}
