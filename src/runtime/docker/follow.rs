//! Follows the daemon: connects, lists, reports what happens unasked, and begins again when that ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bollard::models::{EventMessage, SystemInfo, SystemInfoCgroupDriverEnum};
use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval};

use crate::kubelet::action::{ContainerState, ListedPod, Observation, PodEvent, PodRef, RuntimeInfo, labels};

use super::client::Client;
use super::error::Error;
use super::listing::{Phase, Phases, pod_from};
use super::{Engine, body, lock};

/// Events that change what a list would say. Those of exec and health checks would flood us.
const ACTIONS: [&str; 4] = ["create", "start", "die", "destroy"];
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A daemon that hangs keeps its event stream open: every so many seconds it is asked whether it lives.
const PING_EVERY: u64 = 5;
/// Every so many seconds a list is compared with what events told.
const COMPARE_EVERY: u64 = 30;

/// Follows the daemon until the shutdown token is cancelled.
pub async fn run(engine: &Arc<Engine>) {
    let shutdown = engine.shutdown.clone();
    shutdown.run_until_cancelled(follow_for_ever(engine)).await;
}

async fn follow_for_ever(engine: &Engine) {
    let mut wait = SHORTEST_WAIT;
    let mut outage = Outage::default();
    loop {
        let began = Instant::now();
        let mut session =
            Session { engine, outage: &mut outage, seen: Phases::new(), info: RuntimeInfo::default(), listed: false };
        let error = match session.run().await {
            Ok(()) => unreachable_ending(engine),
            Err(error) => error,
        };
        let message = error.to_string();
        *lock(&engine.client) = Err(message.clone());
        engine.network_ready.store(false, Ordering::Relaxed);
        if began.elapsed() > LONGEST_WAIT {
            wait = SHORTEST_WAIT;
        }
        // A connection that only broke is tried again before anybody is told.
        let broke = session.listed && !matches!(error, Error::Late { .. });
        if !broke && outage.goes_on(&message) {
            engine.reporter.send(Observation::Down { message }).await;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// How long the daemon is away, as far as anybody was told.
#[derive(Debug, Default)]
struct Outage {
    /// Why, as it was told last; `None` if the daemon answers.
    told: Option<String>,
}

impl Outage {
    /// Notes that there is no daemon, which is logged once. Returns whether that, or `why`, is new.
    fn goes_on(&mut self, why: &str) -> bool {
        let before = self.told.replace(why.to_owned());
        if before.is_none() {
            tracing::warn!("container runtime is down: {why}");
        }
        before.as_deref() != Some(why)
    }

    /// Notes that the daemon answers.
    fn ends(&mut self, version: &str) {
        if self.told.take().is_some() {
            tracing::info!("container runtime is up again: {version}");
        }
    }
}

/// The event stream ends without an error when the daemon stops.
fn unreachable_ending(engine: &Engine) -> Error {
    let socket = engine.config.socket.display().to_string();
    Error::Unreachable { socket, reason: "the connection was closed".into() }
}

/// One connection to the daemon.
struct Session<'a> {
    engine: &'a Engine,
    outage: &'a mut Outage,
    /// What lists and events have told so far.
    seen: Phases,
    info: RuntimeInfo,
    listed: bool,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let engine = self.engine;
        // The stream replays from before the list on: nothing falls between the two, and told twice is no harm.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let client = Client::connect(&engine.config.socket).await?;
        let info = client.info().await?;
        engine.systemd.store(info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD), Ordering::Relaxed);
        self.info = describe(info);
        *lock(&engine.client) = Ok(client.clone());
        if let Err(error) = engine.ensure_network().await {
            tracing::warn!(%error, "the pod network is not in place");
        }
        self.list(&client).await?;
        let mut events = client.events(&body::node_label(&engine.config.node), &ACTIONS, &since);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut age = 0_u64;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.happened(event?).await,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    age += 1;
                    self.look_after(&client, age).await?;
                }
            }
        }
    }

    async fn look_after(&mut self, client: &Client, age: u64) -> Result<(), Error> {
        if age.is_multiple_of(PING_EVERY) {
            client.ping().await?;
        }
        if self.engine.doubtful.swap(false, Ordering::Relaxed) {
            return self.list(client).await;
        }
        if age.is_multiple_of(COMPARE_EVERY) && self.engine.phases(client).await? != self.seen {
            // It may only be that an event is still on its way: told again, no harm is done.
            return self.list(client).await;
        }
        Ok(())
    }

    /// Lists all that is there and reports it. Reports of workers wait meanwhile: what they say is newer than the list.
    async fn list(&mut self, client: &Client) -> Result<(), Error> {
        let engine = self.engine;
        let _turn = engine.reporter.turn.lock().await;
        let phases = engine.phases(client).await?;
        let pods = engine.pods(client, phases.keys().cloned().collect()).await?;
        remember(engine, &pods);
        self.seen = phases;
        self.listed = true;
        self.outage.ends(&self.info.version);
        engine.reporter.send(Observation::Listed { pods, info: self.info.clone() }).await;
        Ok(())
    }

    async fn happened(&mut self, event: EventMessage) {
        let Some((id, attributes)) = event.actor.and_then(|a| Some((a.id?, a.attributes?))) else { return };
        let Some(pod) = pod_from(|name| attributes.get(name).map(String::as_str)) else { return };
        let is_sandbox = attributes.get(labels::TYPE).is_some_and(|t| t == body::SANDBOX);
        match event.action.as_deref() {
            Some("create") => self.appeared(&pod, id, Phase::Created),
            Some("start") => self.appeared(&pod, id, Phase::Running),
            Some("die") => {
                self.seen.insert(id.clone(), Phase::Exited);
                self.died(&pod, &id, is_sandbox).await;
            }
            Some("destroy") => {
                self.seen.remove(&id);
                self.vanished(&pod, &id);
            }
            _ => {}
        }
    }

    /// What appears that no worker made is of a call that we gave up on; what starts again was started by somebody else.
    fn appeared(&mut self, pod: &PodRef, id: String, phase: Phase) {
        let known = lock(&self.engine.pods).get_mut(&pod.uid).is_some_and(|known| {
            known.ended.remove(&id);
            known.busy || known.own.contains(&id)
        });
        let before = self.seen.insert(id, phase);
        if !known || (before == Some(Phase::Exited) && phase == Phase::Running) {
            self.engine.doubtful.store(true, Ordering::Relaxed);
        }
    }

    async fn died(&self, pod: &PodRef, id: &str, is_sandbox: bool) {
        let engine = self.engine;
        let tell = match lock(&engine.pods).get_mut(&pod.uid) {
            None => false,
            Some(known) if known.removing => false,
            Some(known) if known.starting.as_deref() == Some(id) => {
                known.died_early = true;
                false
            }
            Some(known) if is_sandbox => known.sandbox.take_if(|s| s == id).is_some(),
            Some(known) => known.ended.insert(id.to_owned()),
        };
        match (tell, is_sandbox) {
            (true, true) => engine.report(pod, PodEvent::SandboxDied).await,
            (true, false) => engine.report_exit(pod, id).await,
            (false, _) => {}
        }
    }

    /// What is destroyed that no worker removed was removed by somebody else.
    fn vanished(&self, pod: &PodRef, id: &str) {
        let robbed = lock(&self.engine.pods).get_mut(&pod.uid).is_some_and(|known| {
            known.ended.remove(id);
            !known.removing && known.own.contains(id)
        });
        if robbed {
            self.engine.doubtful.store(true, Ordering::Relaxed);
        }
    }
}

