//! Startup, liveness and readiness probes of one start of a container: when to ask, and what the answers mean.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::time::Mono;

use super::action::{ProbeHandler, ProbeId, ProbeKind, ProbeSpec};

/// How much longer than its timeout a probe may take before it counts as failed without an answer.
const OVERDUE: Duration = Duration::from_secs(10);

/// The probes of one start of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    probers: Vec<Prober>,
    running_since: Mono,
    /// Whether the startup probe has succeeded, or there is none.
    pub started: bool,
    /// Whether the readiness probe says so, or there is none.
    pub ready: bool,
    /// A probe has condemned this start: no more questions.
    condemned: bool,
}

#[derive(Clone, Debug)]
struct Prober {
    kind: ProbeKind,
    probe: Probe,
    next: Mono,
    /// A question is out, and when it counts as failed without an answer.
    asked: Option<Mono>,
    /// How many answers in a row were the same.
    run: i32,
    last: Option<bool>,
}

/// What an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// `started` or `ready` is another now.
    Changed,
    /// The container must be restarted, within this grace if the probe has one of its own.
    Condemned(Option<i64>),
}

impl Probes {
    /// Begins to probe a container that runs since `since`. One that was `started` or `ready` before this agent
    /// was restarted is so until a probe says otherwise.
    pub fn begin(container: &Container, since: Mono, started: bool, ready: bool) -> Self {
        let mut probers = Vec::new();
        for (kind, probe) in [
            (ProbeKind::Startup, &container.startup_probe),
            (ProbeKind::Liveness, &container.liveness_probe),
            (ProbeKind::Readiness, &container.readiness_probe),
        ] {
            if let Some(probe) = probe {
                let next = since + secs(probe.initial_delay_seconds, 0);
                probers.push(Prober { kind, probe: probe.clone(), next, asked: None, run: 0, last: None });
            }
        }
        let started = started || container.startup_probe.is_none();
        let ready = started && (ready || container.readiness_probe.is_none());
        Self { probers, running_since: since, started, ready, condemned: false }
    }

    /// Returns when the next question or verdict is due. Commands wait for a runtime that is `up`.
    pub fn due(&self, up: bool) -> Option<Mono> {
        let waits = |p: &&Prober| self.active(p.kind) && (up || !p.needs_runtime());
        self.probers.iter().filter(waits).map(|p| p.asked.unwrap_or(p.next)).min()
    }

    fn active(&self, kind: ProbeKind) -> bool {
        !self.condemned && (kind == ProbeKind::Startup) != self.started
    }

    /// Returns the questions that are due at `now`; with an error, one that cannot even be asked.
    pub fn ask(&mut self, now: Mono, asked: &Asked<'_>) -> Vec<Result<ProbeSpec, (ProbeKind, String)>> {
        let mut out = Vec::new();
        let (started, condemned) = (self.started, self.condemned);
        for p in &mut self.probers {
            let active = !condemned && (p.kind == ProbeKind::Startup) != started;
            if !active || p.asked.is_some() || p.next > now || !asked.up && p.needs_runtime() {
                continue;
            }
            let timeout = secs(p.probe.timeout_seconds, 1);
            p.next = now + secs(p.probe.period_seconds, 10);
            out.push(match handler(&p.probe, asked.container, asked.address) {
                Ok(handler) => {
                    p.asked = Some(now + timeout + OVERDUE);
                    let id = ProbeId { container: asked.container.name.clone(), attempt: asked.attempt, probe: p.kind };
                    Ok(ProbeSpec { id, container: asked.id.to_owned(), handler, timeout })
                }
                Err(message) => Err((p.kind, message)),
            });
        }
        out
    }

    /// Returns the kinds of probe whose answer is overdue.
    pub fn overdue(&self, now: Mono) -> Vec<ProbeKind> {
        self.probers.iter().filter(|p| p.asked.is_some_and(|at| at <= now)).map(|p| p.kind).collect()
    }

    /// Tells whether an answer is waited for.
    pub fn is_asked(&self, kind: ProbeKind) -> bool {
        self.probers.iter().any(|p| p.kind == kind && p.asked.is_some())
    }

    /// Takes an answer. While the runtime is not `up` nothing is condemned, for nobody could carry it out: failures
    /// count on, and the first one after that tips the scale.
    pub fn answered(&mut self, now: Mono, kind: ProbeKind, ok: bool, up: bool) -> Verdict {
        let active = self.active(kind);
        let Some(p) = self.probers.iter_mut().find(|p| p.kind == kind) else { return Verdict::Nothing };
        if p.asked.take().is_none() || !active {
            return Verdict::Nothing;
        }
        p.run = if p.last == Some(ok) { p.run.saturating_add(1) } else { 1 };
        p.last = Some(ok);
        let threshold =
            if ok { p.probe.success_threshold.unwrap_or(1) } else { p.probe.failure_threshold.unwrap_or(3) };
        if p.run < threshold {
            return Verdict::Nothing;
        }
        let grace = p.probe.termination_grace_period_seconds;
        match (kind, ok) {
            (ProbeKind::Startup, true) => self.begun(now),
            (ProbeKind::Startup | ProbeKind::Liveness, false) if up => {
                self.condemned = true;
                Verdict::Condemned(grace)
            }
            (ProbeKind::Readiness, ok) if ok != self.ready => {
                self.ready = ok;
                Verdict::Changed
            }
            _ => Verdict::Nothing,
        }
    }

