//! Why an object is not written.

use serde_json::Value;

use crate::object::Kind;
use crate::object::decode::BadBody;
use crate::object::managed::FieldConflict;
use crate::object::patch::BadPatch;
use crate::object::validation::{Cause, CauseReason};

/// Why an object is not written. Messages are upstream's; the API gives each its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The body is in a format that is not read.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The object, or the patch, breaks rules.
    #[error("{kind} {name:?} is invalid")]
    Invalid {
        /// API group of what is invalid; empty for core, and with an empty kind.
        group: &'static str,
        /// Its kind; empty if a patch does not lead to an object.
        kind: &'static str,
        /// Its name; may be empty.
        name: String,
        /// At least one.
        causes: Vec<Cause>,
    },
    /// The patch is well-formed and does not fit the object: a test fails, a path is not there.
    #[error("{0}")]
    Unprocessable(String),
    /// The client means another object of that name.
    #[error("{0}")]
    Conflict(String),
    /// Others own fields that an apply would change.
    #[error("{message}")]
    FieldConflicts {
        /// All of them in one text.
        message: String,
        /// Each; at least one.
        conflicts: Vec<FieldConflict>,
    },
    /// The patch asks for too much.
    #[error("{0}")]
    TooLarge(String),
}

impl WriteError {
    /// Refuses `object` if there are causes to.
    pub(super) fn invalid(kind: &Kind, object: &Value, causes: Vec<Cause>) -> Result<(), Self> {
        if causes.is_empty() {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Err(Self::Invalid { group: kind.group, kind: kind.kind, name, causes })
    }

    /// Refuses a patch that does not lead to an object.
    pub(super) fn bad_patch(shown: &str, why: &str) -> Self {
        let causes = vec![invalid_value("patch", shown, why)];
        Self::Invalid { group: "", kind: "", name: String::new(), causes }
    }
}

/// Makes the cause that `field` is `value`, and why that does not do.
pub(super) fn invalid_value(field: &str, value: &str, why: &str) -> Cause {
    let message = format!("Invalid value: {value:?}: {why}");
    Cause { reason: CauseReason::FieldValueInvalid, field: field.to_owned(), message }
}

impl From<BadBody> for WriteError {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::Content(why) => Self::BadRequest(why),
            BadBody::MediaType(why) => Self::UnsupportedMediaType(why),
        }
    }
}

impl From<BadPatch> for WriteError {
    fn from(bad: BadPatch) -> Self {
        match bad {
            BadPatch::Malformed(why) => Self::BadRequest(why),
            BadPatch::Unfit(why) => Self::Unprocessable(why),
            BadPatch::TooLarge(why) => Self::TooLarge(why),
        }
    }
}
