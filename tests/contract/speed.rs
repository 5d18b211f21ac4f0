//! What the runtime costs beside what Docker itself costs.

use std::collections::HashMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use skein::kubelet::action::Step;
use skein::runtime::contract::{Behaviour, Pod};

use crate::driver::{DockerDriver, IMAGE, shell};
use crate::place;

const ROUNDS: usize = 20;

/// Starts a sandbox and a container by the runtime and by hand, turn by turn, and compares the medians.
pub fn compare(driver: &mut DockerDriver) {
    let (mut ours, mut by_hand, mut reached) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (started, served) = by_runtime(driver, round);
        let hand = start_by_hand(driver, round);
        // The first round warms up: the pause image, the bridge, the page cache.
        if round > 0 {
            ours.push(started);
            reached.push(served);
            by_hand.push(hand);
        }
    }
    let (ours, by_hand, reached) = (median(ours), median(by_hand), median(reached));
    let ratio = ours.as_secs_f64() / by_hand.as_secs_f64();
    eprintln!(
        "sandbox and container, median of {ROUNDS}: {ours:?} by the runtime, {by_hand:?} by hand, ratio {ratio:.2}"
    );
    eprintln!("until its server answers: {reached:?}");
    assert!(ratio <= 1.2, "the runtime adds too much");
}

fn by_runtime(driver: &mut DockerDriver, round: usize) -> (Duration, Duration) {
    let mut pod = Pod::new(driver, &format!("speed-{round}"));
    let began = Instant::now();
    pod.sandbox();
    pod.start("web", 0, &Behaviour::Serve { port: 8080 });
    let started = began.elapsed();
    let address = (pod.plan.address, 8080).into();
    while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let served = began.elapsed();
    pod.act(Step::RemovePod { grace: Duration::ZERO });
    pod.remove();
    (started, served)
}

fn start_by_hand(driver: &mut DockerDriver, round: usize) -> Duration {
    let taken = place::with_docker(&place::socket(&driver.folder), async |docker| {
        let name = |what: &str| CreateContainerOptionsBuilder::default().name(&format!("{what}-{round}")).build();
        let labels = HashMap::from([("by".to_owned(), "hand".to_owned())]);
        let began = Instant::now();
        let pause = ContainerCreateBody {
            image: Some(format!("skein/pause:{}", env!("CARGO_PKG_VERSION"))),
            entrypoint: Some(vec!["/pause".into()]),
            labels: Some(labels.clone()),
            host_config: Some(HostConfig {
                network_mode: Some("none".into()),
                ipc_mode: Some("shareable".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let pause = docker.create_container(Some(name("pause")), pause).await.expect("it is made").id;
        docker.start_container(&pause, None).await.expect("it starts");
        let joined = Some(format!("container:{pause}"));
        let web = ContainerCreateBody {
            image: Some(IMAGE.into()),
            entrypoint: Some(shell("sleep 1000")),
            labels: Some(labels),
            host_config: Some(HostConfig { network_mode: joined.clone(), ipc_mode: joined, ..Default::default() }),
            ..Default::default()
        };
        let web = docker.create_container(Some(name("web")), web).await.expect("it is made").id;
        docker.start_container(&web, None).await.expect("it starts");
        let taken = began.elapsed();
        for id in [web, pause] {
            let force = RemoveContainerOptionsBuilder::default().force(true).build();
            docker.remove_container(&id, Some(force)).await.expect("it goes");
        }
        taken
    });
    taken.expect("the daemon answers")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
