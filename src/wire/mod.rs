//! Domain values as Avro bytes and back. The files in `schemas/` are the source; nothing else in the crate knows how a
//! record is laid out. What is decoded has passed the domain's constructors, so whoever holds it need not check names
//! again; whether it makes sense is for [`crate::domain::decide`] to say. No input or output, no clock.

mod codes;
pub mod command;
pub mod digest;
pub mod event;
mod field;
pub mod frame;
mod page;
mod readable;
pub mod reply;
pub mod schema;
pub mod snapshot;

use crate::domain::{Amounts, LimitChange, Micros, Mode, PoolRules, PoolSpec, Window};
use field::{Labels, Names, Units};
use std::fmt;

/// Why bytes are not the record they should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError {
    detail: String,
}

/// Longest text of a [`DecodeError`]: it is recorded in the log.
const DETAIL_CHARS_MAX: usize = 200;

impl DecodeError {
    fn new(detail: impl fmt::Display) -> DecodeError {
        DecodeError { detail: detail.to_string().chars().take(DETAIL_CHARS_MAX).collect() }
    }

    fn not_of_schema(error: impl fmt::Display) -> DecodeError {
        DecodeError::new(format_args!("not of the schema it names: {error}"))
    }

    fn missing(field: &str) -> DecodeError {
        DecodeError::new(format_args!("{field} is missing"))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for DecodeError {}

/// A number that is never negative, as a long. Past the end of longs it is the last one: such a number is out of every
/// range that is accepted, and stays so.
fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A long that is never negative.
fn natural(long: i64, field: &str) -> Result<u64, DecodeError> {
    u64::try_from(long).map_err(|_| DecodeError::new(format_args!("{field} is negative")))
}

/// A field that must be there, and is never negative.
fn counted(long: Option<i64>, field: &str) -> Result<u64, DecodeError> {
    natural(long.ok_or_else(|| DecodeError::missing(field))?, field)
}

/// A field that must be there.
fn present<T>(value: Option<T>, field: &str) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeError::missing(field))
}

/// Amounts that must not be negative, each dimension once.
fn amounts(units: Units<'_>, field: &str) -> Result<Amounts, DecodeError> {
    let Units::Read(pairs) = units else { return Err(DecodeError::missing(field)) };
    if pairs.iter().any(|(_, units)| *units < 0) {
        return Err(DecodeError::new(format_args!("{field} is negative")));
    }
    let natural = pairs.into_iter().map(|(dimension, units)| (dimension, units.cast_unsigned()));
    Amounts::new(natural).ok_or_else(|| DecodeError::new(format_args!("{field} has a dimension twice")))
}

/// A change of limits, if there is one: new ones or differences.
fn change_of(limits: Option<Units<'_>>, adjust: Option<Units<'_>>) -> Result<Option<LimitChange>, DecodeError> {
    match (limits, adjust) {
        (Some(limits), None) => Ok(Some(LimitChange::To(amounts(limits, "limits")?))),
        (None, Some(Units::Read(changes))) => Ok(Some(LimitChange::By(changes))),
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(DecodeError::new("limits and adjust are both given")),
    }
}

/// What a planner says of a pool, as it stands in commands and events alike.
struct SpecFields {
    limits: Amounts,
    areas: Option<Names<'static>>,
    window: [Option<i64>; 3],
    labels: Option<Labels<'static>>,
    mode: Mode,
    hold_max: [Option<i64>; 2],
    unique_order_ref: Option<bool>,
}

impl SpecFields {
    fn spec(self) -> Result<PoolSpec, DecodeError> {
        let instant = |long: i64, field| natural(long, field).map(Micros);
        let [hold_ttl_max_ms, hold_life_max_ms] = self.hold_max;
        let window = match self.window {
            [None, None, None] => None,
            [Some(start), Some(end), cutoff] => Some(Window {
                start: instant(start, "window_start")?,
                end: instant(end, "window_end")?,
                cutoff: cutoff.map(|cutoff| instant(cutoff, "cutoff")).transpose()?,
            }),
            _ => return Err(DecodeError::new("half a window is given")),
        };
        Ok(PoolSpec {
            limits: self.limits,
            areas: self.areas.map(|names| names.0.into_owned()).unwrap_or_default(),
            window,
            labels: self.labels.map(|labels| labels.0.into_owned()).unwrap_or_default(),
            mode: self.mode,
            rules: PoolRules {
                hold_ttl_max_ms: hold_ttl_max_ms.map(|ms| natural(ms, "hold_ttl_max_ms")).transpose()?,
                hold_life_max_ms: hold_life_max_ms.map(|ms| natural(ms, "hold_life_max_ms")).transpose()?,
                unique_order_ref: self.unique_order_ref.unwrap_or_default(),
            },
        })
    }
}
