//! Domain values as Avro bytes and back. The files in `schemas/` define the records; no other module knows their
//! layout. Decoded values have passed the domain's constructors, so that their names need not be checked again.
//! Whether they make sense is decided by [`crate::domain::decide`]. No input or output, no clock.

mod codes;
pub mod command;
mod datum;
pub mod digest;
mod direct;
mod entries;
pub mod event;
mod field;
pub mod frame;
mod page;
mod readable;
mod recent;
pub mod reply;
pub mod schema;
pub mod snapshot;

use crate::domain::{Amounts, LimitChange, Micros, Mode, PoolRules, PoolSpec, Window};
use field::{Labels, Names, Units};
use std::fmt;

pub use recent::Recent;

/// Why bytes cannot be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError {
    detail: String,
    is_newer: bool,
}

/// Longest text of a [`DecodeError`] in characters; it is recorded in the log.
const DETAIL_CHARS_MAX: usize = 200;

impl DecodeError {
    fn new(detail: impl fmt::Display) -> DecodeError {
        DecodeError { detail: detail.to_string().chars().take(DETAIL_CHARS_MAX).collect(), is_newer: false }
    }

    fn unknown_schema() -> DecodeError {
        DecodeError { is_newer: true, ..DecodeError::new("written under a schema that is not known here") }
    }

    /// Whether the record says that it was written under a schema that this version does not know. Nothing is known of what it
    /// holds: a later version reads it.
    pub fn is_newer(&self) -> bool {
        self.is_newer
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

/// An unsigned number as a long. A number beyond the range of longs becomes the largest one, which every bound
/// refuses.
fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A long as an unsigned number; refused when it is negative.
fn natural(long: i64, field: &str) -> Result<u64, DecodeError> {
    u64::try_from(long).map_err(|_| DecodeError::new(format_args!("{field} is negative")))
}

/// A mandatory field as an unsigned number.
fn counted(long: Option<i64>, field: &str) -> Result<u64, DecodeError> {
    natural(long.ok_or_else(|| DecodeError::missing(field))?, field)
}

/// A mandatory field.
fn present<T>(value: Option<T>, field: &str) -> Result<T, DecodeError> {
    value.ok_or_else(|| DecodeError::missing(field))
}

/// Amounts from a map; refused when one is negative or a dimension comes twice.
fn amounts(units: Units<'_>, field: &str) -> Result<Amounts, DecodeError> {
    let pairs = match units {
        Units::Known(amounts) => return Ok(amounts),
        Units::Read(pairs) => pairs,
        Units::Amounts(_) | Units::Changes(_) => return Err(DecodeError::missing(field)),
    };
    if pairs.iter().any(|(_, units)| *units < 0) {
        return Err(DecodeError::new(format_args!("{field} is negative")));
    }
    let natural = pairs.into_iter().map(|(dimension, units)| (dimension, units.cast_unsigned()));
    Amounts::new(natural).ok_or_else(|| DecodeError::new(format_args!("{field} has a dimension twice")))
}

/// A change of limits from its two fields, of which at most one may be there: new limits or differences.
fn change_of(limits: Option<Units<'_>>, adjust: Option<Units<'_>>) -> Result<Option<LimitChange>, DecodeError> {
    match (limits, adjust) {
        (Some(limits), None) => Ok(Some(LimitChange::To(amounts(limits, "limits")?))),
        (None, Some(Units::Read(changes))) => Ok(Some(LimitChange::By(changes))),
        (None, Some(Units::Known(changes))) => {
            Ok(Some(LimitChange::By(changes.iter().map(|(d, units)| (d, units.cast_signed())).collect())))
        }
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(DecodeError::new("limits and adjust are both given")),
    }
}

/// The fields that define a pool; commands and events have the same.
struct SpecFields {
    limits: Amounts,
    areas: Option<Names<'static>>,
    window: [Option<i64>; 3],
    labels: Option<Labels<'static>>,
    mode: Mode,
    /// The longest time of a hold, its longest life, and after how long the pool retires, in milliseconds.
    spans: [Option<i64>; 3],
    unique_order_ref: Option<bool>,
}

impl SpecFields {
    fn spec(self) -> Result<PoolSpec, DecodeError> {
        let instant = |long: i64, field| natural(long, field).map(Micros);
        let [hold_ttl_max_ms, hold_life_max_ms, retire_after_ms] = self.spans;
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
                retire_after_ms: retire_after_ms.map(|ms| natural(ms, "retire_after_ms")).transpose()?,
            },
        })
    }
}
