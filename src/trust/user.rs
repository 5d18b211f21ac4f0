//! Who a client certificate says its holder is: common name = user, organizations = groups, as Kubernetes has it.

use std::collections::BTreeMap;

use rcgen::{DistinguishedName, DnType};
use x509_parser::prelude::parse_x509_certificate;

use super::{ADMINS, TrustError};

/// How many groups a certificate that we issue can carry: the certificate library keeps one value for each of its
/// names of an attribute, and the organization has two such names.
pub const MAX_GROUPS: usize = 2;

/// X.520's `organizationName`.
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// Somebody who proved to be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// What tells this user from an earlier one of the same name; mostly empty.
    pub uid: String,
    /// The groups the user is in.
    pub groups: Vec<String>,
    /// What else was proven, as `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Who comes without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of whoever proved to be somebody.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

impl User {
    /// Reads the user from a client certificate. That the certificate is genuine is the caller's to verify.
    ///
    /// # Errors
    /// [`TrustError::Unreadable`] or [`TrustError::Nameless`].
    pub fn of_der(certificate: &[u8]) -> Result<Self, TrustError> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|e| TrustError::Unreadable(e.to_string()))?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().find_map(|a| a.as_str().ok()).filter(|n| !n.is_empty());
        Ok(Self {
            name: name.ok_or(TrustError::Nameless)?.to_owned(),
            groups: subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect(),
            ..Self::default()
        })
    }

    /// Returns who comes without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Puts the user into the group of all that proved to be somebody.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if self.name != ANONYMOUS && !self.groups.iter().any(|g| g == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }

    /// Tells whether the user is in [`ADMINS`].
    pub fn is_admin(&self) -> bool {
        self.groups.iter().any(|g| g == ADMINS)
    }
}

/// Writes `groups` into the subject of `user`.
pub(super) fn write_groups(subject: &mut DistinguishedName, user: &str, groups: &[String]) -> Result<(), TrustError> {
    if groups.len() > MAX_GROUPS {
        return Err(TrustError::TooManyGroups { user: user.to_owned(), count: groups.len() });
    }
    let attributes: [DnType; MAX_GROUPS] = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
    for (attribute, group) in attributes.into_iter().zip(groups) {
        subject.push(attribute, group.as_str());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use crate::time::Wall;
    use crate::trust::Authority;

    use super::*;

    fn issued(user: &str, groups: &[&str]) -> Result<User, TrustError> {
        let ca = Authority::new(KeyPair::generate().unwrap(), "skein", Wall(0)).unwrap();
        let groups: Vec<_> = groups.iter().map(|&g| g.to_owned()).collect();
        let pem = ca.client(&KeyPair::generate().unwrap(), user, &groups, Wall(0))?;
        User::of_der(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
    }

    #[test]
    fn user_and_groups_are_read_back() {
        let user = issued("jane", &["system:masters", "ops"]).unwrap();
        let groups = vec!["system:masters".into(), "ops".into()];
        assert_eq!(user, User { name: "jane".into(), groups, ..User::default() });
        assert!(user.is_admin());
        assert!(!issued("jane", &["ops"]).unwrap().is_admin());
        assert!(!issued("system:masters", &[]).unwrap().is_admin());
    }

    #[test]
    fn a_third_group_is_refused_rather_than_lost() {
        assert!(matches!(issued("jane", &["a", "b", "c"]), Err(TrustError::TooManyGroups { count: 3, .. })));
    }

    #[test]
    fn nobody_and_rubbish_are_errors() {
        assert!(matches!(issued("", &["system:masters"]), Err(TrustError::Nameless)));
        assert!(matches!(User::of_der(b"rubbish"), Err(TrustError::Unreadable(_))));
        assert!(matches!(User::of_der(b""), Err(TrustError::Unreadable(_))));
    }
}
