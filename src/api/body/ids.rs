//! Names, keys and ids.

use super::Parsed;
use super::fields::text;
use crate::api::problem::{Problem, RequestFault};
use crate::api::value::{Value, quoted};
use crate::domain::ids::INTERNAL_POOL_PREFIX;
use crate::domain::{IdempotencyKey, Name, NameError, PoolId, Reason, ReservationId};
use crate::service::Code;

/// Reads the id of a pool of callers.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn pool_id(field: &str, text: &str) -> Parsed<PoolId> {
    let id = PoolId::new(text).map_err(|error| bad_name(field, text, error))?;
    if id.is_internal() {
        let why = format!("begins with {INTERNAL_POOL_PREFIX}: such pools belong to Headroom itself");
        return Err(Problem::fault(RequestFault::BadName, format!("{field} is {}, which {why}", quoted(text))));
    }
    Ok(id)
}

/// Reads an idempotency key.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn key(text: &str) -> Parsed<IdempotencyKey> {
    let wrong = |error: NameError| {
        Problem::fault(RequestFault::BadKey, format!("the Idempotency-Key is {}, which {error}", quoted(text)))
    };
    IdempotencyKey::new(text).map_err(wrong)
}

/// Reads the id of a reservation. A text that is not such an id names no reservation.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn reservation_id(field: &str, text: &str) -> Parsed<ReservationId> {
    let wrong = |error| format!("{field} is {}, which {error}", quoted(text));
    ReservationId::parse(text).map_err(|error| Problem::of(Code::Refused(Reason::UnknownReservation), wrong(error)))
}

/// The refusal of a name that is not valid.
pub(super) fn bad_name(field: &str, text: &str, error: NameError) -> Problem {
    Problem::fault(RequestFault::BadName, format!("{field} is {}, which {error}", quoted(text)))
}

pub(super) fn name(field: &str, value: Value<'_>) -> Parsed<Name> {
    let text = text(field, value, RequestFault::BadName)?;
    Name::new(&text).map_err(|error| bad_name(field, &text, error))
}
