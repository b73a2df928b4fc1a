//! What is remembered of what is over: nothing that was taken or applied is forgotten before its time, whatever others do.
//! Refusals are, the oldest first; and who needs room where there is none is refused by name.

use crate::fixtures::{abandon, command, define, dimension, key, orders, pool_id, reservation_id, reserve_as};
use crate::owner_laws::Life;
use headroom::audit::PartitionAudit;
use headroom::domain::retention::{Bounds, Standing};
use headroom::domain::room::{of_parts, of_reservation};
use headroom::domain::*;
use headroom::limits::{COMMAND_SPAN_MS, DEDUP_WINDOW_MS, FORGET_SPAN_MS};
use headroom::log::CommitOutcome;
use headroom::replica::PartitionState;
use headroom::wire;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const START: Micros = Micros(1_000_000_000_000);
/// Longer than anything that is over is remembered.
const WINDOW_MS: u64 = DEDUP_WINDOW_MS + FORGET_SPAN_MS;

fn pool() -> PoolId {
    pool_id("van-1")
}

/// What a reservation without order and hold counts for, one with as many orders as its key says nothing of.
fn one() -> u64 {
    of_parts(&orders(1), None, (1, 0), Standing::Confirmed, false)
}

fn reserve(key_text: &str, units: u64) -> CommandBody {
    reserve_as(&pool(), reservation_id(&pool(), key_text), units)
}

fn adjust(delta: i64) -> CommandBody {
    let by = vec![(dimension("orders"), delta)];
    CommandBody::AdjustLimits { pool: pool(), change: LimitChange::By(by), expected_version: None }
}

fn release(key_text: &str) -> CommandBody {
    CommandBody::Release { reservation: reservation_id(&pool(), key_text) }
}

fn amend(key_text: &str, units: u64) -> CommandBody {
    CommandBody::Amend { reservation: reservation_id(&pool(), key_text), demand: orders(units) }
}

/// Kind and reason.
type Told = (EventKind, Option<Reason>);

fn refused(reason: Reason) -> Told {
    (EventKind::Rejected, Some(reason))
}

fn told(body: &EventBody) -> Told {
    (body.kind(), body.rejection().map(|rejection| rejection.reason))
}

/// A partition that is asked one thing after the other, a millisecond apart.
struct Asked {
    life: Life,
    bounds: Bounds,
    now: Micros,
}

impl Asked {
    fn new(bounds: Bounds, limit: u64) -> Asked {
        let mut asked = Asked { life: Life::new(bounds), bounds, now: START };
        asked.ask(define(&pool(), orders(limit)), None);
        asked
    }

    fn command(&self, nth: usize, body: CommandBody, key_text: Option<&str>) -> Command {
        let number = (self.life.log.len() + nth) as u64;
        let (attempt, key, deadline) = (Attempt(1), key_text.map(key), self.now.plus_ms(5_000));
        Command { attempt, key, deadline, ..command(number, body) }
    }

    fn ask(&mut self, body: CommandBody, key_text: Option<&str>) -> Told {
        self.all([(body, key_text)])[0]
    }

    /// Of one turn.
    fn all<'a>(&mut self, asks: impl IntoIterator<Item = (CommandBody, Option<&'a str>)>) -> Vec<Told> {
        self.now = self.now.plus_ms(1);
        let commands = asks.into_iter().enumerate().map(|(nth, (body, key))| self.command(nth, body, key));
        let batch: Vec<_> = commands.map(|command| wire::command::encode(&command)).collect();
        self.turn(&batch)
    }

    fn turn(&mut self, batch: &[Vec<u8>]) -> Vec<Told> {
        let decided = self.life.turn(batch, self.now, CommitOutcome::Ok);
        decided.iter().map(|recorded| told(&recorded.event.body)).collect()
    }

    fn reserve(&mut self, key_text: &str, units: u64) -> Told {
        self.ask(reserve(key_text, units), Some(key_text))
    }

    fn used(&self) -> u64 {
        self.life.state.memory_used(self.now)
    }

    /// The same in a process that starts anew, from its checkpoint and from the log alone; the auditor finds it clean.
    fn is_what_the_log_says(&self) {
        let mut audit = PartitionAudit::bounded(0, 1, self.bounds);
        for event in &self.life.log {
            audit.observe(&wire::event::decode(&event.bytes).unwrap());
        }
        assert_eq!(audit.finish().breaches(), []);
        let decided_at = self.life.state.position().decided_at;
        let is = (self.life.state.digest(), self.life.state.memory_used(decided_at));
        assert_eq!((audit.digest(), audit.memory_used()), is, "by the auditor's model");
        for is_store_lost in [false, true] {
            let again = self.life.restarted(is_store_lost).state;
            assert_eq!((again.digest(), again.memory_used(decided_at)), is, "started anew");
        }
    }
}

