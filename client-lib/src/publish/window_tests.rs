//! The window against a model of the broker, under refusals, timeouts and lost connections.

use super::*;
use proptest::prelude::*;

fn event(id: u32, deadline_ms: u64) -> Pending {
    Pending {
        topic: Arc::from("t"),
        body: Bytes::copy_from_slice(&id.to_be_bytes()),
        expires_at_ms: None,
        started_ms: 0,
        deadline_ms,
        wants_receipt: false,
        slot: id,
    }
}

fn refusal(code: Code) -> Refusal {
    Refusal { refused: Refused::new(code, "", "no"), retry_ms: None }
}

/// Sequences and skips that the window wants written now, as text.
fn written(window: &mut Window, now_ms: u64) -> String {
    let mut out = Vec::new();
    while let Some(outgoing) = window.next_outgoing(now_ms) {
        out.push(match outgoing {
            Outgoing::Skip { from, through } => format!("skip {from}-{through}"),
            Outgoing::Publish { sequence, .. } => sequence.to_string(),
        });
    }
    out.join(" ")
}

fn window_of(count: u32) -> Window {
    let mut window = Window::default();
    (1..=count).for_each(|id| window.push(event(id, 1_000)));
    window
}

#[test]
fn a_permanent_refusal_fails_one_skips_it_and_writes_the_rest_again() {
    let mut window = window_of(5);
    let mut told = Vec::new();
    let mut tell = |slot, fate| told.push((slot, fate));
    assert_eq!(written(&mut window, 0), "1 2 3 4 5");
    window.on_accepted(1, Code::Durable, 2, &mut tell);
    window.on_refusal(2, &refusal(Code::Forbidden), 0, &mut tell);
    for blocked in 3..=5 {
        window.on_refusal(blocked, &refusal(Code::Blocked), 0, &mut tell);
    }
    assert_eq!(written(&mut window, 0), "skip 2-2 3 4 5");
    for sequence in 3..=5 {
        window.on_accepted(sequence, Code::Durable, 0, &mut tell);
    }
    assert_eq!(told.len(), 5);
    assert_eq!(told[0], (1, Fate::Accepted { sequence: 1, code: Code::Durable, destinations: 2 }));
    assert_eq!(told[1], (2, Fate::Refused(Refused::new(Code::Forbidden, "", "no"))));
    assert_eq!((window.outstanding(), window.flying.len()), ((0, 0), 0));
}

#[test]
fn a_refusal_for_now_writes_it_again_after_the_wait() {
    let mut window = window_of(3);
    let mut tell = |_, fate| panic!("told {fate:?}");
    assert_eq!(written(&mut window, 0), "1 2 3");
    let later = Refusal { retry_ms: Some(70), ..refusal(Code::Quota) };
    window.on_refusal(1, &later, 100, &mut tell);
    assert_eq!((written(&mut window, 169), window.holds_until_ms()), (String::new(), Some(170)));
    assert_eq!(written(&mut window, 170), "1 2 3");
}

#[test]
fn out_of_time_is_not_stored_when_refused_and_unknown_when_written() {
    let mut window = window_of(2);
    window.push(event(3, 5_000));
    let mut told = Vec::new();
    assert_eq!(written(&mut window, 0), "1 2 3");
    window.on_refusal(2, &refusal(Code::StoreFull), 0, &mut |slot, fate| told.push((slot, fate)));
    window.push(event(4, 900));
    window.expire(1_000, &mut |slot, fate| told.push((slot, fate)));
    assert_eq!(told[0], (1, Fate::Unknown("no receipt came in time")));
    assert!(matches!(&told[1], (2, Fate::TimedOut { last: Some(last), .. }) if last.code == Code::StoreFull));
    assert!(matches!(&told[2], (4, Fate::TimedOut { .. })));
    assert_eq!(written(&mut window, 2_000), "skip 2-2 3");
    assert_eq!(window.outstanding().0, 1);
}

