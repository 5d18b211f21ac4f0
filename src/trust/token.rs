//! Join tokens: one string that says which cluster, where to dial, and proves that a member has invited.
//!
//! A token is signed by the member that makes it, so nothing has to be stored until it is used; its 128-bit id goes
//! into the membership record of who used it, and then it is spent. Whoever has the string can join until then, or
//! until it expires: it is never logged.
//!
//! The text is `SK1` and, in base64url: cluster (32 bytes), issuer (32), id (16), expiry in seconds (5), the number of
//! addresses (1), the addresses (6 each), the issuer's signature over all of that (64), a checksum (4).

use std::net::{Ipv4Addr, SocketAddrV4};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{ClusterId, NodeId};
use crate::time::Wall;

/// How many addresses a token carries at most; what is beyond is left out, so that it stays short.
pub const MAX_ADDRESSES: usize = 8;

/// A text longer than this, white space aside, is no token.
const MAX_TEXT: usize = 512;
const MARK: &str = "SK";
const VERSION: &str = "1";
/// Goes before what is signed, so that a signature of another purpose does not do.
const CONTEXT: &[u8] = b"skein token 1\0";
const SIGNATURE_BYTES: usize = 64;
const CHECKSUM_BYTES: usize = 4;

/// A token's 128-bit secret, by which it is known to be spent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId(pub [u8; 16]);

impl std::fmt::Debug for TokenId {
    /// Secrets are not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenId(..)")
    }
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Into which cluster.
    pub cluster: ClusterId,
    /// Who invites.
    pub issuer: NodeId,
    /// Its secret.
    pub id: TokenId,
    /// Until when; the text has whole seconds.
    pub expires: Wall,
    /// Where members can be dialled, best first; the text has [`MAX_ADDRESSES`] of them at most.
    pub addresses: Vec<SocketAddrV4>,
}

/// Why a text is no token, or not a good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Something else altogether.
    #[error("this is not a join token: one begins with {MARK}{VERSION}, as `agent token create` prints it")]
    Foreign,
    /// A token of another version of the program.
    #[error(
        "the join token is of version {0}, this agent reads version {VERSION}: run the same version on all machines"
    )]
    Version(u8),
    /// A part is missing, or a character is another.
    #[error("the join token is cut or mistyped: copy all of it")]
    Damaged,
    /// Whole, but not from whom it says.
    #[error("the join token is not signed by the member that it names: it is forged")]
    Forged,
}

