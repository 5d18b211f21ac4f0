//! Connections to what requests are passed on to.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use tokio_rustls::TlsConnector;

use crate::handle::{Frame, PIECE, Stream, Talk};

/// Turns a session with a port into a stream.
pub fn carry(mut talk: Talk) -> Stream {
    let (here, there) = duplex(2 * PIECE);
    tokio::spawn(async move {
        let (mut reader, mut writer) = split(there);
        let up = async {
            let mut piece = BytesMut::with_capacity(PIECE);
            while reader.read_buf(&mut piece).await.is_ok_and(|n| n > 0) {
                if talk.say.send(Frame::Input(piece.split().freeze())).await.is_err() {
                    break;
                }
                piece.reserve(PIECE);
            }
            let _ = talk.say.send(Frame::InputEnd).await;
            // The other side may go on talking to the end.
            std::future::pending::<()>().await;
        };
        let down = async {
            while let Some(frame) = talk.hear.recv().await {
                match frame {
                    Frame::Output(bytes) if writer.write_all(&bytes).await.is_err() => break,
                    Frame::Ended(_) => break,
                    _ => {}
                }
            }
            let _ = writer.shutdown().await;
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    });
    Box::new(here)
}

/// Speaks TLS over a stream. Whose certificate the other side shows is not looked at, as upstream does not: it is
/// reached by an address of the cluster, and certificates there name what they like.
///
/// # Errors
/// The handshake's.
pub async fn encrypted(stream: Stream) -> io::Result<Stream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("skein.invalid").map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// Believes any server that has its certificate's key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Ended, talk};

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_is_told() {
        let (here, mut there) = talk();
        let mut stream = carry(here);
        stream.write_all(b"question").await.unwrap();
        assert_eq!(there.hear.recv().await, Some(Frame::Input("question".into())));
        there.say.send(Frame::Output("answer".into())).await.unwrap();
        there.say.send(Frame::Ended(Ended::Exit(0))).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
    }

    #[tokio::test]
    async fn who_stops_talking_still_hears() {
        let (here, mut there) = talk();
        let mut stream = carry(here);
        stream.shutdown().await.unwrap();
        assert_eq!(there.hear.recv().await, Some(Frame::InputEnd));
        there.say.send(Frame::Output("late".into())).await.unwrap();
        drop(there);
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "late");
    }
}
