//! What every runtime has to do, as scenarios: the Docker runtime and the fake one pass the same suite.
//!
//! A scenario talks to a [`Driver`] only in actions and observations, so it knows nothing of what is behind. Each one
//! has a pod of its own, and leaves nothing behind.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::kubelet::action::{
    Action, ContainerState, FileSpec, ImageError, MountSpec, Observation, PodEvent, ProbeHandler, Step, VolumeSource,
    VolumeSpec,
};

mod pod;

pub use pod::{Plan, Pod};

/// How long a scenario waits for anything: generous, since real containers start on busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime under test, and hands to disturb it with.
pub trait Driver {
    /// Hands an action to the runtime.
    fn act(&mut self, action: Action);

    /// Returns the next observation, or `None` if none comes within `patience` (virtual time counts too).
    fn next(&mut self, patience: Duration) -> Option<Observation>;

    /// Returns a program that behaves so. Its image is there without a pull.
    fn program(&mut self, behaviour: &Behaviour) -> Program;

    /// Returns an address of the pod range that no pod has.
    fn address(&mut self) -> Ipv4Addr;

    /// Kills the first process of a container or a sandbox by signal 9, behind the runtime's back.
    fn kill(&mut self, container: &str);

    /// Makes the daemon behind the runtime go away; containers run on.
    fn stop_daemon(&mut self);

    /// Brings the daemon back.
    fn start_daemon(&mut self);

    /// Replaces the runtime by a new one, as if the agent had been killed and started again.
    fn restart_agent(&mut self);
}

/// How a container of a scenario behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It leaves `message` in /dev/termination-log and exits at once.
    Exit {
        /// The exit code.
        code: i32,
        /// The termination message.
        message: String,
    },
    /// It runs until it is asked to stop, then exits with 0 at once.
    Run,
    /// It runs, deaf to all but signal 9.
    Stubborn,
    /// It answers HTTP on a port: 200 for `/ok`, 404 for all else. Asked to stop, it exits with 0.
    Serve {
        /// The port.
        port: u16,
    },
    /// It waits until a file has this content, then exits with 0.
    AwaitFile {
        /// The file's path.
        path: String,
        /// Its whole content.
        content: String,
    },
    /// Its command is not in the image.
    Missing,
}

/// An image and what to run in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The image reference.
    pub image: String,
    /// The container's command.
    pub command: Vec<String>,
}

/// A scenario: panics if the runtime does not do what it has to.
pub type Scenario = fn(&mut dyn Driver);

/// All scenarios by name.
pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("a_pod_starts_exits_restarts_stops_and_goes", a_pod_starts_exits_restarts_stops_and_goes),
    ("a_deaf_container_is_killed_after_its_grace", a_deaf_container_is_killed_after_its_grace),
    ("a_container_killed_from_outside_is_reported", a_container_killed_from_outside_is_reported),
    ("images_that_are_not_to_be_had_say_why", images_that_are_not_to_be_had_say_why),
    ("a_container_that_cannot_start_says_at_which_step", a_container_that_cannot_start_says_at_which_step),
    ("a_second_create_finds_the_same_sandbox", a_second_create_finds_the_same_sandbox),
    ("a_second_start_of_an_attempt_finds_the_same_container", a_second_start_of_an_attempt_finds_the_same_container),
    ("a_dead_sandbox_is_reported_and_replaced", a_dead_sandbox_is_reported_and_replaced),
    ("removing_twice_succeeds_twice", removing_twice_succeeds_twice),
    ("files_of_volumes_are_seen_and_follow_changes", files_of_volumes_are_seen_and_follow_changes),
    ("probes_say_what_they_met", probes_say_what_they_met),
    ("a_new_agent_adopts_what_runs", a_new_agent_adopts_what_runs),
    ("a_daemon_that_goes_away_is_said_so_and_found_again", a_daemon_that_goes_away_is_said_so_and_found_again),
];

fn a_pod_starts_exits_restarts_stops_and_goes(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "lives");
    let address = pod.plan.address;
    let sandbox = pod.sandbox();
    assert_eq!(sandbox.address, Some(address), "the sandbox has another address than asked");

    let first = Behaviour::Exit { code: 3, message: "no more wool".into() };
    let image = pod.driver.program(&first).image;
    pod.act(Step::PullImage { image: image.clone(), always: false, never: false });
    let size = pod.expect("ImageReady", |e| match e {
        PodEvent::ImageReady { image: i, pulled_in: None, size, .. } if *i == image => Some(*size),
        _ => None,
    });
    assert!(size > 0, "an image of no size");

    let (id, _) = pod.start("web", 0, &first);
    let exit = pod.exited(&id);
    assert_eq!((exit.code, exit.oom, exit.message.as_str()), (3, false, "no more wool"));
    assert!(exit.started.0 > 0 && exit.finished >= exit.started, "exit without times: {exit:?}");

    let (again, _) = pod.start("web", 1, &Behaviour::Run);
    assert_ne!(id, again, "a restart is a new container");
    pod.act(Step::RemoveContainer { id: id.clone() });
    pod.expect("ContainerRemoved", |e| (*e == PodEvent::ContainerRemoved { id: id.clone() }).then_some(()));
    pod.act(Step::StopContainer { id: again.clone(), name: "web".into(), grace: Duration::from_secs(30) });
    assert_eq!(pod.exited(&again).code, 0, "it was asked before it was killed");

    pod.act(Step::StopContainer { id: again.clone(), name: "web".into(), grace: Duration::from_secs(30) });
    assert_eq!(pod.exited(&again).code, 0, "stopping what has exited tells how it had exited");
    pod.remove();
}

