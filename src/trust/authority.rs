//! The cluster's own certificate authority and what it issues.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::parse_x509_certificate;

use crate::time::Wall;

use super::{TrustError, user};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority's certificate is valid.
pub const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// How long a server's or client's certificate is valid.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());

/// How far back validity begins, so that a machine whose clock is behind believes a fresh certificate.
pub const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A certificate authority: its certificate and the key it signs with.
pub struct Authority {
    /// Carries the subject and key identifier that go into what is issued; its own signature is never shown.
    issuer: Certificate,
    key: KeyPair,
    pem: String,
}

impl Authority {
    /// Makes the authority of `cluster`, which signs itself with `key`.
    ///
    /// # Errors
    /// [`TrustError`] if the key cannot sign or the time is out of range.
    pub fn new(key: KeyPair, cluster: &str, now: Wall) -> Result<Self, TrustError> {
        let mut params = leaf(&key, cluster, now, CA_LIFETIME)?;
        params.distinguished_name = name(&format!("{cluster}-ca"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let issuer = params.self_signed(&key).map_err(refused(|| format!("the authority of {cluster:?}")))?;
        let pem = issuer.pem();
        Ok(Self { issuer, key, pem })
    }

    /// Takes up an authority that was made before.
    ///
    /// # Errors
    /// [`TrustError`] if either text is not what it should be, or they do not belong together.
    pub fn of_pem(certificate: &str, key: &str) -> Result<Self, TrustError> {
        let key = KeyPair::from_pem(key).map_err(refused(|| "the authority's key".into()))?;
        let unreadable = || refused(|| "the authority's certificate".into());
        let params = CertificateParams::from_ca_cert_pem(certificate).map_err(unreadable())?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        let der = der.map_err(|e| TrustError::Unreadable(e.to_string()))?;
        let parsed = parse_x509_certificate(&der).map_err(|e| TrustError::Unreadable(e.to_string()))?.1;
        if parsed.public_key().raw != key.public_key_der() {
            return Err(TrustError::ForeignKey);
        }
        let issuer = params.self_signed(&key).map_err(unreadable())?;
        Ok(Self { issuer, key, pem: certificate.to_owned() })
    }

    /// Returns the authority's certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the authority's key in PEM (PKCS #8). It is as secret as the cluster.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Issues a server's certificate for all names and addresses under which clients may call it. Returns PEM.
    ///
    /// # Errors
    /// [`TrustError`] if a name is not ASCII.
    pub fn server(
        &self,
        key: &impl PublicKeyData,
        names: &[String],
        addresses: &[IpAddr],
        now: Wall,
    ) -> Result<String, TrustError> {
        let common = names.first().map_or("kube-apiserver", String::as_str);
        let mut params = leaf(key, common, now, LEAF_LIFETIME)?;
        params.distinguished_name = name(common);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for host in names {
            let host = host.as_str().try_into().map_err(refused(|| format!("the server name {host:?}")))?;
            params.subject_alt_names.push(SanType::DnsName(host));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(params, key, || format!("the server certificate of {common:?}"))
    }

    /// Issues a client's certificate: `user` as common name, `groups` as organizations, as Kubernetes reads them.
    /// Returns PEM.
    ///
    /// # Errors
    /// [`TrustError::TooManyGroups`] for more than [`user::MAX_GROUPS`].
    pub fn client(
        &self,
        key: &impl PublicKeyData,
        user: &str,
        groups: &[String],
        now: Wall,
    ) -> Result<String, TrustError> {
        self.client_for(key, user, groups, LEAF_LIFETIME, now)
    }

    /// Issues one for so long.
    ///
    /// # Errors
    /// As [`Authority::client`].
    pub fn client_for(
        &self,
        key: &impl PublicKeyData,
        user: &str,
        groups: &[String],
        lifetime: Duration,
        now: Wall,
    ) -> Result<String, TrustError> {
        let mut params = leaf(key, user, now, lifetime)?;
        params.distinguished_name = name(user);
        user::write_groups(&mut params.distinguished_name, user, groups)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key, || format!("the client certificate of {user:?}"))
    }

    fn sign(
        &self,
        params: CertificateParams,
        key: &impl PublicKeyData,
        what: impl FnOnce() -> String,
    ) -> Result<String, TrustError> {
        Ok(params.signed_by(key, &self.issuer, &self.key).map_err(refused(what))?.pem())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// What every certificate has: a validity, a serial number of its own, the issuer's key identifier.
fn leaf(
    key: &impl PublicKeyData,
    common: &str,
    now: Wall,
    lifetime: Duration,
) -> Result<CertificateParams, TrustError> {
    let mut params = CertificateParams::default();
    params.not_before = moment(Wall(now.0.saturating_sub(micros(BACKDATED))))?;
    params.not_after = moment(now + lifetime)?;
    params.serial_number = Some(serial(key, common, now));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A serial number must differ for every certificate of one issuer (RFC 5280, 4.1.2.2), and be positive.
fn serial(key: &impl PublicKeyData, common: &str, now: Wall) -> SerialNumber {
    let mut hash = Sha256::new();
    hash.update(now.0.to_be_bytes());
    hash.update(key.der_bytes());
    hash.update(common.as_bytes());
    let mut bytes = hash.finalize()[..16].to_vec();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from(bytes)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn moment(wall: Wall) -> Result<OffsetDateTime, TrustError> {
    OffsetDateTime::from_unix_timestamp(wall.0.div_euclid(1_000_000)).map_err(|_| TrustError::Time(wall))
}

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

fn refused(what: impl FnOnce() -> String) -> impl FnOnce(rcgen::Error) -> TrustError {
    move |source| TrustError::Certificate { what: what(), source }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    const NOW: Wall = Wall(1_763_882_730_000_000);

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn authority() -> Authority {
        Authority::new(KeyPair::generate().unwrap(), "skein", NOW).unwrap()
    }

    #[test]
    fn an_authority_is_valid_for_ten_years_and_may_sign() {
        let ca = der(authority().pem());
        let (_, ca) = parse_x509_certificate(&ca).unwrap();
        assert!(ca.is_ca());
        assert_eq!(ca.validity().not_before.timestamp(), NOW.0 / 1_000_000 - 3600);
        assert_eq!(ca.validity().not_after.timestamp(), NOW.0 / 1_000_000 + 3650 * 86_400);
        assert_eq!(ca.subject().to_string(), "CN=skein-ca");
        ca.verify_signature(None).unwrap();
    }

    #[test]
    fn a_server_certificate_carries_names_and_addresses() {
        let ca = authority();
        let names = ["n1".to_owned(), "kubernetes.default.svc".to_owned()];
        let pem = ca.server(&KeyPair::generate().unwrap(), &names, &["10.96.0.1".parse().unwrap()], NOW).unwrap();
        let (ca, leaf) = (der(ca.pem()), der(&pem));
        let (_, ca) = parse_x509_certificate(&ca).unwrap();
        let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
        leaf.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(leaf.issuer(), ca.subject());
        assert!(!leaf.is_ca());
        let alt = leaf.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(
            alt.general_names,
            vec![
                GeneralName::DNSName("n1"),
                GeneralName::DNSName("kubernetes.default.svc"),
                GeneralName::IPAddress(&[10, 96, 0, 1]),
            ]
        );
        assert_eq!(leaf.validity().not_after.timestamp(), NOW.0 / 1_000_000 + 365 * 86_400);
    }

    #[test]
    fn an_authority_taken_up_from_disk_issues_under_the_same_name_and_key() {
        let first = authority();
        let again = Authority::of_pem(first.pem(), &first.key_pem()).unwrap();
        assert_eq!(again.pem(), first.pem());
        let pem = again.client(&KeyPair::generate().unwrap(), "admin", &[], NOW).unwrap();
        let (ca, leaf) = (der(first.pem()), der(&pem));
        let (_, ca) = parse_x509_certificate(&ca).unwrap();
        let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
        leaf.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(leaf.issuer(), ca.subject());
    }

    #[test]
    fn two_certificates_never_share_a_serial_number() {
        let (ca, key) = (authority(), KeyPair::generate().unwrap());
        let one = der(&ca.client(&key, "admin", &[], NOW).unwrap());
        let two = der(&ca.client(&key, "admin", &[], Wall(NOW.0 + 1)).unwrap());
        let serial = |der: &CertificateDer<'_>| parse_x509_certificate(der).unwrap().1.tbs_certificate.serial.clone();
        assert_ne!(serial(&one), serial(&two));
    }

    #[test]
    fn rubbish_is_an_error_not_a_panic() {
        assert!(Authority::of_pem("rubbish", "rubbish").is_err());
        let key = KeyPair::generate().unwrap();
        assert!(Authority::of_pem("rubbish", &key.serialize_pem()).is_err());
        assert!(matches!(Authority::of_pem(authority().pem(), &key.serialize_pem()), Err(TrustError::ForeignKey)));
        assert!(authority().server(&key, &["bücher".into()], &[], NOW).is_err());
    }
}
