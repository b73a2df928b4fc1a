//! What the domain's values look like to a scenario: a kind and flat fields, all text.

use super::{Fields, Seen};
use headroom::domain::{
    Amounts, Entry, EventBody, Micros, Mode, Pool, Rejection, ReleaseCause, Reservation, RetireCause, Retirement,
    Status, Window,
};

/// Midnight of 2026-11-21, UTC: the day on which every scenario plays.
pub const MIDNIGHT: Micros = Micros(1_795_219_200_000_000);

/// An instant as `HH:MM:SS` and what is left of the second; hours run on past the day.
pub fn clock(at: Micros) -> String {
    let since = at.0.saturating_sub(MIDNIGHT.0);
    let (seconds, micros) = (since / 1_000_000, since % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if micros == 0 { text } else { format!("{text}.{micros:06}").trim_end_matches('0').to_owned() }
}

/// An event's body.
pub fn seen_body(body: &EventBody) -> Seen {
    let kind = match body {
        EventBody::PoolDefined(_) => "defined".to_owned(),
        EventBody::LimitsAdjusted(_) => "adjusted".to_owned(),
        EventBody::ModeSet(_) => "mode_set".to_owned(),
        EventBody::PoolChanged(_) => "changed".to_owned(),
        EventBody::PoolRetired(_) => "retired".to_owned(),
        EventBody::Accepted(_) => "accepted".to_owned(),
        EventBody::Confirmed(_) => "confirmed".to_owned(),
        EventBody::Extended(_) => "extended".to_owned(),
        EventBody::Amended(..) => "amended".to_owned(),
        EventBody::Released(..) => "released".to_owned(),
        EventBody::Expired(_) => "expired".to_owned(),
        EventBody::Repeated(original, _) => format!("repeated {}", seen_body(original).kind),
        EventBody::Rejected(rejection) => format!("rejected {}", rejection.reason),
        EventBody::Abandoned { .. } => "abandoned".to_owned(),
        EventBody::Malformed { .. } => "malformed".to_owned(),
        EventBody::CommandsLost { .. } => "commands_lost".to_owned(),
        EventBody::EventsLost { .. } => "events_lost".to_owned(),
        EventBody::ClockSet { .. } => "clock_set".to_owned(),
        EventBody::Barrier { .. } => "barrier".to_owned(),
        EventBody::Tick => "tick".to_owned(),
    };
    let mut fields = Fields::new();
    if let Some(entry) = body.entry() {
        entry_fields(&mut fields, entry);
    }
    if let Some(before) = body.demand_before() {
        amounts(&mut fields, "before", before);
    }
    if let Some(pool) = body.pool() {
        pool_fields(&mut fields, pool);
    }
    if let Some(rejection) = body.rejection() {
        rejection_fields(&mut fields, rejection);
    }
    if let Some(Retirement { live, cause, .. }) = retirement_of(body) {
        put(&mut fields, "live", live);
        put(&mut fields, "cause", if *cause == RetireCause::Caller { "caller" } else { "window" });
    }
    if let EventBody::Released(_, cause) = body {
        put(&mut fields, "cause", if *cause == ReleaseCause::Caller { "caller" } else { "abandoned" });
    }
    if let Some(id) = body.reservation_id() {
        put(&mut fields, "reservation", id);
    }
    Seen { kind, fields }
}

fn retirement_of(body: &EventBody) -> Option<&Retirement> {
    match body {
        EventBody::PoolRetired(retirement) => Some(retirement),
        EventBody::Repeated(original, _) => retirement_of(original),
        _ => None,
    }
}

/// A pool as it is, or that there is none.
pub fn seen_pool(pool: Option<&Pool>) -> Seen {
    let mut fields = Fields::new();
    if let Some(pool) = pool {
        pool_fields(&mut fields, pool);
    }
    Seen { kind: if pool.is_some() { "pool" } else { "none" }.to_owned(), fields }
}

/// A reservation as it is: what a caller who asks for it by its id may be told at `now`.
pub fn seen_reservation(reservation: Option<&Reservation>, now: Micros) -> Seen {
    let mut fields = Fields::new();
    let known = reservation.filter(|r| r.is_known(now));
    let Some((known, status)) = known.and_then(|r| Some((r, status_text(r.status)?))) else {
        return Seen { kind: "none".to_owned(), fields };
    };
    amounts(&mut fields, "demand", &known.demand);
    if known.status == Status::Held {
        put(&mut fields, "until", clock(known.until));
    }
    if let Some(text) = &known.order_ref {
        put(&mut fields, "ref", text);
    }
    Seen { kind: status.to_owned(), fields }
}

fn put(fields: &mut Fields, field: &str, value: impl ToString) {
    fields.insert(field.to_owned(), value.to_string());
}

fn amounts(fields: &mut Fields, of: &str, amounts: &Amounts) {
    amounts.iter().for_each(|(dimension, units)| put(fields, &format!("{of}.{dimension}"), units));
}

fn status_text(status: Status) -> Option<&'static str> {
    match status {
        Status::Held => Some("held"),
        Status::Confirmed => Some("confirmed"),
        Status::Released => Some("released"),
        Status::Expired => Some("expired"),
        Status::Void | Status::Refused { .. } => None,
    }
}

