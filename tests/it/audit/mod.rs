//! The auditor finds nothing in what the domain writes, and finds every planted breach.

mod amends;
mod history;
mod mutants;
mod owner;
mod random;
mod script;

use crate::fixtures::{amounts, dimension, open_pool, orders};
use headroom::audit::{PartitionAudit, PartitionReport, Report, asked};
use headroom::domain::{
    Amounts, ChainedEvent, Command, CommandBody, Edit, Event, EventBody, EventKind, Law, LimitChange, Micros, Mode,
    Name, PoolChange, PoolId, Reason, Rejection, route,
};
use headroom::limits::{ATTEMPTS_MAX, CANCELLED_ATTEMPTS_MAX};
use owner::PARTITIONS;
use script::At;
use std::collections::BTreeSet;

fn audited(partition: u32, log: &[ChainedEvent]) -> PartitionAudit {
    let mut audit = PartitionAudit::new(partition, PARTITIONS);
    log.iter().for_each(|recorded| audit.observe(recorded));
    audit
}

fn report(log: &[ChainedEvent]) -> PartitionReport {
    audited(script::PARTITION, log).finish()
}

#[test]
fn the_script_is_clean_and_the_report_says_so() {
    let owner = script::play();
    let audit = audited(script::PARTITION, &owner.log);
    let found = audit.finish();
    assert_eq!(found.breaches(), []);
    let kinds: BTreeSet<EventKind> = owner.log.iter().map(|recorded| recorded.event.body.kind()).collect();
    assert_eq!(kinds.len(), 19, "every kind happens, and not only {kinds:?}");
    let kind = |at: At| owner.log[at as usize].event.body.kind();
    assert_eq!([At::R5_ABANDONED, At::R7_LATE, At::R8_COPY, At::R12_ABANDONED].map(kind), [EventKind::Rejected; 4]);
    assert_eq!(kind(At::TICK), EventKind::Tick);
    assert_eq!(audit.pools().collect::<Vec<_>>(), owner.maps.pools.values().cloned().collect::<Vec<_>>());
    assert_eq!(audit.digest(), owner.maps.digest(owner.now));
    let last = owner.log.last().unwrap();
    assert_eq!(
        (found.lost, found.events_lost, found.next_input),
        (5, 3, owner.log.iter().filter(|r| r.event.cause.is_some()).count() as u64 + 6)
    );
    assert_eq!((found.last_seq, found.chain), (Some(last.event.seq), last.digest));
    let report = Report::from_iter([found, PartitionAudit::new(0, PARTITIONS).finish()]);
    let text = format!(
        "partition 0: 0 events, 0 pools, 0 live reservations, chain empty\n\
         partition 2: {} events, 1 pool, 2 live reservations, chain {} at seq {}, 5 commands lost, 3 events lost\n\
         clean: no law broken in {} events of 2 partitions",
        owner.log.len(),
        last.digest,
        last.event.seq,
        owner.log.len(),
    );
    assert_eq!(report.to_string(), text);
}

#[test]
fn a_report_keeps_the_first_hundred_breaches_and_counts_all() {
    let mut log = script::play().log;
    let one = log[1].clone();
    log.extend(std::iter::repeat_n(one, 200));
    let report = Report::from_iter([report(&log)]);
    assert_eq!(report.breaches().len(), 100);
    assert!(report.breach_count() > 600 && !report.is_clean());
    let text = report.to_string();
    assert!(text.contains("L3 broken at partition 2 seq 1: seq"), "{text}");
    assert!(text.contains(&format!("and {} more\n", report.breach_count() - 100)), "{text}");
    assert!(text.contains("BROKEN: ") && text.contains("L3 "), "{text}");
}

