//! Field selectors: `spec.nodeName=n1,status.phase!=Running`, with the fields that upstream supports for each kind.

use serde_json::Value;

use crate::object::{Kind, kinds};

/// A conjunction of requirements on fields. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    field: Selected,
    value: String,
    equal: bool,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selected {
    /// A field of the table.
    Known(&'static Field),
    /// A plain path that a definition names, without its first dot.
    Path(String),
}

/// A field that can be selected by.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    /// What the selector says.
    label: &'static str,
    /// Where the value is; the first that is there counts.
    paths: &'static [&'static [&'static str]],
    /// What an absent value equals.
    absent: &'static str,
}

/// Why a field selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFieldSelector {
    /// It is not of the form `field=value,...`.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Form {
        /// The whole selector.
        selector: String,
        /// The part that is wrong.
        term: String,
    },
    /// A backslash in a value protects what needs no protection.
    #[error("invalid field selector: invalid escape sequence: {sequence}")]
    Escape {
        /// The backslash and what follows.
        sequence: String,
    },
    /// A value holds a comma or an equals sign that is not protected by a backslash.
    #[error("invalid field selector: unescaped character in value: {character}")]
    Unescaped {
        /// The character.
        character: char,
    },
    /// Objects of this kind cannot be selected by that field.
    #[error("field label not supported: {0}")]
    Unsupported(String),
}

macro_rules! fields {
    ($($label:literal $($absent:literal)? = $($path:expr),+;)*) => {
        &[$(Field { label: $label, paths: &[$(&$path),+], absent: concat!("", $($absent)?) }),*]
    };
}

static META: &[Field] = fields! {
    "metadata.name" = ["metadata", "name"];
    "metadata.namespace" = ["metadata", "namespace"];
};

static POD: &[Field] = fields! {
    "spec.nodeName" = ["spec", "nodeName"];
    "spec.restartPolicy" = ["spec", "restartPolicy"];
    "spec.schedulerName" = ["spec", "schedulerName"];
    "spec.serviceAccountName" = ["spec", "serviceAccountName"];
    "spec.hostNetwork" "false" = ["spec", "hostNetwork"];
    "status.phase" = ["status", "phase"];
    "status.podIP" = ["status", "podIP"];
    "status.nominatedNodeName" = ["status", "nominatedNodeName"];
};

static EVENT: &[Field] = fields! {
    "involvedObject.kind" = ["involvedObject", "kind"];
    "involvedObject.namespace" = ["involvedObject", "namespace"];
    "involvedObject.name" = ["involvedObject", "name"];
    "involvedObject.uid" = ["involvedObject", "uid"];
    "involvedObject.apiVersion" = ["involvedObject", "apiVersion"];
    "involvedObject.resourceVersion" = ["involvedObject", "resourceVersion"];
    "involvedObject.fieldPath" = ["involvedObject", "fieldPath"];
    "reason" = ["reason"];
    "reportingComponent" = ["reportingComponent"];
    "source" = ["source", "component"], ["reportingComponent"];
    "type" = ["type"];
};

static NODE: &[Field] = fields! { "spec.unschedulable" "false" = ["spec", "unschedulable"]; };
static SECRET: &[Field] = fields! { "type" = ["type"]; };
static NAMESPACE: &[Field] = fields! { "status.phase" = ["status", "phase"]; };
static REPLICA_SET: &[Field] = fields! { "status.replicas" "0" = ["status", "replicas"]; };
static SERVICE: &[Field] = fields! {
    "spec.clusterIP" = ["spec", "clusterIP"];
    "spec.type" = ["spec", "type"];
};

fn field(kind: &'static Kind, label: &str) -> Option<&'static Field> {
    let own: &[Field] = match kind {
        k if *k == kinds::POD => POD,
        k if *k == kinds::EVENT => EVENT,
        k if *k == kinds::NODE => NODE,
        k if *k == kinds::SECRET => SECRET,
        k if *k == kinds::NAMESPACE => NAMESPACE,
        k if *k == kinds::REPLICA_SET => REPLICA_SET,
        k if *k == kinds::SERVICE => SERVICE,
        _ => &[],
    };
    META.iter().filter(|f| kind.namespaced || f.label != "metadata.namespace").chain(own).find(|f| f.label == label)
}

impl FieldSelector {
    /// Parses the selector of a list or watch of `kind`.
    ///
    /// # Errors
    /// [`BadFieldSelector`] if it is not of the form, or names a field by which the kind cannot be selected.
    pub fn parse(kind: &'static Kind, text: &str) -> Result<Self, BadFieldSelector> {
        Self::with(kind, &[], text)
    }

    /// As [`FieldSelector::parse`], for a kind whose definition names plain paths besides: `.spec.color`.
    ///
    /// # Errors
    /// As [`FieldSelector::parse`].
    pub fn with(kind: &'static Kind, paths: &[String], text: &str) -> Result<Self, BadFieldSelector> {
        let mut all = Vec::new();
        for term in terms(text).into_iter().filter(|t| !t.is_empty()) {
            let (label, equal, value) = split(term)
                .ok_or_else(|| BadFieldSelector::Form { selector: text.to_owned(), term: term.to_owned() })?;
            let value = unescape(value)?;
            let path = || paths.iter().find_map(|p| p.strip_prefix('.').filter(|p| *p == label));
            let path = || path().map(|p| Selected::Path(p.to_owned()));
            let field = field(kind, label).map(Selected::Known).or_else(path);
            let field = field.ok_or_else(|| BadFieldSelector::Unsupported(label.to_owned()))?;
            all.push(Requirement { field, value, equal });
        }
        Ok(Self(all))
    }

    /// Tells whether `object` is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|r| (r.field.read(object) == r.value) == r.equal)
    }

    /// Tells whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value that `label` must have, if the selector asks for exactly one: `metadata.name` of a watch of
    /// one object.
    pub fn required(&self, label: &str) -> Option<&str> {
        self.0.iter().find(|r| r.equal && r.field.is(label)).map(|r| r.value.as_str())
    }
}

impl Selected {
    fn is(&self, label: &str) -> bool {
        matches!(self, Self::Known(field) if field.label == label)
    }

    fn read(&self, object: &Value) -> String {
        match self {
            Self::Known(field) => field.read(object),
            Self::Path(path) => text(crate::object::custom::at(object, path)),
        }
    }
}

impl Field {
    fn read(&self, object: &Value) -> String {
        let values = self.paths.iter().map(|path| path.iter().fold(object, |value, step| &value[*step]));
        values.map(text).find(|t| !t.is_empty()).unwrap_or_else(|| self.absent.to_owned())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Splits at commas that no backslash protects.
fn terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut protected) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        if c == ',' && !protected {
            terms.push(&text[start..i]);
            start = i + 1;
        }
        protected = c == '\\' && !protected;
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator.
fn split(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (label, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((label, false, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((label, true, value))
}

fn unescape(value: &str) -> Result<String, BadFieldSelector> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let sequence = other.map_or_else(|| "\\".to_owned(), |c| format!("\\{c}"));
                    return Err(BadFieldSelector::Escape { sequence });
                }
            },
            ',' | '=' => return Err(BadFieldSelector::Unescaped { character: c }),
            c => plain.push(c),
        }
    }
    Ok(plain)
}
