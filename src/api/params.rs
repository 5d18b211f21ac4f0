//! What a URL's query says, read as Kubernetes' servers read it.

use super::status::Status;

/// The decoded pairs of a query, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the part of a URL after the question mark.
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|p| !p.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    /// Returns the first value of a parameter, if it is given and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|v| !v.is_empty())
    }

    /// Returns a truth value: given means true, except for `false` and `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.tristate(name).unwrap_or(false)
    }

    /// Returns a truth value, `None` if it is not given.
    pub fn tristate(&self, name: &str) -> Option<bool> {
        self.first(name).map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// Returns a whole number.
    ///
    /// # Errors
    /// 400 if it is none.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let bad = |_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        text.parse().map(Some).map_err(bad)
    }

    /// Returns every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Decodes `%2F` and its like; what is no escape stays as it is, what is no UTF-8 becomes a replacement character.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten().and_then(hex);
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let p =
            Params::parse("labelSelector=app%20in%20(a%2Cb)&limit=500&watch&follow=false&x=a+b&&command=a&command=b");
        assert_eq!(p.text("labelSelector"), Some("app in (a,b)"));
        assert_eq!(p.number("limit").unwrap(), Some(500));
        assert!(p.flag("watch"));
        assert_eq!(p.tristate("follow"), Some(false));
        assert_eq!(p.tristate("missing"), None);
        assert_eq!(p.text("x"), Some("a b"));
        assert_eq!(p.text("missing"), None);
        assert_eq!(p.all("command").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_bad_number_is_a_bad_request() {
        let status = Params::parse("limit=many").number("limit").unwrap_err();
        assert_eq!(status.code, 400);
        assert_eq!(status.message, "strconv.ParseInt: parsing \"many\": invalid syntax");
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        for (text, decoded) in [("100%", "100%"), ("%zz", "%zz"), ("%4", "%4"), ("%41%42", "AB"), ("%ff", "\u{fffd}")] {
            assert_eq!(decode(text), decoded);
        }
    }
}
