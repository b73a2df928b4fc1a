//! The `detail` of a problem: what is wrong, with which value, and what the caller can do about it. The text of a
//! decided refusal is made of its event alone, so that everyone who reads the event gets the same text.

use crate::domain::{Event, EventBody, KeyScope, Micros, Name, Origin, PoolId, Reason, Rejection, ReservationId};
use crate::limits::{
    CANCELLED_ATTEMPTS_MAX, COMMAND_WINDOW_MS, DECIDED_COMMANDS_MAX, DEDUP_WINDOW_MS, INFLIGHT_FOLLOW_UPS_MAX,
    INFLIGHT_TAKES_MAX, LABELS_MAX, MEMORY_BYTES_MAX, POOLS_PER_PARTITION_MAX, READS_MAX, RETIRE_AFTER_MIN_MS,
    UNITS_MAX, WATCH_STALL_MS,
};
use crate::service::{Charge, Code, Effect, Refusal, Shed, Standing, Unread};
use crate::time::Shown;
use std::borrow::Cow;

const TAKEN_BACK: &str =
    "no decision came before the deadline; the attempt was taken back, so it holds nothing and never will: try again";

const TOO_LATE: &str = "the deadline had passed when the whole request was here, so nothing of it was done and nothing will be: send it \
     faster, or allow more time";

const UNKNOWN_UNDER_A_KEY: &str = "no decision came before the deadline, and the request may still be applied: repeat it with the \
     same key, which either tells what became of it or applies it";
/// For a call without a key: repeating it would be another call.
const UNKNOWN_WITHOUT_A_KEY: &str = "no decision came before the deadline, and the request may still be applied: read what it \
     was to change before you repeat it, and send an Idempotency-Key with requests that must not be applied twice";

/// The detail of an answer that could not be made.
pub const BUG: &str = "this is a bug in the server, and the request may have been applied: look for the trace_id in the log of the server";

const NOT_KNOWN_HERE: &str = "this process does not know the reservation yet, and another process may: try again";

const WINDOW_HOURS: u64 = DEDUP_WINDOW_MS / 3_600_000;

/// What the answer to a refusal says in `detail`.
pub fn of(refusal: &Refusal) -> Cow<'static, str> {
    match refusal {
        Refusal::Rejected { event, .. } => match event.event.body.rejection() {
            Some(rejection) => of_rejection(&event.event, rejection).into(),
            None => BUG.into(),
        },
        Refusal::TimedOut { effect: Effect::NotApplied, .. } => TAKEN_BACK.into(),
        Refusal::TimedOut { effect: Effect::Unknown, is_keyed: true } => UNKNOWN_UNDER_A_KEY.into(),
        Refusal::TimedOut { effect: Effect::Unknown, is_keyed: false } => UNKNOWN_WITHOUT_A_KEY.into(),
        Refusal::TooLate => TOO_LATE.into(),
        Refusal::Shed(shed) => of_shed(*shed),
        Refusal::OverQuota(standing) => over_quota(standing).into(),
        Refusal::Unread(unread) => of_unread(unread).into(),
        Refusal::NoPoolToReplace(pool, None) => no_version(&format!("pool {pool}")).into(),
        Refusal::UnknownPool(pool, until) | Refusal::NoPoolToReplace(pool, until) => unknown_pool(pool, *until).into(),
        Refusal::UnknownReservation(reservation) => unknown_reservation(*reservation).into(),
        Refusal::NotKnownHere(_) => NOT_KNOWN_HERE.into(),
        Refusal::EarlierAttempt(reservation, _) => format!(
            "this attempt was not decided and holds nothing, but reservation {reservation} lives under the same key: repeat the \
             request with that key to read the reservation, or release it"
        )
        .into(),
        Refusal::SlowReader => format!(
            "no step of the watch was read within {WATCH_STALL_MS} ms: read faster, and begin again at the position"
        )
        .into(),
        Refusal::PositionOutOfRange(why) => {
            format!("the position is not one of this log: {why}; begin the watch without a position").into()
        }
        Refusal::FeatureLevel(what) => format!(
            "{what}, and the log's feature level does not have that yet: an operator raises it with headroom topics \
             finalize when no older version serves the log any more"
        )
        .into(),
        Refusal::Internal => BUG.into(),
    }
}