#[test]
fn resuming_tells_what_was_accepted_and_skips_what_was_forgotten() {
    let mut window = window_of(4);
    let mut told = Vec::new();
    assert_eq!(written(&mut window, 0), "1 2 3 4");
    window.on_disconnect();
    window.on_resume(3, &mut |slot, fate| told.push((slot, fate)));
    assert_eq!(told.len(), 2);
    assert!(matches!(told[1], (2, Fate::Accepted { code: Code::Duplicate, destinations: 0, .. })));
    assert_eq!(written(&mut window, 0), "3 4");
    // 3 is refused and given up, 4 accepted, but the broker that comes back knows neither.
    window.on_refusal(3, &refusal(Code::TooLarge), 0, &mut |_, _| {});
    assert_eq!(written(&mut window, 0), "skip 3-3 4");
    window.on_accepted(4, Code::Durable, 0, &mut |_, _| {});
    window.on_resume(3, &mut |_, _| {});
    window.push(event(5, 1_000));
    assert_eq!(written(&mut window, 0), "skip 3-4 5");
}

#[test]
fn an_unknown_epoch_makes_what_was_written_unknown_and_keeps_the_rest() {
    let mut window = window_of(3);
    let mut told = Vec::new();
    assert!(window.next_outgoing(0).is_some());
    window.on_disconnect();
    window.on_gone("gone", &mut |slot, fate| told.push((slot, fate)));
    window.on_new_epoch(1, &mut |slot, fate| told.push((slot, fate)));
    assert_eq!(told, [(1, Fate::Unknown("gone"))]);
    assert_eq!(written(&mut window, 0), "1 2");
    // Refused for now: certainly not stored, so still worth publishing.
    window.on_refusal(1, &refusal(Code::Unavailable), 0, &mut |_, _| {});
    window.on_gone("gone", &mut |_, fate| panic!("told {fate:?}"));
    window.on_new_epoch(1, &mut |_, fate| panic!("told {fate:?}"));
    assert_eq!((written(&mut window, 60), window.outstanding().0), ("1 2".into(), 2));
}

/// What the broker does with the next sequence that it expects.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Accept,
    Refuse(Code),
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Write(u8),
    /// The broker handles frames; one of these may be refused.
    Handle(u8, Mood),
    Receive(u8),
    Pass(u16),
    /// The connection is lost after the broker has handled some more.
    Lose(u8),
    /// As `Lose`, and the broker has forgotten the epoch.
    Forget(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mood = prop_oneof![
        5 => Just(Mood::Accept),
        1 => Just(Mood::Refuse(Code::Forbidden)),
        1 => Just(Mood::Refuse(Code::TooLarge)),
        1 => Just(Mood::Refuse(Code::Quota)),
        1 => Just(Mood::Refuse(Code::StoreFull)),
    ];
    let step = prop_oneof![
        6 => (1u8..6).prop_map(Step::Push),
        6 => (1u8..8).prop_map(Step::Write),
        6 => ((1u8..8), mood).prop_map(|(count, mood)| Step::Handle(count, mood)),
        6 => (1u8..8).prop_map(Step::Receive),
        3 => (1u16..400).prop_map(Step::Pass),
        2 => (0u8..6).prop_map(Step::Lose),
        1 => (0u8..6).prop_map(Step::Forget),
    ];
    proptest::collection::vec(step, 1..120)
}

#[derive(Debug)]
enum Wire {
    Publish(u64, u32),
    Skip(u64, u64),
}

/// The broker of PROTOCOL.md 5.6, its log, and what is under way to and from it.
#[derive(Default)]
struct Model {
    next: u64,
    log: Vec<u32>,
    wire: VecDeque<Wire>,
    receipts: VecDeque<(u64, Code)>,
}

impl Model {
    fn handle(&mut self, mood: &mut Mood) {
        match self.wire.pop_front() {
            None => {}
            // A skip beyond what is expected is blocked like everything else.
            Some(Wire::Skip(from, through)) if from <= self.next => self.next = self.next.max(through + 1),
            Some(Wire::Skip(..)) => {}
            Some(Wire::Publish(sequence, _)) if sequence != self.next => {
                let code = if sequence < self.next { Code::Duplicate } else { Code::Blocked };
                self.receipts.push_back((sequence, code));
            }
            Some(Wire::Publish(sequence, id)) => match std::mem::replace(mood, Mood::Accept) {
                Mood::Accept => {
                    self.next += 1;
                    self.log.push(id);
                    self.receipts.push_back((sequence, Code::Durable));
                }
                Mood::Refuse(code) => self.receipts.push_back((sequence, code)),
            },
        }
    }
}

