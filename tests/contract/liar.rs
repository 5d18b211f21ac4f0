//! Daemons that are not there, say nothing, or say nonsense: each becomes one sentence, none a panic.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skein::ids::Uid;
use skein::kubelet::action::{Action, Observation, PodEvent, PodRef, Step};
use skein::runtime::docker::Config;
use skein::runtime::{Docker, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Play;
use crate::driver::DockerDriver;

pub const SCENARIOS: &[(&str, Play)] = &[
    ("an_absent_daemon_is_told", an_absent_daemon_is_told),
    ("a_lying_daemon_is_told", a_lying_daemon_is_told),
    ("a_list_of_nonsense_is_survived", a_list_of_nonsense_is_survived),
];

const VERSION: &str = r#"{"ApiVersion": "1.41"}"#;
const INFO: &str = r#"{"ServerVersion": "1", "NCPU": 1, "MemTotal": 1}"#;

fn an_absent_daemon_is_told(driver: &mut DockerDriver) {
    let socket = driver.folder.join("absent.sock");
    let path = socket.display().to_string();
    assert_eq!(down(driver, &socket), format!("cannot reach Docker at {path}: no such file or directory"));
    drop(UnixListener::bind(&socket).expect("a socket"));
    assert_eq!(down(driver, &socket), format!("cannot reach Docker at {path}: connection refused"));
}

fn a_lying_daemon_is_told(driver: &mut DockerDriver) {
    type Reply = fn(&str) -> Option<String>;
    let lies: [(&str, &str, Reply); 7] = [
        ("silent", "no answer within 10 s", |_| None),
        ("mute", "cannot reach Docker", |_| Some(String::new())),
        ("garbage", "cannot reach Docker", |_| Some("\u{0}\u{1}honk honk\r\n\r\n".into())),
        ("unversioned", "makes no sense", |_| Some(json(r#"{"ApiVersion": "goose"}"#))),
        ("typed", "makes no sense", |_| Some(json(r#"["ApiVersion"]"#))),
        ("uninformed", "makes no sense", |path| Some(json(if path.ends_with("/version") { VERSION } else { "7" }))),
        ("refusing", "no entry", |path| match path {
            p if p.ends_with("/version") => Some(json(VERSION)),
            _ => Some("HTTP/1.1 403 No\r\nContent-Length: 22\r\n\r\n{\"message\":\"no entry\"}".into()),
        }),
    ];
    for (name, expected, reply) in lies {
        let socket = driver.folder.join(format!("{name}.sock"));
        serve(&socket, reply);
        let message = down(driver, &socket);
        assert!(message.contains(expected) && !message.contains('\n'), "{name}: {message}");
    }
}

fn a_list_of_nonsense_is_survived(driver: &mut DockerDriver) {
    let socket = driver.folder.join("nonsense.sock");
    serve(&socket, |path| {
        let long = "9".repeat(400);
        Some(json(&match path {
            p if p.ends_with("/version") => VERSION.to_owned(),
            p if p.ends_with("/info") => INFO.to_owned(),
            p if p.contains("/containers/json") => {
                r#"[{"Id": "a"}, {"Id": "b", "Labels": {}}, {}, {"Id": "c"}]"#.to_owned()
            }
            p if p.contains("/containers/a/") => "{}".to_owned(),
            p if p.contains("/containers/b/") => {
                r#"{"Config": {"Labels": {"io.kubernetes.pod.uid": "goose", "io.kubernetes.pod.name": ""}}}"#.to_owned()
            }
            p if p.contains("/containers/c/") => format!(
                r#"{{"Id": "c", "Created": "yesterday", "State": {{"Pid": -1, "ExitCode": 99999999999, "StartedAt": "{long}"}},
                "Config": {{"Labels": {{"io.kubernetes.pod.uid": "00000000-0000-4000-8000-000000000000",
                "io.kubernetes.pod.name": "n", "io.kubernetes.pod.namespace": "ns", "io.kubernetes.container.name": "../..",
                "skein.dev/attempt": "-5", "skein.dev/type": "potato"}}}}}}"#
            ),
            p if p.contains("/events") => {
                r#"{"Action": "die", "Actor": {"ID": "c", "Attributes": {"io.kubernetes.pod.uid": "x"}}}"#.to_owned()
            }
            _ => "null".to_owned(),
        }))
    });
    let listed = observe(driver, &socket, |_| {}, |seen| matches!(seen, Observation::Listed { .. }));
    let Some(Observation::Listed { pods, .. }) = listed else { panic!("{listed:?}") };
    assert_eq!(pods.len(), 1, "only one of them names a pod");
    assert_eq!(pods[0].containers.len(), 1);
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Answers each request by its path; `None` keeps the client waiting.
fn serve(socket: &Path, reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, reply) = (stream.expect("a connection"), reply.clone());
            std::thread::spawn(move || answer(stream, &*reply));
        }
    });
}

fn answer(mut stream: UnixStream, reply: &dyn Fn(&str) -> Option<String>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    match reply(head.split(' ').nth(1).unwrap_or_default()) {
        Some(text) => drop(stream.write_all(text.as_bytes())),
        None => std::thread::sleep(Duration::from_secs(60)),
    }
}

/// Returns how a runtime words that there is no daemon at `socket`, and shows that it answers actions all the same.
fn down(driver: &DockerDriver, socket: &Path) -> String {
    let pod = PodRef { namespace: "contract".into(), name: "liar".into(), uid: Uid::derived(&[b"liar"]) };
    let step = Step::PullImage { image: "x".into(), always: false, never: false };
    // Which of the two is told first is open: the runtime looks for its daemon while it acts.
    let of_a_pod = |seen: &Observation| matches!(seen, Observation::Pod { .. });
    let answer = observe(driver, socket, |docker| docker.act(Action { pod, step }), of_a_pod);
    let failed = |event: &PodEvent| matches!(event, PodEvent::ImageFailed { message, .. } if message.contains("cannot reach Docker"));
    assert!(matches!(&answer, Some(Observation::Pod { event, .. }) if failed(event)), "{answer:?}");
    match observe(driver, socket, |_| {}, |_| true) {
        Some(Observation::Down { message }) => message,
        other => panic!("{other:?}"),
    }
}

/// Runs a runtime on `socket` until its first observation that is `wanted`.
fn observe(
    driver: &DockerDriver,
    socket: &Path,
    then: impl FnOnce(&Docker),
    wanted: impl Fn(&Observation) -> bool,
) -> Option<Observation> {
    let (out, mut observations) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    let config = Config {
        socket: socket.to_owned(),
        folder: driver.folder.join("liar"),
        node: "contract/liar".into(),
        bridge: "skbr0".into(),
        pod_range: crate::driver::POD_RANGE.parse().expect("a range"),
        cluster_range: "10.240.0.0/12".parse().expect("a range"),
        service_range: "10.96.0.0/16".parse().expect("a range"),
    };
    driver.block_on(async {
        let docker = Arc::new(Docker::new(config, out, shutdown.clone()));
        then(&docker);
        let running = tokio::spawn(docker.run());
        let seen = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                match observations.recv().await {
                    Some(seen) if !wanted(&seen) => {}
                    last => return last,
                }
            }
        });
        let seen = seen.await.ok().flatten();
        shutdown.cancel();
        running.await.expect("it ends without a panic");
        seen
    })
}