/// The story: a pool is sold out, and all day callers leave before they are answered. The first refusal is kept for a day. What
/// is known of the others ends with their attempts, and no list of them grows behind the first one.
#[test]
fn refusals_that_were_given_up_leave_nothing_behind_one_that_is_kept() {
    let mut asked = Asked::new(Bounds::default(), 0);
    assert_eq!(asked.reserve("kept", 1), refused(Reason::OverLimit));
    let keys: Vec<_> = (0..100).map(|n| format!("K{n}")).collect();
    // There is always one that waits for its answer behind those that were given up.
    let mut waiting: &[String] = &[];
    for keys in keys.chunks(5) {
        let reserves = keys.iter().map(|key| (reserve(key, 1), Some(key.as_str())));
        let told = asked.all(reserves.chain(waiting.iter().map(|key| (abandon(&pool(), key), None))));
        let given_up = vec![(EventKind::Abandoned, None); waiting.len()];
        assert_eq!(told, [vec![refused(Reason::OverLimit); 5], given_up].concat());
        waiting = keys;
    }
    let listed = |asked: &Asked| (0..).take_while(|older| asked.life.state.refusal(*older).is_some()).count();
    assert_eq!(listed(&asked), 1 + waiting.len());
    asked.is_what_the_log_says();
    assert_eq!(asked.reserve("later", 1), refused(Reason::OverLimit));
    assert_eq!(listed(&asked), 2 + waiting.len());
}

#[test]
fn a_key_keeps_its_answer_whatever_others_do() {
    let mut asked = Asked::new(Bounds::default(), 10);
    assert_eq!(asked.ask(adjust(5), Some("p1")), (EventKind::LimitsAdjusted, None));
    let others: Vec<String> = (0..8_193).map(|n| format!("other-{n}")).collect();
    for some in others.chunks(1_000) {
        let delta = |nth| if nth % 2 == 0 { 1 } else { -1 };
        let told = asked.all(some.iter().zip(0..).map(|(key, nth)| (adjust(delta(nth)), Some(&**key))));
        assert!(told.iter().all(|told| *told == (EventKind::LimitsAdjusted, None)));
    }
    let before = asked.life.state.pool(&pool()).cloned();
    assert_eq!(asked.ask(adjust(5), Some("p1")), (EventKind::Repeated, None));
    assert_eq!(asked.life.state.pool(&pool()).cloned(), before);
    asked.is_what_the_log_says();
}

