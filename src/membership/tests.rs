//! Stories of two to five members on a clock.

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn id(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One machine whose peers answer or not.
struct Rig {
    machine: Membership,
    now: Mono,
    start: Mono,
    /// Who answers.
    answering: BTreeSet<NodeId>,
    /// Time since the start and what changed.
    changes: Vec<(Duration, NodeId, State)>,
    /// How many probes each tick sent.
    probes: Vec<usize>,
}

impl Rig {
    fn new(peers: u8) -> Self {
        let start = Mono(ms(77_777));
        let mut machine = Membership::new(Config::default());
        let answering: BTreeSet<_> = (1..=peers).map(id).collect();
        assert_eq!(machine.handle(start, Input::Members(answering.clone())), []);
        Self { machine, now: start, start, answering, changes: Vec::new(), probes: Vec::new() }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = self.now + TICK;
            let outputs = self.machine.handle(self.now, Input::Tick);
            let probes = outputs.iter().filter(|o| matches!(o, Output::Send { .. })).count();
            self.probes.push(probes);
            self.take(outputs);
        }
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { to, message: Message::Probe(number) } if self.answering.contains(&to) => {
                    self.receive(to, Message::Ack(number));
                }
                Output::Send { .. } => {}
                Output::Changed { peer, state } => self.changes.push((self.now.since(self.start), peer, state)),
            }
        }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        let outputs = self.machine.handle(self.now, Input::Received { from, message });
        self.take(outputs);
    }
}

#[test]
fn a_cut_member_is_unreachable_after_two_seconds_and_lost_after_seven() {
    for cut in (1_000..1_400).step_by(100) {
        let mut rig = Rig::new(3);
        rig.run(ms(cut));
        rig.answering.remove(&id(2));
        rig.run(ms(10_000));
        let [(first, _, State::Unreachable), (second, _, State::Lost)] = rig.changes[..] else {
            panic!("{:?}", rig.changes)
        };
        assert!((ms(cut + 2_000)..=ms(cut + 2_500)).contains(&first), "cut at {cut}: {first:?}");
        assert!((ms(cut + 7_000)..=ms(cut + 7_500)).contains(&second), "cut at {cut}: {second:?}");
        assert_eq!(rig.machine.state(&id(2)), State::Lost);
        assert_eq!(rig.machine.state(&id(1)), State::Alive);
    }
}

#[test]
fn a_lost_member_that_answers_is_alive_at_once() {
    let mut rig = Rig::new(1);
    rig.answering.clear();
    rig.run(ms(9_000));
    rig.answering.insert(id(1));
    rig.run(ms(500));
    assert_eq!(rig.changes.last().map(|c| c.2), Some(State::Alive));
    assert_eq!(rig.changes.len(), 3);
}

#[test]
fn probes_of_others_are_answered_and_are_no_sign_of_life() {
    let mut rig = Rig::new(1);
    rig.answering.clear();
    for number in 0..100 {
        rig.run(TICK);
        let input = Input::Received { from: id(1), message: Message::Probe(number) };
        let answer = rig.machine.handle(rig.now, input);
        assert_eq!(answer, [Output::Send { to: id(1), message: Message::Ack(number) }]);
    }
    assert_eq!(rig.machine.state(&id(1)), State::Lost);
}

#[test]
fn an_answer_to_no_probe_of_ours_says_nothing() {
    let mut rig = Rig::new(2);
    rig.answering.clear();
    for number in 0..100 {
        rig.run(TICK);
        rig.receive(id(1), Message::Ack(number));
        rig.receive(id(1), Message::Ack(u64::MAX));
        rig.receive(id(9), Message::Ack(number));
    }
    assert_eq!(rig.machine.state(&id(1)), State::Lost);
    assert_eq!(rig.machine.state(&id(9)), State::Lost, "a stranger is lost");
}

#[test]
fn a_node_that_was_suspended_declares_nobody_lost() {
    let mut rig = Rig::new(4);
    rig.run(ms(3_000));
    // A probe is on its way when the lid closes.
    rig.answering.clear();
    rig.run(ms(500));
    rig.now = rig.now + ms(30_000);
    // An answer that is not to the oldest probe comes before the first tick.
    rig.receive(id(1), Message::Ack(1));
    rig.answering = (1..=4).map(id).collect();
    rig.run(ms(5_000));
    assert_eq!(rig.changes, []);
}

#[test]
fn a_slow_node_still_notices() {
    let mut rig = Rig::new(1);
    rig.answering.clear();
    for _ in 0..60 {
        rig.now = rig.now + ms(1_100);
        let outputs = rig.machine.handle(rig.now, Input::Tick);
        rig.take(outputs);
    }
    assert_eq!(rig.machine.state(&id(1)), State::Lost);
}

#[test]
fn one_lost_answer_in_three_changes_nothing() {
    let mut rig = Rig::new(2);
    for round in 0..200 {
        rig.answering = if round % 3 == 0 { BTreeSet::new() } else { [id(1), id(2)].into() };
        rig.run(ms(400));
    }
    assert_eq!(rig.changes, []);
}

#[test]
fn probes_are_spread_and_come_every_period() {
    let mut rig = Rig::new(8);
    rig.run(ms(4_400));
    let settled = &rig.probes[4..];
    assert!(settled.iter().all(|n| *n == 2), "{settled:?}");
}

#[test]
fn members_come_and_go_and_a_new_one_counts_as_alive() {
    let mut rig = Rig::new(1);
    rig.run(ms(1_000));
    assert_eq!(rig.machine.state(&id(2)), State::Lost);
    let members: BTreeSet<_> = [id(1), id(2)].into();
    assert_eq!(rig.machine.handle(rig.now, Input::Members(members)), []);
    assert_eq!(rig.machine.state(&id(2)), State::Alive);
    rig.run(ms(10_000));
    assert_eq!(rig.changes.len(), 2, "the new one never answered: {:?}", rig.changes);
    assert_eq!(rig.machine.handle(rig.now, Input::Members(BTreeSet::new())), []);
    assert_eq!(rig.machine.state(&id(1)), State::Lost);
    rig.probes.clear();
    rig.run(ms(1_000));
    assert!(rig.probes.iter().all(|n| *n == 0));
}

#[test]
fn messages_survive_the_wire_and_garbage_is_refused() {
    for message in [Message::Probe(0), Message::Ack(u64::MAX)] {
        assert_eq!(Message::of_bytes(&message.to_bytes()), Ok(message));
        assert!(message.to_bytes().len() <= 12);
    }
    for bytes in [&[][..], &[0xff], &[0x82, 0x05, 0x81, 0x00], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]] {
        assert!(Message::of_bytes(bytes).is_err(), "{bytes:?}");
    }
}
