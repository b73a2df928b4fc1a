//! What requests say, from the values of any protocol to the domain's own types. Every refusal has its code and names
//! the member, and is the same for every protocol.

mod fields;
mod ids;
mod parts;
mod units;

pub use ids::{key, pool_id, reservation_id};

use super::problem::{Problem, RequestFault};
use super::shapes::{self, HOLD_LIFE_MAX, HOLD_TTL_MAX, RETIRE_AFTER, UNIQUE_ORDER_REF};
use super::value::{Value, quoted, shown};
use crate::domain::coverage::Query;
use crate::domain::event::is_reason;
use crate::domain::route::pool_hash;
use crate::domain::{
    Amounts, Edit, LimitChange, Mode, PoolChange, PoolId, PoolRules, PoolSpec, ReservationId, RuleChange, Status,
};
use crate::limits::{PAGE_POOLS_DEFAULT, PAGE_POOLS_MAX, REASON_CHARS_MAX, WATCH_IDS_MAX};
use crate::service::Reserve;
use crate::service::reads::PoolPage;
use crate::service::watch::WatchFilter;
use fields::{Fields, text};
use ids::name;
use parts::{
    areas, hold_life_max, hold_ttl, hold_ttl_max, is_unique, label_changes, labels, mode_of, retire_after, time,
    window, window_change,
};
use std::collections::BTreeSet;
use units::{amounts, deltas, demand};

/// A domain value, or the refusal that names what is wrong.
pub type Parsed<T> = Result<T, Problem>;

/// What `POST /v1/availability` asks for.
#[derive(Debug)]
pub struct Availability {
    /// Conditions that the pools have to match.
    pub query: Query,
    /// The page of matching pools.
    pub page: PoolPage,
}

/// Reads a Reserve.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn reserve(body: Value<'_>) -> Parsed<Reserve> {
    let mut fields = Fields::parse(body, &shapes::RESERVE)?;
    Ok(Reserve {
        pool: fields
            .required("pool")
            .and_then(|value| pool_id("pool", &text("pool", value, RequestFault::BadName)?))?,
        demand: fields.required("demand").and_then(|value| demand("demand", value))?,
        hold_ttl_ms: fields.optional("hold_ttl_ms").map(hold_ttl).transpose()?,
        order_ref: fields.optional("order_ref").map(|value| name("order_ref", value)).transpose()?,
    })
}

/// Reads a pool's definition.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn pool_spec(body: Value<'_>) -> Parsed<PoolSpec> {
    let mut fields = Fields::parse(body, &shapes::POOL_SPEC)?;
    Ok(PoolSpec {
        limits: fields.required("limits").and_then(|value| amounts("limits", value, 0))?,
        areas: fields.optional("areas").map(areas).transpose()?.unwrap_or_default(),
        window: fields.optional("window").map(window).transpose()?,
        labels: fields.optional("labels").map(labels).transpose()?.unwrap_or_default(),
        mode: fields.optional("mode").map(mode_of).transpose()?.unwrap_or(Mode::Open),
        rules: PoolRules {
            hold_ttl_max_ms: fields.optional(HOLD_TTL_MAX).map(hold_ttl_max).transpose()?,
            hold_life_max_ms: fields.optional(HOLD_LIFE_MAX).map(hold_life_max).transpose()?,
            unique_order_ref: fields.optional(UNIQUE_ORDER_REF).map(is_unique).transpose()?.unwrap_or_default(),
            retire_after_ms: fields.optional(RETIRE_AFTER).map(retire_after).transpose()?,
        },
    })
}

/// Reads a change of a pool. In this body `null` removes a part.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn pool_change(body: Value<'_>) -> Parsed<PoolChange> {
    let mut fields = Fields::parse(body, &shapes::POOL_CHANGE)?;
    let limits = match (fields.set("limits")?, fields.set("adjust")?) {
        (None, None) => None,
        (Some(limits), None) => Some(LimitChange::To(amounts("limits", limits, 0)?)),
        (None, Some(adjust)) => Some(LimitChange::By(deltas(adjust)?)),
        (Some(_), Some(_)) => {
            return Err(Problem::fault(RequestFault::BadChange, "the body has both 'limits' and 'adjust': send one"));
        }
    };
    let change = PoolChange {
        limits,
        areas: fields.set("areas")?.map(areas).transpose()?,
        window: fields.edit("window", window_change)?,
        labels: fields.set("labels")?.map(label_changes).transpose()?.unwrap_or_default(),
        mode: fields.set("mode")?.map(mode_of).transpose()?,
        rules: RuleChange {
            hold_ttl_max_ms: fields.edit(HOLD_TTL_MAX, hold_ttl_max)?,
            hold_life_max_ms: fields.edit(HOLD_LIFE_MAX, hold_life_max)?,
            unique_order_ref: match fields.edit(UNIQUE_ORDER_REF, is_unique)? {
                Edit::Keep => None,
                Edit::Clear => Some(false),
                Edit::To(is_unique) => Some(is_unique),
            },
            retire_after_ms: fields.edit(RETIRE_AFTER, retire_after)?,
        },
    };
    if change.is_well_formed() {
        Ok(change)
    } else {
        Err(Problem::fault(
            RequestFault::BadChange,
            "the body changes nothing: name limits or adjust, areas, window, labels, mode or a rule",
        ))
    }
}

/// Reads `{"mode": …}`.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn mode(body: Value<'_>) -> Parsed<Mode> {
    Fields::parse(body, &shapes::MODE_CHANGE)?.required("mode").and_then(mode_of)
}