    fn begun(&mut self, now: Mono) -> Verdict {
        self.started = true;
        self.ready = self.probers.iter().all(|p| p.kind != ProbeKind::Readiness);
        for p in &mut self.probers {
            p.next = now.max(self.running_since + secs(p.probe.initial_delay_seconds, 0));
        }
        Verdict::Changed
    }

    /// Forgets the questions that are out: nobody will answer them.
    pub fn forget_asked(&mut self) {
        for p in &mut self.probers {
            p.asked = None;
        }
    }

    /// Forgets those that a runtime which went away will not answer.
    pub fn forget_commands(&mut self) {
        for p in self.probers.iter_mut().filter(|p| p.needs_runtime()) {
            p.asked = None;
        }
    }
}

impl Prober {
    /// Tells whether only the runtime can ask: it runs commands in containers, while ports are reached without it.
    fn needs_runtime(&self) -> bool {
        self.probe.exec.is_some()
    }
}

/// Whom a probe asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub container: &'a Container,
    pub id: &'a str,
    pub attempt: u32,
    pub address: Ipv4Addr,
    /// Whether the runtime answers; without it no command can be run.
    pub up: bool,
}

fn secs(value: Option<i32>, default: u64) -> Duration {
    let secs = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    Duration::from_secs(secs.unwrap_or(default))
}

fn handler(probe: &Probe, container: &Container, address: Ipv4Addr) -> Result<ProbeHandler, String> {
    if probe.grpc.is_some() {
        return Err("gRPC probes are not supported".into());
    }
    let (exec, http, tcp) = (probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref());
    ask(exec, http, tcp, container, address, "kube-probe/1.33")
}

