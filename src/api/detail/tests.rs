//! The texts of refusals.

use super::*;
use crate::domain::{
    Amounts, AskedChange, Attempt, Cause, CommandId, CommandKind, CommandStamp, Digest, Dimension, IdempotencyKey,
    Micros,
};

fn refusal(reason: Reason, kind: CommandKind, is_keyed: bool) -> String {
    let event = refused(reason, kind, is_keyed);
    of_rejection(&event, event.body.rejection().unwrap())
}

/// The same refusal, repeated two minutes later. Its origin was at the time of that one, if this is known.
fn repeated(reason: Reason, kind: CommandKind, is_known: bool) -> String {
    let event = refused(reason, kind, true);
    let origin = Origin { seq: event.seq, decided_at: is_known.then_some(event.decided_at) };
    let body = EventBody::Repeated(Box::new(event.body), Some(origin));
    let again = Event { seq: 12, decided_at: event.decided_at.plus_ms(120_000), body, ..event };
    of_rejection(&again, again.body.rejection().unwrap())
}

fn refused(reason: Reason, kind: CommandKind, is_keyed: bool) -> Event {
    let (orders, crates) = (Dimension::new("orders").unwrap(), Dimension::new("crates").unwrap());
    let units = |orders_units, crates_units| Amounts::new([(orders, orders_units), (crates, crates_units)]);
    let rejection = Rejection {
        reason,
        dimension: Some(orders),
        pool: PoolId::new("van-1").ok(),
        reservation: Some(ReservationId::new(7, [1; 11])),
        demand: units(4, 1),
        demand_before: units(1, 1).filter(|_| kind == CommandKind::Amend),
        order_ref: None,
        limits: units(10, 30),
        used: units(7, 9),
        mode: None,
        version: Some(3),
        hold_until: Some(Micros(1_800_000_060_000_000)),
        existing_reservation: Some(ReservationId::new(7, [2; 11])),
        live: Some(3),
        retired_until: (reason == Reason::PoolRetired).then_some(Micros(1_800_000_060_000_000)),
        asked: None,
    };
    let key = is_keyed.then(|| IdempotencyKey::new("k-1").unwrap());
    let id = CommandId(7);
    let stamp = CommandStamp {
        id,
        reply_to: None,
        attempt: Attempt(1),
        actor: None,
        kind,
        key,
        fingerprint: 0,
        deadline: None,
    };
    Event {
        partition: 2,
        seq: 9,
        epoch: 1,
        prev: Digest::default(),
        decided_at: Micros(1_800_000_000_000_000),
        cause: Some(Cause::of(4, stamp)),
        body: EventBody::Rejected(rejection),
    }
}

/// The event has every value, so each text has to name what a caller can look at.
#[test]
fn every_refusal_names_a_value_and_says_more_than_its_title() {
    for reason in Reason::ALL {
        let named: &[&str] = match reason {
            Reason::Malformed | Reason::Abandoned => &[],
            Reason::Misrouted => &["partition 2", "pool van-1"],
            Reason::Duplicate => &["copy"],
            Reason::Expired | Reason::PastCutoff | Reason::HoldExpired => &["2027-01-15T08:00:00Z"],
            Reason::DeadlineTooFar => &["15000 ms", "2027-01-15T08:00:00Z", "clocks"],
            Reason::TooManyCommands => &["15000 ms", "try again"],
            Reason::KeyReused => &["key k-1", "pool van-1", "new key"],
            Reason::TooManyAttempts => &["16 attempts", "reservation hr_", "try again"],
            Reason::MemoryFull => &["partition 2", "3221225472 bytes", "24 hours", "try again"],
            Reason::PartitionFull => &["partition 2", "262144 pools"],
            Reason::PoolRetired => &["pool van-1", "2027-01-15T08:01:00Z"],
            Reason::RetiresTooSoon => &["pool van-1", "2027-01-17T08:00:00Z", "2 days", "retire_after_ms"],
            Reason::UnknownPool => &["pool van-1", "PUT /v1/pools/van-1"],
            Reason::UnknownReservation => &["reservation hr_", "24 hours"],
            Reason::StaleVersion => &["pool van-1", "version 3", "ETag"],
            Reason::Closed | Reason::Paused => &["pool van-1", "open it"],
            Reason::UnknownDimension => &["no dimension orders", "are crates, orders"],
            Reason::OverLimit => &["3 of 10 orders", "4 were asked for", "ask for less"],
            Reason::LimitOutOfRange => &["limit of orders", "is 10", "by less"],
            Reason::PoolInUse => &["pool van-1", "3 live reservations", "with_reservations=true"],
            Reason::OrderHasReservation => &["reservation hr_", "pool van-1"],
            Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow => {
                &["pool van-1", "2027-01-15T08:01:00Z"]
            }
            Reason::InvalidWindow => &["pool van-1", "start", "cutoff"],
            Reason::LabelsFull => &["pool van-1", "32 labels", "null"],
            Reason::DimensionInUse => &["7 orders of pool van-1", "release"],
            Reason::AlreadyReleased | Reason::NotAHold => &["reservation hr_"],
        };
        let said = refusal(*reason, CommandKind::Reserve, true);
        named.iter().for_each(|name| assert!(said.contains(name), "{reason}: {said:?} without {name:?}"));
        assert!(said.split(' ').count() > 5 && said != Code::of_reason(*reason).meaning().title, "{reason}: {said}");
        // The text asks for a new key exactly when the key keeps the refusal, and another key may get another answer.
        let stays = [Reason::HoldExpired, Reason::AlreadyReleased, Reason::NotAHold].contains(reason);
        assert_eq!(said.contains("under a new one"), reason.is_remembered() && !stays, "{reason}: {said}");
        assert!(!refusal(*reason, CommandKind::Reserve, false).contains("under a new one"), "{reason}");
    }
}