#[test]
fn as_many_attempts_as_are_kept_are_judged_and_no_more() {
    let most = u64::try_from(CANCELLED_ATTEMPTS_MAX).unwrap();
    let mut owner = script::play();
    (0..=most).for_each(|n| owner.take(&script::abandon(20, 1_000 + n)));
    owner.take(&script::set_mode(Mode::Open, "again"));
    let refused = |owner: &owner::Owner| owner.log.last().unwrap().event.body.rejection().map(|r| r.reason);
    // Of as many as are kept each is known. Of one more nobody is, and so none is let in.
    for (attempt, reason) in [(1_000, Reason::Abandoned), (1_000 + most, Reason::TooManyAttempts)] {
        owner.take(&script::reserve(20, 1, attempt, None));
        assert_eq!(refused(&owner), Some(reason));
    }
    owner.take(&script::reserve(20, 1, 2_000, None));
    assert_eq!((refused(&owner), report(&owner.log).breaches()), (Some(Reason::TooManyAttempts), &[][..]));

    let most = u64::try_from(ATTEMPTS_MAX).unwrap();
    let lived_for = |attempts: u64| {
        let mut owner = owner::Owner::new(script::PARTITION);
        owner.give(owner::Input::Claim);
        let spec = open_pool(orders(1));
        let define = CommandBody::DefinePool { pool: script::the_pool(), spec, expected_version: None };
        owner.take(&owner::command(define, 1, None));
        (0..attempts).for_each(|n| owner.take(&script::reserve(1, 1, n, None)));
        (0..attempts).for_each(|n| owner.take(&script::abandon(1, n)));
        owner
    };
    for (attempts, alive) in [(most, 0), (most + 1, 1)] {
        let owner = lived_for(attempts);
        let audit = audited(script::PARTITION, &owner.log);
        assert_eq!((audit.breach_count(), audit.live().count()), (0, alive), "{attempts} attempts");
        assert_eq!(audit.digest(), owner.maps.digest(owner.now));
    }
    // One that nobody counts apart takes it away all the same: the callers of the others were told yes.
    let mut taken = lived_for(most + 1).log;
    let last = lived_for(most).log.last().unwrap().event.body.clone();
    taken.last_mut().unwrap().event.body = last;
    assert!(report(&taken).breaches().iter().any(|b| b.law == Law::FinalNo), "an attempt that is not the last");
}

/// Nothing is left of a life whose only attempt was taken back, and another life of the same id is not meant.
#[test]
fn what_was_told_of_a_life_that_was_taken_back_is_not_told_anew() {
    use EventKind::{Accepted, Rejected, Released, Repeated};
    let mut owner = owner::Owner::new(script::PARTITION);
    owner.give(owner::Input::Claim);
    let define =
        CommandBody::DefinePool { pool: script::the_pool(), spec: open_pool(orders(1)), expected_version: None };
    owner.take(&owner::command(define, 1, None));
    let confirm = owner::command(CommandBody::Confirm { reservation: script::id(1) }, 93, owner::key("confirm"));
    owner.take(&script::reserve(1, 1, 1, None));
    owner.take(&confirm);
    owner.take(&script::abandon(1, 1));
    owner.take(&confirm);
    owner.take(&script::reserve(1, 1, 2, Some(60_000)));
    owner.take(&confirm);
    owner.take(&owner::command(CommandBody::Release { reservation: script::id(1) }, 94, None));
    owner.take(&confirm);
    owner.take(&owner::command(CommandBody::Confirm { reservation: script::id(1) }, 95, owner::key("another")));
    let kinds: Vec<_> = owner.log.iter().skip(2).map(|recorded| recorded.event.body.kind()).collect();
    assert_eq!(kinds, [Accepted, Repeated, Released, Rejected, Accepted, Rejected, Released, Rejected, Rejected]);
    let audit = audited(script::PARTITION, &owner.log);
    assert_eq!((audit.finish().breaches(), audit.digest()), (&[][..], owner.maps.digest(owner.now)));
    for at in [5, 7] {
        let mut log = owner.log.clone();
        // Owners of before repeated it.
        log[at].event.body = log[3].event.body.clone();
        assert_eq!(report(&log).breaches(), [], "{at}");
        let EventBody::Repeated(confirmed, _) = &log[3].event.body else { panic!("{:?}", log[3]) };
        log[at].event.body = (**confirmed).clone();
        let found = report(&log);
        assert!(found.breaches().iter().any(|b| b.law == Law::SameAnswer && b.seq == at as u64), "{at}: {found:?}");
    }
    // Owners of before told of the first life that the next one was over, as everybody tells it of the next one.
    let reason = |at: usize| owner.log[at].event.body.rejection().map(|rejection| rejection.reason);
    assert_eq!([9, 10].map(reason), [Some(Reason::UnknownReservation), Some(Reason::AlreadyReleased)]);
    let mut log = owner.log.clone();
    log[9].event.body = log[10].event.body.clone();
    assert_eq!(report(&log).breaches(), []);
}

