//! Images from a registry: a small one of our own, on the loopback address that every daemon trusts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};
use skein::kubelet::action::{ContainerSpec, ImageError, PodEvent, Step};
use skein::runtime::contract::{Behaviour, Pod};

use crate::Play;
use crate::driver::{DockerDriver, busybox, shell};

pub const SCENARIOS: &[(&str, Play)] = &[
    ("images_are_pulled_as_the_policy_says", images_are_pulled_as_the_policy_says),
    ("command_and_args_replace_the_images_own", command_and_args_replace_the_images_own),
    ("a_pull_is_cut_short_when_its_pod_goes", a_pull_is_cut_short_when_its_pod_goes),
];

fn images_are_pulled_as_the_policy_says(driver: &mut DockerDriver) {
    let registry = Registry::start("policy");
    let image = registry.image();
    let mut pod = Pod::new(driver, "pulls");
    let mut pull = |image: &str, always: bool, never: bool| {
        pod.act(Step::PullImage { image: image.into(), always, never });
        pod.expect("ImageReady or ImageFailed", |e| match e {
            PodEvent::ImageReady { image: i, id, pulled_in, size, .. } if i == image => {
                assert!(id.starts_with("sha256:") && *size > 1_000_000, "{id} of {size} bytes");
                Some(Ok(pulled_in.is_some()))
            }
            PodEvent::ImageFailed { image: i, kind, message } if i == image => Some(Err((*kind, message.clone()))),
            _ => None,
        })
    };
    let never =
        Err((ImageError::NeverPull, format!("Container image {image:?} is not present with pull policy of Never")));
    assert_eq!(pull(&image, false, true), never);
    assert_eq!(pull(&image, false, false), Ok(true), "what is missing is pulled");
    assert_eq!(pull(&image, false, false), Ok(false), "what is there is not");
    assert_eq!(pull(&image, false, true), Ok(false));
    assert_eq!(pull(&image, true, false), Ok(true), "always is always");
    let unknown = pull(&image.replace(":1", ":2"), false, false);
    assert!(unknown.is_err_and(|(kind, said)| kind == ImageError::PullFailed && said.contains("manifest unknown")));
    registry.answers.store(false, Ordering::Relaxed);
    let gone = pull(&image, true, false);
    assert!(gone.is_err_and(|(kind, _)| kind == ImageError::PullFailed), "a local image does not make up for it");
    assert_eq!(pull(&image, false, false), Ok(false));
    pod.remove();
}

fn command_and_args_replace_the_images_own(driver: &mut DockerDriver) {
    let registry = Registry::start("command");
    let image = registry.image();
    let mut pod = Pod::new(driver, "commands");
    pod.sandbox();
    pod.act(Step::PullImage { image: image.clone(), always: false, never: false });
    pod.expect("ImageReady", |e| matches!(e, PodEvent::ImageReady { .. }).then_some(()));
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    // The image's own entry point is `/bin/sh -c`, its command `exit $CODE`, and CODE is 7.
    for (attempt, (command, args, code)) in [
        (words(&[]), words(&[]), 7),
        (words(&[]), words(&["exit 8"]), 8),
        (words(&["/bin/sh"]), words(&["-c", "exit 9"]), 9),
        (words(&["/bin/sh"]), words(&[]), 0),
        (shell("exit $((CODE + 3))"), words(&[]), 10),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = pod.container("web", u32::try_from(attempt).expect("few"), &Behaviour::Run);
        let spec = ContainerSpec { image: image.clone(), command: command.clone(), args: args.clone(), ..spec };
        let (id, _) = pod.start_spec(spec);
        assert_eq!(pod.exited(&id).code, code, "{command:?} {args:?}");
    }
    pod.remove();
}

fn a_pull_is_cut_short_when_its_pod_goes(driver: &mut DockerDriver) {
    let registry = Registry::start("slow");
    registry.sends_layers.store(false, Ordering::Relaxed);
    let mut pod = Pod::new(driver, "impatient");
    pod.act(Step::PullImage { image: registry.image(), always: false, never: false });
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    pod.act(Step::RemovePod { grace: Duration::ZERO });
    pod.expect("ImageFailed", |e| matches!(e, PodEvent::ImageFailed { .. }).then_some(()));
    pod.expect("PodRemoved", |e| (*e == PodEvent::PodRemoved).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Serves one image, to be pulled.
struct Registry {
    name: &'static str,
    port: u16,
    answers: Arc<AtomicBool>,
    sends_layers: Arc<AtomicBool>,
}

struct Blobs {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Registry {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (answers, sends_layers) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let registry = Self { name, port, answers: answers.clone(), sends_layers: sends_layers.clone() };
        let blobs = Arc::new(Blobs::new(name));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, blobs, sends_layers) =
                    (stream.expect("a connection"), blobs.clone(), sends_layers.clone());
                if answers.load(Ordering::Relaxed) {
                    std::thread::spawn(move || blobs.answer(stream, &sends_layers));
                }
            }
        });
        registry
    }

    fn image(&self) -> String {
        format!("127.0.0.1:{}/skein/{}:1", self.port, self.name)
    }
}

impl Blobs {
    /// `name` makes its image and layer differ from all others: layers that are there are not asked for.
    fn new(name: &str) -> Self {
        let mut layer = busybox();
        let end = layer.len() - 1_024;
        let mut more = tar::Builder::new(layer.split_off(0)[..end].to_vec());
        let mut header = tar::Header::new_gnu();
        header.set_size(name.len() as u64);
        header.set_mode(0o644);
        more.append_data(&mut header, "etc/name", name.as_bytes()).expect("room in memory");
        let layer = more.into_inner().expect("room in memory");
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/sh", "-c"],
                "Cmd": ["exit $CODE"],
                "Env": ["PATH=/bin", "CODE=7"],
                "Healthcheck": {"Test": ["CMD", "/bin/false"], "Interval": 1_000_000_000},
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let part = |media: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.docker.{media}"), "size": bytes.len(), "digest": digest(bytes)});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part("container.image.v1+json", &config),
            "layers": [part("image.rootfs.diff.tar", &layer)],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer }
    }

    fn answer(&self, mut stream: TcpStream, sends_layers: &AtomicBool) {
        while let Some(head) = read_head(&mut stream) {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            let found = match last {
                "" => Some((&b"{}"[..], "application/json")),
                tag if path.contains("/manifests/") => {
                    (tag == "1" || tag == digest(&self.manifest)).then_some((&self.manifest[..], MANIFEST))
                }
                blob if blob == digest(&self.config) => Some((&self.config[..], "application/octet-stream")),
                blob if blob == digest(&self.layer) => Some((&self.layer[..], "application/octet-stream")),
                _ => None,
            };
            if last == digest(&self.layer) && !sends_layers.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(60));
            }
            let missing = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            let (status, (body, media)) =
                found.map_or(("404 No", (&missing[..], "application/json")), |f| ("200 OK", f));
            let length = body.len();
            let head_of_answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\
                 Docker-Content-Digest: {}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n",
                digest(body)
            );
            let body = if head.starts_with("HEAD") { &[][..] } else { body };
            if stream.write_all(&[head_of_answer.as_bytes(), body].concat()).is_err() {
                return;
            }
        }
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        // The daemon tries TLS first, and would wait 10 s for an answer to that.
        if head.is_empty() && !byte[0].is_ascii_alphabetic() {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
