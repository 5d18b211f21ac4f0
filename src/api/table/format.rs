//! Durations, selectors and lists in kubectl's words.

use std::time::Duration;

use serde_json::Value;

use crate::time::Wall;

/// What stands where there is nothing.
pub const NONE: &str = "<none>";
/// What stands where nothing is said.
pub const UNSET: &str = "<unset>";

/// Reads a time in RFC 3339.
pub fn time(value: &Value) -> Option<Wall> {
    let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Wall(time.as_microsecond()))
}

/// Tells how long ago a time in RFC 3339 was: `3m12s`, or `<unknown>`.
pub fn since(value: &Value, now: Wall) -> String {
    time(value).map_or_else(|| "<unknown>".to_owned(), |then| elapsed(then, now))
}

/// Tells how long it is from `then` to `now` as kubectl does. A clock may differ by two seconds.
pub fn elapsed(then: Wall, now: Wall) -> String {
    let micros = now.0.saturating_sub(then.0);
    let whole = Duration::from_micros(micros.unsigned_abs()).as_secs();
    match (micros < 0, whole) {
        (true, 2..) => "<invalid>".to_owned(),
        (true, _) => "0s".to_owned(),
        (false, seconds) => human(seconds),
    }
}

/// Writes a duration in seconds.
pub fn lasting(seconds: u64) -> String {
    human(seconds)
}

/// Two units at most, and the second only while it matters (apimachinery's `HumanDuration`).
fn human(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |a: u64, unit: &str, b: u64, small: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{small}") }
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => pair(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// Returns the text, or `absent` if it is missing or empty.
pub fn or<'a>(value: &'a Value, absent: &'a str) -> &'a str {
    value.as_str().filter(|t| !t.is_empty()).unwrap_or(absent)
}

/// Returns a whole number, 0 if it is missing.
pub fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Returns the items of a list, none if it is missing.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub fn texts(value: &Value, between: &str) -> String {
    items(value).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(between)
}

/// Returns how many members an object or list has.
pub fn len(value: &Value) -> usize {
    value.as_object().map_or_else(|| items(value).len(), serde_json::Map::len)
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(value: &Value) -> String {
    let Some(labels) = value.as_object().filter(|l| !l.is_empty()) else { return NONE.to_owned() };
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// A LabelSelector in one line: `app=web,tier in (a,b)`, or `<none>`.
pub fn selector(value: &Value) -> String {
    let mut terms = Vec::new();
    if let Some(labels) = value["matchLabels"].as_object() {
        terms.extend(labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())));
    }
    for expression in items(&value["matchExpressions"]) {
        let key = or(&expression["key"], "");
        let mut values: Vec<_> = items(&expression["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() { NONE.to_owned() } else { terms.join(",") }
}

/// `a,b,c + 2 more...`, or `<unset>`.
pub fn some_of(list: &[String], shown: usize) -> String {
    let text = list[..list.len().min(shown)].join(",");
    match list.len() {
        0 => "<unset>".to_owned(),
        n if n > shown => format!("{text} + {} more...", n - shown),
        _ => text,
    }
}

/// The values of `field` of the containers of a pod template, joined by commas.
pub fn containers(template: &Value, field: &str) -> String {
    let values: Vec<_> = items(&template["spec"]["containers"]).iter().map(|c| or(&c[field], "")).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_kubectls() {
        const M: i64 = 60;
        const H: i64 = 60 * M;
        const D: i64 = 24 * H;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (9 * M + 59, "9m59s"),
            (10 * M + 59, "10m"),
            (179 * M, "179m"),
            (3 * H, "3h"),
            (7 * H + 59 * M, "7h59m"),
            (8 * H + 59 * M, "8h"),
            (47 * H, "47h"),
            (48 * H, "2d"),
            (7 * D + 23 * H, "7d23h"),
            (8 * D + 5 * H, "8d"),
            (729 * D, "729d"),
            (730 * D, "2y"),
            (731 * D, "2y1d"),
            (3000 * D, "8y"),
        ] {
            assert_eq!(elapsed(Wall(0), Wall::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(since(&json!(null), Wall(0)), "<unknown>");
        assert_eq!(since(&json!("1970-01-01T00:00:00Z"), Wall::from_secs(5)), "5s");
        assert_eq!(since(&json!("1970-01-01T00:00:00.500000Z"), Wall::from_secs(5)), "4s");
    }

    #[test]
    fn selectors_are_written_in_one_line() {
        let expressions = json!([
            {"key": "a", "operator": "In", "values": ["y", "x"]},
            {"key": "b", "operator": "NotIn", "values": ["z"]},
            {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"},
        ]);
        let both = json!({"matchLabels": {"app": "web", "tier": "x"}, "matchExpressions": expressions});
        assert_eq!(selector(&both), "app=web,tier=x,a in (x,y),b notin (z),c,!d");
        assert_eq!(selector(&json!({})), "<none>");
        assert_eq!(labels(&json!({"a": "b", "c": ""})), "a=b,c=");
        assert_eq!(labels(&json!(null)), "<none>");
    }

    #[test]
    fn long_lists_are_cut() {
        let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(some_of(&list(0), 3), "<unset>");
        assert_eq!(some_of(&list(3), 3), "0,1,2");
        assert_eq!(some_of(&list(5), 3), "0,1,2 + 2 more...");
    }
}
