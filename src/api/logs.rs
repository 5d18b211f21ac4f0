//! `pods/log`: which container, which run of it, which part of its log.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::handle::LogOptions;
use crate::object::Key;
use crate::time::Wall;

use super::Api;
use super::params::Params;
use super::present;
use super::status::{Cause, Details, Status};

/// Answers `GET .../pods/NAME/log`.
///
/// # Errors
/// 404 without the pod; 400 if the container is not named where it must be, is not the pod's, or has no log yet.
pub async fn log(api: &Api, key: &Key, params: &Params, now: Wall) -> Result<Response<Body>, Status> {
    let options = options(&key.name, params, now)?;
    let pod = api.handle.snapshot().get(key).ok_or_else(|| Status::not_found(key))?.value();
    let container = container(&pod, params.text("container"))?;
    let id = container_id(&pod, &container, params.flag("previous"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let stream = api.containers.open(node, &id, options).await.map_err(Status::internal)?;
    let logged = key.clone();
    // An error in the middle can only end the body: the answer's head has left long ago.
    let stream = stream
        .inspect(move |piece| {
            if let Err(error) = piece {
                tracing::debug!(pod = %logged, %error, "log ended");
            }
        })
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .take_until(api.shutdown.clone().cancelled_owned());
    Ok(present::with_type(StatusCode::OK, "text/plain", Body::from_stream(stream)))
}

fn options(pod: &str, params: &Params, now: Wall) -> Result<LogOptions, Status> {
    let invalid = |field: &str, message: String| {
        let cause = Cause { reason: "FieldValueInvalid".into(), message, field: field.into() };
        let details = Details { name: pod.into(), kind: "PodLogOptions", causes: vec![cause], ..Details::default() };
        Status::invalid(details)
    };
    let at_least = |field: &str, least: i64| match params.number(field)? {
        Some(n) if n < least => {
            let message = format!("Invalid value: {n}: must be greater than or equal to {least}");
            Err(invalid(field, message))
        }
        other => Ok(other),
    };
    let unsigned = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let seconds = at_least("sinceSeconds", 1)?;
    let time = params.text("sinceTime").map(|text| {
        let parsed = text.parse::<jiff::Timestamp>();
        parsed.map(jiff::Timestamp::as_second).map_err(|e| Status::bad_request(format!("sinceTime: {e}")))
    });
    if seconds.is_some() && time.is_some() {
        let message = "at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned();
        return Err(invalid("", message));
    }
    let ago = seconds.map(|s| now.millis().div_euclid(1000).saturating_sub(s));
    Ok(LogOptions {
        follow: params.flag("follow"),
        tail_lines: unsigned(at_least("tailLines", 0)?),
        since: ago.or(time.transpose()?),
        timestamps: params.flag("timestamps"),
        limit_bytes: unsigned(at_least("limitBytes", 1)?),
    })
}

/// Picks the container: the one that is named, or the only one.
pub(super) fn container(pod: &Value, named: Option<&str>) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect()
    };
    let (plain, init) = (names("containers"), names("initContainers"));
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if let Some(named) = named {
        let mut all = plain.iter().chain(&init).chain(&names("ephemeralContainers")).cloned().collect::<Vec<_>>();
        all.retain(|n| n == named);
        let not_there = || Status::bad_request(format!("container {named} is not valid for pod {pod_name}"));
        return all.pop().ok_or_else(not_there);
    }
    match plain.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        many => {
            let choice = many.join(" ");
            let mut message =
                format!("a container name must be specified for pod {pod_name}, choose one of: [{choice}]");
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// Finds the run of the container whose log is meant, by its id without the runtime's prefix.
fn container_id(pod: &Value, container: &str, previous: bool) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let about = |why: &str| Status::bad_request(format!("container {container:?} in pod {name:?} {why}"));
    let status = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|s| s["name"] == container);
    let Some(status) = status else {
        return Err(match pod["spec"]["nodeName"].as_str() {
            None | Some("") => Status::bad_request(format!("pod {name} does not have a host assigned")),
            Some(_) => about("is not available"),
        });
    };
    let state = &status["state"];
    let last = bare_id(&status["lastState"]["terminated"]["containerID"]);
    if previous {
        let message = format!("previous terminated container {container:?} in pod {name:?} not found");
        return last.ok_or_else(|| Status::bad_request(message));
    }
    if state["running"].is_object() {
        return bare_id(&status["containerID"]).ok_or_else(|| about("is not available"));
    }
    if state["terminated"].is_object() {
        let this = bare_id(&state["terminated"]["containerID"]).or(last);
        return this.ok_or_else(|| about("is terminated"));
    }
    if let Some(last) = last {
        return Ok(last);
    }
    Err(match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => about("is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => about("is waiting to start: trying and failing to pull image"),
        Some(reason) => about(&format!("is waiting to start: {reason}")),
        None => about("is waiting to start - no logs yet"),
    })
}

