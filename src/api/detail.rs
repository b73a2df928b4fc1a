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
        format!("{said}; the key keeps this answer for up to {WINDOW_HOURS} hours, so ask again under a new one")
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
        Reason::Expired => {
            format!("the deadline had passed when the command was decided, at {}: try again", Shown(event.decided_at))
        }
        Reason::Abandoned => TAKEN_BACK.into(),
        Reason::DeadlineTooFar => format!(
            "the deadline is more than {COMMAND_WINDOW_MS} ms after {}, which is the time of its partition: set the clocks \
             of the processes, or give less time",
            Shown(event.decided_at)
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
        Reason::StaleVersion => stale(event, rejection),
        Reason::OrderHasReservation => existing(rejection),
        Reason::HoldTooLong | Reason::HoldTooOld | Reason::HoldBeyondWindow => held_too_long(event, rejection),
        Reason::PastCutoff => {
            format!(
                "{pool} took no more reservations{}, its cutoff had passed: {}",
                then(event, "at"),
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
        Reason::HoldExpired => ended(&format!("the hold of {} had run out{}", Reservation(rejection), then(event, "by"))),
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
        Reason::RetiresTooSoon => {
            let earliest = decided_at(event).map(|at| Shown(at.plus_ms(RETIRE_AFTER_MIN_MS)));
            format!(
                "{pool} would retire by itself within {} days{}: send a later end of the window, or a longer \
                 retire_after_ms; DELETE /v1/pools/{{pool}} ends its life at once",
                RETIRE_AFTER_MIN_MS / 86_400_000,
                earliest.map_or_else(String::new, |earliest| format!(", before {earliest}"))
            )
        }
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

fn is_repeated(event: &Event) -> bool {
    matches!(event.body, EventBody::Repeated(..))
}

/// When the answer was decided first; `None` for a repetition that does not know it.
fn decided_at(event: &Event) -> Option<Micros> {
    match event.body {
        EventBody::Repeated(_, origin) => origin.and_then(|origin| origin.decided_at),
        _ => Some(event.decided_at),
    }
}

/// The same as a part of a sentence, after this word.
fn then(event: &Event, word: &str) -> String {
    decided_at(event).map_or_else(String::new, |at| format!(" {word} {}", Shown(at)))
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
    match (rejection.hold_until, decided_at(event)) {
        (Some(until), Some(at)) if until <= at => {
            let is = if is_repeated(event) { "was then" } else { "is now" };
            format!("{pool} {why}, and that {is}: confirm it while it lives, or do without a hold")
        }
        (Some(until), _) if is_repeated(event) => {
            let until = Shown(until);
            format!("{pool} {why}, so this one could last until {until}: ask for less time, or do without a hold")
        }
        (Some(until), _) => {
            format!("{pool} {why}: ask for a time that ends at {} or earlier, or do without a hold", Shown(until))
        }
        (None, _) => format!("{pool} {why}: ask for less time, or do without a hold"),
    }
}

fn stale(event: &Event, rejection: &Rejection) -> String {
    let pool = Pool(rejection);
    let had_to_be_new = rejection.asked.as_ref().is_some_and(|asked| asked.version == Some(0));
    match rejection.version {
        // Whoever wants to make a pool must not be led to replace that of somebody else.
        Some(version) if had_to_be_new => {
            let exists = if is_repeated(event) { "existed" } else { "exists" };
            format!(
                "{pool} {exists} already, with version {version}, and was to be new: use another id, or read the pool, and \
                 change it if it is the one that you mean"
            )
        }
        Some(version) => {
            let has = if is_repeated(event) { "had" } else { "has" };
            format!(
                "{pool} {has} version {version}, not the one expected: read it again, and send the version that you have read \
                 (its ETag in If-Match, or expected_version)"
            )
        }
        None => no_version(&pool.to_string()),
    }
}

/// For a definition of a pool that has to be there already.
fn no_version(pool: &str) -> String {
    format!(
        "{pool} does not exist, so that it has no version: to make it, leave out If-Match, or expected_version and \
         expected_existence"
    )
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
            if is_repeated(event) {
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
            let had = if is_repeated(event) { "had" } else { "has" };
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
mod tests;
