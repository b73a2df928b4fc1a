//! Request bodies as the description tells them; [`crate::api::http::body`] reads them.

use crate::api::http::schema;
use utoipa::ToSchema;
use utoipa::openapi::schema::{OneOfBuilder, Type};
use utoipa::openapi::{ObjectBuilder, Ref};

/// Asking for capacity.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct Reserve {
    /// Of which pool.
    pool: schema::PoolId,
    /// Units by dimension, each at least 1; all of them are taken, or none.
    demand: schema::Demand,
    /// As a hold for so many milliseconds, to be confirmed; for good when absent. A hold that would last longer than the
    /// pool lets it, or beyond the window's end, is refused, and the refusal says what the latest instant is.
    hold_ttl_ms: Option<schema::HoldTtl>,
    /// The caller's order.
    order_ref: Option<schema::Name>,
}

/// What a pool is.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct PoolSpec {
    /// Units by dimension that it may admit; at least one dimension.
    limits: schema::Limits,
    /// Where it is offered.
    areas: Option<schema::Areas>,
    /// The time it stands for.
    window: Option<WindowSpec>,
    /// What else is said of it.
    labels: Option<schema::Labels>,
    /// `open` (when absent), `paused` or `closed`.
    mode: Option<schema::Mode>,
    /// The longest time that a hold gets at once, in milliseconds; a day when absent.
    hold_ttl_max_ms: Option<schema::HoldTtl>,
    /// The longest whole life of a hold from when it was accepted, however often it is extended, in milliseconds; no bound
    /// when absent.
    hold_life_max_ms: Option<schema::HoldLife>,
    /// Whether an order may have one live reservation of the pool at most; no when absent. Those that are there when it is set
    /// count: they stay, and no other is accepted.
    unique_order_ref: Option<bool>,
}

/// The time that a pool stands for.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct WindowSpec {
    /// When the slot begins.
    start: schema::Instant,
    /// When the slot is over, later than it begins.
    end: schema::Instant,
    /// From when nothing is admitted any more, no later than the end; the end when absent.
    cutoff: Option<schema::Instant>,
}

/// A change of a pool. What is not named stays; `null` clears the window, its cutoff, a label, or a rule.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct PoolChange {
    /// Limits as they shall be, of dimensions that the pool has; the others stay. Not together with `adjust`.
    #[schema(required = false)]
    limits: schema::Limits,
    /// Differences to limits.
    #[schema(required = false)]
    adjust: schema::Differences,
    /// Where it is offered: all areas anew.
    #[schema(required = false)]
    areas: schema::Areas,
    /// The time it stands for; `null`: none.
    window: Option<WindowChange>,
    /// Labels that get another value, or go with `null`; the others stay.
    #[schema(schema_with = label_changes, required = false)]
    labels: schema::Labels,
    /// `open`, `paused` or `closed`.
    #[schema(required = false)]
    mode: schema::Mode,
    /// The longest time that a hold gets at once; `null`: a day.
    hold_ttl_max_ms: Option<schema::HoldTtl>,
    /// The longest whole life of a hold; `null`: no bound.
    hold_life_max_ms: Option<schema::HoldLife>,
    /// Whether an order may have one live reservation of the pool at most; `null`: no.
    unique_order_ref: Option<bool>,
}

/// Parts of a window; those not named stay.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct WindowChange {
    /// When the slot begins.
    #[schema(required = false)]
    start: schema::Instant,
    /// When the slot is over.
    #[schema(required = false)]
    end: schema::Instant,
    /// From when nothing is admitted any more; `null`: the end.
    cutoff: Option<schema::Instant>,
}

/// Opening, pausing or closing.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct ModeChange {
    /// `open`, `paused` or `closed`.
    mode: schema::Mode,
}

/// More time for a hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct Extension {
    /// From now, in milliseconds.
    hold_ttl_ms: schema::HoldTtl,
}

/// Other units for a reservation.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct Amendment {
    /// Units by dimension, each at least 1: all that the reservation takes from now on. A dimension that is not named is
    /// given back.
    demand: schema::Demand,
}

/// What is looked for; whatever is not named, every pool has.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct AvailabilityQuery {
    /// Pools that serve at least one of these.
    areas: Option<schema::Areas>,
    /// Pools whose window ends after this.
    from: Option<schema::Instant>,
    /// Pools whose window starts before this.
    to: Option<schema::Instant>,
    /// Pools that would take this now.
    demand: Option<schema::Demand>,
    /// Pools that carry all of these.
    labels: Option<schema::Labels>,
    /// At most so many.
    limit: Option<schema::PageLimit>,
    /// `next` of the page before.
    cursor: Option<schema::PoolId>,
}

/// Values that change, or go with `null`.
fn label_changes() -> ObjectBuilder {
    let none = ObjectBuilder::new().schema_type(Type::Null);
    schema::labels(OneOfBuilder::new().item(none).item(Ref::from_schema_name("Name")))
        .description(Some("Labels that get another value, or go with `null`; the others stay"))
}
