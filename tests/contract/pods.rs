//! What containers are given, what their logs say, and what happens behind the runtime's back.

use std::fs;
use std::time::{Duration, Instant};

use bollard::query_parameters::RemoveContainerOptionsBuilder;
use futures_util::TryStreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skein::handle::{LogOptions, Logs};
use skein::kubelet::action::{
    ContainerSpec, ContainerState, MountSpec, Observation, PodEvent, ProbeHandler, ResourceSpec, SandboxSpec,
    SecuritySpec, Step, VolumeSource, VolumeSpec,
};
use skein::runtime::contract::{Behaviour, Driver, Pod};

use crate::Play;
use crate::driver::{DockerDriver, shell};
use crate::place;

pub const SCENARIOS: &[(&str, Play)] = &[
    ("a_container_finds_what_its_pod_promises", a_container_finds_what_its_pod_promises),
    ("volumes_are_shared_kept_and_cleaned_up", volumes_are_shared_kept_and_cleaned_up),
    ("a_container_killed_for_memory_says_so", a_container_killed_for_memory_says_so),
    ("commands_probe_containers", commands_probe_containers),
    ("logs_are_read_in_parts_and_followed", logs_are_read_in_parts_and_followed),
    ("what_somebody_else_removes_is_noticed", what_somebody_else_removes_is_noticed),
    ("what_died_while_the_daemon_was_away_is_listed_dead", what_died_while_the_daemon_was_away_is_listed_dead),
    ("a_hanging_daemon_is_noticed", a_hanging_daemon_is_noticed),
    ("an_agent_killed_at_any_moment_goes_on_where_it_was", an_agent_killed_at_any_moment_goes_on_where_it_was),
    ("many_pods_start_at_once", many_pods_start_at_once),
];

const SOON: Duration = Duration::from_secs(5);

fn a_container_finds_what_its_pod_promises(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "equipped");
    let host_aliases = vec![("1.2.3.4".to_owned(), vec!["goose".to_owned()])];
    let spec = SandboxSpec { hostname: "gander".into(), host_aliases, ..pod.sandbox_spec() };
    pod.sandbox_of(spec);
    let spec = pod.container("web", 0, &Behaviour::Run);
    let spec = ContainerSpec {
        env: vec![("A".into(), "x=y z".into())],
        working_dir: Some("/www".into()),
        resources: ResourceSpec {
            memory_limit: Some(64 << 20),
            nano_cpus: Some(250_000_000),
            cpu_shares: Some(256),
            // A daemon without the right to lower it has to run the container all the same.
            oom_score_adj: Some(-997),
        },
        security: SecuritySpec {
            user: Some("1234:5678".into()),
            groups: vec![42],
            read_only_root: true,
            no_new_privileges: true,
            drop_capabilities: vec!["ALL".into()],
            ..SecuritySpec::default()
        },
        ..spec
    };
    let (id, _) = pod.start_spec(spec);
    let address = pod.plan.address.to_string();
    let mut said = |script: &str| pod.probe(&id, ProbeHandler::Exec { command: shell(script) }, SOON).1;
    assert_eq!(said("echo $A; pwd; hostname"), "x=y z\n/www\ngander\n");
    assert_eq!(said("id -u; id -g; id -G"), "1234\n5678\n5678 42\n");
    let hosts = said("cat /etc/hosts");
    assert!(hosts.contains(&format!("{address}\tgander\n")) && hosts.contains("1.2.3.4\tgoose\n"), "{hosts}");
    let resolver = said("cat /etc/resolv.conf");
    for line in ["nameserver 10.96.0.10", "search contract.svc.cluster.local", "options ndots:5"] {
        assert!(resolver.contains(line), "{line} in {resolver}");
    }
    assert!(said("echo x > /www/y").contains("Read-only"), "the root file system is read-only");
    assert_eq!(said("cat /proc/self/status").matches("NoNewPrivs:\t1").count(), 1);

    let host = pod.driver.inspect(&id).host_config.expect("a host configuration");
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!((host.nano_cpus, host.cpu_shares), (Some(250_000_000), Some(256)));
    pod.remove();
}

