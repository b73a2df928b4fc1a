//! The correlator, driven by hand: every call is answered once and in time, and a "no" is final.

use crate::fixtures::{self, orders, pool_id, reservation_id};
use headroom::domain::*;
use headroom::gateway::correlator::{Correlator, Outcome, Request};
use headroom::limits::{ABANDON_GRACE_MS, ABANDON_RETRY_MS};

const DEADLINE: Micros = Micros(1_000_000);

fn ids() -> (PoolId, ReservationId) {
    let pool = pool_id("van-1");
    let id = reservation_id(&pool, "K");
    (pool, id)
}

fn reserve() -> Request {
    Request {
        body: fixtures::reserve(&ids().0, "K"),
        key: None,
        actor: None,
        deadline: DEADLINE,
        deadline_there: DEADLINE,
    }
}

fn release() -> Request {
    Request {
        body: CommandBody::Release { reservation: ids().1 },
        key: None,
        actor: None,
        deadline: DEADLINE,
        deadline_there: DEADLINE,
    }
}

fn recorded(command: &Command, body: EventBody) -> ChainedEvent {
    let cause = Some(Cause::of(0, command.stamp()));
    let event = Event { partition: 0, seq: 0, epoch: 1, prev: Digest::default(), decided_at: Micros(0), cause, body };
    ChainedEvent::new(event, Digest([1; 16]))
}

fn accepted(command: &Command) -> ChainedEvent {
    let (pool, reservation) = ids();
    let entry = Entry {
        pool,
        reservation,
        status: Status::Confirmed,
        demand: orders(1),
        hold_until: None,
        hold_since: None,
        order_ref: None,
        limits: orders(1),
        used: orders(1),
    };
    recorded(command, EventBody::Accepted(entry))
}

fn rejected(command: &Command) -> ChainedEvent {
    refused(command, Reason::OverLimit)
}

fn refused(command: &Command, reason: Reason) -> ChainedEvent {
    recorded(command, EventBody::Rejected(fixtures::rejection(reason)))
}

fn abandoned(command: &Command) -> ChainedEvent {
    let (pool, reservation) = ids();
    recorded(command, EventBody::Abandoned { pool, reservation })
}

/// A copy of a command decides nothing, and says nothing of what the command came to.
#[test]
fn the_outcome_of_a_duplicate_is_no_answer() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    assert!(correlator.decided(refused(&command, Reason::Duplicate)).is_none());
    assert!(matches!(correlator.decided(accepted(&command)).unwrap().outcome, Outcome::Decided(_)));
    // While it is taken back a copy's refusal is no "no" either.
    let command = correlator.submit(reserve(), "caller");
    let abandon = correlator.tick(DEADLINE).append.pop().unwrap();
    assert!(correlator.decided(refused(&command, Reason::Duplicate)).is_none());
    let answer = correlator.decided(abandoned(&abandon)).unwrap();
    assert_eq!(answer.outcome, Outcome::TimedOut { is_unknown: false });
}

/// A Reserve is cancelled with such a refusal; a copy of another command may yet be applied.
#[test]
fn a_refusal_that_a_copy_may_escape_is_final_for_a_reserve_alone() {
    let mut correlator = Correlator::new(7);
    for reason in [Reason::DeadlineTooFar, Reason::TooManyCommands] {
        let command = correlator.submit(reserve(), "caller");
        assert!(matches!(correlator.decided(refused(&command, reason)).unwrap().outcome, Outcome::Decided(_)));
        let command = correlator.submit(release(), "caller");
        let outcome = correlator.decided(refused(&command, reason)).unwrap().outcome;
        assert_eq!(outcome, Outcome::TimedOut { is_unknown: true });
    }
    assert!(correlator.is_empty());
}

#[test]
fn an_outcome_that_comes_twice_is_answered_once() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    let answer = correlator.decided(accepted(&command)).unwrap();
    assert_eq!(answer.waiter, "caller");
    assert_eq!(answer.outcome, Outcome::Decided(Box::new(accepted(&command))));
    assert!(correlator.decided(accepted(&command)).is_none());
    assert!(correlator.is_empty() && correlator.next_due().is_none());
}

#[test]
fn an_outcome_of_another_gateway_is_ignored() {
    let command = Correlator::new(8).submit(reserve(), ());
    assert!(Correlator::<()>::new(7).decided(accepted(&command)).is_none());
}

#[test]
fn a_timed_out_reserve_is_answered_when_its_abandon_is_in_the_log() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    assert!(correlator.tick(Micros(DEADLINE.0 - 1)).append.is_empty());
    let outputs = correlator.tick(DEADLINE);
    assert!(outputs.answers.is_empty());
    let [abandon] = &outputs.append[..] else { panic!("{outputs:?}") };
    assert_eq!((abandon.attempt, abandon.body.kind()), (command.attempt, CommandKind::Abandon));
    // The acceptance arrives late: it is being taken back, so it is no answer.
    assert!(correlator.decided(accepted(&command)).is_none());
    let answer = correlator.decided(abandoned(abandon)).unwrap();
    assert_eq!(answer.outcome, Outcome::TimedOut { is_unknown: false });
    assert!(correlator.is_empty());
}