fn entry_fields(fields: &mut Fields, entry: &Entry) {
    put(fields, "pool", &entry.pool);
    put(fields, "status", status_text(entry.status).unwrap_or("none"));
    amounts(fields, "demand", &entry.demand);
    amounts(fields, "limits", &entry.limits);
    amounts(fields, "used", &entry.used);
    if let Some(until) = entry.hold_until {
        put(fields, "until", clock(until));
    }
    if let Some(text) = &entry.order_ref {
        put(fields, "ref", text);
    }
}

fn pool_fields(fields: &mut Fields, pool: &Pool) {
    put(fields, "pool", &pool.id);
    put(fields, "version", pool.version);
    put(fields, "mode", mode_text(pool.spec.mode));
    put(fields, "over_committed", if pool.is_over_committed() { "yes" } else { "no" });
    amounts(fields, "limits", &pool.spec.limits);
    amounts(fields, "used", &pool.used);
    let rules = pool.spec.rules;
    for (field, ms) in [
        ("ttl_max", rules.hold_ttl_max_ms),
        ("life_max", rules.hold_life_max_ms),
        ("retire_after", rules.retire_after_ms),
    ] {
        if let Some(ms) = ms {
            put(fields, field, format!("{ms}ms"));
        }
    }
    if rules.unique_order_ref {
        put(fields, "unique", "yes");
    }
    let areas: Vec<_> = pool.spec.areas.iter().map(|area| area.as_str()).collect();
    let labels: Vec<_> = pool.spec.labels.iter().map(|(label, value)| format!("{label}:{value}")).collect();
    for (field, texts) in [("areas", areas.join(",")), ("labels", labels.join(","))] {
        if !texts.is_empty() {
            put(fields, field, texts);
        }
    }
    if let Some(Window { start, end, cutoff }) = pool.spec.window {
        put(fields, "window", format!("{}-{}", clock(start), clock(end)));
        if let Some(cutoff) = cutoff {
            put(fields, "cutoff", clock(cutoff));
        }
    }
}

fn rejection_fields(fields: &mut Fields, rejection: &Rejection) {
    let none = Amounts::default();
    amounts(fields, "demand", rejection.demand.as_ref().unwrap_or(&none));
    amounts(fields, "limits", rejection.limits.as_ref().unwrap_or(&none));
    amounts(fields, "used", rejection.used.as_ref().unwrap_or(&none));
    if let Some(until) = rejection.hold_until {
        put(fields, "until", clock(until));
    }
    if let Some(until) = rejection.retired_until {
        put(fields, "retired_until", clock(until));
    }
    if let Some(live) = rejection.live {
        put(fields, "live", live);
    }
    if let Some(id) = rejection.existing_reservation {
        put(fields, "existing", id);
    }
    if let Some(dimension) = rejection.dimension {
        put(fields, "dimension", dimension);
    }
    if let Some(pool) = &rejection.pool {
        put(fields, "pool", pool);
    }
    if let Some(version) = rejection.version {
        put(fields, "version", version);
    }
    if let Some(mode) = rejection.mode {
        put(fields, "mode", mode_text(mode));
    }
}

pub fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Open => "open",
        Mode::Paused => "paused",
        Mode::Closed => "closed",
    }
}