impl Token {
    /// Writes and signs it: one word, to be copied and pasted. White space around and within is passed over on reading.
    pub fn text(&self, key: &SigningKey) -> String {
        let mut bytes = self.body();
        let signature = key.sign(&signed(&bytes));
        bytes.extend(signature.to_bytes());
        bytes.extend(checksum(&bytes));
        format!("{MARK}{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a token and checks that it is whole and signed by its issuer. Whether that is a member, and whether the
    /// token is expired or spent, [`super::Members::admit`] says.
    ///
    /// # Errors
    /// [`BadToken`] says in a sentence what is wrong; it never repeats the text.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let word: String = text.chars().filter(|c| !c.is_whitespace()).take(MAX_TEXT + 1).collect();
        let rest = word.strip_prefix(MARK).ok_or(BadToken::Foreign)?;
        let Some(rest) = rest.strip_prefix(VERSION) else {
            let digit = rest.chars().next().and_then(|c| c.to_digit(10)).ok_or(BadToken::Foreign)?;
            return Err(BadToken::Version(u8::try_from(digit).map_err(|_| BadToken::Foreign)?));
        };
        let bytes = URL_SAFE_NO_PAD.decode(rest).map_err(|_| BadToken::Damaged)?;
        let (bytes, sum) = split_end(&bytes, CHECKSUM_BYTES)?;
        if checksum(bytes) != sum {
            return Err(BadToken::Damaged);
        }
        let (body, signature) = split_end(bytes, SIGNATURE_BYTES)?;
        let token = Self::of_body(body).ok_or(BadToken::Damaged)?;
        token.verify(body, signature)?;
        Ok(token)
    }

    fn verify(&self, body: &[u8], signature: &[u8]) -> Result<(), BadToken> {
        let key = VerifyingKey::from_bytes(&self.issuer.0).map_err(|_| BadToken::Forged)?;
        let signature = Signature::from_slice(signature).map_err(|_| BadToken::Forged)?;
        key.verify_strict(&signed(body), &signature).map_err(|_| BadToken::Forged)
    }

    fn body(&self) -> Vec<u8> {
        let addresses = &self.addresses[..self.addresses.len().min(MAX_ADDRESSES)];
        let seconds = u64::try_from(self.expires.0.div_euclid(1_000_000)).unwrap_or_default();
        let mut body = [&self.cluster.0[..], &self.issuer.0, &self.id.0, &seconds.to_be_bytes()[3..]].concat();
        body.push(u8::try_from(addresses.len()).expect("there are MAX_ADDRESSES at most"));
        for address in addresses {
            body.extend(address.ip().octets());
            body.extend(address.port().to_be_bytes());
        }
        body
    }

    fn of_body(body: &[u8]) -> Option<Self> {
        let (cluster, rest) = body.split_first_chunk::<32>()?;
        let (issuer, rest) = rest.split_first_chunk::<32>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (seconds, rest) = rest.split_first_chunk::<5>()?;
        let (count, rest) = rest.split_first()?;
        if usize::from(*count) > MAX_ADDRESSES || rest.len() != usize::from(*count) * 6 {
            return None;
        }
        let seconds = seconds.iter().fold(0, |sum, byte| (sum << 8) | i64::from(*byte));
        let addresses =
            rest.chunks_exact(6).map(|c| SocketAddrV4::new(Ipv4Addr::new(c[0], c[1], c[2], c[3]), port(c[4], c[5])));
        Some(Self {
            cluster: ClusterId(*cluster),
            issuer: NodeId(*issuer),
            id: TokenId(*id),
            expires: Wall::from_secs(seconds),
            addresses: addresses.collect(),
        })
    }
}

fn port(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

fn signed(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

/// Tells a slip of the pen from a forgery; it proves nothing.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2], digest[3]]
}

fn split_end(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8]), BadToken> {
    bytes.len().checked_sub(length).map(|at| bytes.split_at(at)).ok_or(BadToken::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn token() -> Token {
        let issuer = NodeId(key().verifying_key().to_bytes());
        let addresses = ["192.0.2.1:7443", "192.0.2.2:7443", "10.0.0.3:1"].map(|a| a.parse().unwrap());
        Token {
            cluster: ClusterId::founded_by(issuer),
            issuer,
            id: TokenId([9; 16]),
            expires: Wall::from_secs(1_800_000_000),
            addresses: addresses.into(),
        }
    }

    #[test]
    fn a_token_is_one_short_word_that_is_read_back() {
        let text = token().text(&key());
        assert!(text.starts_with("SK1") && text.len() < 300, "{}", text.len());
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{text}");
        assert_eq!(Token::parse(&text), Ok(token()));
    }

    #[test]
    fn line_breaks_and_spaces_are_passed_over() {
        let text = token().text(&key());
        let broken: String = text.chars().enumerate().flat_map(|(i, c)| [c, [' ', '\n', '\t', '\r'][i % 4]]).collect();
        assert_eq!(Token::parse(&format!("\n {broken}")), Ok(token()));
    }

    #[test]
    fn what_is_no_token_is_told_apart_from_a_damaged_one() {
        let text = token().text(&key());
        assert_eq!(Token::parse(""), Err(BadToken::Foreign));
        assert_eq!(Token::parse("hello"), Err(BadToken::Foreign));
        assert_eq!(Token::parse(&text.replacen('1', "2", 1)), Err(BadToken::Version(2)));
        for end in 3..text.len() {
            assert_eq!(Token::parse(&text[..end]), Err(BadToken::Damaged), "cut at {end}");
        }
        assert_eq!(Token::parse(&text.repeat(1000)), Err(BadToken::Damaged));
    }

    #[test]
    fn a_token_signed_by_another_is_forged() {
        let text = token().text(&SigningKey::from_bytes(&[8; 32]));
        assert_eq!(Token::parse(&text), Err(BadToken::Forged));
    }

    #[test]
    fn no_mutation_is_accepted() {
        let text = token().text(&key());
        let mut chance = StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..chance.random_range(1..4) {
                let at = chance.random_range(0..bytes.len());
                bytes[at] = chance.random();
            }
            let mutated = String::from_utf8_lossy(&bytes);
            assert!(Token::parse(&mutated).is_err() || mutated == text, "{mutated}");
        }
    }

    #[test]
    fn a_mutation_with_a_right_checksum_is_not_accepted_either() {
        let bytes = URL_SAFE_NO_PAD.decode(&token().text(&key())[3..]).unwrap();
        let bytes = &bytes[..bytes.len() - CHECKSUM_BYTES];
        for at in 0..bytes.len() {
            let mut forged = bytes.to_vec();
            forged[at] ^= 1;
            forged.extend(checksum(&forged));
            let text = format!("SK1{}", URL_SAFE_NO_PAD.encode(forged));
            assert!(Token::parse(&text).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let printed = format!("{:?}", token());
        assert!(printed.contains("TokenId(..)") && !printed.contains("9, 9"), "{printed}");
    }

    #[test]
    fn addresses_beyond_the_bound_are_left_out() {
        let many = Token { addresses: vec!["192.0.2.1:7443".parse().unwrap(); 20], ..token() };
        assert_eq!(Token::parse(&many.text(&key())).unwrap().addresses.len(), MAX_ADDRESSES);
    }
}
