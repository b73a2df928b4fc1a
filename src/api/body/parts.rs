//! The parts of a pool: areas, labels, window, mode and rules.

use super::Parsed;
use super::fields::{Fields, members};
use super::ids::{bad_name, name};
use crate::api::instant;
use crate::api::problem::{Problem, RequestFault};
use crate::api::shapes::{self, HOLD_LIFE_MAX, HOLD_TTL_MAX, RETIRE_AFTER, UNIQUE_ORDER_REF};
use crate::api::value::{Value, quoted, shown};
use crate::domain::{Micros, Mode, Name, Window, WindowChange};
use crate::limits::{
    AREAS_MAX, HOLD_LIFE_MAX_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, LABELS_MAX, RETIRE_AFTER_MAX_MS, RETIRE_AFTER_MIN_MS,
};
use crate::time::Shown;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

pub(super) fn areas(value: Value<'_>) -> Parsed<BTreeSet<Name>> {
    let Value::List(list) = value else {
        let detail = format!("areas is {}, it has to be an array of names", shown(&value));
        return Err(Problem::fault(RequestFault::BadName, detail));
    };
    if list.len() > AREAS_MAX {
        let detail = format!("areas names {}, {AREAS_MAX} are the most", list.len());
        return Err(Problem::fault(RequestFault::TooManyAreas, detail));
    }
    list.into_iter().enumerate().map(|(at, area)| name(&format!("areas[{at}]"), area)).collect()
}

pub(super) fn labels(value: Value<'_>) -> Parsed<BTreeMap<Name, Name>> {
    each_label(value, |field, value| name(field, value))
}

/// Labels with their new values; `null` removes a label.
pub(super) fn label_changes(value: Value<'_>) -> Parsed<BTreeMap<Name, Option<Name>>> {
    each_label(value, |field, value| match value {
        Value::Null => Ok(None),
        value => name(field, value).map(Some),
    })
}

fn each_label<'a, T>(value: Value<'a>, read: impl Fn(&str, Value<'a>) -> Parsed<T>) -> Parsed<BTreeMap<Name, T>> {
    let members = members("labels", value, RequestFault::BadName)?;
    if members.len() > LABELS_MAX {
        let detail = format!("labels names {}, {LABELS_MAX} are the most", members.len());
        return Err(Problem::fault(RequestFault::TooManyLabels, detail));
    }
    let label = |(key, value): (Cow<'_, str>, Value<'a>)| {
        let field = format!("labels.{}", quoted(&key));
        let label = Name::new(&key).map_err(|error| bad_name("a label's name", &key, error))?;
        Ok((label, read(&field, value)?))
    };
    members.into_iter().map(label).collect()
}

pub(super) fn window_change(value: Value<'_>) -> Parsed<WindowChange> {
    let members = members("window", value, RequestFault::BadWindow)?;
    let mut fields = Fields::known("window.", members, &shapes::WINDOW_CHANGE)?;
    let mut part = |name: &str| {
        let field = format!("window.{name}");
        match fields.given(name) {
            Some(Value::Null) => {
                Err(Problem::fault(RequestFault::BadWindow, format!("{field} cannot be null: a window has both ends")))
            }
            given => given.map(|value| time(&field, value)).transpose(),
        }
    };
    let (start, end) = (part("start")?, part("end")?);
    Ok(WindowChange { start, end, cutoff: fields.edit("cutoff", |value| time("window.cutoff", value))? })
}

pub(super) fn window(value: Value<'_>) -> Parsed<Window> {
    let members = members("window", value, RequestFault::BadWindow)?;
    let mut fields = Fields::known("window.", members, &shapes::WINDOW_SPEC)?;
    let missing = |field: &str| Problem::fault(RequestFault::BadWindow, format!("window has no '{field}': add it"));
    let start = fields.optional("start").ok_or_else(|| missing("start"))?;
    let end = fields.optional("end").ok_or_else(|| missing("end"))?;
    let window = Window {
        start: time("window.start", start)?,
        end: time("window.end", end)?,
        cutoff: fields.optional("cutoff").map(|cutoff| time("window.cutoff", cutoff)).transpose()?,
    };
    if window.start >= window.end {
        return Err(Problem::fault(
            RequestFault::BadWindow,
            format!(
                "window.end is {}, it has to be later than window.start, {}",
                Shown(window.end),
                Shown(window.start)
            ),
        ));
    }
    if window.closes_at() > window.end {
        return Err(Problem::fault(
            RequestFault::BadWindow,
            format!(
                "window.cutoff is {}, it has to be no later than window.end, {}",
                Shown(window.closes_at()),
                Shown(window.end)
            ),
        ));
    }
    Ok(window)
}

pub(super) fn time(field: &str, value: Value<'_>) -> Parsed<Micros> {
    let said = match &value {
        Value::Instant { seconds, nanos } => instant::of_parts(*seconds, *nanos),
        Value::Text(text) => instant::parse(text),
        other => {
            let detail = format!("{field} is {}, it has to be a string", shown(other));
            return Err(Problem::fault(RequestFault::BadTime, detail));
        }
    };
    said.map_err(|why| Problem::fault(RequestFault::BadTime, format!("{field} is {}, {why}", shown(&value))))
}

pub(super) fn mode_of(value: Value<'_>) -> Parsed<Mode> {
    let known = match &value {
        Value::Text(text) => Mode::ALL.into_iter().find(|mode| mode.code() == text),
        _ => None,
    };
    let detail = || format!("mode is {}, it has to be 'open', 'paused' or 'closed'", shown(&value));
    known.ok_or_else(|| Problem::fault(RequestFault::BadMode, detail()))
}

pub(super) fn hold_ttl(value: Value<'_>) -> Parsed<u64> {
    hold_ms("hold_ttl_ms", value, HOLD_TTL_MAX_MS, RequestFault::BadHoldTtl)
}

pub(super) fn hold_ttl_max(value: Value<'_>) -> Parsed<u64> {
    hold_ms(HOLD_TTL_MAX, value, HOLD_TTL_MAX_MS, RequestFault::BadRule)
}

pub(super) fn hold_life_max(value: Value<'_>) -> Parsed<u64> {
    hold_ms(HOLD_LIFE_MAX, value, HOLD_LIFE_MAX_MS, RequestFault::BadRule)
}

pub(super) fn retire_after(value: Value<'_>) -> Parsed<u64> {
    ms(RETIRE_AFTER, value, RETIRE_AFTER_MIN_MS..=RETIRE_AFTER_MAX_MS, RequestFault::BadRule)
}

/// A time that is about holds: an integer of milliseconds, from the shortest hold to `most`.
fn hold_ms(name: &str, value: Value<'_>, most: u64, fault: RequestFault) -> Parsed<u64> {
    ms(name, value, HOLD_TTL_MIN_MS..=most, fault)
}

fn ms(name: &str, value: Value<'_>, range: RangeInclusive<u64>, fault: RequestFault) -> Parsed<u64> {
    match value {
        Value::Unsigned(ms) if range.contains(&ms) => Ok(ms),
        other => {
            let (ms, range) = (shown(&other), format!("an integer from {} to {}", range.start(), range.end()));
            Err(Problem::fault(fault, format!("{name} is {ms}, it has to be {range}")))
        }
    }
}

pub(super) fn is_unique(value: Value<'_>) -> Parsed<bool> {
    match value {
        Value::Bool(is_unique) => Ok(is_unique),
        other => Err(Problem::fault(
            RequestFault::BadRule,
            format!("{UNIQUE_ORDER_REF} is {}, it has to be true or false", shown(&other)),
        )),
    }
}
