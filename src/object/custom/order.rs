//! Which version clients should prefer: `v2` before `v1` before `v1beta2` before `v1beta1` before `v1alpha1` before others.

use std::cmp::Ordering;

/// Compares two versions; the preferred one comes first.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// How stable it is, its number, and the number of its stage.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0);
    for (stage, word) in [(0, "alpha"), (1, "beta")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stage, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha1", "foo", "v2", "v1beta10", "v1", "v1beta2", "v10", "bar", "v12alpha1"];
        versions.sort_by(|a, b| compare(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v12alpha1", "v1alpha1", "bar", "foo"]);
    }
}
