//! Selectors: by labels (in a URL's text form and in an object's form) and by fields.

mod field;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use k8s_openapi::apimachinery::pkg::apis::meta::v1;

pub use field::{BadFieldSelector, FieldSelector};

use super::validation::names;

/// A conjunction of requirements on labels. The empty one matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Terms);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Terms {
    /// All of these, sorted by key.
    All(Vec<Requirement>),
    /// Matches no object: what an absent selector in an object means.
    Nothing,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, without repetition.
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    DoesNotExist,
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    GreaterThan,
    LessThan,
}

/// Why a label selector is refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(String);

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self(Terms::All(Vec::new()))
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self(Terms::Nothing)
    }

    /// Makes the selector of labels that must all have these values, as a Service's `spec.selector` has them.
    pub fn of_labels<K: AsRef<str>, V: AsRef<str>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        let equals = |(key, value): (K, V)| Requirement::equals(key.as_ref(), value.as_ref());
        Self::all(labels.into_iter().map(equals).collect())
    }

    /// Reads `matchLabels` and `matchExpressions`. An absent selector (null) matches nothing, an empty one everything.
    ///
    /// # Errors
    /// [`BadSelector`] if an operator is unknown or its values do not go with it.
    pub fn of_object(selector: &Value) -> Result<Self, BadSelector> {
        let Some(selector) = selector.as_object() else { return Ok(Self::nothing()) };
        let mut all = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            all.push(Requirement::checked(key, Operator::Equals, texts(std::slice::from_ref(value)))?);
        }
        for e in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = Operator::of_expression(e["operator"].as_str().unwrap_or_default())?;
            let values = e["values"].as_array().map_or_else(Vec::new, |v| texts(v));
            all.push(Requirement::checked(e["key"].as_str().unwrap_or_default(), operator, values)?);
        }
        Ok(Self::all(all))
    }

    /// Reads a typed `LabelSelector`; see [`Selector::of_object`].
    ///
    /// # Errors
    /// [`BadSelector`] if an operator is unknown or its values do not go with it.
    pub fn of_typed(selector: &v1::LabelSelector) -> Result<Self, BadSelector> {
        let mut all = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            all.push(Requirement::checked(key, Operator::Equals, vec![value.clone()])?);
        }
        for e in selector.match_expressions.iter().flatten() {
            let operator = Operator::of_expression(&e.operator)?;
            all.push(Requirement::checked(&e.key, operator, e.values.clone().unwrap_or_default())?);
        }
        Ok(Self::all(all))
    }

    fn all(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self(Terms::All(requirements))
    }

    /// Tells whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.0 {
            Terms::All(requirements) => requirements.iter().all(|r| r.matches(labels)),
            Terms::Nothing => false,
        }
    }

    /// Tells whether it matches every object.
    pub fn is_everything(&self) -> bool {
        matches!(&self.0, Terms::All(requirements) if requirements.is_empty())
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
}

impl Requirement {
    fn equals(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), operator: Operator::Equals, values: vec![value.to_owned()] }
    }

    fn checked(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, BadSelector> {
        check_key("key", key)?;
        let wrong = |why: &str| {
            let shown: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
            Err(BadSelector(format!("values: Invalid value: []string{{{}}}: {why}", shown.join(", "))))
        };
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return wrong("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return wrong("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                return wrong("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(BadSelector(format!("values[0]: Invalid value: {:?}: {why}", values[0])));
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let why = names::label_value(value);
            if !why.is_empty() {
                let why = why.join("; ");
                return Err(BadSelector(format!("values[{i}][{key}]: Invalid value: {value:?}: {why}")));
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.to_owned(), operator, values })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotEquals | Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::GreaterThan => self.compares(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compares(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn compares(&self, value: Option<&String>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn check_key(path: &str, key: &str) -> Result<(), BadSelector> {
    let why = names::qualified_name(key);
    if why.is_empty() {
        return Ok(());
    }
    Err(BadSelector(format!("{path}: Invalid value: {key:?}: {}", why.join("; "))))
}

impl Operator {
    /// Reads the operator of a `matchExpressions` entry.
    fn of_expression(word: &str) -> Result<Self, BadSelector> {
        match word {
            "In" => Ok(Self::In),
            "NotIn" => Ok(Self::NotIn),
            "Exists" => Ok(Self::Exists),
            "DoesNotExist" => Ok(Self::DoesNotExist),
            _ => Err(BadSelector(format!("{word:?} is not a valid label selector operator"))),
        }
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        parse::requirements(text).map(Self::all)
    }
}

/// The text form, as a Scale's `status.selector` has it: requirements sorted by key, no spaces between.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms::All(requirements) = &self.0 else { return Ok(()) };
        for (i, requirement) in requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests;