fn of_shed(shed: Shed) -> Cow<'static, str> {
    match shed {
        Shed::InFlight => format!(
            "the partition has {INFLIGHT_TAKES_MAX} calls that take capacity in flight, or {INFLIGHT_FOLLOW_UPS_MAX} that \
             confirm, extend or release, which is the maximum: try again"
        )
        .into(),
        Shed::Share => {
            "the caller has its share of the calls that the partition may have in flight: wait for their answers, and \
             try again"
                .into()
        }
        Shed::Wait => {
            "the partition would not decide this call before its deadline: try again, or allow more time".into()
        }
        Shed::Full => "the queue of the partition is full: try again later".into(),
        Shed::NoOwner => "no process decides for the partition at present: try again; /readyz says why".into(),
        Shed::Memory => format!(
            "the partitions remember as much as the process has memory for, so it takes no new reservation, and no change, \
             extend or amend with an Idempotency-Key: try again later; entries are forgotten {WINDOW_HOURS} hours after their end"
        )
        .into(),
        Shed::Closing => "the process is shutting down: try again, and another process will take the call".into(),
        Shed::Connections => {
            "the process serves as many connections as it may: try again, or call another process".into()
        }
        Shed::Watches => {
            "the process has as many watches, or open calls of the reflection service, as it may: try again, or call \
             another process"
                .into()
        }
        Shed::Reads => {
            format!("the process runs {READS_MAX} searches over pools and reservations, which is the maximum: try again").into()
        }
    }
}

fn over_quota(Standing { charge, rate, .. }: &Standing) -> String {
    let (per_second, burst) = (rate.per_second(), rate.burst());
    let what = match charge {
        Charge::Take => "calls that take capacity or change a pool",
        Charge::Read => "calls that read",
    };
    format!(
        "the caller may make {per_second} {what} in a second, and {burst} at once, and made more: try again more slowly"
    )
}

fn of_unread(Unread { partition, code, why }: &Unread) -> String {
    let then = match code {
        Code::NotFresh => "try again, or leave out fresh=true to get an older answer at once",
        code if code.meaning().is_retryable => "try again",
        _ => "an operator has to repair its log and restart the process",
    };
    format!("partition {partition} cannot be read: {why}; {then}")
}

fn unknown_pool(pool: &PoolId, retired_until: Option<Micros>) -> String {
    match retired_until {
        None => format!("there is no pool {pool}: define it with PUT /v1/pools/{pool}, or name one of GET /v1/pools"),
        Some(until) => format!(
            "pool {pool} has retired: name one of GET /v1/pools; its id can be defined anew from {} on",
            Shown(until)
        ),
    }
}

fn unknown_reservation(reservation: ReservationId) -> String {
    format!(
        "reservation {reservation} is not known: it never was, its Reserve was taken back, it ended more than {WINDOW_HOURS} hours \
         ago, or its pool has retired"
    )
}

/// The detail of a refusal that an owner decided, now or before.
fn of_rejection(event: &Event, rejection: &Rejection) -> String {
    let said = match &event.body {
        EventBody::Repeated(_, Some(Origin { decided_at: Some(at), .. })) => {
            format!("the key was refused at {}: {}", Shown(*at), said(event, rejection))
        }
        _ => said(event, rejection),
    };
    let has_key = event.command().is_some_and(|command| command.key.is_some());
    // What has ended or is confirmed stays so, whatever key the same request has.
    let stays = matches!(rejection.reason, Reason::HoldExpired | Reason::AlreadyReleased | Reason::NotAHold);
    if has_key && !stays && rejection.is_remembered() {
        format!("{said}; the key keeps this answer for {WINDOW_HOURS} hours, so ask again under a new one")
    } else {
        said
    }
}