fn volumes_are_shared_kept_and_cleaned_up(driver: &mut DockerDriver) {
    let own = driver.folder.join("of-the-host");
    fs::create_dir_all(&own).expect("a folder");
    fs::write(own.join("precious"), "x").expect("a file");
    let volume = |name: &str, source| VolumeSpec { name: name.into(), source };
    let mount = |volume: &str, sub_path: &str| MountSpec {
        volume: volume.into(),
        path: format!("/{volume}"),
        sub_path: sub_path.into(),
        read_only: false,
    };

    let mut pod = Pod::new(driver, "volumes");
    pod.plan.volumes = vec![
        volume("data", VolumeSource::Empty { memory: false, limit: None }),
        volume("memory", VolumeSource::Empty { memory: true, limit: Some(1 << 20) }),
        volume("host", VolumeSource::Host { path: own.display().to_string(), kind: "Directory".into() }),
    ];
    pod.sandbox();
    let mut spec = pod.container("writer", 0, &Behaviour::Run);
    spec.mounts = vec![mount("data", ""), mount("memory", ""), mount("host", "made/here")];
    let (writer, _) = pod.start_spec(spec);
    let mut said = |script: &str| pod.probe(&writer, ProbeHandler::Exec { command: shell(script) }, SOON);
    assert_eq!(said("echo kept > /data/a; echo seen > /host/b"), (true, String::new()));
    assert!(said("mount").1.contains("tmpfs on /memory type tmpfs"));
    assert!(!said("dd if=/dev/zero of=/memory/big bs=1M count=2").0, "memory ends at its limit");
    assert_eq!(fs::read_to_string(own.join("made/here/b")).expect("the sub path was made"), "seen\n");

    // Another container, and a second sandbox as after a reboot, find what was written.
    let mut spec = pod.container("reader", 0, &Behaviour::AwaitFile { path: "/data/a".into(), content: "kept".into() });
    spec.mounts = vec![mount("data", "")];
    let (reader, _) = pod.start_spec(spec.clone());
    assert_eq!(pod.exited(&reader).code, 0);
    let sandbox = pod.sandbox();
    pod.driver.kill(&sandbox.id);
    pod.expect("SandboxDied", |e| (*e == PodEvent::SandboxDied).then_some(()));
    pod.sandbox();
    spec.attempt = 1;
    let (reader, _) = pod.start_spec(spec);
    assert_eq!(pod.exited(&reader).code, 0);

    pod.plan.volumes = vec![volume("bad", VolumeSource::Host { path: "/no/such".into(), kind: "File".into() })];
    pod.act(Step::WriteVolumes(pod.plan.volumes.clone()));
    let message = pod.expect("SandboxFailed", |e| match e {
        PodEvent::SandboxFailed { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(message, "hostPath type check failed: /no/such is not a file");
    pod.remove();
    assert!(own.join("precious").exists() && own.join("made/here/b").exists(), "the host's files are the host's");
}

fn a_container_killed_for_memory_says_so(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "hungry");
    pod.sandbox();
    let spec = pod.container("web", 0, &Behaviour::Run);
    // Docker watches for it only from shortly after the start: what dies at once is not always said to be.
    let resources = ResourceSpec { memory_limit: Some(16 << 20), ..ResourceSpec::default() };
    let (id, _) = pod.start_spec(ContainerSpec {
        resources,
        command: shell("sleep 1; exec dd if=/dev/zero of=/dev/null bs=200M"),
        ..spec
    });
    let exit = pod.exited(&id);
    assert_eq!((exit.code, exit.oom), (137, true), "{exit:?}");
    pod.remove();
}

fn commands_probe_containers(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "asked");
    pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    let mut ask = |script: &str, limit| pod.probe(&id, ProbeHandler::Exec { command: shell(script) }, limit);
    assert_eq!(ask("echo fine", SOON), (true, "fine\n".into()));
    assert_eq!(ask("echo bad >&2; exit 3", SOON), (false, "bad\n".into()));
    assert_eq!(ask("dd if=/dev/zero bs=20k count=1 2>/dev/null", SOON).1.len(), 10 * 1024);
    let (ok, said) = ask("sleep 30", Duration::from_secs(1));
    assert_eq!((ok, said.as_str()), (false, "command timed out: \"/bin/sh -c sleep 30\" timed out after 1s"));
    pod.remove();
}

fn logs_are_read_in_parts_and_followed(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "talks");
    pod.sandbox();
    // Docker reads the two streams side by side: written at once, their order is anyone's.
    let stops = "trap 'exit 0' TERM; while [ ! -e /go ]; do sleep 0.1; done";
    let script = format!("echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three; {stops}; echo four");
    let spec = pod.container("web", 0, &Behaviour::Run);
    let (id, _) = pod.start_spec(ContainerSpec { command: shell(&script), ..spec.clone() });
    await_log(pod.driver, &id, "one\ntwo\nthree\n");
    let read = |driver: &DockerDriver, options: LogOptions| log(driver, &id, options).expect("a log");
    let d = LogOptions::default();
    assert_eq!(read(pod.driver, LogOptions { tail_lines: Some(2), ..d }), "two\nthree\n");
    assert_eq!(read(pod.driver, LogOptions { limit_bytes: Some(5), ..d }), "one\nt");
    assert_eq!(read(pod.driver, LogOptions { since: Some(4_000_000_000), ..d }), "");
    let stamped = read(pod.driver, LogOptions { timestamps: true, tail_lines: Some(1), ..d });
    let (time, rest) = stamped.split_once(' ').expect("a time and a line");
    assert!(time.ends_with('Z') && time.contains('T') && rest == "three\n", "{stamped}");

    let followed =
        pod.driver.block_on(pod.driver.docker.open("n1", &id, LogOptions { follow: true, ..d })).expect("a log");
    pod.probe(&id, ProbeHandler::Exec { command: shell("> /go") }, SOON);
    assert_eq!(text(pod.driver.block_on(followed.try_collect::<Vec<_>>())).as_deref(), Ok("one\ntwo\nthree\nfour\n"));
    assert_eq!(pod.exited(&id).code, 0);
    assert_eq!(read(pod.driver, d), "one\ntwo\nthree\nfour\n", "the log outlives the container");

    let tty = ContainerSpec {
        name: "tty".into(),
        tty: true,
        stdin: true,
        command: shell("echo one; sleep 0.3; echo two >&2"),
        ..spec
    };
    let (id, _) = pod.start_spec(tty);
    pod.exited(&id);
    assert_eq!(log(pod.driver, &id, d).as_deref(), Ok("one\r\ntwo\r\n"));
    let unknown = log(pod.driver, "0123456789ab", d);
    assert!(unknown.is_err_and(|e| e.starts_with("No such container")));
    pod.remove();
}

