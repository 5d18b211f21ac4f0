//! The paths by which a definition names a place in its objects: those of printer columns, and plain ones.
//!
//! Of JSONPath a column may use what leads to one value: fields, elements by number, all of them, and those that a
//! condition picks: `.status.conditions[?(@.type=="Ready")].status`. The first value that is found is shown.

use serde_json::Value;

/// A path that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// From the end, if it is negative.
    Index(i64),
    All,
    Where(Vec<Step>, Option<(Compare, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl JsonPath {
    /// Reads a path, with or without braces around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut reader = Reader { rest: inner.strip_prefix('$').unwrap_or(inner), depth: 0 };
        let steps = reader.steps()?;
        if reader.rest.is_empty() {
            Ok(Self(steps))
        } else {
            Err(format!("unrecognized character in action: {:?}", reader.rest))
        }
    }

    /// Finds the first value that it leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        walk(value, &self.0)
    }
}

fn walk<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => walk(value.get(name)?, rest),
        Step::Index(at) => {
            let items = value.as_array()?;
            let at = if *at < 0 {
                items.len().checked_sub(usize::try_from(at.unsigned_abs()).ok()?)?
            } else {
                usize::try_from(*at).ok()?
            };
            walk(items.get(at)?, rest)
        }
        Step::All => children(value).find_map(|item| walk(item, rest)),
        Step::Where(path, condition) => {
            children(value).filter(|item| holds(item, path, condition.as_ref())).find_map(|item| walk(item, rest))
        }
    }
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let members = value.as_object().into_iter().flat_map(serde_json::Map::values);
    value.as_array().into_iter().flatten().chain(members)
}

fn holds(item: &Value, path: &[Step], condition: Option<&(Compare, Value)>) -> bool {
    let Some(found) = walk(item, path) else { return false };
    let Some((compare, wanted)) = condition else { return true };
    let order = match (found, wanted) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.is_some_and(|order| match compare {
        Compare::Equal => order.is_eq(),
        Compare::Unequal => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::More => order.is_gt(),
        Compare::MoreOrEqual => order.is_ge(),
    })
}

/// How deep conditions may stand in conditions.
const MAX_DEPTH: usize = 8;

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            if self.rest.starts_with("..") {
                return Err("a path must lead to one value: .. is not supported".into());
            }
            if self.take("[") {
                steps.push(self.bracket()?);
            } else if self.take(".") {
                if self.rest.is_empty() || self.rest.starts_with('[') {
                    continue;
                }
                steps.push(if self.take("*") { Step::All } else { Step::Field(self.field()?) });
            } else {
                return Ok(steps);
            }
        }
    }

    /// A field's name; a backslash protects a dot in it.
    fn field(&mut self) -> Result<String, String> {
        let mut name = String::new();
        let mut letters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = letters.next() {
            match c {
                '\\' => name.extend(letters.next().map(|(_, c)| c)),
                '.' | '[' | ' ' | '=' | '!' | '<' | '>' | ')' | ']' | '}' | '{' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() { Err(format!("a field's name is missing at {:?}", self.rest)) } else { Ok(name) }
    }

    fn bracket(&mut self) -> Result<Step, String> {
        let step = if self.take("*") {
            Step::All
        } else if self.take("?(") {
            if !self.take("@") {
                return Err("a condition begins with @".into());
            }
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("too many conditions in conditions".into());
            }
            let path = self.steps()?;
            self.depth -= 1;
            self.spaces();
            let condition = match self.compare() {
                Some(compare) => Some((compare, self.literal()?)),
                None => None,
            };
            self.spaces();
            if !self.take(")") {
                return Err("unterminated filter".into());
            }
            Step::Where(path, condition)
        } else if self.rest.starts_with(['\'', '"']) {
            match self.literal()? {
                Value::String(name) => Step::Field(name),
                _ => return Err("invalid array index".into()),
            }
        } else {
            let (number, _) = self.rest.split_once(']').ok_or("unterminated array")?;
            let index = number.trim().parse().map_err(|_| format!("invalid array index {number}"))?;
            self.rest = &self.rest[number.len()..];
            Step::Index(index)
        };
        if self.take("]") { Ok(step) } else { Err("unterminated array".into()) }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn compare(&mut self) -> Option<Compare> {
        let all = [
            ("==", Compare::Equal),
            ("!=", Compare::Unequal),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::MoreOrEqual),
            ("<", Compare::Less),
            (">", Compare::More),
        ];
        all.into_iter().find(|(token, _)| self.take(token)).map(|(_, compare)| compare)
    }

    fn literal(&mut self) -> Result<Value, String> {
        self.spaces();
        if let Some(quote) = self.rest.chars().next().filter(|c| ['\'', '"'].contains(c)) {
            let (text, rest) = self.rest[1..].split_once(quote).ok_or("unterminated quoted string")?;
            self.rest = rest;
            return Ok(text.into());
        }
        let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str(text).map_err(|_| format!("no value: {text:?}"))
    }
}

/// Returns what is at a plain path, as `.spec.replicas`.
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|s| !s.is_empty()).fold(object, |value, name| &value[name])
}

/// Sets what is at a plain path; makes what is missing on the way. `false` if something on the way is no object.
pub fn put(object: &mut Value, path: &str, new: Value) -> bool {
    let mut here = object;
    for name in path.split('.').filter(|s| !s.is_empty()) {
        let Some(members) = here.as_object_mut() else { return false };
        here = members.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *here = new;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_the_first_value() {
        let object = json!({"spec": {"replicas": 3, "hosts": ["a", "b"], "a.b": "dotted"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 2}]}});
        for (path, value) in [
            (".spec.replicas", json!(3)),
            ("{.spec.replicas}", json!(3)),
            ("$.spec.hosts[1]", json!("b")),
            (".spec.hosts[-1]", json!("b")),
            (".spec.hosts[*]", json!("a")),
            (".spec['a.b']", json!("dotted")),
            (r".spec.a\.b", json!("dotted")),
            (".status.conditions[?(@.type==\"Other\")].status", json!("False")),
            (".status.conditions[?(@.type == 'Other')].status", json!("False")),
            (".status.conditions[?(@.n>1)].type", json!("Other")),
            (".status.conditions[?(@.status)].type", json!("Ready")),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), Some(&value), "{path}");
        }
        for path in [".spec.none", ".status.conditions[?(@.type=='X')].status", ".spec.hosts[9]", ".spec.replicas.x"] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), None, "{path}");
        }
        assert!(JsonPath::parse(&format!(".a{}", "[?(@".repeat(100_000))).is_err(), "and no stack is used up");
        for path in ["..spec", ".spec[", ".spec[x]", ".a[?(@.b==)]", "x", ".a b"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn plain_paths_are_read_and_written() {
        let mut object = json!({"spec": {"a": 1}});
        assert!(put(&mut object, ".spec.size.n", json!(2)));
        assert_eq!((at(&object, ".spec.size.n"), at(&object, ".x.y")), (&json!(2), &json!(null)));
        assert!(!put(&mut object, ".spec.a.b", json!(2)));
    }
}
