//! Stories of two to five members on a clock.

use super::*;

const TICK: Duration = Duration::from_millis(100);

mod flock;
mod seeds;

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
        let mut machine = Membership::new(id(0), Config::default(), 1);
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

/// Runs for so many seconds while the hosts of some are dialled every second, and refuse.
fn refuse(rig: &mut Rig, refusing: &[u8], seconds: u64) {
    for _ in 0..seconds {
        for peer in refusing {
            let outputs = rig.machine.handle(rig.now, Input::Refused(id(*peer)));
            rig.take(outputs);
        }
        rig.run(ms(1_000));
    }
}

/// When a member came to be how, in seconds since the start.
fn history(rig: &Rig, peer: u8) -> Vec<(u64, State)> {
    let changes = rig.changes.iter().filter(|(_, of, _)| *of == id(peer));
    changes.map(|(at, _, state)| (at.as_secs(), *state)).collect()
}

#[test]
fn one_whose_host_refuses_is_unreachable_at_once_and_lost_after_thirty_seconds() {
    for peers in [3, 20] {
        let mut rig = Rig::new(peers);
        rig.run(ms(10_000));
        rig.answering.remove(&id(2));
        refuse(&mut rig, &[2], 40);
        let [(first, State::Unreachable), (second, State::Lost)] = history(&rig, 2)[..] else {
            panic!("of {peers}: {:?}", rig.changes)
        };
        // Of many it takes a while until it is its turn.
        assert!((10..if peers == 3 { 12 } else { 15 }).contains(&first), "of {peers}: {first}");
        assert!((first + 28..=41).contains(&second), "of {peers}: {first} and {second}");
        refuse(&mut rig, &[2], 5);
        assert_eq!(rig.changes.len(), 2, "it stays lost");
        if peers == 3 {
            rig.answering.insert(id(2));
            rig.run(ms(500));
            assert_eq!(rig.machine.state(&id(2)), State::Alive);
        }
    }
}

#[test]
fn a_host_that_falls_silent_has_no_grace() {
    for peers in [3, 20] {
        let mut rig = Rig::new(peers);
        rig.run(ms(10_000));
        rig.answering.remove(&id(2));
        refuse(&mut rig, &[2], 12);
        assert_eq!(rig.machine.state(&id(2)), State::Unreachable, "of {peers}");
        rig.run(ms(3_000));
        assert_eq!(rig.machine.state(&id(2)), State::Lost, "of {peers}");
        refuse(&mut rig, &[2], 3);
        assert_eq!(rig.machine.state(&id(2)), State::Lost, "it comes up again, and what was lost stays so");
    }
}

#[test]
fn a_refusal_says_nothing_of_one_that_answers() {
    for peers in [3, 20] {
        let mut rig = Rig::new(peers);
        rig.run(ms(3_000));
        refuse(&mut rig, &[1, 9], 20);
        assert_eq!(rig.changes, [], "of {peers}: answers come another way");
        assert_eq!(rig.machine.handle(rig.now, Input::Refused(id(99))), [], "a stranger");
    }
}

#[test]
fn who_has_grace_keeps_it_when_few_become_many() {
    let mut rig = Rig::new(16);
    rig.run(ms(1_000));
    rig.answering.remove(&id(7));
    refuse(&mut rig, &[7], 15);
    rig.answering.extend((17..=40).map(id));
    rig.machine.handle(rig.now, Input::Members((1..=40).map(id).collect()));
    refuse(&mut rig, &[7], 10);
    assert_eq!(history(&rig, 7).len(), 1, "{:?}", rig.changes);
    refuse(&mut rig, &[7], 10);
    assert_eq!(rig.machine.state(&id(7)), State::Lost);
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
fn who_is_lost_stays_lost_when_few_become_many() {
    let mut rig = Rig::new(16);
    rig.run(ms(1_000));
    rig.answering.remove(&id(7));
    rig.run(ms(10_000));
    rig.answering.extend((17..=40).map(id));
    rig.machine.handle(rig.now, Input::Members((1..=40).map(id).collect()));
    rig.run(ms(10_000));
    assert_eq!((rig.changes.len(), rig.machine.state(&id(7))), (2, State::Lost), "{:?}", rig.changes);
    // It hears of it and says that it lives.
    rig.receive(id(7), news(7, 1, &[]));
    assert_eq!(rig.machine.state(&id(7)), State::Alive);
}

/// One of many falls silent. Returns who is asked about it and who is told, if one of three helpers reaches it or none.
fn silence(reached: bool) -> (Vec<NodeId>, Vec<NodeId>) {
    let mut rig = Rig::new(20);
    rig.run(ms(1_000));
    rig.answering.remove(&id(7));
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        rig.now = rig.now + TICK;
        for output in rig.machine.handle(rig.now, Input::Tick) {
            let Output::Send { to, message: Message::Ask { number, about } } = output else {
                rig.take(vec![output]);
                continue;
            };
            assert_eq!(about, id(7));
            asked.push(to);
            let answers = reached && asked.len().is_multiple_of(3);
            let input = Input::Received { from: to, message: Message::Told { number, answers } };
            told.extend(rig.machine.handle(rig.now, input).into_iter().filter_map(|output| match output {
                Output::Send { to, message: Message::News(_) } => Some(to),
                _ => None,
            }));
        }
    }
    (asked, told)
}