fn said(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    match rejection.reason {
        Reason::Malformed => {
            "the owner refused a command that this process takes for a valid one: they may run different versions, or this is a bug"
                .into()
        }
        Reason::Misrouted => format!("partition {} is not that of {pool}: this is a bug", event.partition),
        Reason::Duplicate => "this is a copy of a command that was decided before, and that decision stands".into(),
        Reason::Expired => format!("the deadline had passed when the command was decided, at {}: try again", at(event)),
        Reason::Abandoned => TAKEN_BACK.into(),
        Reason::DeadlineTooFar => format!(
            "the deadline is more than {COMMAND_WINDOW_MS} ms after {}, which is the time of its partition: set the clocks \
             of the processes, or give less time",
            at(event)
        ),
        Reason::TooManyCommands => format!(
            "the partition took {DECIDED_COMMANDS_MAX} commands within {COMMAND_WINDOW_MS} ms, which is the maximum: try again"
        ),
        Reason::KeyReused => key_reused(event, rejection),
        Reason::TooManyAttempts => {
            format!(
                "{CANCELLED_ATTEMPTS_MAX} attempts of {} were abandoned before they arrived, and this may be one of them: try again",
                Reservation(rejection)
            )
        }
        Reason::MemoryFull => format!(
            "partition {} remembers {MEMORY_BYTES_MAX} bytes, which is the maximum: try again later; entries are \
             forgotten {WINDOW_HOURS} hours after their end",
            event.partition
        ),
        Reason::PartitionFull => full(event),
        Reason::UnknownPool => {
            let unknown = |pool: &PoolId| unknown_pool(pool, rejection.retired_until);
            rejection.pool.as_ref().map_or_else(|| pool.to_string(), unknown)
        }
        Reason::PoolRetired | Reason::RetiresTooSoon | Reason::PoolInUse => of_retirement(event, rejection),
        Reason::UnknownReservation => {
            rejection.reservation.map_or_else(|| "there is no such reservation".into(), unknown_reservation)
        }
        Reason::StaleVersion => stale(rejection),
        Reason::OrderHasReservation => existing(rejection),
        Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow => held_too_long(event, rejection),
        Reason::PastCutoff => {
            format!(
                "{pool} took no more reservations at {}, its cutoff had passed: {}",
                at(event),
                elsewhere(rejection)
            )
        }
        Reason::Closed => format!("{pool} is closed: {}, or open it", elsewhere(rejection)),
        Reason::Paused => format!("{pool} is paused: {}, or open it", elsewhere(rejection)),
        Reason::UnknownDimension | Reason::OverLimit | Reason::LimitOutOfRange | Reason::DimensionInUse => {
            of_dimension(event, rejection)
        }
        Reason::InvalidWindow => format!(
            "the window of {pool} would lack its start or its end, or would not end after its start and its cutoff: send \
             those of the three that do not fit"
        ),
        Reason::LabelsFull => format!("{pool} would have more than {LABELS_MAX} labels: remove some with null"),
        Reason::HoldExpired => ended(&format!("the hold of {} had run out by {}", Reservation(rejection), at(event))),
        Reason::AlreadyReleased => ended(&format!("{} was released before", Reservation(rejection))),
        Reason::NotAHold => {
            format!("{} is confirmed: only a hold is confirmed or extended", Reservation(rejection))
        }
    }
}

/// The key of the Reserve is answered with the end, so it is no use to reserve again with it.
fn ended(how: &str) -> String {
    format!(
        "{how}: reserve again under a new Idempotency-Key; the one of its Reserve reserves nothing until {WINDOW_HOURS} hours \
         after the end"
    )
}

fn of_retirement(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    match rejection.reason {
        Reason::RetiresTooSoon => format!(
            "{pool} would retire by itself before {}, which is {} days ahead: send a later end of the window, or a longer \
             retire_after_ms; DELETE /v1/pools/{{pool}} ends its life at once",
            Shown(event.decided_at.plus_ms(RETIRE_AFTER_MIN_MS)),
            RETIRE_AFTER_MIN_MS / 86_400_000
        ),
        Reason::PoolRetired => {
            let until = Shown(rejection.retired_until.unwrap_or_default());
            format!("{pool} has retired, and its id can be defined anew from {until} on: wait, or use another id")
        }
        _ => {
            let live = rejection.live.unwrap_or_default();
            let (reservations, them) = if live == 1 { ("reservation", "it") } else { ("reservations", "them") };
            format!("{pool} has {live} live {reservations}: release {them} first, or send with_reservations=true")
        }
    }
}

fn key_reused(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    let Some((command, key)) = event.command().and_then(|command| Some((command, command.key.as_ref()?))) else {
        return format!("the reservation's id is in use for something else in {pool}: try again");
    };
    let on = match command.kind.key_scope() {
        Some(KeyScope::Reservation) => Reservation(rejection).to_string(),
        Some(KeyScope::Pool) | None => pool.to_string(),
    };
    format!("the key {key} was used on {on} for something else: use a new key for a new request")
}

/// What the caller may ask for instead. An amend cannot move a reservation to another pool.
fn elsewhere(rejection: &Rejection) -> &'static str {
    if rejection.demand_before.is_some() { "ask for no more than it takes" } else { "take another pool" }
}

fn at(event: &Event) -> Shown {
    Shown(event.decided_at)
}

fn full(event: &Event) -> String {
    let partition = event.partition;
    format!(
        "partition {partition} has {POOLS_PER_PARTITION_MAX} pools, with those that retired in the last {WINDOW_HOURS} hours, which is the maximum: use fewer pools"
    )
}

fn existing(rejection: &Rejection) -> String {
    let order = rejection.order_ref.as_ref().map_or("of this request", Name::as_str);
    let (pool, id) = (Pool(rejection), rejection.existing_reservation);
    let id = id.map_or_else(|| "a reservation".to_owned(), |id| format!("reservation {id}"));
    format!("order {order} has {id} in {pool}, which lets an order have one: use that, or release it first")
}

fn held_too_long(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    let why = match rejection.reason {
        Reason::HoldTooLong => "bounds the time that a hold gets at once",
        Reason::HoldTooOld => "bounds the whole life of a hold, from when it was accepted",
        _ => "has a window, and no hold outlives its end",
    };
    match rejection.hold_until {
        Some(until) if until > event.decided_at => {
            format!("{pool} {why}: ask for a time that ends at {} or earlier, or do without a hold", Shown(until))
        }
        _ => format!("{pool} {why}, and that is now: confirm it while it lives, or do without a hold"),
    }
}