fn log(driver: &DockerDriver, id: &str, options: LogOptions) -> Result<String, String> {
    text(driver.block_on(async { driver.docker.open("n1", id, options).await?.try_collect::<Vec<_>>().await }))
}

fn text(pieces: Result<Vec<bytes::Bytes>, String>) -> Result<String, String> {
    pieces.map(|pieces| String::from_utf8(pieces.concat()).expect("it is text"))
}

fn await_log(driver: &DockerDriver, id: &str, expected: &str) {
    let patience = Instant::now() + SOON;
    while log(driver, id, LogOptions::default()).as_deref() != Ok(expected) {
        assert!(Instant::now() < patience, "{:?}", log(driver, id, LogOptions::default()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn what_somebody_else_removes_is_noticed(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "robbed");
    pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    place::with_docker(&place::socket(&pod.driver.folder), async |docker| {
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        docker.remove_container(&id, Some(force)).await.expect("it goes");
    });
    let listed = pod.listed().expect("its sandbox is still there");
    assert!(listed.sandbox.is_some() && listed.containers.is_empty(), "{listed:?}");
    pod.remove();
}

/// As after a restart of a daemon without live-restore, or of the machine.
fn what_died_while_the_daemon_was_away_is_listed_dead(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "rebooted");
    let sandbox = pod.sandbox();
    let (id, _) = pod.start("web", 0, &Behaviour::Run);
    let pids = [&id, &sandbox.id].map(|id| Pid::from_raw(pod.driver.pid(id)));
    pod.driver.stop_daemon();
    for pid in pids {
        kill(pid, Signal::SIGKILL).expect("it runs without its daemon");
    }
    pod.driver.start_daemon();
    let listed = pod.listed().expect("it is still known");
    assert_eq!(listed.sandbox, None);
    assert!(matches!(&listed.containers[..], [c] if matches!(c.state, ContainerState::Exited(_))), "{listed:?}");
    assert_ne!(pod.sandbox().id, sandbox.id);
    pod.start("web", 1, &Behaviour::Run);
    pod.remove();
}

fn a_hanging_daemon_is_noticed(driver: &mut DockerDriver) {
    let mut pod = Pod::new(driver, "patient");
    let sandbox = pod.sandbox();
    let pid = fs::read_to_string(pod.driver.folder.join("pid")).expect("a pid file");
    let pid = Pid::from_raw(pid.trim().parse().expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("it runs");
    let message = pod.observe("Down", |o| match o {
        Observation::Down { message } => Some(message.clone()),
        _ => None,
    });
    kill(pid, Signal::SIGCONT).expect("it is there");
    assert!(message.contains("within 10 s"), "{message}");
    assert_eq!(pod.listed().expect("it is back").sandbox, Some(sandbox));
    pod.remove();
}

fn many_pods_start_at_once(driver: &mut DockerDriver) {
    const MANY: usize = 12;
    let began = Instant::now();
    let plans: Vec<_> = (0..MANY).map(|n| Pod::new(driver, &format!("many-{n}")).plan).collect();
    for plan in &plans {
        let mut pod = Pod::again(driver, plan);
        let spec = pod.sandbox_spec();
        pod.act(Step::CreateSandbox(spec));
    }
    let mut started = 0;
    while started < MANY {
        let (pod, event) = match driver.next(Duration::from_secs(60)) {
            Some(Observation::Pod { pod, event }) => (pod, event),
            other => panic!("our own work is no reason to list: {other:?}"),
        };
        let plan = plans.iter().find(|p| p.pod == pod).expect("it is one of ours");
        match event {
            PodEvent::SandboxReady(_) => {
                let mut pod = Pod::again(driver, plan);
                let spec = pod.container("web", 0, &Behaviour::Run);
                pod.act(Step::StartContainer(spec));
            }
            PodEvent::ContainerStarted { .. } => started += 1,
            other => panic!("{}: {other:?}", pod.name),
        }
    }
    eprintln!("{MANY} pods in {} ms", began.elapsed().as_millis());
    for plan in &plans {
        Pod::again(driver, plan).act(Step::RemovePod { grace: SOON });
    }
    let mut removed = 0;
    while removed < MANY {
        let observation = driver.next(Duration::from_secs(60)).expect("the pods go");
        removed += usize::from(matches!(observation, Observation::Pod { event: PodEvent::PodRemoved, .. }));
    }
}

/// The daemon goes on with calls whose caller is gone: the next agent meets what they made.
fn an_agent_killed_at_any_moment_goes_on_where_it_was(driver: &mut DockerDriver) {
    for (round, delay) in [0, 10, 40, 80, 120, 160, 200, 240, 300].into_iter().enumerate() {
        let delay = Duration::from_millis(delay);
        let mut pod = Pod::new(driver, &format!("cut-{round}"));
        let spec = pod.sandbox_spec();
        pod.act(Step::CreateSandbox(spec));
        std::thread::sleep(delay);
        pod.driver.restart_agent();
        pod.listed();
        let sandbox = pod.sandbox();

        let spec = pod.container("web", 0, &Behaviour::Serve { port: 8080 });
        pod.act(Step::StartContainer(spec.clone()));
        std::thread::sleep(delay / 2);
        pod.driver.restart_agent();
        let listed = pod.listed().expect("its sandbox is listed");
        assert_eq!(listed.sandbox.as_ref(), Some(&sandbox), "a complete sandbox is kept");
        let (id, _) = pod.start_spec(spec);
        let tcp = ProbeHandler::Tcp { host: pod.plan.address.to_string(), port: 8080 };
        let serves = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            pod.probe(&id, tcp.clone(), SOON).0
        });
        assert!(serves, "round {round}: it runs, but nobody reaches it");
        let mut names = pod.driver.containers();
        names.sort();
        let uid = pod.plan.pod.uid;
        let expected =
            [format!("/k8s_POD_cut-{round}_contract_{uid}_0"), format!("/k8s_web_cut-{round}_contract_{uid}_0")];
        assert_eq!(names, expected, "round {round}");
        pod.remove();
    }
}