/// Translates what a probe or a hook does.
///
/// # Errors
/// The port has a name that the container does not know, or nothing is asked for.
pub(super) fn ask(
    exec: Option<&ExecAction>,
    http: Option<&HTTPGetAction>,
    tcp: Option<&TCPSocketAction>,
    container: &Container,
    address: Ipv4Addr,
    agent: &str,
) -> Result<ProbeHandler, String> {
    let host = |own: &Option<String>| own.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| address.to_string());
    if let Some(exec) = exec {
        return Ok(ProbeHandler::Exec { command: exec.command.clone().unwrap_or_default() });
    }
    if let Some(http) = http {
        let path = http.path.clone().unwrap_or_default();
        let mut headers: Vec<_> =
            http.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
        for (name, value) in [("User-Agent", agent), ("Accept", "*/*")] {
            if !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                headers.push((name.into(), value.into()));
            }
        }
        return Ok(ProbeHandler::Http {
            https: http.scheme.as_deref() == Some("HTTPS"),
            host: host(&http.host),
            port: port(&http.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers,
        });
    }
    if let Some(tcp) = tcp {
        return Ok(ProbeHandler::Tcp { host: host(&tcp.host), port: port(&tcp.port, container)? });
    }
    Err("missing probe handler".into())
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|p| p.name.as_ref() == Some(name)).map(|p| p.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    fn container(own: &Value) -> Container {
        let mut value = json!({"name": "web", "ports": [{"name": "http", "containerPort": 8080}]});
        value.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn questions(probes: &mut Probes, container: &Container, secs: u64) -> Vec<ProbeKind> {
        let asked = Asked { container, id: "c1", attempt: 0, address: [10, 0, 0, 7].into(), up: true };
        probes.ask(at(secs), &asked).into_iter().map(|q| q.unwrap().id.probe).collect()
    }

    const TCP: &str = r#"{"tcpSocket": {"port": 80}, "periodSeconds": 5, "initialDelaySeconds": 2}"#;

    fn tcp() -> Value {
        serde_json::from_str(TCP).unwrap()
    }

    #[test]
    fn readiness_is_false_until_it_succeeds_and_flips_at_its_thresholds() {
        let web = container(&json!({"readinessProbe": tcp()}));
        let mut probes = Probes::begin(&web, at(100), false, false);
        assert_eq!((probes.started, probes.ready, probes.due(true)), (true, false, Some(at(102))));
        assert_eq!(questions(&mut probes, &web, 101), []);
        assert_eq!(questions(&mut probes, &web, 102), [ProbeKind::Readiness]);
        assert_eq!(questions(&mut probes, &web, 107), [], "one question at a time");
        assert_eq!(probes.answered(at(107), ProbeKind::Readiness, true, true), Verdict::Changed);
        assert!(probes.ready);
        for (t, verdict) in [(107, Verdict::Nothing), (112, Verdict::Nothing), (117, Verdict::Changed)] {
            assert_eq!(questions(&mut probes, &web, t), [ProbeKind::Readiness]);
            assert_eq!(probes.answered(at(t), ProbeKind::Readiness, false, true), verdict);
        }
        assert!(!probes.ready);
    }

    #[test]
    fn a_startup_probe_holds_the_others_back() {
        let web = container(&json!({"startupProbe": tcp(), "livenessProbe": tcp(), "readinessProbe": tcp()}));
        let mut probes = Probes::begin(&web, at(100), false, false);
        assert_eq!(questions(&mut probes, &web, 102), [ProbeKind::Startup]);
        assert_eq!(probes.answered(at(103), ProbeKind::Startup, true, true), Verdict::Changed);
        assert_eq!((probes.started, probes.ready), (true, false));
        assert_eq!(questions(&mut probes, &web, 103), [ProbeKind::Liveness, ProbeKind::Readiness]);
    }

    #[test]
    fn three_failures_of_liveness_condemn_the_container_once() {
        let web = container(&json!({"livenessProbe": tcp()}));
        let mut probes = Probes::begin(&web, at(0), false, false);
        for (t, verdict) in [(2, Verdict::Nothing), (7, Verdict::Nothing), (12, Verdict::Condemned(None))] {
            assert_eq!(questions(&mut probes, &web, t), [ProbeKind::Liveness]);
            assert_eq!(probes.answered(at(t), ProbeKind::Liveness, false, true), verdict);
        }
        assert_eq!((questions(&mut probes, &web, 30), probes.due(true)), (vec![], None));
    }

    #[test]
    fn nothing_is_condemned_and_no_command_asked_for_while_the_runtime_is_away() {
        let exec = json!({"exec": {"command": ["ok"]}, "periodSeconds": 1});
        let web = container(&json!({"livenessProbe": tcp(), "readinessProbe": exec}));
        let mut probes = Probes::begin(&web, at(0), false, false);
        assert_eq!(questions(&mut probes, &web, 2), [ProbeKind::Liveness, ProbeKind::Readiness]);
        probes.forget_commands();
        assert!(probes.is_asked(ProbeKind::Liveness) && !probes.is_asked(ProbeKind::Readiness));
        for t in [2, 7, 12, 17] {
            assert_eq!(probes.answered(at(t), ProbeKind::Liveness, false, false), Verdict::Nothing);
            assert_eq!(probes.due(false), Some(at(t + 5)), "a command is not waited for");
            let asked = Asked { container: &web, id: "c1", attempt: 0, address: [10, 0, 0, 7].into(), up: false };
            let kinds = probes.ask(at(t + 5), &asked).into_iter().map(|q| q.unwrap().id.probe);
            assert_eq!(kinds.collect::<Vec<_>>(), [ProbeKind::Liveness]);
        }
        assert_eq!(questions(&mut probes, &web, 23), [ProbeKind::Readiness]);
        assert_eq!(probes.answered(at(23), ProbeKind::Liveness, false, true), Verdict::Condemned(None));
    }

    #[test]
    fn what_was_ready_stays_so_after_an_agent_restart() {
        let web = container(&json!({"startupProbe": tcp(), "readinessProbe": tcp()}));
        let mut probes = Probes::begin(&web, at(100), true, true);
        assert_eq!((probes.started, probes.ready), (true, true));
        assert_eq!(questions(&mut probes, &web, 102), [ProbeKind::Readiness]);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_changes_nothing() {
        let web = container(&json!({"readinessProbe": tcp()}));
        let mut probes = Probes::begin(&web, at(0), false, false);
        assert_eq!(probes.answered(at(1), ProbeKind::Readiness, true, true), Verdict::Nothing);
        assert!(!probes.ready);
    }

    #[test]
    fn handlers_default_to_the_pods_address_and_know_named_ports() {
        let web = container(&json!({}));
        let build = |probe: Value| handler(&serde_json::from_value(probe).unwrap(), &web, [10, 0, 0, 7].into());
        let Ok(ProbeHandler::Http { https, host, port, path, .. }) =
            build(json!({"httpGet": {"port": "http", "path": "healthz", "scheme": "HTTPS"}}))
        else {
            panic!("an HTTP probe");
        };
        assert_eq!((https, host.as_str(), port, path.as_str()), (true, "10.0.0.7", 8080, "/healthz"));
        assert_eq!(
            build(json!({"tcpSocket": {"port": 81, "host": "192.0.2.1"}})),
            Ok(ProbeHandler::Tcp { host: "192.0.2.1".into(), port: 81 })
        );
        assert_eq!(build(json!({"tcpSocket": {"port": "nope"}})), Err("couldn't find port: \"nope\"".into()));
        assert_eq!(build(json!({"exec": {"command": ["ok"]}})), Ok(ProbeHandler::Exec { command: vec!["ok".into()] }));
    }
}
