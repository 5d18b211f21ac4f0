//! Bytes in JSON as one string in base64, a quarter of the size of an array of numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// For one string of bytes.
pub mod one {
    use base64::Engine as _;
    use serde::Serializer;

    use super::{Deserializer, STANDARD};

    /// Writes it.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        super::text(deserializer)
    }
}

/// For a list of them.
pub mod many {
    use base64::Engine as _;
    use serde::{Deserialize, Serializer};

    use super::{Deserializer, STANDARD};

    #[derive(Deserialize)]
    struct One(#[serde(deserialize_with = "super::text")] Vec<u8>);

    /// Writes it.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| STANDARD.encode(bytes)))
    }

    /// Reads it.
    ///
    /// # Errors
    /// One of them is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|one| one.0).collect())
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}
