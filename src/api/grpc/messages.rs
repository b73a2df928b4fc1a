//! What a caller says, from generated messages to values that [`crate::api::body`] checks. A text, a map or a list that is
//! empty says nothing, because a message cannot tell it from one that was not set.

use super::v1::{self, change_pool_request as change, window_change};
use crate::api::body::{self, Parsed};
use crate::api::problem::{Problem, RequestFault};
use crate::api::shapes::{HOLD_LIFE_MAX, HOLD_TTL_MAX, RETIRE_AFTER, UNIQUE_ORDER_REF};
use crate::api::value::{Members, Value, quoted};
use crate::domain::{Mode, Status};
use prost_types::Timestamp;
use std::collections::BTreeMap;

/// An object in the making.
#[derive(Default)]
struct Object<'a>(Members<'a>);

impl<'a> Object<'a> {
    fn member(mut self, name: &'static str, value: Option<Value<'a>>) -> Object<'a> {
        self.0.extend(value.map(|value| (name.into(), value)));
        self
    }

    fn text(self, name: &'static str, text: &'a str) -> Object<'a> {
        self.member(name, (!text.is_empty()).then(|| Value::Text(text.into())))
    }

    fn number(self, name: &'static str, number: Option<u64>) -> Object<'a> {
        self.member(name, number.map(Value::Unsigned))
    }

    fn time(self, name: &'static str, time: Option<&Timestamp>) -> Object<'a> {
        self.member(name, time.map(instant))
    }

    fn units(self, name: &'static str, units: &'a BTreeMap<String, u64>) -> Object<'a> {
        self.map(name, units.iter().map(|(dimension, units)| (dimension, Value::Unsigned(*units))).collect())
    }

    fn labels(self, labels: &'a BTreeMap<String, String>) -> Object<'a> {
        self.map("labels", labels.iter().map(|(label, value)| (label, Value::Text(value.into()))).collect())
    }

    fn map(self, name: &'static str, members: Vec<(&'a String, Value<'a>)>) -> Object<'a> {
        let members: Members<'a> = members.into_iter().map(|(key, value)| (key.into(), value)).collect();
        self.member(name, (!members.is_empty()).then_some(Value::Object(members)))
    }

    fn areas(self, areas: &'a [String]) -> Object<'a> {
        self.member("areas", (!areas.is_empty()).then(|| list(areas)))
    }

    fn mode(self, mode: i32) -> Object<'a> {
        let value = match v1::Mode::try_from(mode) {
            Ok(v1::Mode::Unspecified) => None,
            Ok(v1::Mode::Open) => Some(Value::Text(Mode::Open.code().into())),
            Ok(v1::Mode::Paused) => Some(Value::Text(Mode::Paused.code().into())),
            Ok(v1::Mode::Closed) => Some(Value::Text(Mode::Closed.code().into())),
            Err(_) => Some(Value::Negative(mode.into())),
        };
        self.member("mode", value)
    }

    fn value(self) -> Value<'a> {
        Value::Object(self.0)
    }
}

fn list(texts: &[String]) -> Value<'_> {
    Value::List(texts.iter().map(|text| Value::Text(text.into())).collect())
}

fn instant<'a>(time: &Timestamp) -> Value<'a> {
    Value::Instant { seconds: time.seconds, nanos: time.nanos }
}

/// The members of a request for availability.
pub fn availability(said: &v1::AvailabilityRequest) -> Value<'_> {
    Object::default()
        .areas(&said.areas)
        .time("from", said.from.as_ref())
        .time("to", said.to.as_ref())
        .units("demand", &said.demand)
        .labels(&said.labels)
        .number("limit", said.limit)
        .text("cursor", &said.cursor)
        .value()
}

/// The members of a pool's definition.
pub fn pool_spec(said: &v1::DefinePoolRequest) -> Value<'_> {
    let window = said.window.as_ref().map(|window| {
        let window = Object::default()
            .time("start", window.start.as_ref())
            .time("end", window.end.as_ref())
            .time("cutoff", window.cutoff.as_ref());
        window.value()
    });
    Object::default()
        .units("limits", &said.limits)
        .areas(&said.areas)
        .member("window", window)
        .labels(&said.labels)
        .mode(said.mode)
        .number(HOLD_TTL_MAX, said.hold_ttl_max_ms)
        .number(HOLD_LIFE_MAX, said.hold_life_max_ms)
        .member(UNIQUE_ORDER_REF, Some(Value::Bool(said.unique_order_ref)))
        .number(RETIRE_AFTER, said.retire_after_ms)
        .value()
}