/// As a version before told it that kept no deadlines: a reservation that is over is repeated as what it was, and a
/// refusal with the pool's counters of the time at which it is repeated.
#[test]
fn what_an_older_version_has_decided_is_judged_by_its_rules() {
    let mut log = script::play().log;
    for recorded in &mut log {
        if let Some(command) = recorded.event.cause.as_mut().and_then(|cause| cause.command.as_mut()) {
            command.deadline = None;
        }
        if let EventBody::Repeated(_, origin) = &mut recorded.event.body {
            *origin = None;
        }
    }
    let body = |at: At| Box::new(log[at as usize].event.body.clone());
    let again = [(At::R4_OVER_LIMIT, At::R4_AGAIN), (At::R2_CONFIRMED, At::R2_CONFIRMED_AGAIN)];
    let told = again.map(|(first, again)| (again, EventBody::Repeated(body(first), None)));
    for (at, body) in told {
        log[at as usize].event.body = body;
    }
    assert_eq!(report(&log).breaches(), []);
    // By the rules of now neither would do.
    for at in [At::R4_AGAIN, At::R2_CONFIRMED_AGAIN] {
        let mut log = log.clone();
        log[at as usize].event.cause.as_mut().unwrap().command.as_mut().unwrap().deadline = Some(Micros::MAX);
        let found = report(&log);
        assert!(found.breaches().iter().any(|b| b.law == Law::SameAnswer && b.seq == at as u64), "{at:?}");
    }
}

/// Pools of one hash have the same ids: who cancelled one is no other's.
#[test]
fn an_id_that_is_told_under_another_pool_is_found() {
    let [one, other] = crate::id_collision::pools();
    let partition = route::partition_of(&one, PARTITIONS);
    let mut owner = owner::Owner::new(partition);
    owner.give(owner::Input::Claim);
    let spec = open_pool(orders(1));
    owner.take(&owner::command(CommandBody::DefinePool { pool: one.clone(), spec, expected_version: None }, 1, None));
    let reservation = owner::reservation(&one, 1);
    owner.take(&owner::command(CommandBody::Abandon { pool: one.clone(), reservation }, 2, None));
    let demand = amounts(&[("orders", 1)]);
    let reserve = CommandBody::Reserve { pool: one, reservation, demand, hold_ttl_ms: None, order_ref: None };
    owner.take(&owner::command(reserve, 3, owner::key("K")));
    assert_eq!(audited(partition, &owner.log).finish().breaches(), []);
    let mut log = owner.log.clone();
    log[2].event.body = EventBody::Abandoned { pool: other, reservation };
    let report = audited(partition, &log).finish();
    assert!(report.breaches().iter().any(|b| b.law == Law::OneState && b.seq == 3), "{:?}", report.breaches());
}