/// Takes over what a list says about pods that no worker is at.
fn remember(engine: &Engine, pods: &[ListedPod]) {
    let mut known = lock(&engine.pods);
    known.retain(|uid, pod| pod.busy || pods.iter().any(|p| p.pod.uid == *uid));
    for listed in pods {
        let pod = known.entry(listed.pod.uid).or_default();
        let sandbox = listed.sandbox.as_ref().map(|s| s.id.clone());
        let ended = listed.containers.iter().filter(|c| matches!(c.state, ContainerState::Exited(_)));
        pod.ended.extend(ended.map(|c| c.id.clone()));
        pod.own.extend(listed.containers.iter().map(|c| c.id.clone()).chain(sandbox.clone()));
        if !pod.busy {
            pod.sandbox = sandbox;
        }
    }
}

fn describe(info: SystemInfo) -> RuntimeInfo {
    // As Go names them, which is how Kubernetes does.
    let architecture = match info.architecture.as_deref().unwrap_or_default() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        other => other,
    };
    RuntimeInfo {
        version: format!("docker://{}", info.server_version.unwrap_or_default()),
        os_image: info.operating_system.unwrap_or_default(),
        kernel: info.kernel_version.unwrap_or_default(),
        architecture: architecture.to_owned(),
        operating_system: info.os_type.unwrap_or_default(),
        cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        memory: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let news = tracing::subscriber::with_default(subscriber, || {
            let mut outage = Outage::default();
            outage.ends("docker://27.1.0");
            let whys = ["cannot reach Docker at /run/d.sock: no answer", "the same", "the same"];
            let news = whys.map(|why| outage.goes_on(why));
            outage.ends("docker://27.1.0");
            outage.ends("docker://27.1.0");
            news
        });
        assert_eq!(news, [true, true, false], "another reason is news, but not worth another line");
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = logged.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "WARN container runtime is down: cannot reach Docker at /run/d.sock: no answer",
                "INFO container runtime is up again: docker://27.1.0",
            ]
        );
    }
}
