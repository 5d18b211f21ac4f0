//! Images: found, pulled, or brought along (the pause image is inside the agent).

use std::time::{Duration, Instant};

use bollard::models::ImageInspect;

use crate::kubelet::action::{ImageError, PodEvent};

use super::client::Client;
use super::error::Error;

/// The program that holds a pod's namespaces, built by build.rs.
const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
const PAUSE_REPOSITORY: &str = "skein/pause";
const PAUSE_TAG: &str = env!("CARGO_PKG_VERSION");

/// The reference of the pause image.
pub fn pause() -> String {
    format!("{PAUSE_REPOSITORY}:{PAUSE_TAG}")
}

/// Hands the pause image to the daemon.
pub async fn import_pause(client: &Client) -> Result<(), Error> {
    client.import(PAUSE_REPOSITORY, PAUSE_TAG, pause_archive()?).await
}

fn pause_archive() -> Result<Vec<u8>, Error> {
    let failed = |e: std::io::Error| Error::Files(format!("cannot pack the pause image: {e}"));
    let mut header = tar::Header::new_gnu();
    header.set_size(PAUSE.len() as u64);
    header.set_mode(0o755);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "pause", PAUSE).map_err(failed)?;
    archive.into_inner().map_err(failed)
}

/// Makes sure that `image` is there and says so, or why not.
pub async fn ensure(client: Result<Client, Error>, image: &str, always: bool, never: bool) -> PodEvent {
    let failed = |kind, message| PodEvent::ImageFailed { image: image.into(), kind, message };
    let Some(reference) = normal(image) else {
        let message = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
        );
        return failed(ImageError::InvalidName, message);
    };
    match look_or_pull(client, &reference, always, never).await {
        Ok(Some((Found { id, size, user }, pulled_in))) => {
            PodEvent::ImageReady { image: image.into(), id, pulled_in, size, user }
        }
        Ok(None) => {
            let message = format!("Container image {image:?} is not present with pull policy of Never");
            failed(ImageError::NeverPull, message)
        }
        Err(error) => failed(ImageError::PullFailed, error.to_string()),
    }
}

/// What the daemon says of an image.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    id: String,
    size: u64,
    user: Option<String>,
}

/// Finds or pulls an image; with it, how long the pull took. `None` if it is not there and may not be pulled.
async fn look_or_pull(
    client: Result<Client, Error>,
    reference: &str,
    always: bool,
    never: bool,
) -> Result<Option<(Found, Option<Duration>)>, Error> {
    let client = client?;
    if never || !always {
        match look(&client, reference).await {
            Ok(found) => return Ok(Some((found, None))),
            Err(error) if !error.is_missing() => return Err(error),
            Err(_) if never => return Ok(None),
            Err(_) => {}
        }
    }
    let began = Instant::now();
    client.pull(reference).await?;
    let pulled_in = Some(began.elapsed());
    Ok(Some((look(&client, reference).await?, pulled_in)))
}

async fn look(client: &Client, reference: &str) -> Result<Found, Error> {
    found(client.image(reference).await?)
}

fn found(image: ImageInspect) -> Result<Found, Error> {
    let id = image.id.ok_or_else(|| Error::Nonsense("an image without an id".into()))?;
    let size = image.size.and_then(|s| u64::try_from(s).ok()).unwrap_or_default();
    let user = image.config.and_then(|c| c.user).filter(|u| !u.is_empty());
    Ok(Found { id, size, user })
}

/// Checks a reference against the grammar of image references and gives it the tag `latest` if it has neither tag nor
/// digest (else Docker would pull all tags there are).
fn normal(image: &str) -> Option<String> {
    let (named, digest) = match image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (image, None),
    };
    // A colon after the last slash begins a tag; one before it, a port.
    let (name, tag) = match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    };
    let fits = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    let suffix = if tag.is_none() && digest.is_none() { ":latest" } else { "" };
    fits.then(|| format!("{image}{suffix}"))
}

fn is_name(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((first, path)) if is_domain(first) => path,
        _ => name,
    };
    name.len() <= 255 && path.split('/').all(is_component)
}

/// What is before the first slash is a host if it could not be a part of a path: `localhost`, or it has a dot, a port
/// or a capital.
fn is_domain(part: &str) -> bool {
    let (host, port) = part.split_once(':').unwrap_or((part, "0"));
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let is_host = part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase());
    is_host && host.split('.').all(label) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Lower-case letters and digits, with single `.`, `_`, `__` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let gaps = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = |gap: &str| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-');
    let ends = (part.bytes().next(), part.bytes().next_back());
    matches!(ends, (Some(first), Some(last)) if is_word(first) && is_word(last)) && gaps.into_iter().all(fits)
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && tag.len() <= 128 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let hex = |text: &str| text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digest.split_once(':').is_some_and(|(algorithm, value)| is_component(algorithm) && hex(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_and_get_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, expected) in [
            ("nginx", Some("nginx:latest")),
            ("nginx:1.25", Some("nginx:1.25")),
            ("library/nginx", Some("library/nginx:latest")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("127.0.0.1:5000/a__b-c.d:v1", Some("127.0.0.1:5000/a__b-c.d:v1")),
            ("Registry/x", Some("Registry/x:latest")),
            ("UPPER", None),
            ("nginx:", None),
            ("nginx:bad tag", None),
            ("", None),
            ("/x", None),
            ("x/", None),
            ("a//b", None),
            ("a..b", None),
            ("-a", None),
            ("a?b=c", None),
            ("x@sha256:12", None),
            ("No Such/IMAGE::", None),
        ] {
            assert_eq!(normal(image).as_deref(), expected, "{image:?}");
        }
        assert_eq!(normal(&format!("a/b@{digest}")), Some(format!("a/b@{digest}")));
        assert_eq!(normal(&format!("a/b:1@{digest}")), Some(format!("a/b:1@{digest}")));
    }

    #[test]
    fn an_image_says_whom_it_runs_as() {
        for (config, expected) in [
            (r#", "Config": {"User": "1000:1000"}"#, Some("1000:1000")),
            (r#", "Config": {"User": ""}"#, None),
            (r#", "Config": {}"#, None),
            ("", None),
        ] {
            let inspected = serde_json::from_str(&format!(r#"{{"Id": "sha256:a", "Size": 7{config}}}"#)).unwrap();
            let expected = Found { id: "sha256:a".into(), size: 7, user: expected.map(str::to_owned) };
            assert_eq!(found(inspected).unwrap(), expected, "{config}");
        }
    }

    #[test]
    fn the_pause_image_holds_one_program() {
        let archive = pause_archive().unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let entries: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(entries, [std::path::PathBuf::from("pause")]);
        assert_eq!(&PAUSE[..4], b"\x7fELF");
    }
}