/// The members of a pool's change.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn pool_change(said: &v1::ChangePoolRequest) -> Parsed<Value<'_>> {
    let both = said.clear_labels.iter().find(|label| said.labels.contains_key(*label));
    if let Some(label) = both {
        let detail = format!("the label {} is both set and cleared: send one", quoted(label));
        return Err(Problem::fault(RequestFault::BadChange, detail));
    }
    let set = said.labels.iter().map(|(label, value)| (label, Value::Text(value.into())));
    let labels = set.chain(said.clear_labels.iter().map(|label| (label, Value::Null))).collect();
    let deltas = said.adjust.iter().map(|(dimension, delta)| {
        let value = u64::try_from(*delta).map_or(Value::Negative(*delta), Value::Unsigned);
        (dimension, value)
    });
    let window = said.window_change.as_ref().map(|edit| match edit {
        change::WindowChange::Window(window) => window_parts(window),
        change::WindowChange::ClearWindow(_) => Value::Null,
    });
    let ttl = said.hold_ttl_max.as_ref().map(|edit| match edit {
        change::HoldTtlMax::HoldTtlMaxMs(ms) => Value::Unsigned(*ms),
        change::HoldTtlMax::ClearHoldTtlMax(_) => Value::Null,
    });
    let life = said.hold_life_max.as_ref().map(|edit| match edit {
        change::HoldLifeMax::HoldLifeMaxMs(ms) => Value::Unsigned(*ms),
        change::HoldLifeMax::ClearHoldLifeMax(_) => Value::Null,
    });
    let retire = said.retire_after.as_ref().map(|edit| match edit {
        change::RetireAfter::RetireAfterMs(ms) => Value::Unsigned(*ms),
        change::RetireAfter::ClearRetireAfter(_) => Value::Null,
    });
    let change = Object::default()
        .units("limits", &said.limits)
        .map("adjust", deltas.collect())
        .member("areas", said.areas.as_ref().map(|areas| list(&areas.names)))
        .member("window", window)
        .map("labels", labels)
        .mode(said.mode)
        .member(HOLD_TTL_MAX, ttl)
        .member(HOLD_LIFE_MAX, life)
        .member(UNIQUE_ORDER_REF, said.unique_order_ref.map(Value::Bool))
        .member(RETIRE_AFTER, retire);
    Ok(change.value())
}

fn window_parts(window: &v1::WindowChange) -> Value<'_> {
    let cutoff = window.cutoff_change.as_ref().map(|edit| match edit {
        window_change::CutoffChange::Cutoff(cutoff) => instant(cutoff),
        window_change::CutoffChange::ClearCutoff(_) => Value::Null,
    });
    Object::default()
        .time("start", window.start.as_ref())
        .time("end", window.end.as_ref())
        .member("cutoff", cutoff)
        .value()
}

/// The members of a change of the mode.
pub fn mode(said: &v1::SetModeRequest) -> Value<'_> {
    Object::default().mode(said.mode).value()
}

/// The members of a request for capacity.
pub fn reserve(said: &v1::ReserveRequest) -> Value<'_> {
    Object::default()
        .text("pool", &said.pool)
        .units("demand", &said.demand)
        .number("hold_ttl_ms", said.hold_ttl_ms)
        .text("order_ref", &said.order_ref)
        .value()
}

/// The status of the reservations that are asked for; none for all of them.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn status(said: i32) -> Parsed<Option<Status>> {
    let status = v1::reservation::Status::try_from(said).map_err(|_| body::bad_status(&said.to_string()))?;
    Ok(match status {
        v1::reservation::Status::Unspecified => None,
        v1::reservation::Status::Held => Some(Status::Held),
        v1::reservation::Status::Confirmed => Some(Status::Confirmed),
        v1::reservation::Status::Released => Some(Status::Released),
        v1::reservation::Status::Expired => Some(Status::Expired),
    })
}

/// The members of an amendment.
pub fn amendment(said: &v1::AmendRequest) -> Value<'_> {
    Object::default().units("demand", &said.demand).value()
}

/// The members of an extension.
pub fn extension(said: &v1::ExtendRequest) -> Value<'_> {
    Object::default().number("hold_ttl_ms", said.hold_ttl_ms).value()
}

/// The members of a request to watch pools, but for its position.
pub fn watch(said: &v1::WatchPoolsRequest) -> Value<'_> {
    Object::default()
        .areas(&said.areas)
        .time("from", said.from.as_ref())
        .time("to", said.to.as_ref())
        .labels(&said.labels)
        .member("pools", (!said.pools.is_empty()).then(|| list(&said.pools)))
        .value()
}