/// A storm of refusals in a sold-out pool, in turns of many.
#[test]
fn refusals_push_out_older_refusals_and_nothing_else() {
    let bounds = Bounds {
        refusals: 100 * of_parts(&orders(1), None, (0, 0), Standing::Over, true),
        refused_answers: 4_000,
        ..Bounds::default()
    };
    let mut asked = Asked::new(bounds, 2);
    assert_eq!(asked.reserve("alive", 1).0, EventKind::Accepted);
    assert_eq!(
        (asked.reserve("ended", 1).0, asked.ask(release("ended"), None).0),
        (EventKind::Accepted, EventKind::Released)
    );
    assert_eq!(asked.ask(adjust(-1), Some("applied")).0, EventKind::LimitsAdjusted);
    assert_eq!(asked.reserve("R-first", 1), refused(Reason::OverLimit));
    // It is refused before it comes back, and given up.
    assert_eq!(asked.reserve("R-cancelled", 1), refused(Reason::OverLimit));
    let given_up = Command { attempt: Attempt(2), ..asked.command(0, abandon(&pool(), "R-cancelled"), None) };
    assert_eq!(asked.turn(&[wire::command::encode(&given_up)]), [(EventKind::Abandoned, None)]);
    let used = asked.used();
    let storm: Vec<String> = (0..300).map(|n| format!("S{n}")).collect();
    for some in storm.chunks(70) {
        let told = asked.all(some.iter().map(|key| (reserve(key, 1), Some(&**key))));
        assert!(told.iter().all(|told| *told == refused(Reason::OverLimit)));
        let told = asked.all(some.iter().map(|key| (release(key), Some(&**key))));
        assert!(told.iter().all(|told| *told == refused(Reason::UnknownReservation)));
        asked.life.checkpoint();
    }
    assert_eq!(asked.used(), used, "refusals need none of the memory");
    asked.ask(release("R-nobody"), None);
    let known = |asked: &Asked, key: &str| asked.life.state.reservation(&reservation_id(&pool(), key)).is_some();
    let kept: Vec<_> = storm.iter().filter(|key| known(&asked, key)).collect();
    assert_eq!(kept, storm[200..].iter().collect::<Vec<_>>());
    assert_eq!((known(&asked, "R-first"), known(&asked, "R-cancelled")), (false, true));
    asked.is_what_the_log_says();
    // A refusal that is known is repeated; one that is forgotten is judged anew.
    asked.ask(adjust(1), None);
    assert_eq!(asked.reserve("S299", 1), (EventKind::Repeated, Some(Reason::OverLimit)));
    assert_eq!(asked.reserve("S0", 1), (EventKind::Accepted, None));
    assert_eq!(asked.reserve("ended", 1), refused(Reason::AlreadyReleased));
    assert_eq!(asked.reserve("alive", 1), (EventKind::Repeated, None));
    assert_eq!(asked.ask(adjust(-1), Some("applied")), (EventKind::Repeated, None));
    let late = Command { attempt: Attempt(2), ..asked.command(0, reserve("R-cancelled", 1), Some("R-cancelled")) };
    assert_eq!(asked.turn(&[wire::command::encode(&late)]), [refused(Reason::Abandoned)]);
    asked.is_what_the_log_says();
}

#[test]
fn at_the_bound_new_work_is_refused_by_name_until_time_has_passed() {
    let bounds = Bounds { memory: 5 * one(), reserve: 4_000, ..Bounds::default() };
    let mut asked = Asked::new(bounds, 100);
    for key in ["A", "B", "C", "D", "E"] {
        assert_eq!(asked.reserve(key, 1), (EventKind::Accepted, None));
    }
    assert_eq!((asked.used(), asked.reserve("F", 1)), (bounds.memory, refused(Reason::MemoryFull)));
    // Who gives back needs no room, and neither does what changes without a key; what was given back is remembered.
    assert_eq!(
        [asked.ask(release("A"), None), asked.ask(release("B"), Some("back"))],
        [(EventKind::Released, None); 2]
    );
    assert_eq!(asked.ask(adjust(1), None), (EventKind::LimitsAdjusted, None));
    assert_eq!(asked.ask(adjust(1), Some("more")), refused(Reason::MemoryFull));
    assert_eq!(asked.ask(amend("C", 3), Some("amended")), refused(Reason::MemoryFull));
    assert_eq!(asked.ask(amend("C", 3), None), (EventKind::Amended, None));
    assert_eq!(asked.ask(amend("C", 1), Some("less")), (EventKind::Amended, None));
    assert_eq!(asked.reserve("F", 1), refused(Reason::MemoryFull));
    assert_eq!([asked.reserve("A", 1), asked.reserve("B", 1)], [refused(Reason::AlreadyReleased); 2]);
    assert_eq!(asked.ask(release("B"), Some("back")), (EventKind::Repeated, None));
    assert_eq!([asked.reserve("C", 1), asked.reserve("D", 1)], [(EventKind::Repeated, None); 2]);
    asked.life.checkpoint();
    asked.is_what_the_log_says();
    asked.now = asked.now.plus_ms(WINDOW_MS);
    assert_eq!([asked.reserve("F", 1), asked.reserve("A", 1)], [(EventKind::Accepted, None); 2]);
    assert_eq!(asked.reserve("G", 1), refused(Reason::MemoryFull));
    assert_eq!(asked.used(), bounds.memory);
    asked.is_what_the_log_says();
}

