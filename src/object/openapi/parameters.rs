//! The parameters of requests. kubectl looks for some of them on PATCH before it sends anything.

use serde_json::{Value, json};

/// A parameter: name, type, meaning.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive \
     will result in an error response and no further processing of the request. Valid values are: - All: all dry run \
     stages will be processed",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less \
     than or 128 characters long, and only contain printable characters.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown \
     or duplicate fields. Valid values are: - Ignore: silently drops them. - Warn: sends a warning for each, and drops \
     them. This is the default. - Strict: fails the request with a BadRequest error.",
);
const FORCE: Parameter = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other \
     people. Force flag must be unset for non-apply patch requests.",
);
const LABEL_SELECTOR: Parameter = (
    "labelSelector",
    "string",
    "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
);
const FIELD_SELECTOR: Parameter = (
    "fieldSelector",
    "string",
    "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
);
const RESOURCE_VERSION: Parameter = (
    "resourceVersion",
    "string",
    "resourceVersion sets a constraint on what resource versions a request may be served from.",
);
const RESOURCE_VERSION_MATCH: Parameter =
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls.");
const LIMIT: Parameter = ("limit", "integer", "limit is a maximum number of responses to return for a list call.");
const CONTINUE: Parameter =
    ("continue", "string", "The continue option should be set when retrieving more results from the server.");
const TIMEOUT: Parameter = (
    "timeoutSeconds",
    "integer",
    "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
);
const WATCH: Parameter = (
    "watch",
    "boolean",
    "Watch for changes to the described resources and return them as a stream of add, update, and remove \
     notifications.",
);
const BOOKMARKS: Parameter =
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\".");
const INITIAL_EVENTS: Parameter = (
    "sendInitialEvents",
    "boolean",
    "`sendInitialEvents=true` may be set together with `watch=true`. In that case, the watch stream will begin with \
     synthetic events to produce the current state of objects in the collection.",
);
const GRACE: Parameter = (
    "gracePeriodSeconds",
    "integer",
    "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero \
     indicates delete immediately.",
);
const ORPHAN: Parameter = (
    "orphanDependents",
    "boolean",
    "Deprecated: please use the PropagationPolicy. Should the dependent objects be orphaned.",
);
const PROPAGATION: Parameter = (
    "propagationPolicy",
    "string",
    "Whether and how garbage collection will be performed. Acceptable values are: 'Orphan' - orphan the dependents; \
     'Background' - allow the garbage collector to delete the dependents in the background; 'Foreground' - a cascading \
     policy that deletes all dependents in the foreground.",
);

/// Of POST and PUT.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
/// Of PATCH.
pub(super) const PATCH: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
/// Of lists and watches.
pub(super) const LIST: &[Parameter] = &[
    BOOKMARKS,
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    INITIAL_EVENTS,
    TIMEOUT,
    WATCH,
];
/// Of DELETE.
pub(super) const DELETE: &[Parameter] = &[DRY_RUN, GRACE, ORPHAN, PROPAGATION];
/// Of the deletion of all that a list would show.
pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN,
    PROPAGATION,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    TIMEOUT,
];
/// Of a pod's log.
pub(super) const LOG: &[Parameter] = &[
    ("container", "string", "The container for which to stream logs. Defaults to only container if there is one."),
    ("follow", "boolean", "Follow the log stream of the pod. Defaults to false."),
    ("limitBytes", "integer", "If set, the number of bytes to read from the server before terminating the log output."),
    ("previous", "boolean", "Return previous terminated container logs. Defaults to false."),
    ("sinceSeconds", "integer", "A relative time in seconds before the current time from which to show logs."),
    ("tailLines", "integer", "If set, the number of lines from the end of the logs to show."),
    ("timestamps", "boolean", "If true, add an RFC3339 timestamp at the beginning of every line of log output."),
];

/// Of a session in a container.
pub(super) const SESSION: &[Parameter] = &[
    ("command", "string", "Command is the remote command to execute. argv array. Not executed within a shell."),
    ("container", "string", "Container in which to execute. Defaults to the only container if there is one."),
    ("stderr", "boolean", "Redirect the standard error stream of the pod for this call."),
    ("stdin", "boolean", "Redirect the standard input stream of the pod for this call. Defaults to false."),
    ("stdout", "boolean", "Redirect the standard output stream of the pod for this call."),
    ("tty", "boolean", "TTY if true indicates that a tty will be allocated for the exec call. Defaults to false."),
];

/// Returns `parameters` as an operation has them.
pub(super) fn query(parameters: &[Parameter]) -> Value {
    parameters.iter().map(|(name, kind, text)| parameter("query", name, kind, text)).collect()
}

/// Returns the parameters that all operations at a path share: the names in it, and how answers look.
pub(super) fn shared(path: &str) -> Value {
    let mut all = Vec::new();
    if path.contains("{name}") {
        all.push(required(parameter("path", "name", "string", "name of the object")));
    }
    if path.contains("{namespace}") {
        let text = "object name and auth scope, such as for teams and projects";
        all.push(required(parameter("path", "namespace", "string", text)));
    }
    let (name, kind, text) = PRETTY;
    all.push(parameter("query", name, kind, text));
    all.into()
}

fn parameter(place: &str, name: &str, kind: &str, text: &str) -> Value {
    json!({"name": name, "in": place, "description": text, "schema": {"type": kind, "uniqueItems": true}})
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}
