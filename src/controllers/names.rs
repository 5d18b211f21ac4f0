//! The derived part of a name: short, and no word in any language.

/// Upstream's alphabet (`rand.SafeEncodeString`): no vowels, nothing that looks like another letter.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Spells `count` letters of a digest's first 16 bytes, each as likely as the next.
pub fn letters(digest: &[u8], count: usize) -> String {
    let mut rest = digest.iter().take(16).fold(0_u128, |n, byte| (n << 8) | u128::from(*byte));
    let mut spelt = String::with_capacity(count);
    for _ in 0..count {
        spelt.push(char::from(LETTERS[(rest % 27) as usize]));
        rest /= 27;
    }
    spelt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_of_the_alphabet_and_depend_on_the_digest() {
        let (one, other) = (letters(&[7; 32], 10), letters(&[8; 32], 10));
        assert_eq!(one.len(), 10);
        assert!(one.bytes().all(|b| LETTERS.contains(&b)));
        assert_ne!(one, other);
        assert_eq!(letters(&[7; 32], 5), one[..5]);
    }
}
