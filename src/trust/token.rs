//! Join tokens: one string that says which cluster, where to dial, and proves that a member has invited.
//!
//! A token is signed by the member that makes it, so nothing has to be stored until it is used; its 128-bit id goes
//! into the membership record of who used it, and then it is spent. Whoever has the string can join until then, or
//! until it expires: it is never logged.

use std::net::SocketAddrV4;

use crate::ids::{ClusterId, NodeId};
use crate::time::Wall;

/// A token's 128-bit secret, by which it is known to be spent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenId(pub [u8; 16]);

impl std::fmt::Debug for TokenId {
    /// Secrets are not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenId(..)")
    }
}

/// An invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Into which cluster.
    pub cluster: ClusterId,
    /// Who invites.
    pub issuer: NodeId,
    /// Its secret.
    pub id: TokenId,
    /// Until when.
    pub expires: Wall,
    /// Where members can be dialled.
    pub addresses: Vec<SocketAddrV4>,
}

/// Why a text is no token, or not a good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// To be written by trust.
    #[error("{0}")]
    Other(String),
}

impl Token {
    /// Writes and signs it: one word, to be copied and pasted. White space around and within is passed over on reading.
    pub fn text(&self, _key: &ed25519_dalek::SigningKey) -> String {
        todo!()
    }

    /// Reads a token and checks that it is whole and signed by its issuer. Whether that is a member, and whether the
    /// token is expired or spent, [`super::member::Members::admit`] says.
    ///
    /// # Errors
    /// [`BadToken`] says in a sentence what is wrong; it never repeats the text.
    pub fn parse(_text: &str) -> Result<Self, BadToken> {
        todo!()
    }
}