struct Run {
    window: Window,
    model: Model,
    fates: Vec<Option<Fate>>,
    now_ms: u64,
}

impl Run {
    fn step(&mut self, step: &Step) {
        let Run { window, model, fates, now_ms } = self;
        let now = *now_ms;
        match *step {
            Step::Push(count) => {
                for _ in 0..count {
                    window.push(event(fates.len() as u32, now + 500));
                    fates.push(None);
                }
            }
            Step::Write(count) => {
                for _ in 0..count {
                    match window.next_outgoing(now) {
                        None => break,
                        Some(Outgoing::Skip { from, through }) => {
                            model.wire.push_back(Wire::Skip(from, through));
                        }
                        Some(Outgoing::Publish { sequence, body, .. }) => {
                            let id = u32::from_be_bytes(body[..].try_into().unwrap());
                            model.wire.push_back(Wire::Publish(sequence, id));
                        }
                    }
                }
            }
            Step::Handle(count, mut mood) => (0..count).for_each(|_| model.handle(&mut mood)),
            Step::Receive(count) => {
                for _ in 0..count {
                    let Some((sequence, code)) = model.receipts.pop_front() else { break };
                    let tell = &mut teller(fates);
                    match code.is_success() {
                        true => window.on_accepted(sequence, code, 0, tell),
                        false => window.on_refusal(sequence, &refusal(code), now, tell),
                    }
                }
            }
            Step::Pass(ms) => {
                *now_ms += u64::from(ms);
                window.expire(*now_ms, &mut teller(fates));
            }
            Step::Lose(handled) | Step::Forget(handled) => {
                (0..handled).for_each(|_| model.handle(&mut Mood::Accept));
                model.wire.clear();
                model.receipts.clear();
                window.on_disconnect();
                let tell = &mut teller(fates);
                if matches!(step, Step::Forget(_)) {
                    window.on_gone("gone", tell);
                    window.on_new_epoch(1, tell);
                    model.next = 1;
                } else {
                    window.on_resume(model.next, tell);
                }
            }
        }
    }

    fn heal(&mut self) {
        for _ in 0..10_000 {
            self.now_ms += 1; // backoffs end, deadlines are not looked at
            for step in [Step::Write(100), Step::Handle(100, Mood::Accept), Step::Receive(100)] {
                self.step(&step);
            }
            if self.window.outstanding().0 == 0 {
                return;
            }
        }
        panic!("the window does not heal: {:?}", self.window);
    }
}

fn teller(fates: &mut [Option<Fate>]) -> impl FnMut(SlotId, Fate) + '_ {
    |slot, fate| {
        let before = fates[slot as usize].replace(fate);
        assert_eq!(before, None, "event {slot} has two fates");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn each_event_is_accepted_once_in_order_or_its_fate_says_otherwise(steps in steps()) {
        let model = Model { next: 1, ..Default::default() };
        let mut run = Run { window: Window::default(), model, fates: Vec::new(), now_ms: 0 };
        steps.iter().for_each(|step| run.step(step));
        run.heal();
        let log = &run.model.log;
        prop_assert!(log.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {log:?}");
        for (id, fate) in run.fates.iter().enumerate() {
            let is_stored = log.binary_search(&(id as u32)).is_ok();
            match fate {
                Some(Fate::Accepted { .. }) => prop_assert!(is_stored, "{id} is acked and lost"),
                Some(Fate::Unknown(_)) => {}
                Some(fate) => prop_assert!(!is_stored, "{id} is stored, but {fate:?}"),
                None => prop_assert!(false, "{id} has no fate"),
            }
        }
        prop_assert_eq!(run.window.outstanding(), (0, 0));
        prop_assert!(run.window.queue.is_empty());
    }
}
