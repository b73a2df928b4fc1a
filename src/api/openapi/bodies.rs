//! Request bodies as the description tells them; [`crate::api::body`] reads them.

use crate::api::dto::WindowDto;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Asking for capacity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct Reserve {
    /// Of which pool.
    pool: String,
    /// Units by dimension, each at least 1; all of them are taken, or none.
    demand: BTreeMap<String, u64>,
    /// As a hold for so many milliseconds, to be confirmed; for good when absent. A hold that would last longer than the
    /// pool lets it, or beyond the window's end, is refused, and the refusal says what the latest instant is.
    hold_ttl_ms: Option<u64>,
    /// The caller's order.
    order_ref: Option<String>,
}

/// What a pool is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct PoolSpec {
    /// Units by dimension that it may admit; at least one dimension.
    limits: BTreeMap<String, u64>,
    /// Where it is offered.
    areas: Option<Vec<String>>,
    /// The time it stands for.
    window: Option<WindowDto>,
    /// What else is said of it.
    labels: Option<BTreeMap<String, String>>,
    /// `open` (when absent), `paused` or `closed`.
    mode: Option<String>,
    /// The longest time that a hold gets at once, in milliseconds; a day when absent.
    hold_ttl_max_ms: Option<u64>,
    /// The longest whole life of a hold from when it was accepted, however often it is extended, in milliseconds; no bound
    /// when absent.
    hold_life_max_ms: Option<u64>,
    /// Whether an order may have one live reservation of the pool at most; no when absent. Those that are there when it is set
    /// count: they stay, and no other is accepted.
    unique_order_ref: Option<bool>,
}

/// A change of a pool. What is not named stays; `null` clears the window, its cutoff, a label, or a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct PoolChange {
    /// Limits as they shall be, of dimensions that the pool has; the others stay. Not together with `adjust`.
    limits: Option<BTreeMap<String, u64>>,
    /// Differences to limits.
    adjust: Option<BTreeMap<String, i64>>,
    /// Where it is offered: all areas anew.
    areas: Option<Vec<String>>,
    /// The time it stands for; `null`: none.
    window: Option<WindowChange>,
    /// Labels that get another value, or go with `null`; the others stay.
    labels: Option<BTreeMap<String, Option<String>>>,
    /// `open`, `paused` or `closed`.
    mode: Option<String>,
    /// The longest time that a hold gets at once; `null`: a day.
    hold_ttl_max_ms: Option<u64>,
    /// The longest whole life of a hold; `null`: no bound.
    hold_life_max_ms: Option<u64>,
    /// Whether an order may have one live reservation of the pool at most; `null`: no.
    unique_order_ref: Option<bool>,
}

/// Parts of a window; those not named stay.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct WindowChange {
    /// When the slot begins.
    #[schema(format = DateTime)]
    start: Option<String>,
    /// When the slot is over.
    #[schema(format = DateTime)]
    end: Option<String>,
    /// From when nothing is admitted any more; `null`: the end.
    #[schema(format = DateTime)]
    cutoff: Option<String>,
}

/// Opening, pausing or closing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct ModeChange {
    /// `open`, `paused` or `closed`.
    mode: String,
}

/// More time for a hold.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct Extension {
    /// From now, in milliseconds.
    hold_ttl_ms: u64,
}

/// What is looked for; whatever is not named, every pool has.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what body.rs reads")]
pub struct AvailabilityQuery {
    /// Pools that serve at least one of these.
    areas: Option<Vec<String>>,
    /// Pools whose window ends after this.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Pools whose window starts before this.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Pools that would take this now.
    demand: Option<BTreeMap<String, u64>>,
    /// Pools that carry all of these.
    labels: Option<BTreeMap<String, String>>,
    /// At most so many.
    limit: Option<u64>,
    /// `next` of the page before.
    cursor: Option<String>,
}