#[test]
fn who_does_not_answer_is_asked_about_and_accused_only_if_others_do_not_reach_it_either() {
    let (asked, told) = silence(true);
    assert!(asked.len() >= 6 && asked.len().is_multiple_of(3), "{asked:?}");
    assert_eq!(told, []);
    let (asked, told) = silence(false);
    let helpers: BTreeSet<_> = asked.into_iter().take(3).collect();
    assert!(helpers.len() == 3 && !helpers.contains(&id(7)), "{helpers:?}");
    let told: BTreeSet<_> = told.into_iter().collect();
    assert!(told.len() == 5 && told.contains(&id(7)), "four others and itself: {told:?}");
}

#[test]
fn the_accused_refutes_and_who_is_behind_the_times_is_told() {
    let mut rig = Rig::new(20);
    rig.run(ms(1_000));
    let input = |from, message| Input::Received { from, message };
    let outputs = rig.machine.handle(rig.now, input(id(3), news(0, 4, &[5])));
    assert!(outputs.contains(&Output::Send { to: id(3), message: news(0, 5, &[]) }), "{outputs:?}");
    assert_eq!(outputs.len(), 5, "and four others: {outputs:?}");
    let outputs = rig.machine.handle(rig.now, input(id(4), news(0, 4, &[6])));
    assert_eq!(outputs, [Output::Send { to: id(4), message: news(0, 5, &[]) }], "that is over");

    rig.receive(id(9), news(8, 3, &[]));
    let outputs = rig.machine.handle(rig.now, input(id(4), news(8, 2, &[6])));
    assert_eq!(outputs, [Output::Send { to: id(4), message: news(8, 3, &[]) }]);
    rig.run(ms(20_000));
    assert_eq!(rig.changes, []);
}

#[test]
fn the_accused_of_many_has_less_time_than_the_accused_of_one() {
    let mut rig = Rig::new(20);
    rig.run(ms(1_000));
    rig.receive(id(1), news(8, 0, &[1]));
    rig.receive(id(1), news(9, 0, &[1, 2, 3]));
    rig.run(ms(20_000));
    let seconds: Vec<_> = rig.changes.iter().map(|(at, of, state)| (at.as_millis() / 500, *of, *state)).collect();
    assert_eq!(
        seconds,
        [
            (4, id(9), State::Unreachable),
            (10, id(8), State::Unreachable),
            (14, id(9), State::Lost),
            (20, id(8), State::Lost)
        ]
    );
}

fn news(about: u8, incarnation: u64, accusers: &[u8]) -> Message {
    let accusers = accusers.iter().copied().map(id).collect();
    Message::News(vec![Rumour { about: id(about), incarnation, accusers }])
}

#[test]
fn messages_survive_the_wire_and_garbage_is_refused() {
    for message in [Message::Probe(0), Message::Ack(u64::MAX)] {
        assert_eq!(Message::of_bytes(&message.to_bytes()), Ok(message.clone()));
        assert!(message.to_bytes().len() <= 12);
    }
    let longest = vec![Rumour { about: id(1), incarnation: u64::MAX, accusers: vec![id(2); 3] }; 32];
    let told = Message::Told { number: 7, answers: true };
    for message in [Message::Ask { number: 7, about: id(1) }, told, Message::News(longest)] {
        assert_eq!(Message::of_bytes(&message.to_bytes()), Ok(message));
    }
    let too_many = Rumour { about: id(1), incarnation: 0, accusers: vec![id(2); 4] };
    assert!(Message::of_bytes(&Message::News(vec![too_many.clone()]).to_bytes()).is_err());
    let short = Rumour { accusers: Vec::new(), ..too_many };
    assert!(Message::of_bytes(&Message::News(vec![short; 33]).to_bytes()).is_err());
    for bytes in [&[][..], &[0xff], &[0x82, 0x05, 0x81, 0x00], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]] {
        assert!(Message::of_bytes(bytes).is_err(), "{bytes:?}");
    }
}
