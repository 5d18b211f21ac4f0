//! Certificate signing requests (PKCS #10), as clients put them into CertificateSigningRequests.

use std::time::Duration;

use rcgen::{CertificateSigningRequestParams, PublicKey};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::time::Wall;

use super::authority::LEAF_LIFETIME;
use super::{ADMINS, Authority, TrustError, User};

/// The shortest life that may be asked for, as upstream's.
pub const LEAST: Duration = Duration::from_secs(600);

/// Who asks for a certificate, and the key that it is to be for.
pub struct SigningRequest {
    /// Who it would name.
    pub user: User,
    key: PublicKey,
}

impl SigningRequest {
    /// Reads a request in PEM, whose signature proves that the key is the asker's.
    ///
    /// # Errors
    /// [`TrustError`] if it is none, is not signed by its key, or names nobody.
    pub fn of_pem(text: &[u8]) -> Result<Self, TrustError> {
        let unreadable = |e: &dyn std::fmt::Display| TrustError::Unreadable(format!("the signing request: {e}"));
        let der = CertificateSigningRequestDer::from_pem_slice(text).map_err(|e| unreadable(&e))?;
        let verified = CertificateSigningRequestParams::from_der(&der).map_err(|e| unreadable(&e))?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|e| unreadable(&e))?;
        let subject = &parsed.certification_request_info.subject;
        let name = subject.iter_common_name().find_map(|a| a.as_str().ok()).filter(|n| !n.is_empty());
        let groups = subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect();
        let user = User { name: name.ok_or(TrustError::Nameless)?.to_owned(), groups, ..User::default() };
        Ok(Self { user, key: verified.public_key })
    }

    /// Issues the client's certificate that is asked for, for at most as long as others live. Returns PEM.
    ///
    /// # Errors
    /// [`TrustError::Administrators`] for a certificate that would give every right; [`TrustError::TooManyGroups`].
    pub fn sign(&self, authority: &Authority, lifetime: Option<Duration>, now: Wall) -> Result<String, TrustError> {
        let User { name, groups, .. } = &self.user;
        if groups.iter().any(|group| group == ADMINS) {
            return Err(TrustError::Administrators);
        }
        let lifetime = lifetime.unwrap_or(LEAF_LIFETIME).clamp(LEAST, LEAF_LIFETIME);
        authority.client_for(&self.key, name, groups, lifetime, now)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn authority() -> Authority {
        Authority::new(KeyPair::generate().unwrap(), "test", Wall::from_secs(1_763_882_730)).unwrap()
    }

    fn request(name: &str, group: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_certificate_names_who_asked() {
        let read = SigningRequest::of_pem(request("jane", "cooks").as_bytes()).unwrap();
        let pem = read.sign(&authority(), Some(Duration::from_secs(3600)), Wall::from_secs(1_763_882_730)).unwrap();
        let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let user = User::of_der(&der).unwrap();
        assert_eq!((&*user.name, user.groups), ("jane", vec!["cooks".to_owned()]));
    }

    #[test]
    fn nobody_becomes_an_administrator_by_asking() {
        let read = SigningRequest::of_pem(request("jane", ADMINS).as_bytes()).unwrap();
        let refused = read.sign(&authority(), None, Wall::from_secs(1_763_882_730));
        assert!(matches!(refused, Err(TrustError::Administrators)), "{refused:?}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let broken = request("jane", "cooks").replacen('M', "N", 3);
        for text in ["", "potato", &*broken] {
            assert!(SigningRequest::of_pem(text.as_bytes()).is_err(), "{text}");
        }
        let nameless = SigningRequest::of_pem(request("", "cooks").as_bytes());
        assert!(matches!(nameless.err(), Some(TrustError::Nameless)));
    }
}
