//! Names of leaves: where in an object a scalar is, as one string.
//!
//! A path is a row of segments: `/` and the key of a map, or `#` and the identity of a keyed list's element, which
//! is its key fields' values as JSON, joined by commas. A `#` with nothing behind it names the list's order. `~`,
//! `/` and `#` within a segment are written `~0`, `~1` and `~2`.

use super::leaves::MAX_DEPTH;

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A map's key.
    Key(String),
    /// A keyed list's element; empty for the list's order.
    Element(String),
}

/// Appends a map's key.
pub fn push_key(path: &mut String, key: &str) {
    path.push('/');
    push_escaped(path, key);
}

/// Appends a keyed list's element.
pub fn push_element(path: &mut String, id: &str) {
    path.push('#');
    push_escaped(path, id);
}

fn push_escaped(path: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            '#' => path.push_str("~2"),
            c => path.push(c),
        }
    }
}

/// Reads a path. `None` if it is no path or deeper than any object may be, which only a peer's can be.
pub fn parse(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if segments.len() == MAX_DEPTH {
            return None;
        }
        let (sigil, after) = (rest.as_bytes()[0], rest.get(1..)?);
        let end = after.find(['/', '#']).unwrap_or(after.len());
        let text = unescape(&after[..end])?;
        segments.push(match sigil {
            b'/' => Segment::Key(text),
            b'#' => Segment::Element(text),
            _ => return None,
        });
        rest = &after[end..];
    }
    Some(segments)
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                '2' => '#',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_survives() {
        for key in ["", "a", "~", "a/b#c~d", "~1", "äöü/💧", "#", "x\u{0}y"] {
            let mut path = String::new();
            push_key(&mut path, "spec");
            push_element(&mut path, key);
            push_key(&mut path, key);
            let want = [Segment::Key("spec".into()), Segment::Element(key.into()), Segment::Key(key.into())];
            assert_eq!(parse(&path).as_deref(), Some(&want[..]), "{path:?}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["x", "é/a", "/a~", "/a~3"] {
            assert_eq!(parse(path), None, "{path:?}");
        }
        assert_eq!(parse(&"/a".repeat(MAX_DEPTH + 1)), None);
        assert!(parse(&"/a".repeat(MAX_DEPTH)).is_some());
    }
}
