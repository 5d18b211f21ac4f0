//! Whether a container's image is there: pull policy, back-off, and what to tell about it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use crate::time::Mono;

use super::action::{ImageError, Step};
use super::restart::Retry;

/// How long a failed pull shows as ErrImagePull before it shows as ImagePullBackOff.
const ERROR_SHOWN: Duration = Duration::from_secs(3);

/// How far a container's image is for its next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is known.
    #[default]
    Unchecked,
    /// A look at the local images found none: it has to be pulled.
    Absent,
    /// It is there.
    Ready,
}

/// Why the image was not to be had when it was tried last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: ImageError,
    message: String,
    at: Mono,
}

/// When and how a container's image is fetched.
#[derive(Clone, Debug)]
pub(super) struct Puller {
    stage: Stage,
    failure: Option<Failure>,
    retry: Retry,
    /// Whether the back-off was told since the last failure.
    told: bool,
    /// Whom the image runs as by itself, once it is there.
    user: Option<String>,
}

impl Default for Puller {
    fn default() -> Self {
        Self { stage: Stage::default(), failure: None, retry: Retry::kubernetes(), told: false, user: None }
    }
}

impl Puller {
    /// Tells whether the image is there for the next start.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Returns whom the image runs as by itself; `None` for root.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns when the next try is due, if that lies ahead.
    pub fn pending(&self, now: Mono) -> Option<Mono> {
        self.retry.pending(now)
    }

    /// Returns the step that brings the image nearer; `None` if it has to wait.
    pub fn step(&self, container: &Container, now: Mono) -> Option<Step> {
        if self.retry.pending(now).is_some() {
            return None;
        }
        let image = container.image.clone().unwrap_or_default();
        let (always, never) = match policy(container) {
            "Always" => (true, false),
            "Never" => (false, true),
            // A look first, so that Pulling can be told before it takes its time.
            _ => (false, self.stage != Stage::Absent),
        };
        Some(Step::PullImage { image, always, never })
    }

    /// Takes note of a failure. Returns `false` if it only says that the image has to be pulled.
    pub fn failed(&mut self, container: &Container, kind: ImageError, message: String, now: Mono) -> bool {
        let looked = policy(container) == "IfNotPresent" && self.stage == Stage::Unchecked;
        if kind == ImageError::NeverPull && looked {
            self.stage = Stage::Absent;
            return false;
        }
        self.stage = Stage::Unchecked;
        self.failure = Some(Failure { kind, message, at: now });
        self.retry.fail(now);
        self.told = false;
        true
    }

    /// Tells whether it is time to tell the user of the back-off; `true` once per failure.
    pub fn tell_back_off(&mut self, container: &Container, now: Mono) -> bool {
        let backing_off = self.waiting(container, now).is_some_and(|(reason, ..)| reason == "ImagePullBackOff");
        backing_off && !std::mem::replace(&mut self.told, true)
    }

    /// Takes note that the image is there, and whom it runs as by itself.
    pub fn ready(&mut self, user: Option<String>) {
        self.stage = Stage::Ready;
        self.user = user;
        self.failure = None;
        self.retry.succeed();
    }

    /// Forgets whether the image is there: the next start looks again.
    pub fn forget(&mut self) {
        self.stage = Stage::Unchecked;
    }

    /// Returns reason and message of the waiting state, and when they change by themselves.
    pub fn waiting(&self, container: &Container, now: Mono) -> Option<(&'static str, String, Option<Mono>)> {
        let Failure { kind, message, at } = self.failure.as_ref()?;
        let image = container.image.as_deref().unwrap_or_default();
        Some(match kind {
            ImageError::InvalidName => ("InvalidImageName", invalid_name(image, message), None),
            ImageError::NeverPull => ("ErrImageNeverPull", never_pull(image), None),
            ImageError::PullFailed if now < *at + ERROR_SHOWN => {
                ("ErrImagePull", message.clone(), Some(*at + ERROR_SHOWN))
            }
            ImageError::PullFailed => {
                ("ImagePullBackOff", format!("Back-off pulling image {image:?}: ErrImagePull: {message}"), None)
            }
        })
    }
}

/// Returns the pull policy; without one it depends on the tag, as the API's default does.
fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ if latest => "Always",
        _ => "IfNotPresent",
    }
}

/// Upstream's words for a reference that cannot be parsed.
pub(super) fn invalid_name(image: &str, message: &str) -> String {
    format!("Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {message}")
}

/// Upstream's words for an image that is not here and may not be pulled.
pub(super) fn never_pull(image: &str) -> String {
    format!("Container image {image:?} is not present with pull policy of Never")
}

/// A duration as Go prints it, to the millisecond: `1.204s`, `87ms`, `1m2.5s`.
pub(super) fn go_duration(d: Duration) -> String {
    let ms = d.as_millis();
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let mut out = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    out += &seconds.to_string();
    if !ms.is_multiple_of(1_000) {
        out += format!(".{:03}", ms % 1_000).trim_end_matches('0');
    }
    out + "s"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(image: &str, policy: Option<&str>) -> Container {
        serde_json::from_value(json!({"name": "web", "image": image, "imagePullPolicy": policy})).unwrap()
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (ms, text) in [
            (0, "0ms"),
            (87, "87ms"),
            (1_000, "1s"),
            (1_204, "1.204s"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (60_000, "1m0s"),
            (62_500, "1m2.5s"),
            (3_600_000, "1h0m0s"),
            (5_400_020, "1h30m0.02s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn the_policy_without_a_policy_depends_on_the_tag() {
        for (image, expected) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("localhost:5000/web", "Always"),
            ("web@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(policy(&container(image, None)), expected, "{image}");
        }
        assert_eq!(policy(&container("web", Some("Never"))), "Never");
    }

    #[test]
    fn an_absent_image_is_looked_for_first_and_pulled_then() {
        let web = container("web:1", None);
        let mut puller = Puller::default();
        let pull = |never| Some(Step::PullImage { image: "web:1".into(), always: false, never });
        let now = Mono(Duration::from_secs(1));
        assert_eq!(puller.step(&web, now), pull(true));
        assert!(!puller.failed(&web, ImageError::NeverPull, "no such image".into(), now));
        assert_eq!(puller.step(&web, now), pull(false));
        assert!(puller.failed(&web, ImageError::PullFailed, "no route".into(), now));
        assert_eq!(puller.step(&web, now), None);
        let shown = |puller: &Puller, secs| puller.waiting(&web, now + Duration::from_secs(secs)).map(|w| w.0);
        assert_eq!(shown(&puller, 0), Some("ErrImagePull"));
        assert_eq!(shown(&puller, 3), Some("ImagePullBackOff"));
        assert_eq!(puller.step(&web, now + Duration::from_secs(10)), pull(true));
        puller.ready(None);
        assert_eq!((puller.is_ready(), shown(&puller, 0)), (true, None));
    }
}