/// Where even the reserve is used up an attempt that was given up cannot be remembered. Until it cannot come any more
/// nothing is let in.
#[test]
fn where_an_attempt_cannot_be_remembered_nothing_is_let_in_until_it_is_too_late() {
    let bounds = Bounds { memory: 2 * one(), reserve: 0, ..Bounds::default() };
    let mut asked = Asked::new(bounds, 100);
    assert_eq!([asked.reserve("A", 1), asked.reserve("B", 1)], [(EventKind::Accepted, None); 2]);
    asked.all([(release("A"), None), (release("B"), None)]);
    asked.now = asked.now.plus_ms(DEDUP_WINDOW_MS - 1_000);
    let late = asked.command(1, reserve("C", 1), Some("C"));
    assert_eq!(asked.ask(abandon(&pool(), "C"), None), (EventKind::Abandoned, None));
    assert_eq!(asked.life.state.reservation(&reservation_id(&pool(), "C")), None);
    // By now there is room, and the attempt comes in time.
    asked.now = asked.now.plus_ms(4_000);
    assert_eq!(asked.used(), 0);
    asked.life.checkpoint();
    asked.is_what_the_log_says();
    assert_eq!(asked.turn(&[wire::command::encode(&late)]), [refused(Reason::MemoryFull)]);
    assert_eq!(asked.reserve("D", 1), refused(Reason::MemoryFull));
    asked.now = late.deadline.plus_ms(COMMAND_SPAN_MS);
    let late = Command { id: CommandId(99), ..late };
    assert_eq!(asked.turn(&[wire::command::encode(&late)]), [refused(Reason::Expired)]);
    assert_eq!(asked.reserve("D", 1), (EventKind::Accepted, None));
    asked.is_what_the_log_says();
}

/// A checkpoint written before something was forgotten must not bring it back.
#[test]
fn what_was_forgotten_does_not_come_back_with_a_checkpoint() {
    let refusal = of_parts(&orders(9), None, (0, 0), Standing::Over, true);
    let bounds = Bounds { refusals: 3 * refusal, ..Bounds::default() };
    let mut asked = Asked::new(bounds, 1);
    let keys = ["R0", "R1", "R2", "R3", "R4"];
    for key in keys {
        assert_eq!(asked.reserve(key, 9), refused(Reason::OverLimit));
        asked.life.checkpoint();
    }
    asked.ask(release("R-nobody"), None);
    asked.life.checkpoint();
    for is_store_lost in [false, true] {
        let again = asked.life.restarted(is_store_lost);
        let known = |key: &&str| again.state.reservation(&reservation_id(&pool(), key)).is_some();
        assert_eq!(keys.into_iter().filter(known).collect::<Vec<_>>(), ["R2", "R3", "R4"]);
    }
}

/// The log as it is read, with the last command's key in place of what it had.
fn with_last_key(asked: &Asked, key_text: &str) -> Vec<ChainedEvent> {
    let mut log: Vec<_> = asked.life.log.iter().map(|event| wire::event::decode(&event.bytes).unwrap()).collect();
    let stamp = log.last_mut().and_then(|last| last.event.cause.as_mut()?.command.as_mut()).unwrap();
    stamp.key = Some(key(key_text));
    log
}

/// The laws that the auditor finds broken in a log of this version, whose fold must come to the auditor's own sums.
fn broken(log: &[ChainedEvent], version: u32) -> Vec<Law> {
    let (mut audit, mut state) = (PartitionAudit::new(0, 1), PartitionState::new(0));
    for recorded in log {
        let recorded = ChainedEvent { version, ..recorded.clone() };
        audit.observe(&recorded);
        state.fold(&recorded).unwrap();
    }
    assert_eq!((audit.digest(), audit.memory_used()), (state.digest(), state.memory_used(state.position().decided_at)));
    audit.finish().breaches().iter().map(|breach| breach.law).collect()
}