fn a_deaf_container_is_killed_after_its_grace(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "deaf");
    pod.sandbox();
    let (id, _) = pod.start("deaf", 0, &Behaviour::Stubborn);
    pod.act(Step::StopContainer { id: id.clone(), name: "deaf".into(), grace: Duration::from_secs(1) });
    let exit = pod.exited(&id);
    assert_eq!(exit.code, 137);
    assert!(!exit.oom, "a kill is not for memory");
    pod.remove();
}

fn a_container_killed_from_outside_is_reported(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "killed");
    pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    pod.driver.kill(&id);
    assert_eq!(pod.exited(&id).code, 137);
    pod.remove();
}

fn images_that_are_not_to_be_had_say_why(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "image");
    // Nothing listens on port 1 of this machine: the pull is refused at once.
    let absent = "127.0.0.1:1/skein/no-such-image:1";
    for (image, never, expected) in [
        (absent, true, ImageError::NeverPull),
        (absent, false, ImageError::PullFailed),
        ("No Such/IMAGE::", false, ImageError::InvalidName),
    ] {
        pod.act(Step::PullImage { image: image.into(), always: false, never });
        let (kind, message) = pod.expect("ImageFailed", |e| match e {
            PodEvent::ImageFailed { image: i, kind, message } if i == image => Some((*kind, message.clone())),
            _ => None,
        });
        assert_eq!(kind, expected, "{image}: {message}");
        assert!(!message.is_empty(), "{image} fails without a word");
    }
    pod.remove();
}

fn a_container_that_cannot_start_says_at_which_step(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "cannot");
    pod.sandbox();
    let mut spec = pod.container("web", 0, &Behaviour::Run);
    spec.image = "skein/no-such-image:1".into();
    assert!(!pod.fails_to_start(spec).0, "it was not even made");
    let spec = pod.container("web", 0, &Behaviour::Missing);
    assert!(pod.fails_to_start(spec).0, "it was made, but not started");
    // What failed is not in the way of the next try.
    pod.start("web", 0, &Behaviour::Run);
    pod.remove();
}

fn a_second_create_finds_the_same_sandbox(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "twice");
    let first = pod.sandbox();
    let second = pod.sandbox();
    assert_eq!(first, second);
    pod.remove();
}

fn a_second_start_of_an_attempt_finds_the_same_container(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "clash");
    pod.sandbox();
    let (first, started) = pod.start("web", 0, &Behaviour::Run);
    let (second, again) = pod.start("web", 0, &Behaviour::Run);
    assert_eq!((first, started), (second, again), "an attempt is started once");
    pod.remove();
}

fn a_dead_sandbox_is_reported_and_replaced(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "orphan");
    let first = pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    pod.driver.kill(&first.id);
    pod.expect("SandboxDied", |e| (*e == PodEvent::SandboxDied).then_some(()));
    // What ran in the old one has no network any more and must not go on beside its successor.
    let spec = pod.sandbox_spec();
    pod.act(Step::CreateSandbox(spec));
    let (mut second, mut ended) = (None, false);
    let second = pod.expect("SandboxReady with ContainerExited", |e| {
        match e {
            PodEvent::SandboxReady(sandbox) => second = Some(sandbox.id.clone()),
            PodEvent::ContainerExited { id: i, .. } => ended |= *i == id,
            _ => {}
        }
        second.clone().filter(|_| ended)
    });
    assert_ne!(first.id, second, "a dead sandbox is not used again");
    pod.start("web", 1, &Behaviour::Run);
    pod.remove();
}

fn removing_twice_succeeds_twice(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "gone");
    pod.remove();
    pod.sandbox();
    pod.start("web", 0, &Behaviour::Run);
    pod.remove();
    pod.remove();
}