#[test]
fn an_abandon_that_is_in_the_log_for_good_answers_before_anyone_decides_it() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    assert!(correlator.abandon_durable(command.id).is_none(), "a reserve that is in the log answers nothing");
    let abandon = correlator.tick(DEADLINE).append.pop().unwrap();
    let answer = correlator.abandon_durable(abandon.id).unwrap();
    assert_eq!((answer.waiter, answer.outcome), ("caller", Outcome::TimedOut { is_unknown: false }));
    // What its owner decides of the two, sometime, is nobody's any more.
    assert!(correlator.abandon_durable(abandon.id).is_none());
    assert!(correlator.decided(accepted(&command)).is_none() && correlator.decided(abandoned(&abandon)).is_none());
    assert!(correlator.is_empty() && correlator.next_due().is_none());
}

#[test]
fn a_late_refusal_answers_at_once() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    let outputs = correlator.tick(DEADLINE);
    let answer = correlator.decided(rejected(&command)).unwrap();
    assert_eq!(answer.outcome, Outcome::Decided(Box::new(rejected(&command))));
    assert!(correlator.decided(abandoned(&outputs.append[0])).is_none());
    assert!(correlator.is_empty());
}

#[test]
fn without_the_log_a_timeout_is_unknown_after_the_grace_and_never_later() {
    let mut correlator = Correlator::new(7);
    correlator.submit(reserve(), "caller");
    let outputs = correlator.tick(DEADLINE);
    let grace = DEADLINE.plus_ms(ABANDON_GRACE_MS);
    assert!(correlator.tick(Micros(grace.0 - 1)).answers.is_empty());
    let answers = correlator.tick(grace).answers;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].outcome, Outcome::TimedOut { is_unknown: true });
    assert!(correlator.decided(abandoned(&outputs.append[0])).is_none());
    assert!(correlator.is_empty());
}

#[test]
fn a_gateway_that_looks_too_late_has_its_callers_wait_no_longer() {
    let mut correlator = Correlator::new(7);
    correlator.submit(reserve(), "caller");
    let outputs = correlator.tick(DEADLINE.plus_ms(ABANDON_GRACE_MS));
    assert_eq!(outputs.answers[0].outcome, Outcome::TimedOut { is_unknown: true });
    assert!(correlator.decided(abandoned(&outputs.append[0])).is_none());
    assert!(correlator.is_empty() && correlator.next_due().is_none());
}

#[test]
fn an_abandon_is_offered_until_the_log_takes_it() {
    let mut correlator = Correlator::new(7);
    correlator.submit(reserve(), "caller");
    let mut now = DEADLINE;
    for _ in 0..3 {
        let mut append = correlator.tick(now).append;
        assert_eq!(append.len(), 1);
        correlator.not_appended(append.remove(0), now);
        let retry_at = now.plus_ms(ABANDON_RETRY_MS);
        assert_eq!((correlator.backlog_len(), correlator.next_due()), (1, Some(retry_at)));
        assert!(correlator.tick(Micros(retry_at.0 - 1)).append.is_empty());
        now = retry_at;
    }
}

#[test]
fn commands_that_cannot_be_abandoned_time_out_as_unknown() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(release(), "caller");
    let outputs = correlator.tick(DEADLINE);
    assert!(outputs.append.is_empty());
    assert_eq!(outputs.answers[0].outcome, Outcome::TimedOut { is_unknown: true });
    assert!(correlator.decided(rejected(&command)).is_none());
    assert!(correlator.is_empty());
}

#[test]
fn a_caller_who_leaves_takes_its_reserve_back() {
    let mut correlator = Correlator::new(7);
    let reserve = correlator.submit(reserve(), "caller");
    let release = correlator.submit(release(), "other");
    let outputs = correlator.disconnected(reserve.id, reserve.reserved());
    assert_eq!(outputs.append.len(), 1);
    assert_eq!(outputs.append[0].deadline, reserve.deadline, "after it the attempt cannot count");
    assert!(correlator.disconnected(reserve.id, reserve.reserved()).append.is_empty());
    assert!(correlator.disconnected(release.id, None).append.is_empty());
    assert!(correlator.decided(accepted(&reserve)).is_none());
    assert!(correlator.decided(abandoned(&outputs.append[0])).is_none());
    assert!(correlator.is_empty());
}

#[test]
fn a_command_that_was_not_taken_is_forgotten() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    assert_eq!(correlator.withdraw(command.id), Some("caller"));
    assert!(correlator.is_empty() && correlator.next_due().is_none());
}

#[test]
fn an_answer_on_its_way_to_a_caller_who_left_is_taken_back() {
    let mut correlator = Correlator::new(7);
    let command = correlator.submit(reserve(), "caller");
    assert!(correlator.decided(accepted(&command)).is_some());
    let outputs = correlator.disconnected(command.id, command.reserved());
    let [abandon] = &outputs.append[..] else { panic!("{outputs:?}") };
    assert_eq!((abandon.attempt, abandon.body.kind()), (command.attempt, CommandKind::Abandon));
    assert!(correlator.decided(abandoned(abandon)).is_none());
    assert!(correlator.is_empty());
}

#[test]
fn an_abandon_of_a_stopped_partition_leaves_its_caller_in_doubt_and_nothing_behind() {
    let mut correlator = Correlator::new(7);
    let told = correlator.submit(reserve(), "caller");
    let left = correlator.submit(reserve(), "left");
    let outputs = correlator.disconnected(left.id, left.reserved());
    correlator.lost(&outputs.append[0]);
    let outputs = correlator.tick(DEADLINE);
    assert_eq!(outputs.append[0].attempt, told.attempt);
    correlator.lost(&outputs.append[0]);
    let answers = correlator.tick(DEADLINE.plus_ms(ABANDON_GRACE_MS)).answers;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].outcome, Outcome::TimedOut { is_unknown: true });
    assert!(correlator.is_empty() && correlator.next_due().is_none());
}
