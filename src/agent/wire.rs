//! JSON documents on a stream: four bytes of length, big-endian, then the document.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest document, in bytes.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// Sends a document.
///
/// # Errors
/// The stream's; `InvalidData` if it is longer than [`MAX_DOCUMENT`].
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), document: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(document).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_DOCUMENT);
    let length = length.ok_or_else(|| too_long(bytes.len()))?;
    stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await?;
    stream.flush().await
}

/// Receives a document.
///
/// # Errors
/// The stream's; `InvalidData` if it is too long or is not what was expected.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_DOCUMENT {
        return Err(too_long(length));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

fn too_long(length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a document of {length} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_document_is_read_back_and_rubbish_is_refused() {
        let (mut one, mut other) = tokio::io::duplex(1 << 20);
        write(&mut one, &("x", 1)).await.unwrap();
        assert_eq!(read::<(String, u8)>(&mut other).await.unwrap(), ("x".to_owned(), 1));
        assert!(write(&mut one, &"x".repeat(MAX_DOCUMENT)).await.is_err());
        one.write_all(&[0xff; 8]).await.unwrap();
        assert!(read::<String>(&mut other).await.is_err());
        one.write_all(b"\0\0\0\x02{]").await.unwrap();
    }
}
