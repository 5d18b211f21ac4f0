//! Who is asking: client certificates of our own authority.
//!
//! As upstream does, a client whose certificate is not ours (or is expired) is let into the connection and told 401,
//! rather than dropped in the handshake: the user reads a sentence instead of a TLS alert.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use crate::trust::User;

use super::ApiError;
use super::authenticate::Shown;

/// Accepts any certificate whose key the client has, and tells afterwards whether it is one of ours.
#[derive(Debug)]
pub struct Verifier(Arc<dyn ClientCertVerifier>);

impl Verifier {
    /// Makes a verifier of clients' certificates that `authorities` (in DER) signed.
    ///
    /// # Errors
    /// [`ApiError::Tls`] if one of them is no certificate.
    pub fn new(authorities: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) -> Result<Self, ApiError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|e| ApiError::Tls(e.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
        Ok(Self(verifier.build().map_err(|e| ApiError::Tls(e.to_string()))?))
    }

    /// Returns what the certificates of a finished handshake prove.
    pub fn shown(&self, certificates: Option<&[CertificateDer<'_>]>) -> Shown {
        let Some((leaf, intermediates)) = certificates.and_then(<[_]>::split_first) else { return Shown::Nothing };
        if let Err(error) = self.0.verify_client_cert(leaf, intermediates, UnixTime::now()) {
            tracing::debug!(%error, "client certificate refused");
            return Shown::Worthless;
        }
        match User::of_der(leaf) {
            Ok(user) => Shown::Proven(user),
            Err(error) => {
                tracing::debug!(%error, "client certificate names nobody");
                Shown::Worthless
            }
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
