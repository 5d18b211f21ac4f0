//! Forms of texts and numbers that have a name, as far as upstream looks at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Tells whether a text has the form `format`. One that is not known is not looked at.
pub fn text_fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => is_date_time(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text),
        "uri" => is_uri(text),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && is_hostname(host)),
        "hostname" => is_hostname(text),
        _ => true,
    }
}

/// Tells whether a number has the form `format`.
pub fn number_fits(format: &str, number: &serde_json::Number) -> bool {
    match format {
        "int32" => {
            number.as_i64().is_none_or(|n| i32::try_from(n).is_ok())
                && number.as_u64().is_none_or(|n| i32::try_from(n).is_ok())
        }
        "int64" => number.as_i64().is_some() || number.is_f64(),
        "float" => number.as_f64().is_some_and(|n| n.abs() <= f64::from(f32::MAX)),
        _ => true,
    }
}

fn is_date_time(text: &str) -> bool {
    // A timestamp says its offset; a civil time alone is none.
    text.len() >= 20
        && text.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't'))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations: `1h30m`, `-1.5s`, `0`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let unit = units.into_iter().filter(|u| after.starts_with(u)).max_by_key(|u| u.len());
        let Some(unit) = unit.filter(|_| number.parse::<f64>().is_ok()) else { return false };
        rest = &after[unit.len()..];
    }
    true
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    bits.parse::<u8>().is_ok_and(|bits| bits <= if address.is_ipv4() { 32 } else { 128 })
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    [6, 8].contains(&parts.len()) && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_uuid(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What Go takes for a request's URI: a path, or a scheme and what follows.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c == ' ') {
        return false;
    }
    text.starts_with('/') || text.split_once(':').is_some_and(|(scheme, rest)| !rest.is_empty() && is_scheme(scheme))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        for (format, good, bad) in [
            ("date-time", "2025-11-23T07:25:30Z", "2025-11-23"),
            ("date-time", "2025-11-23T07:25:30.5+02:00", "yesterday"),
            ("date", "2025-11-23", "2025-13-01"),
            ("duration", "1h30m", "1x"),
            ("duration", "-1.5s", ""),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1a:2b:3c:4d:5e", "00:1a:2b"),
            ("byte", "aGk=", "a"),
            ("uuid", "7f8d9c1e-0000-4000-8000-000000000000", "7f8d"),
            ("uri", "https://example.com/x", "no uri"),
            ("email", "a@example.com", "example.com"),
            ("hostname", "example.com", "-x"),
        ] {
            assert!(text_fits(format, good), "{format} {good}");
            assert!(!text_fits(format, bad), "{format} {bad}");
        }
        assert!(text_fits("unheard-of", "anything"));
        assert!(number_fits("int32", &5.into()) && !number_fits("int32", &(1_i64 << 40).into()));
    }
}
