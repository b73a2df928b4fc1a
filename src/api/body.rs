//! What requests say, from the values of any protocol to the domain's own types. Every refusal has its code and names
//! the member, and is the same for every protocol.

use super::instant;
use super::problem::{Problem, RequestFault};
use super::shapes::{self, HOLD_LIFE_MAX, HOLD_TTL_MAX, Shape, UNIQUE_ORDER_REF};
use super::value::{Members, Value, quoted, shown};
use crate::domain::coverage::Query;
use crate::domain::event::is_reason;
use crate::domain::{
    Amounts, Dimension, Edit, IdempotencyKey, LimitChange, Micros, Mode, Name, NameError, PoolChange, PoolId,
    PoolRules, PoolSpec, Reason, ReservationId, RuleChange, Window, WindowChange,
};
use crate::limits::{
    AREAS_MAX, DIMENSIONS_MAX, HOLD_LIFE_MAX_MS, HOLD_TTL_MAX_MS, HOLD_TTL_MIN_MS, LABELS_MAX, PAGE_POOLS_DEFAULT,
    PAGE_POOLS_MAX, REASON_CHARS_MAX, UNITS_MAX, WATCH_IDS_MAX,
};
use crate::service::reads::PoolPage;
use crate::service::watch::WatchFilter;
use crate::service::{Code, Reserve};
use crate::time::Shown;
use std::collections::{BTreeMap, BTreeSet};

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
    let query = Query {
        areas: fields.optional("areas").map(areas).transpose()?.unwrap_or_default(),
        from: fields.optional("from").map(|value| time("from", value)).transpose()?,
        to: fields.optional("to").map(|value| time("to", value)).transpose()?,
        demand: fields.optional("demand").map(|value| demand("demand", value)).transpose()?.unwrap_or_default(),
        labels: fields.optional("labels").map(labels).transpose()?.unwrap_or_default(),
    };
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
    let query = Query {
        areas: fields.optional("areas").map(areas).transpose()?.unwrap_or_default(),
        from: fields.optional("from").map(|value| time("from", value)).transpose()?,
        to: fields.optional("to").map(|value| time("to", value)).transpose()?,
        demand: Amounts::default(),
        labels: fields.optional("labels").map(labels).transpose()?.unwrap_or_default(),
    };
    Ok(WatchFilter { query, pools })
}

/// Checks the number of pools of a page.
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

/// Reads the cursor of a page.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn page_cursor(cursor: &str) -> Parsed<PoolId> {
    let wrong =
        || format!("cursor is {}, which no page gave as 'next': leave it out for the first page", quoted(cursor));
    PoolId::new(cursor).map_err(|_| Problem::fault(RequestFault::BadQuery, wrong()))
}

/// Reads the id of a pool.
///
/// # Errors
/// The [`Problem`] to answer.
pub fn pool_id(field: &str, text: &str) -> Parsed<PoolId> {
    PoolId::new(text).map_err(|error| bad_name(field, text, error))
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
pub fn bad_name(field: &str, text: &str, error: NameError) -> Problem {
    Problem::fault(RequestFault::BadName, format!("{field} is {}, which {error}", quoted(text)))
}

/// The members of a body, all of them known.
struct Fields<'a>(Members<'a>);

impl<'a> Fields<'a> {
    fn parse(value: Value<'a>, shape: &Shape) -> Parsed<Fields<'a>> {
        let Value::Object(members) = value else {
            return Err(Problem::fault(
                RequestFault::BadJson,
                format!("the body is {}, it has to be an object", shown(&value)),
            ));
        };
        known_only("", &members, shape)?;
        Ok(Fields(members))
    }

    /// Takes a member out; `null` means the same as absence.
    fn optional(&mut self, name: &str) -> Option<Value<'a>> {
        self.given(name).filter(|value| *value != Value::Null)
    }

    /// Takes a member out, `null` included.
    fn given(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// A part that a change may set but not clear.
    fn set(&mut self, name: &str) -> Parsed<Option<Value<'a>>> {
        match self.given(name) {
            Some(Value::Null) => {
                let detail = format!("{name} cannot be null: leave it out, and it stays as it is");
                Err(Problem::fault(RequestFault::BadChange, detail))
            }
            given => Ok(given),
        }
    }

    /// A part that a change may set, or clear with `null`.
    fn edit<T>(&mut self, name: &str, read: impl FnOnce(Value<'a>) -> Parsed<T>) -> Parsed<Edit<T>> {
        Ok(match self.given(name) {
            None => Edit::Keep,
            Some(Value::Null) => Edit::Clear,
            Some(value) => Edit::To(read(value)?),
        })
    }

    fn required(&mut self, name: &str) -> Parsed<Value<'a>> {
        self.optional(name)
            .ok_or_else(|| Problem::fault(RequestFault::MissingField, format!("the body has no '{name}': add it")))
    }
}

