//! The simulated runtime passes the contract, and keeps its own promises.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::kubelet::action::{Action, Observation};
use crate::runtime::contract::{Behaviour, Driver, Program, SCENARIOS};
use crate::time::{Mono, Now, Wall};

use super::{FakeRuntime, Image, Knobs, Life};

struct FakeDriver {
    fake: FakeRuntime,
    now: Now,
    told: VecDeque<Observation>,
    programs: u32,
    addresses: u8,
}

impl FakeDriver {
    fn new(seed: u64, knobs: Knobs) -> Self {
        let now = Now { mono: Mono(Duration::from_secs(1)), wall: Wall::from_secs(1_763_882_730) };
        Self { fake: FakeRuntime::new(seed, knobs), now, told: VecDeque::new(), programs: 0, addresses: 1 }
    }

    fn wait(&mut self, until: Mono) {
        let time = until.since(self.now.mono);
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }
}

impl Driver for FakeDriver {
    fn act(&mut self, action: Action) {
        self.fake.act(self.now, action);
    }

    fn next(&mut self, patience: Duration) -> Option<Observation> {
        let end = self.now.mono + patience;
        loop {
            self.told.extend(self.fake.poll(self.now));
            if let Some(observation) = self.told.pop_front() {
                return Some(observation);
            }
            let next = self.fake.next_due().filter(|at| *at <= end);
            self.wait(next.unwrap_or(end));
            next?;
        }
    }

    fn program(&mut self, behaviour: &Behaviour) -> Program {
        let life = match behaviour.clone() {
            Behaviour::Exit { code, message } => Life::Exit { after: Duration::from_millis(5), code, message },
            Behaviour::Run => Life::Run,
            Behaviour::Stubborn => Life::Stubborn,
            Behaviour::Serve { port } => Life::Serve { port },
            Behaviour::AwaitFile { path, content } => Life::AwaitFile { path, content },
            Behaviour::Missing => Life::Missing,
        };
        self.programs += 1;
        let image = format!("program:{}", self.programs);
        self.fake.set_image(image.clone(), Image { life, ..Image::default() });
        Program { image, command: vec!["run".into()] }
    }

    fn address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        [10, 0, 0, self.addresses].into()
    }

    fn kill(&mut self, container: &str) {
        self.fake.kill(self.now, container);
    }

    fn stop_daemon(&mut self) {
        self.fake.stop_daemon(self.now, true);
    }

    fn start_daemon(&mut self) {
        self.fake.start_daemon(self.now);
    }

    fn restart_agent(&mut self) {
        self.told.clear();
        self.fake.restart_agent(self.now);
    }
}

#[test]
fn the_fake_keeps_the_contract() {
    for (name, scenario) in SCENARIOS {
        eprintln!("{name}");
        let mut driver = FakeDriver::new(7, Knobs::default());
        scenario(&mut driver);
        assert_eq!(driver.fake.listed(), [], "{name} leaves something behind");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed| {
        let mut driver = FakeDriver::new(seed, Knobs { echo: 300, ..Knobs::lying() });
        driver.fake.set_image("web:1", Image::default());
        let pod = crate::kubelet::action::PodRef {
            namespace: "default".into(),
            name: "web".into(),
            uid: crate::ids::Uid([7; 16]),
        };
        let pull = crate::kubelet::action::Step::PullImage { image: "web:1".into(), always: true, never: false };
        for _ in 0..20 {
            driver.act(Action { pod: pod.clone(), step: pull.clone() });
        }
        let told: Vec<_> = std::iter::from_fn(|| driver.next(Duration::from_secs(60))).collect();
        (told, driver.now)
    };
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}
