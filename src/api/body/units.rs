//! Units by dimension: demands, limits and differences.

use super::Parsed;
use super::fields::members;
use super::ids::bad_name;
use crate::api::problem::{Problem, RequestFault};
use crate::api::value::{Members, Value, shown};
use crate::domain::{Amounts, Dimension};
use crate::limits::{DIMENSIONS_MAX, UNITS_MAX};

fn dimension(field: &str, key: &str) -> Parsed<Dimension> {
    Dimension::new(key).map_err(|error| bad_name(&format!("a dimension of {field}"), key, error))
}

/// What a reservation takes: at least one unit of each dimension.
pub(super) fn demand(field: &str, value: Value<'_>) -> Parsed<Amounts> {
    amounts(field, value, 1)
}

/// Units by dimension, at least `least` of each.
pub(super) fn amounts(field: &str, value: Value<'_>, least: u64) -> Parsed<Amounts> {
    let members = dimensions(field, value, least)?;
    let mut amounts = Vec::with_capacity(members.len());
    for (key, value) in members {
        let dimension = dimension(field, &key)?;
        match value {
            Value::Unsigned(0) if least > 0 => {
                let detail = format!("{field}.{dimension} is 0: leave the dimension out, or ask for 1 or more");
                return Err(Problem::fault(RequestFault::ZeroDemand, detail));
            }
            Value::Unsigned(units) if units <= UNITS_MAX => amounts.push((dimension, units)),
            other => {
                let (range, units) = (format!("an integer from {least} to {UNITS_MAX}"), shown(&other));
                let detail = format!("{field}.{dimension} is {units}, it has to be {range}");
                return Err(Problem::fault(RequestFault::BadUnits, detail));
            }
        }
    }
    let twice = || Problem::fault(RequestFault::BadJson, format!("{field} names a dimension twice"));
    Amounts::new(amounts).ok_or_else(twice)
}

/// Differences to limits, ordered by dimension.
pub(super) fn deltas(value: Value<'_>) -> Parsed<Vec<(Dimension, i64)>> {
    let members = dimensions("adjust", value, 0)?;
    let mut deltas = Vec::with_capacity(members.len());
    for (key, value) in members {
        let dimension = dimension("adjust", &key)?;
        let delta = match value {
            Value::Unsigned(units) if units <= UNITS_MAX => i64::try_from(units).ok(),
            Value::Negative(units) if units.unsigned_abs() <= UNITS_MAX => Some(units),
            _ => None,
        };
        let range = || {
            format!("adjust.{dimension} is {}, it has to be an integer from -{UNITS_MAX} to {UNITS_MAX}", shown(&value))
        };
        deltas.push((dimension, delta.ok_or_else(|| Problem::fault(RequestFault::BadUnits, range()))?));
    }
    deltas.sort_unstable_by_key(|(dimension, _)| *dimension);
    Ok(deltas)
}

fn dimensions<'a>(field: &str, value: Value<'a>, least: u64) -> Parsed<Members<'a>> {
    let members = members(field, value, RequestFault::BadUnits)?;
    if members.is_empty() {
        let fault = if least > 0 { RequestFault::ZeroDemand } else { RequestFault::NoDimensions };
        return Err(Problem::fault(fault, format!("{field} names no dimension: name one or more")));
    }
    if members.len() > DIMENSIONS_MAX {
        return Err(Problem::fault(
            RequestFault::TooManyDimensions,
            format!("{field} names {} dimensions, {DIMENSIONS_MAX} are the most", members.len()),
        ));
    }
    Ok(members)
}