fn known_only(at: &str, members: &Members<'_>, shape: &Shape) -> Parsed<()> {
    match members.iter().find(|(key, _)| !shape.has(key)) {
        Some((key, _)) => {
            let detail = format!("there is no field {at}{}: those there are: {}", quoted(key), shape.names());
            Err(Problem::fault(RequestFault::UnknownField, detail))
        }
        None => Ok(()),
    }
}

fn text<'a>(field: &str, value: Value<'a>, fault: RequestFault) -> Parsed<std::borrow::Cow<'a, str>> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(Problem::fault(fault, format!("{field} is {}, it has to be a string", shown(&other)))),
    }
}

fn members<'a>(field: &str, value: Value<'a>, fault: RequestFault) -> Parsed<Members<'a>> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(Problem::fault(fault, format!("{field} is {}, it has to be an object", shown(&other)))),
    }
}

fn name(field: &str, value: Value<'_>) -> Parsed<Name> {
    let text = text(field, value, RequestFault::BadName)?;
    Name::new(&text).map_err(|error| bad_name(field, &text, error))
}

fn dimension(field: &str, key: &str) -> Parsed<Dimension> {
    Dimension::new(key).map_err(|error| bad_name(&format!("a dimension of {field}"), key, error))
}

fn demand(field: &str, value: Value<'_>) -> Parsed<Amounts> {
    amounts(field, value, 1)
}

fn amounts(field: &str, value: Value<'_>, least: u64) -> Parsed<Amounts> {
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

fn deltas(value: Value<'_>) -> Parsed<Vec<(Dimension, i64)>> {
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

fn areas(value: Value<'_>) -> Parsed<BTreeSet<Name>> {
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

fn labels(value: Value<'_>) -> Parsed<BTreeMap<Name, Name>> {
    each_label(value, |field, value| name(field, value))
}

/// Labels with their new values; `null` removes a label.
fn label_changes(value: Value<'_>) -> Parsed<BTreeMap<Name, Option<Name>>> {
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
    let label = |(key, value): (std::borrow::Cow<'_, str>, Value<'a>)| {
        let field = format!("labels.{}", quoted(&key));
        let label = Name::new(&key).map_err(|error| bad_name("a label's name", &key, error))?;
        Ok((label, read(&field, value)?))
    };
    members.into_iter().map(label).collect()
}

fn window_change(value: Value<'_>) -> Parsed<WindowChange> {
    let members = members("window", value, RequestFault::BadWindow)?;
    known_only("window.", &members, &shapes::WINDOW_CHANGE)?;
    let mut fields = Fields(members);
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

fn window(value: Value<'_>) -> Parsed<Window> {
    let members = members("window", value, RequestFault::BadWindow)?;
    known_only("window.", &members, &shapes::WINDOW_SPEC)?;
    let mut fields = Fields(members);
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

fn time(field: &str, value: Value<'_>) -> Parsed<Micros> {
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

fn mode_of(value: Value<'_>) -> Parsed<Mode> {
    let known = match &value {
        Value::Text(text) => Mode::ALL.into_iter().find(|mode| mode.code() == text),
        _ => None,
    };
    let detail = || format!("mode is {}, it has to be 'open', 'paused' or 'closed'", shown(&value));
    known.ok_or_else(|| Problem::fault(RequestFault::BadMode, detail()))
}

fn hold_ttl(value: Value<'_>) -> Parsed<u64> {
    hold_ms("hold_ttl_ms", value, HOLD_TTL_MAX_MS, RequestFault::BadHoldTtl)
}

fn hold_ttl_max(value: Value<'_>) -> Parsed<u64> {
    hold_ms(HOLD_TTL_MAX, value, HOLD_TTL_MAX_MS, RequestFault::BadRule)
}

fn hold_life_max(value: Value<'_>) -> Parsed<u64> {
    hold_ms(HOLD_LIFE_MAX, value, HOLD_LIFE_MAX_MS, RequestFault::BadRule)
}

/// A time that is about holds: an integer of milliseconds, from the shortest hold to `most`.
fn hold_ms(name: &str, value: Value<'_>, most: u64, fault: RequestFault) -> Parsed<u64> {
    match value {
        Value::Unsigned(ms) if (HOLD_TTL_MIN_MS..=most).contains(&ms) => Ok(ms),
        other => {
            let (ms, range) = (shown(&other), format!("an integer from {HOLD_TTL_MIN_MS} to {most}"));
            Err(Problem::fault(fault, format!("{name} is {ms}, it has to be {range}")))
        }
    }
}

fn is_unique(value: Value<'_>) -> Parsed<bool> {
    match value {
        Value::Bool(is_unique) => Ok(is_unique),
        other => Err(Problem::fault(
            RequestFault::BadRule,
            format!("{UNIQUE_ORDER_REF} is {}, it has to be true or false", shown(&other)),
        )),
    }
}
