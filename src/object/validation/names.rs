//! The forms of names and other words, with upstream's explanation of each (`util/validation`). Every function
//! returns what is wrong with its argument: nothing if all is well.

use std::net::IpAddr;

const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// RFC 1123 label: a container's, volume's or namespace's name.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 63);
    if !is_label(text) {
        wrong.push(if is_subdomain(text) {
            "must not contain dots".into()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                DNS_LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    wrong
}

/// RFC 1123 subdomain: most objects' names.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 253);
    if !is_subdomain(text) {
        wrong.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            &format!("{DNS_LABEL}(\\.{DNS_LABEL})*"),
            &["example.com"],
        ));
    }
    wrong
}

/// A part of a path: the names of roles and bindings.
pub fn path_segment(text: &str) -> Vec<String> {
    let whole = [".", ".."].into_iter().filter(|name| *name == text).map(|name| format!("may not be '{name}'"));
    let parts =
        ["/", "%"].into_iter().filter(|part| text.contains(part)).map(|part| format!("may not contain '{part}'"));
    whole.chain(parts).collect()
}

/// RFC 1035 label: a Service's name.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 63);
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    wrong
}

/// A label's or annotation's key: `name` or `example.com/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    const WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    const FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let mut wrong = Vec::new();
    let parts: Vec<_> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            let why = if prefix.is_empty() { vec!["must be non-empty".into()] } else { dns_subdomain(prefix) };
            wrong.extend(why.into_iter().map(|w| format!("prefix part {w}")));
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(WORDS, FORM, EXAMPLES)
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else {
        wrong.extend(too_long(name, 63).into_iter().map(|w| format!("name part {w}")));
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {}", regex_error(WORDS, FORM, EXAMPLES)));
    }
    wrong
}

/// A label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 63);
    if !text.is_empty() && !is_qualified(text) {
        wrong.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 253);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        wrong.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

/// The name of an environment variable, or what names begin with (relaxed since 1.32: any printable ASCII but `=`).
pub fn env_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.is_empty() {
        wrong.push("environment variable name must be non-empty".into());
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        wrong.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    wrong
}

/// A container port's name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = too_long(text, 15);
    if text.is_empty() || !text.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit()) {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".into());
    }
    wrong
}

/// A port's number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65_535)
}

/// A whole number between two others, both allowed.
pub fn in_range(number: i64, least: i64, most: i64) -> Vec<String> {
    if (least..=most).contains(&number) {
        return Vec::new();
    }
    vec![format!("must be between {least} and {most}, inclusive")]
}

/// `25%`.
pub fn percent(text: &str) -> Vec<String> {
    if percent_value(text).is_some() {
        return Vec::new();
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(words, "[0-9]+%", &["1%", "93%"])]
}

/// Reads the number of a percentage; one too large to read counts as the largest.
pub fn percent_value(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(i64::MAX))
}

/// The name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()) {
        return Vec::new();
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// An address, version 4 or 6.
pub fn ip_address(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()]
}

/// A range of addresses, version 4 or 6.
pub fn cidr(text: &str) -> Vec<String> {
    if text.parse::<ipnet::IpNet>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()]
}

fn too_long(text: &str, most: usize) -> Vec<String> {
    if text.len() <= most { Vec::new() } else { vec![format!("must be no more than {most} bytes")] }
}

fn regex_error(words: &str, form: &str, examples: &[&str]) -> String {
    // Upstream joins the examples this way, double space and all.
    let examples: Vec<_> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{form}')", examples.join(" or "))
}

fn is_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| *b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_upstreams_forms() {
        type Rule = fn(&str) -> Vec<String>;
        let long = "a".repeat(64);
        let table: &[(Rule, &[&str], &[&str])] = &[
            (dns_label, &["a", "0a", "a-b", "a--b"], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]),
            (dns_subdomain, &["a", "a.b", "1.2", &long], &["", ".a", "a.", "a..b", "Web", "a_b", "a.-b"]),
            (dns1035_label, &["a", "a-1"], &["1a", "a-", "", "a.b"]),
            (qualified_name, &["a", "A_b.c", "example.com/a"], &["", "/a", "a/", "a/b/c", "-a", "E.com/a", "a b"]),
            (label_value, &["", "a", "A_b.c"], &["-", "a/", "a b", &long]),
            (config_key, &["a", ".a", "a..b", "A_B"], &["", ".", "..", "..a", "a/b"]),
            (env_name, &["A", "a.b", "1", "A B"], &["", "a=b", "ä", "a\n"]),
            (port_name, &["http", "a-1", "9p"], &["", "80", "-a", "a-", "a--b", "A", "sixteen-letters-"]),
            (percent, &["0%", "250%"], &["%", "25", "-1%", "2.5%"]),
            (http_header, &["X-A"], &["", "a b", "a:"]),
            (ip_address, &["10.0.0.1", "::1"], &["", "10.0.0", "10.0.0.256", "a"]),
            (cidr, &["10.0.0.0/8", "::/0"], &["10.0.0.0", "10.0.0.0/33"]),
        ];
        for (i, (rule, good, bad)) in table.iter().enumerate() {
            for text in *good {
                assert_eq!(rule(text), Vec::<String>::new(), "row {i}: {text:?}");
            }
            for text in *bad {
                assert!(!rule(text).is_empty(), "row {i}: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        assert_eq!(
            dns_subdomain("Web"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(percent_value("99999999999999999999%"), Some(i64::MAX));
    }
}