fn stale(rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    match rejection.version {
        Some(version) => {
            format!("{pool} has version {version}, not the one expected: read it again, and send its ETag")
        }
        None => no_version(&pool.to_string()),
    }
}

/// For a definition of a pool that has to be there already.
fn no_version(pool: &str) -> String {
    format!("{pool} does not exist, so that it has no version: leave out If-Match to make it")
}

fn of_dimension(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    let Some(d) = rejection.dimension else { return pool.to_string() };
    let units = |amounts: &Option<crate::domain::Amounts>| {
        amounts.as_ref().and_then(|amounts| amounts.get(d)).unwrap_or_default()
    };
    let (asked, limit, used) = (units(&rejection.demand), units(&rejection.limits), units(&rejection.used));
    let taken = units(&rejection.demand_before);
    match rejection.reason {
        Reason::UnknownDimension => {
            if matches!(event.body, EventBody::Repeated(..)) {
                return format!("{pool} had no dimension {d}: read it to see those it has");
            }
            let known: Vec<_> = rejection.limits.iter().flat_map(|l| l.iter()).map(|(d, _)| d.to_string()).collect();
            format!("{pool} has no dimension {d}: its dimensions are {}", known.join(", "))
        }
        Reason::LimitOutOfRange => {
            format!("the limit of {d} in {pool} is {limit}, and would leave 0 to {UNITS_MAX}: change it by less")
        }
        Reason::DimensionInUse => {
            format!("{used} {d} of {pool} are in use: name the dimension in the limits, or release them first")
        }
        _ => {
            let left = limit.saturating_sub(used);
            let had = if matches!(event.body, EventBody::Repeated(..)) { "had" } else { "has" };
            let asked = if rejection.demand_before.is_some() {
                let more = asked.saturating_sub(taken);
                format!("{more} more were asked for, {asked} in place of {taken}: ask for less")
            } else {
                format!("{asked} were asked for: ask for less, or of another pool")
            };
            format!("{pool} {had} {left} of {limit} {d} left, {asked}")
        }
    }
}

/// The pool of a refusal, by id.
struct Pool<'a>(&'a Rejection);

impl std::fmt::Display for Pool<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.pool {
            Some(pool) => write!(f, "pool {pool}"),
            None => f.write_str("the pool"),
        }
    }
}

/// The reservation of a refusal, by id.
struct Reservation<'a>(&'a Rejection);

impl std::fmt::Display for Reservation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.reservation {
            Some(reservation) => write!(f, "reservation {reservation}"),
            None => f.write_str("the reservation"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Amounts, Attempt, Cause, CommandId, CommandKind, CommandStamp, Digest, Dimension, IdempotencyKey, Micros,
    };

    fn refusal(reason: Reason, kind: CommandKind, is_keyed: bool) -> String {
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
        let event = Event {
            partition: 2,
            seq: 9,
            epoch: 1,
            prev: Digest::default(),
            decided_at: Micros(1_800_000_000_000_000),
            cause: Some(Cause::of(4, stamp)),
            body: EventBody::Rejected(rejection.clone()),
        };
        of_rejection(&event, &rejection)
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
            assert!(
                said.split(' ').count() > 5 && said != Code::of_reason(*reason).meaning().title,
                "{reason}: {said}"
            );
            // The text asks for a new key exactly when the key keeps the refusal, and another key may get another answer.
            let stays = [Reason::HoldExpired, Reason::AlreadyReleased, Reason::NotAHold].contains(reason);
            assert_eq!(said.contains("under a new one"), reason.is_remembered() && !stays, "{reason}: {said}");
            assert!(!refusal(*reason, CommandKind::Reserve, false).contains("under a new one"), "{reason}");
        }
    }

    /// The story: a caller who confirmed too late was told to reserve again. It did, under the key of its Reserve, and was
    /// refused until a day later. The same confirm under another key, which it was told to send, was refused as well.
    #[test]
    fn whoever_comes_after_the_end_is_told_to_reserve_under_a_new_key() {
        let kinds = [CommandKind::Reserve, CommandKind::Confirm, CommandKind::Extend, CommandKind::Amend];
        for (reason, kind) in kinds.map(|kind| [(Reason::HoldExpired, kind), (Reason::AlreadyReleased, kind)]).concat()
        {
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
        assert!(!absent.contains("PUT"), "{absent}");
        let retired = refused(Some(Micros(1_800_000_060_000_000)));
        assert!(retired.contains("has retired") && retired.contains("2027-01-15T08:01:00Z"), "{retired}");
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
}