/// `docker://abc` -> `abc`.
pub(super) fn bare_id(id: &Value) -> Option<String> {
    let id = id.as_str()?;
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    (!bare.is_empty()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value, statuses: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": spec, "status": {"containerStatuses": statuses}})
    }

    fn two() -> Value {
        json!({"nodeName": "n1", "containers": [{"name": "a"}, {"name": "b"}]})
    }

    #[test]
    fn the_container_is_the_named_or_the_only_one() {
        let one = pod(&json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}), &json!([]));
        assert_eq!(container(&one, None).unwrap(), "a");
        assert_eq!(container(&one, Some("i")).unwrap(), "i");
        let message = |pod: &Value, named| container(pod, named).unwrap_err().message;
        assert_eq!(message(&one, Some("x")), "container x is not valid for pod web");
        let mut two = pod(&two(), &json!([]));
        assert_eq!(message(&two, None), "a container name must be specified for pod web, choose one of: [a b]");
        two["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
        assert_eq!(
            message(&two, None),
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i j]"
        );
    }

    #[test]
    fn the_run_is_the_current_the_last_or_the_one_before() {
        let last = json!({"terminated": {"containerID": "docker://old"}});
        let running = json!({"running": {}});
        for (status, previous, expected) in [
            (json!({"state": running, "containerID": "docker://new"}), false, Ok("new")),
            (json!({"state": running, "containerID": "docker://new", "lastState": last}), true, Ok("old")),
            (json!({"state": {"terminated": {"containerID": "docker://end"}}}), false, Ok("end")),
            (json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}), false, Ok("old")),
            (
                json!({"state": running, "containerID": "docker://new"}),
                true,
                Err(r#"previous terminated container "a" in pod "web" not found"#),
            ),
            (
                json!({"state": {"waiting": {"reason": "ContainerCreating"}}}),
                false,
                Err(r#"container "a" in pod "web" is waiting to start: ContainerCreating"#),
            ),
            (
                json!({"state": {"waiting": {"reason": "ImagePullBackOff"}}}),
                false,
                Err(r#"container "a" in pod "web" is waiting to start: trying and failing to pull image"#),
            ),
            (json!({"state": {"terminated": {}}}), false, Err(r#"container "a" in pod "web" is terminated"#)),
            (json!({}), false, Err(r#"container "a" in pod "web" is waiting to start - no logs yet"#)),
        ] {
            let mut status = status;
            status["name"] = json!("a");
            let found = container_id(&pod(&two(), &json!([status])), "a", previous);
            assert_eq!(found.as_deref().map_err(|s| s.message.as_str()), expected);
        }
    }

    #[test]
    fn a_container_without_status_has_no_log() {
        let message = |pod: &Value| container_id(pod, "a", false).unwrap_err().message;
        assert_eq!(message(&pod(&two(), &json!([]))), r#"container "a" in pod "web" is not available"#);
        assert_eq!(message(&pod(&json!({}), &json!([]))), "pod web does not have a host assigned");
    }

    #[test]
    fn options_are_read_and_checked() {
        let read = |query: &str| options("web", &Params::parse(query), Wall::from_secs(1000));
        let all = read("follow=true&tailLines=5&sinceSeconds=60&timestamps=true&limitBytes=100").unwrap();
        let expected = LogOptions {
            follow: true,
            tail_lines: Some(5),
            since: Some(940),
            timestamps: true,
            limit_bytes: Some(100),
        };
        assert_eq!(all, expected);
        assert_eq!(read("sinceTime=1970-01-01T00:01:00Z").unwrap().since, Some(60));
        for (query, code) in [
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=0", 422),
            ("sinceSeconds=5&sinceTime=1970-01-01T00:01:00Z", 422),
            ("sinceTime=yesterday", 400),
            ("tailLines=all", 400),
        ] {
            assert_eq!(read(query).unwrap_err().code, code, "{query}");
        }
        let message = read("tailLines=-1").unwrap_err().message;
        let words = "Invalid value: -1: must be greater than or equal to 0";
        assert_eq!(message, format!("PodLogOptions \"web\" is invalid: tailLines: {words}"));
    }
}