/// Owners of the third version remembered 8,192 answers, and forgot the oldest when there were more.
#[test]
fn what_was_forgotten_early_is_found_unless_an_older_owner_was_to_forget_it() {
    for (others, is_found_in_older) in [(9, true), (8_192, false)] {
        let mut asked = Asked::new(Bounds::default(), 10);
        assert_eq!(asked.ask(adjust(5), Some("p1")), (EventKind::LimitsAdjusted, None));
        let others: Vec<String> = (0..others).map(|n| format!("other-{n}")).collect();
        for some in others.chunks(1_000) {
            asked.all(some.iter().map(|key| (adjust(0), Some(&**key))));
        }
        asked.ask(adjust(5), Some("p2"));
        let log = with_last_key(&asked, "p1");
        let of_version = |version, is_found: bool| {
            assert_eq!(broken(&log, version), if is_found { vec![Law::SameAnswer] } else { vec![] })
        };
        of_version(4, true);
        of_version(3, is_found_in_older);
    }
}

/// One step of many callers at once.
#[derive(Clone, Debug)]
enum Step {
    Reserve { key: u8, attempt: u64, units: u64, hold: bool },
    Release(u8),
    Confirm(u8, u8),
    Abandon { key: u8, attempt: u64 },
    Adjust(u8),
    Later(u64),
    SetBack(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (key, attempt) = (0..12u8, 0..3u64);
    prop_oneof![
        6 => (key.clone(), attempt.clone(), 1..4u64, any::<bool>()).prop_map(|(key, attempt, units, hold)|
            // A key has one body.
            Step::Reserve { key, attempt, units: if key % 3 == 0 { units } else { 1 + u64::from(key % 2) }, hold: hold && key % 5 == 0 }),
        2 => key.clone().prop_map(Step::Release),
        1 => (key.clone(), 0..3u8).prop_map(|(key, with)| Step::Confirm(key, with)),
        2 => (key, attempt).prop_map(|(key, attempt)| Step::Abandon { key, attempt }),
        2 => (0..6u8).prop_map(Step::Adjust),
        2 => prop_oneof![Just(1), Just(1_000), Just(4_000), Just(DEDUP_WINDOW_MS / 2)].prop_map(Step::Later),
        1 => prop_oneof![1..2_000u64, Just(5_000_000)].prop_map(Step::SetBack),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (0..12_000u64, 0..2_000u64, 0..1_500u64, 0..3_000u64)
        .prop_map(|(memory, reserve, refusals, refused_answers)| Bounds { memory, reserve, refusals, refused_answers })
}

/// What callers were promised, kept by a list that forgets nothing.
#[derive(Default)]
struct Promised {
    /// Keys whose reservation was accepted and not taken back with its attempts, and when it ended.
    taken: BTreeMap<ReservationId, Option<Micros>>,
    /// Attempts that were given up before they came.
    given_up: BTreeSet<(ReservationId, Attempt)>,
    /// Keys of changes that were applied, and when.
    applied: BTreeMap<IdempotencyKey, Micros>,
    /// What the clock was set back by in all: its times are those of a clock that never was.
    set_back_us: u64,
}

impl Promised {
    fn see(&mut self, event: &Event) {
        if let EventBody::ClockSet { from, .. } = event.body {
            self.set_back_us += from.0 - event.decided_at.0;
        }
        let (now, command) = (Micros(event.decided_at.0 + self.set_back_us), event.command());
        let is_within = |at: Micros| now < at.plus_ms(DEDUP_WINDOW_MS);
        match &event.body {
            EventBody::Accepted(entry) => {
                let command = command.unwrap();
                let ended = self.taken.insert(entry.reservation, None);
                assert!(ended.is_none_or(|at| at.is_some_and(|at| !is_within(at))), "{event:?} again");
                assert!(!self.given_up.contains(&(entry.reservation, command.attempt)), "{event:?} was given up");
            }
            EventBody::Repeated(original, _) if matches!(**original, EventBody::Accepted(_)) => {
                let pair = (event.body.reservation_id().unwrap(), command.unwrap().attempt);
                assert!(!self.given_up.contains(&pair), "{event:?} was given up");
            }
            EventBody::Released(entry, ReleaseCause::Abandoned) => {
                self.taken.remove(&entry.reservation);
                self.given_up.insert((entry.reservation, command.unwrap().attempt));
            }
            EventBody::Released(entry, _) | EventBody::Expired(entry) => {
                self.taken.insert(entry.reservation, Some(now));
            }
            EventBody::Abandoned { reservation, .. } => {
                self.given_up.insert((*reservation, command.unwrap().attempt));
            }
            EventBody::LimitsAdjusted(_) => {
                let before = command.unwrap().key.clone().and_then(|key| self.applied.insert(key, now));
                assert!(!before.is_some_and(is_within), "{event:?} again");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(crate::machine_laws::config())]

    /// Whatever callers do, in turns of any length, and however little is remembered: what was taken, applied or given up
    /// is never answered anew within its window, and the memory keeps its bound.
    #[test]
    fn nothing_that_counted_is_answered_anew(steps in vec((step(), any::<bool>()), 1..120), bounds in bounds()) {
        let mut asked = Asked::new(bounds, 9);
        let mut promised = Promised::default();
        let mut batch: Vec<Vec<u8>> = Vec::new();
        // Each try of a key is one command, which comes once and has one deadline; its number is never used again.
        let (mut round, mut begun) = (0, START);
        for (step, is_cut) in &steps {
            let name = |key: &u8| format!("K{key}");
            let deadline = begun.plus_ms(5_000);
            let plain = |asked: &Asked, body, key: Option<&str>, nth| asked.command(nth, body, key);
            let nth = batch.len();
            let command = match step {
                Step::Reserve { key, attempt, units, hold } => {
                    let CommandBody::Reserve { pool, reservation, demand, order_ref, .. } = reserve(&name(key), *units) else { panic!() };
                    let body = CommandBody::Reserve { pool, reservation, demand, hold_ttl_ms: hold.then_some(2_000), order_ref };
                    let plain = plain(&asked, body, Some(&name(key)), nth);
                    let id = CommandId(u128::from(round << 16 | u64::from(*key) << 8 | attempt) << 64);
                    Some(Command { id, attempt: Attempt(round * 3 + attempt), deadline, ..plain })
                }
                Step::Release(key) => Some(plain(&asked, release(&name(key)), None, nth)),
                Step::Confirm(key, with) => {
                    let body = CommandBody::Confirm { reservation: reservation_id(&pool(), &name(key)) };
                    Some(plain(&asked, body, Some(&format!("C{with}")), nth))
                }
                Step::Abandon { key, attempt } => {
                    let plain = plain(&asked, abandon(&pool(), &name(key)), None, nth);
                    Some(Command { attempt: Attempt(round * 3 + attempt), deadline, ..plain })
                }
                Step::Adjust(key) => Some(plain(&asked, adjust(1), Some(&format!("A{key}")), nth)),
                Step::Later(_) | Step::SetBack(_) => None,
            };
            batch.extend(command.map(|command| wire::command::encode(&command)));
            if *is_cut || matches!(step, Step::Later(_) | Step::SetBack(_)) {
                asked.turn(&batch);
                batch.clear();
            }
            if let Step::Later(ms) = step {
                asked.now = asked.now.plus_ms(*ms);
                asked.life.checkpoint();
            }
            if let Step::SetBack(ms) = step {
                let to = asked.now.set_back(ms * 1_000);
                asked.life.set_clock(asked.now, to);
                (round, begun, asked.now) = (round + 1, to, to);
            }
            if asked.now > begun.plus_ms(8_000) {
                (round, begun) = (round + 1, asked.now);
            }
            let live = asked.life.state.live().iter().map(|(_, r)| of_reservation(r)).sum::<u64>();
            prop_assert!(asked.used() >= live);
        }
        asked.turn(&batch);
        for event in &asked.life.log {
            promised.see(&wire::event::decode(&event.bytes).unwrap().event);
        }
        asked.is_what_the_log_says();
    }
}
