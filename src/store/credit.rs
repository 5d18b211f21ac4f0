//! Whose change a record holds and when it was made: told to people, decided by nothing.

use minicbor::{Decode, Encode};

use crate::time::Wall;

use super::change::Author;

/// Who asked for a change, and when by the clock of the node that wrote it. Unknown of changes that an older build wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// When, in whole seconds.
    pub at: Option<Wall>,
    /// In which part.
    pub author: Option<Author>,
    /// The API user.
    pub user: Option<String>,
    /// The name of the node that made it, if another has signed the record since: a backup was restored.
    pub node: Option<String>,
}

/// The wire form: fields of a change's body, passed over by builds that do not know them.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(super) struct CreditBody {
    /// Seconds since the Unix epoch.
    #[n(10)]
    pub at: Option<i64>,
    #[n(11)]
    pub author: Option<u8>,
    #[n(12)]
    pub user: Option<String>,
    #[n(13)]
    pub node: Option<String>,
}

impl Credit {
    pub(super) fn body(&self) -> CreditBody {
        let number = |author| match author {
            Author::Client => 1,
            Author::Leader => 2,
            Author::Kubelet => 3,
            Author::Caretaker => 4,
        };
        CreditBody {
            at: self.at.map(|at| at.0.div_euclid(1_000_000)),
            author: self.author.map(number),
            user: self.user.clone(),
            node: self.node.clone(),
        }
    }

    pub(super) fn of_body(body: CreditBody) -> Self {
        let author = |number| match number {
            1 => Some(Author::Client),
            2 => Some(Author::Leader),
            3 => Some(Author::Kubelet),
            4 => Some(Author::Caretaker),
            _ => None,
        };
        Self {
            at: body.at.map(Wall::from_secs),
            author: body.author.and_then(author),
            user: body.user,
            node: body.node,
        }
    }
}
