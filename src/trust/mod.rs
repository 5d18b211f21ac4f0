//! Who is who: membership records, join tokens, the contents of certificates, the kubeconfig that carries them, and
//! service account tokens.
//!
//! The room decides what a certificate says and reads what one says. Keys and time come in as values; it draws no
//! key, opens no file and verifies no chain (rustls does, in the API's room).

pub mod admission;
pub mod authority;
mod base64_text;
#[cfg(test)]
mod fixtures;
pub mod kubeconfig;
pub mod member;
pub mod recovery;
pub mod request;
pub mod service_account;
pub mod token;
pub mod user;

pub use admission::{Admission, Declined, JoinRequest, Refused};
pub use authority::Authority;
pub use kubeconfig::{Context, Kubeconfig};
pub use member::{BadMember, ClusterSettings, Member, Members, SignedMember};
pub use recovery::Recovery;
pub use service_account::Issuer;
pub use token::{BadToken, Token, TokenId};
pub use user::User;

/// The group whose members may do everything, whatever the rules say.
pub const ADMINS: &str = "system:masters";

/// A certificate cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The certificate library refuses.
    #[error("{what}: {source}")]
    Certificate {
        /// What was being made or read.
        what: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A certificate does not parse.
    #[error("not a certificate: {0}")]
    Unreadable(String),
    /// An authority's certificate and key are not a pair.
    #[error("the authority's key does not belong to its certificate")]
    ForeignKey,
    /// A certificate without a common name identifies nobody.
    #[error("the certificate names no user: its subject has no common name")]
    Nameless,
    /// A subject can carry only so many groups.
    #[error("user {user:?} has {count} groups, a certificate carries at most {max}", max = user::MAX_GROUPS)]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many were given.
        count: usize,
    },
    /// Nobody gets every right by a certificate that is asked for.
    #[error("use of kubernetes.io/kube-apiserver-client signer with {ADMINS} group is not allowed")]
    Administrators,
    /// A moment that no certificate can name.
    #[error("the time {0} cannot be written into a certificate")]
    Time(crate::time::Wall),
}
