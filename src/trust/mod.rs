//! Who may: certificates' contents, cluster identity.
