//! Sets of indexes as a status has them: `0-2,4`.

use std::collections::BTreeSet;

/// Most indexes a Job may have (upstream's bound).
const MOST: i32 = 100_000;

/// Reads a set. What is none of ours is passed over.
pub fn read(text: &str) -> BTreeSet<i32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
        Some(first.clamp(0, MOST)..=last.clamp(-1, MOST))
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// Writes a set. Three numbers in a row and more are a range; two are not.
pub fn write(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let shown = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.into_iter().map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_is_written() {
        for (set, text) in
            [(&[][..], ""), (&[3], "3"), (&[0, 1], "0,1"), (&[0, 1, 2, 4], "0-2,4"), (&[1, 3, 4, 5, 7], "1,3-5,7")]
        {
            let set: BTreeSet<i32> = set.iter().copied().collect();
            assert_eq!(write(&set), text);
            assert_eq!(read(text), set);
        }
        assert_eq!(read("x,2,-,9-"), BTreeSet::from([2]));
        assert!(read("0-2000000000").len() < 200_000, "nobody makes it hold more than there may be");
    }
}