/// The story: a caller repeated a confirm, and was told that its hold had run out by a time after the one at which the key
/// was refused. A repeated Reserve was told to confirm a hold that there never was.
#[test]
fn a_repeated_refusal_tells_the_time_at_which_it_was_decided() {
    let times = [
        (Reason::HoldExpired, " had run out", " by 2027-01-15T08:00:00Z"),
        (Reason::PastCutoff, "took no more reservations", " at 2027-01-15T08:00:00Z"),
        (Reason::RetiresTooSoon, "within 2 days", ", before 2027-01-17T08:00:00Z"),
        (Reason::HoldTooLong, "could last until 2027-01-15T08:01:00Z", ": ask for less"),
        (Reason::HoldTooOld, "could last until 2027-01-15T08:01:00Z", ": ask for less"),
        (Reason::HoldBeyondWindow, "could last until 2027-01-15T08:01:00Z", ": ask for less"),
    ];
    for (reason, what, when) in times {
        let known = repeated(reason, CommandKind::Reserve, true);
        assert!(known.starts_with("the key was refused at 2027-01-15T08:00:00Z: "), "{reason}: {known}");
        assert!(known.contains(&format!("{what}{when}")), "{reason}: {known}");
        let unknown = repeated(reason, CommandKind::Reserve, false);
        assert!(unknown.contains(what), "{reason}: {unknown}");
        for said in [known, unknown] {
            assert!(!said.contains("08:02:00") && !said.contains("confirm it"), "{reason}: {said}");
        }
    }
}

/// The story: a caller who confirmed too late was told to reserve again. It did, under the key of its Reserve, and was
/// refused until a day later. The same confirm under another key, which it was told to send, was refused as well.
#[test]
fn whoever_comes_after_the_end_is_told_to_reserve_under_a_new_key() {
    let kinds = [CommandKind::Reserve, CommandKind::Confirm, CommandKind::Extend, CommandKind::Amend];
    for (reason, kind) in kinds.map(|kind| [(Reason::HoldExpired, kind), (Reason::AlreadyReleased, kind)]).concat() {
        for is_keyed in [true, false] {
            let said = refusal(reason, kind, is_keyed);
            assert!(said.contains("reserve again under a new Idempotency-Key"), "{reason}: {said}");
            assert!(said.contains("24 hours after the end"), "{reason}: {said}");
        }
    }
    assert!(!refusal(Reason::NotAHold, CommandKind::Extend, true).contains("new"));
}

/// The story: a PUT of a pool that had to be there already was told to define it with PUT.
#[test]
fn a_definition_of_a_pool_that_has_to_be_there_is_told_what_keeps_it_from_being_made() {
    let refused = |until| of(&Refusal::NoPoolToReplace(PoolId::new("van-1").unwrap(), until)).into_owned();
    let absent = refused(None);
    assert!(absent.contains("pool van-1") && absent.contains("leave out If-Match"), "{absent}");
    assert!(absent.contains("expected_existence"), "{absent}");
    assert!(!absent.contains("PUT"), "{absent}");
    let retired = refused(Some(Micros(1_800_000_060_000_000)));
    assert!(retired.contains("has retired") && retired.contains("2027-01-15T08:01:00Z"), "{retired}");
}

/// The story: a definition of a new pool met a pool of that id. It was told to send its ETag, and would have replaced the pool.
#[test]
fn a_definition_of_a_new_pool_is_not_led_to_replace_one() {
    let mut event = refused(Reason::StaleVersion, CommandKind::DefinePool, false);
    let EventBody::Rejected(rejection) = &mut event.body else { panic!("{event:?}") };
    rejection.asked = Some(Box::new(AskedChange { version: Some(0), ..AskedChange::default() }));
    let said = of_rejection(&event, event.body.rejection().unwrap());
    assert!(said.contains("pool van-1 exists already, with version 3") && said.contains("another id"), "{said}");
    assert!(!said.contains("ETag") && !said.contains("If-Match"), "{said}");
    let other = refusal(Reason::StaleVersion, CommandKind::DefinePool, false);
    assert!(other.contains("ETag") && other.contains("expected_version"), "{other}");
}

/// What is released is remembered for as long as what expires: to release is no way out.
#[test]
fn a_process_without_memory_says_what_it_does_not_take_and_until_when() {
    let said = of(&Refusal::Shed(Shed::Memory)).into_owned();
    for part in ["no new reservation", "change, extend or amend", "24 hours after their end"] {
        assert!(said.contains(part), "{said:?} without {part:?}");
    }
    assert!(!said.contains("release"), "{said}");
}

/// A reservation cannot move to another pool.
#[test]
fn a_refused_amend_says_how_much_more_it_was_and_what_it_may_ask() {
    let more = refusal(Reason::OverLimit, CommandKind::Amend, false);
    assert!(more.contains("3 of 10 orders left, 3 more were asked for, 4 in place of 1"), "{more}");
    for reason in [Reason::OverLimit, Reason::PastCutoff, Reason::Closed, Reason::Paused] {
        let said = refusal(reason, CommandKind::Amend, false);
        assert!(said.contains("ask for") && !said.contains("another pool"), "{reason}: {said}");
    }
}