fn files_of_volumes_are_seen_and_follow_changes(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "files");
    pod.plan.volumes = vec![volume_of("config", &[("greeting", "hello"), ("sub/name", "goose")])];
    pod.sandbox();
    let mount = MountSpec { volume: "config".into(), path: "/config".into(), sub_path: String::new(), read_only: true };
    let waits = |path: &str, content: &str| Behaviour::AwaitFile { path: path.into(), content: content.into() };

    let mut spec = pod.container("nested", 0, &waits("/config/sub/name", "goose"));
    spec.mounts = vec![mount.clone()];
    let (id, _) = pod.start_spec(spec);
    assert_eq!(pod.exited(&id).code, 0);

    let mut spec = pod.container("follows", 0, &waits("/config/greeting", "hello again"));
    spec.mounts = vec![mount.clone()];
    let (id, _) = pod.start_spec(spec);
    pod.act(Step::WriteVolumes(vec![volume_of("config", &[("greeting", "hello again")])]));
    pod.expect("VolumesWritten", |e| (*e == PodEvent::VolumesWritten).then_some(()));
    assert_eq!(pod.exited(&id).code, 0);

    let mut spec = pod.container("part", 0, &waits("/greeting", "hello again"));
    spec.mounts = vec![MountSpec { path: "/greeting".into(), sub_path: "greeting".into(), ..mount.clone() }];
    let (id, _) = pod.start_spec(spec);
    assert_eq!(pod.exited(&id).code, 0);

    let mut spec = pod.container("escapes", 0, &Behaviour::Run);
    spec.mounts = vec![MountSpec { sub_path: "../../..".into(), ..mount }];
    assert!(!pod.fails_to_start(spec).0, "a sub path must not leave its volume");
    pod.remove();
}

fn probes_say_what_they_met(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "probed");
    pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Serve { port: 8080 });
    let host = pod.plan.address.to_string();
    let http = |path: &str, port| ProbeHandler::Http {
        https: false,
        host: host.clone(),
        port,
        path: path.into(),
        headers: vec![("X-Goose".into(), "honk".into())],
    };
    const SOON: Duration = Duration::from_secs(5);
    let tcp = |port| ProbeHandler::Tcp { host: host.clone(), port };

    // The server may need a moment until it listens.
    let answers = (0..100).any(|_| {
        let (ok, _) = pod.probe(&id, http("/ok", 8080), SOON);
        if !ok {
            pod.driver.next(Duration::from_millis(100));
        }
        ok
    });
    assert!(answers, "the probe never succeeds");
    assert_eq!(pod.probe(&id, http("/", 8080), SOON), (false, "HTTP probe failed with statuscode: 404".into()));
    let refused = format!("dial tcp {host}:8081: connect: connection refused");
    assert_eq!(pod.probe(&id, http("/ok", 8081), SOON), (false, format!("Get \"http://{host}:8081/ok\": {refused}")));
    assert!(pod.probe(&id, tcp(8080), SOON).0);
    assert_eq!(pod.probe(&id, tcp(8081), SOON), (false, refused));
    pod.remove();
}

fn a_new_agent_adopts_what_runs(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "adopted");
    let sandbox = pod.sandbox();
    let (done, _) = pod.start("init", 0, &Behaviour::Exit { code: 0, message: "made".into() });
    let exit = pod.exited(&done);
    let (id, started) = pod.start("web", 2, &Behaviour::Run);
    pod.driver.restart_agent();

    let listed = pod.listed().expect("the pod is listed after the restart");
    assert_eq!(listed.sandbox, Some(sandbox));
    let of = |name: &str| listed.containers.iter().find(|c| c.name == name).expect("a container is not listed").clone();
    let (init, web) = (of("init"), of("web"));
    assert_eq!((init.id, init.attempt, init.state), (done, 0, ContainerState::Exited(exit)));
    assert_eq!((&web.id, web.attempt, web.hash.as_str()), (&id, 2, "hash-web"));
    assert_eq!(web.state, ContainerState::Running { started });
    assert!(!web.image.is_empty() && !web.image_id.is_empty());

    pod.driver.kill(&id);
    assert_eq!(pod.exited(&id).code, 137, "an adopted container is watched");
    pod.remove();
}

fn a_daemon_that_goes_away_is_said_so_and_found_again(driver: &mut dyn Driver) {
    let mut pod = Pod::new(driver, "daemon");
    let sandbox = pod.sandbox();
    let (id, started) = pod.start("web", 0, &Behaviour::Run);
    pod.driver.stop_daemon();
    let message = pod.observe("Down", |o| match o {
        Observation::Down { message } => Some(message.clone()),
        _ => None,
    });
    assert!(!message.is_empty() && !message.contains('\n'), "one sentence: {message:?}");
    let spec = pod.container("other", 0, &Behaviour::Run);
    assert!(!pod.fails_to_start(spec).0, "nothing can be made without a daemon");
    pod.driver.start_daemon();

    let listed = pod.listed().expect("the pod is listed when the daemon is back");
    assert_eq!(listed.sandbox, Some(sandbox));
    assert_eq!(listed.containers.len(), 1);
    assert_eq!(
        (&listed.containers[0].id, &listed.containers[0].state),
        (&id, &ContainerState::Running { started }),
        "what ran before runs still"
    );
    pod.driver.kill(&id);
    assert_eq!(pod.exited(&id).code, 137, "events are followed again");
    pod.remove();
}

fn volume_of(name: &str, files: &[(&str, &str)]) -> VolumeSpec {
    let files = files.iter().map(|(path, text)| FileSpec {
        path: (*path).into(),
        bytes: text.as_bytes().to_vec(),
        mode: 0o644,
    });
    VolumeSpec { name: name.into(), source: VolumeSource::Files(files.collect()) }
}