/// With the commands at hand, what no event tells is compared as well.
#[test]
fn an_event_that_is_no_answer_to_its_command_is_found() {
    let owner = script::play();
    let commands: Vec<_> = owner.inputs.iter().map(|(_, input)| input).collect();
    let contradiction = |at: At, spoil: &dyn Fn(&mut Event, &mut Command)| {
        let owner::Input::Take(command) = commands[at as usize] else { panic!("{at:?}") };
        let (mut event, mut command) = (owner.log[at as usize].event.clone(), (**command).clone());
        spoil(&mut event, &mut command);
        let before = audited(script::PARTITION, &owner.log[..at as usize]);
        asked::contradiction(&event, &command, before.spec(&script::the_pool()))
    };
    for (at, input) in commands.iter().enumerate() {
        if let owner::Input::Take(command) = input {
            let before = audited(script::PARTITION, &owner.log[..at]);
            let found = asked::contradiction(&owner.log[at].event, command, before.spec(&script::the_pool()));
            assert_eq!(found, None, "{:?}", owner.log[at]);
        }
    }
    let orders = |units| amounts(&[("crates", 50), ("orders", units)]);
    type Spoil = fn(&mut Event, &mut Command);
    let spoilt: &[(At, Spoil, &str)] = &[
        (At::LIMITS_LOWERED, |_, c| *adjust(c).1 = LimitChange::To(amounts(&[("orders", 3)])), "it makes"),
        (At::LIMITS_LOWERED, |_, c| *adjust(c).1 = LimitChange::By(vec![(dimension("orders"), 1)]), "it makes"),
        (At::LIMITS_LOWERED, |_, c| *adjust(c).2 = Some(7), "it makes"),
        (At::CHANGED, |_, c| pool_change(c).mode = Some(Mode::Closed), "it makes"),
        (At::CHANGED, |_, c| pool_change(c).window = Edit::Keep, "it makes"),
        (At::CHANGED, |_, c| pool_change(c).areas = Some([Name::new("SG-01").unwrap()].into()), "it makes"),
        (At::CHANGE_STALE, |_, c| pool_change(c).mode = Some(Mode::Open), "it refuses"),
        (At::ADJUST_OUT_OF_RANGE, |_, c| *adjust(c).2 = Some(7), "it refuses"),
        (At::R4_OVER_LIMIT, |e, _| rejection(e).demand = Some(amounts(&[("orders", 2)])), "it refuses"),
        (At::R4_OVER_LIMIT, |e, _| rejection(e).reservation = Some(script::id(9)), "it is about"),
        (At::R2_AMENDED, |_, c| *amended(c) = amounts(&[("orders", 2)]), "it takes"),
        (At::R3_AMEND_REFUSED, |_, c| *amended(c) = amounts(&[("orders", 3)]), "it refuses"),
        (At::R8_ACCEPTED, |e, c| c.deadline = Micros(e.decided_at.0 - 1), "its deadline is"),
        (At::R7_LATE, |e, c| c.deadline = e.decided_at, "its deadline is"),
    ];
    for (at, spoil, says) in spoilt {
        let found = contradiction(*at, &|event, command| spoil(event, command));
        assert!(found.as_ref().is_some_and(|found| found.starts_with(says)), "{at:?}: {found:?}");
    }
    let found = contradiction(At::LIMITS_LOWERED, &|event, _| {
        let EventBody::LimitsAdjusted(pool) = &mut event.body else { panic!() };
        pool.spec.limits = orders(1);
    });
    assert!(found.is_some_and(|found| found.starts_with("it makes")));
}

fn pool_change(command: &mut Command) -> &mut PoolChange {
    let CommandBody::ChangePool { change, .. } = &mut command.body else { panic!() };
    change
}

fn adjust(command: &mut Command) -> (&mut PoolId, &mut LimitChange, &mut Option<u64>) {
    let CommandBody::AdjustLimits { pool, change, expected_version } = &mut command.body else { panic!() };
    (pool, change, expected_version)
}

fn amended(command: &mut Command) -> &mut Amounts {
    let CommandBody::Amend { demand, .. } = &mut command.body else { panic!() };
    demand
}

fn rejection(event: &mut Event) -> &mut Rejection {
    let EventBody::Rejected(rejection) = &mut event.body else { panic!() };
    rejection
}
