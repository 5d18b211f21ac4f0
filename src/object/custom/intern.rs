//! The kinds that users define, each made once for as long as the process lives.
//!
//! A key holds its kind by reference, and most kinds are in the one table. Those that users define come and go with their
//! definitions, and are told apart by what a URL or a record says of them. Each that was ever met stays: there are few, and
//! [`MAX_KINDS`] bounds what somebody who makes and deletes definitions can have us keep (about 1 MB).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::object::kinds::{CUSTOM, Kind, Subresource};

/// How many kinds (each version and set of subresources counts) are ever made.
pub const MAX_KINDS: usize = 4_096;
/// The feature level with which records of such kinds came.
const SINCE: u32 = 5;
/// The most bytes of a group, as of any domain.
const MAX_GROUP: usize = 253;
/// The most bytes of any other name.
const MAX_NAME: usize = 63;

/// What a kind is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// API group; never empty.
    pub group: &'a str,
    /// A version.
    pub version: &'a str,
    /// The resource's name in URLs.
    pub plural: &'a str,
    /// CamelCase.
    pub kind: &'a str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Which of `/status` and `/scale` are served.
    pub subresources: &'static [Subresource],
}

struct Link {
    kind: Kind,
    next: OnceLock<&'static Link>,
}

const CHAINS: usize = 64;

/// Every kind that was met. A chain only grows, so nothing has to be locked.
static KINDS: [OnceLock<&'static Link>; CHAINS] = [const { OnceLock::new() }; CHAINS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Names<'_> {
    fn are_of(&self, kind: &Kind) -> bool {
        (self.plural, self.group, self.version, self.kind) == (kind.plural, kind.group, kind.version, kind.kind)
            && (self.namespaced, self.subresources) == (kind.namespaced, kind.subresources)
    }

    /// Names that no definition may have are not kept, whoever says them.
    fn are_names(&self) -> bool {
        let fits = |text: &str, most: usize, dot: bool| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (dot && b == b'.');
            !text.is_empty() && text.len() <= most && text.bytes().all(known)
        };
        fits(self.group, MAX_GROUP, true)
            && [self.version, self.plural, self.kind].iter().all(|n| fits(n, MAX_NAME, false))
    }

    fn chain(&self) -> usize {
        // FNV-1a: any spread will do, as long as it needs no random seed.
        let bytes = [self.group, self.plural].into_iter().flat_map(str::bytes);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from(hash % CHAINS as u64).expect("a small number")
    }

    fn link(&self) -> &'static Link {
        let leaked = |text: &str| -> &'static str { text.to_owned().leak() };
        COUNT.fetch_add(1, Ordering::Relaxed);
        let kind = Kind {
            group: leaked(self.group),
            version: leaked(self.version),
            kind: leaked(self.kind),
            plural: leaked(self.plural),
            singular: leaked(&self.kind.to_ascii_lowercase()),
            short_names: &[],
            categories: &[],
            namespaced: self.namespaced,
            subresources: self.subresources,
            definition: CUSTOM,
            view_of: None,
            is_shown_when_deleted: false,
            is_inert: false,
            since: SINCE,
        };
        Box::leak(Box::new(Link { kind, next: OnceLock::new() }))
    }
}

/// Returns the kind of these names, the same each time. `None` if they are no names, or [`MAX_KINDS`] others were met.
pub fn kind(names: Names<'_>) -> Option<&'static Kind> {
    if !names.are_names() {
        return None;
    }
    let mut slot = &KINDS[names.chain()];
    loop {
        if slot.get().is_none() && COUNT.load(Ordering::Relaxed) >= MAX_KINDS {
            return None;
        }
        let link = slot.get_or_init(|| names.link());
        if names.are_of(&link.kind) {
            return Some(&link.kind);
        }
        slot = &link.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_made_once_and_versions_are_one_kind() {
        let v1 = Names {
            group: "intern.example.com",
            version: "v1",
            plural: "widgets",
            kind: "Widget",
            namespaced: true,
            subresources: &[],
        };
        let (a, b) = (kind(v1).unwrap(), kind(v1).unwrap());
        assert!(std::ptr::eq(a, b));
        assert_eq!((a.singular, a.api_version().as_str()), ("widget", "intern.example.com/v1"));
        let v2 = kind(Names { version: "v2", ..v1 }).unwrap();
        assert!(!std::ptr::eq(a, v2));
        assert_eq!(a, v2, "keys of both name one object");
        assert_ne!(a, kind(Names { plural: "gadgets", ..v1 }).unwrap());
    }

    #[test]
    fn what_is_no_name_makes_no_kind() {
        let names = Names { group: "a.b", version: "v1", plural: "x", kind: "X", namespaced: false, subresources: &[] };
        let long = "x".repeat(64);
        for bad in [
            Names { group: "", ..names },
            Names { version: "", ..names },
            Names { plural: "a/b", ..names },
            Names { plural: "a.b", ..names },
            Names { kind: &long, ..names },
        ] {
            assert!(kind(bad).is_none(), "{bad:?}");
        }
    }
}