/// Reads `{"because": …}`.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn because(body: Value<'_>) -> Parsed<String> {
    let why = text("because", Fields::parse(body, &shapes::BECAUSE)?.required("because")?, RequestFault::BadName)?;
    let detail = || format!("'because' has to be 1 to {REASON_CHARS_MAX} characters on one line");
    is_reason(&why).then(|| why.into_owned()).ok_or_else(|| Problem::fault(RequestFault::BadName, detail()))
}

/// Reads `{"hold_ttl_ms": …}`.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn extension(body: Value<'_>) -> Parsed<u64> {
    Fields::parse(body, &shapes::EXTENSION)?.required("hold_ttl_ms").and_then(hold_ttl)
}

/// Reads `{"demand": …}`.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn amendment(body: Value<'_>) -> Parsed<Amounts> {
    Fields::parse(body, &shapes::AMENDMENT)?.required("demand").and_then(|value| demand("demand", value))
}

/// Checks that nothing is said.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn nothing(body: Value<'_>) -> Parsed<()> {
    Fields::parse(body, &shapes::NOTHING).map(drop)
}

/// Reads a query for availability; an empty object asks for everything.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn availability(body: Value<'_>) -> Parsed<Availability> {
    let mut fields = Fields::parse(body, &shapes::AVAILABILITY_QUERY)?;
    let query = conditions(&mut fields)?;
    let limit = match fields.optional("limit") {
        None => PAGE_POOLS_DEFAULT,
        Some(Value::Unsigned(n)) => page_limit(n)?,
        Some(other) => return Err(bad_limit(&shown(&other))),
    };
    let cursor = fields.optional("cursor").map(|value| text("cursor", value, RequestFault::BadQuery)).transpose()?;
    let after = cursor.map(|cursor| page_cursor(&cursor)).transpose()?;
    Ok(Availability { query, page: PoolPage { after, limit } })
}

/// Reads which pools a watch is for.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn watch(body: Value<'_>) -> Parsed<WatchFilter> {
    let mut fields = Fields::parse(body, &shapes::WATCH)?;
    let pools = match fields.optional("pools") {
        None => BTreeSet::new(),
        Some(Value::List(list)) if list.len() <= WATCH_IDS_MAX => {
            let read = |(at, value): (usize, Value<'_>)| {
                let field = format!("pools[{at}]");
                pool_id(&field, &text(&field, value, RequestFault::BadName)?)
            };
            list.into_iter().enumerate().map(read).collect::<Parsed<_>>()?
        }
        Some(Value::List(list)) => {
            let detail = format!("pools names {}, {WATCH_IDS_MAX} are the most", list.len());
            return Err(Problem::fault(RequestFault::BadQuery, detail));
        }
        Some(other) => {
            let detail = format!("pools is {}, it has to be an array of ids", shown(&other));
            return Err(Problem::fault(RequestFault::BadName, detail));
        }
    };
    Ok(WatchFilter { query: conditions(&mut fields)?, pools })
}

/// The conditions on pools that an object names.
fn conditions(fields: &mut Fields<'_>) -> Parsed<Query> {
    Ok(Query {
        areas: fields.optional("areas").map(areas).transpose()?.unwrap_or_default(),
        from: fields.optional("from").map(|value| time("from", value)).transpose()?,
        to: fields.optional("to").map(|value| time("to", value)).transpose()?,
        demand: fields.optional("demand").map(|value| demand("demand", value)).transpose()?.unwrap_or_default(),
        labels: fields.optional("labels").map(labels).transpose()?.unwrap_or_default(),
    })
}

/// Checks the number of pools, or of reservations, of a page.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn page_limit(n: u64) -> Parsed<usize> {
    usize::try_from(n).ok().filter(|n| (1..=PAGE_POOLS_MAX).contains(n)).ok_or_else(|| bad_limit(&n.to_string()))
}

fn bad_limit(limit: &str) -> Problem {
    Problem::fault(
        RequestFault::BadQuery,
        format!("limit is {limit}, it has to be an integer from 1 to {PAGE_POOLS_MAX}"),
    )
}

/// Reads the cursor of a page of pools.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn page_cursor(cursor: &str) -> Parsed<PoolId> {
    PoolId::new(cursor).map_err(|_| bad_cursor(cursor))
}

/// Reads the cursor of a page of the reservations of a pool.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn reservations_cursor(pool: &PoolId, cursor: &str) -> Parsed<ReservationId> {
    let id = ReservationId::parse(cursor).ok().filter(|id| id.pool_hash() == pool_hash(pool));
    id.ok_or_else(|| bad_cursor(cursor))
}

fn bad_cursor(cursor: &str) -> Problem {
    let wrong = format!("cursor is {}, which no page gave as 'next': leave it out for the first page", quoted(cursor));
    Problem::fault(RequestFault::BadQuery, wrong)
}

/// Reads the status of the reservations that are asked for.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn status(text: &str) -> Parsed<Status> {
    Status::ADMITTED.into_iter().find(|status| status.code() == Some(text)).ok_or_else(|| bad_status(&quoted(text)))
}

/// The refusal of a status, which is shown like this.
pub fn bad_status(shown: &str) -> Problem {
    let words = Status::ADMITTED.into_iter().filter_map(Status::code).collect::<Vec<_>>().join(", ");
    Problem::fault(RequestFault::BadQuery, format!("status is {shown}, it has to be one of {words}"))
}
